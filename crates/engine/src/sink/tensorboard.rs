//! Metrics as TensorBoard events.
//!
//! An event file is a sequence of records: length (u64, little endian), masked CRC-32C of the length, payload, masked
//! CRC-32C of the payload. A payload is a protobuf `Event`; of that format only what scalars and texts need is written
//! here: wall time, step, file version, and summaries with a `simple_value` or a tensor of strings.
//!
//! # Source
//! tensorflow `core/lib/io/record_writer.cc`, tensorboard `compat/proto/{event,summary,tensor}.proto`; the layout of
//! texts is that of pytorch `torch/utils/tensorboard/summary.py`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data::error::DataError;

use super::MetricSink;
use crate::clock;
use crate::error::Result;

/// How many event files may begin in one second.
const MAX_SAME_SECOND: u32 = 1000;

/// An event file.
#[derive(Debug)]
pub struct TensorBoardSink {
    file: File,
    path: PathBuf,
    /// Bytes of whole records, to which the file is cut back when a write fails half-way.
    length: u64,
}

impl TensorBoardSink {
    /// Begins a new event file in `folder`, which is created where it is missing. Older files in it stay: TensorBoard
    /// shows all of them as one run.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        data::fsx::create_private_dir(folder)?;
        let wall = clock::wall_seconds();
        let (file, path) = create_file(folder, wall)?;
        let mut sink = Self { file, path, length: 0 };
        sink.append(&event(wall, 0, &Content::Version))?;
        Ok(sink)
    }

    /// Appends one record, the whole of it or nothing.
    fn append(&mut self, payload: &[u8]) -> Result<()> {
        let record = frame(payload);
        match self.file.write_all(&record) {
            Ok(()) => {
                self.length += record.len() as u64;
                Ok(())
            }
            Err(source) => {
                // A torn record would hide all later ones from readers. Where cutting fails too, nothing is left to do.
                let _ = self.file.set_len(self.length);
                Err(self.failed(source))
            }
        }
    }

    fn failed(&self, source: io::Error) -> crate::error::EngineError {
        DataError::Io { action: "append to", path: self.path.clone(), source }.into()
    }
}

impl MetricSink for TensorBoardSink {
    fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        self.append(&event(clock::wall_seconds(), step, &Content::Scalars(values)))
    }

    fn text(&mut self, step: u64, name: &str, text: &str) -> Result<()> {
        self.append(&event(clock::wall_seconds(), step, &Content::Text { name, text }))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|source| self.failed(source))
    }
}

/// A new file of a name that nobody has. The name holds the second alone: no host, no user.
fn create_file(folder: &Path, wall: f64) -> Result<(File, PathBuf)> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    let mut number = 0;
    loop {
        // Readers sort by name, so the number keeps files of one second in order.
        let path = folder.join(format!("events.out.tfevents.{wall:010.0}.{number:03}"));
        match options.open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_SAME_SECOND => number += 1,
            Err(source) => return Err(DataError::Io { action: "create", path, source }.into()),
        }
    }
}

/// What an event holds.
enum Content<'a> {
    /// The first event of a file.
    Version,
    Scalars(&'a [(&'a str, f64)]),
    Text {
        name: &'a str,
        text: &'a str,
    },
}

/// A record around `payload`.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(payload);
    record.extend(masked_crc(payload).to_le_bytes());
    record
}

/// The CRC-32C, rotated and shifted: data that hold their own CRC would else check as right too easily.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The `Event` message.
fn event(wall: f64, step: u64, content: &Content<'_>) -> Vec<u8> {
    let mut event = Message::default();
    event.fixed64(1, wall.to_bits());
    // The format leaves out integers that are zero.
    if step > 0 {
        event.varint(2, step);
    }
    match content {
        Content::Version => event.bytes(3, b"brain.Event:2"),
        Content::Scalars(values) => event.bytes(5, &scalar_summary(values)),
        Content::Text { name, text } => event.bytes(5, &text_summary(name, text)),
    }
    event.0
}

/// A `Summary` with one `simple_value` for each number.
#[expect(clippy::cast_possible_truncation, reason = "TensorBoard keeps scalars in single precision")]
fn scalar_summary(values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Message::default();
    for (name, value) in values {
        let mut entry = Message::default();
        entry.bytes(1, name.as_bytes());
        entry.fixed32(2, (*value as f32).to_bits());
        summary.bytes(1, &entry.0);
    }
    summary.0
}

/// A `Summary` with one tensor of one string, marked for TensorBoard's text page.
fn text_summary(name: &str, text: &str) -> Vec<u8> {
    const DT_STRING: u64 = 7;
    let mut dim = Message::default();
    dim.varint(1, 1);
    let mut shape = Message::default();
    shape.bytes(2, &dim.0);
    let mut tensor = Message::default();
    tensor.varint(1, DT_STRING);
    tensor.bytes(2, &shape.0);
    tensor.bytes(8, text.as_bytes());

    let mut plugin = Message::default();
    plugin.bytes(1, b"text");
    let mut metadata = Message::default();
    metadata.bytes(1, &plugin.0);

    let mut entry = Message::default();
    entry.bytes(1, format!("{name}/text_summary").as_bytes());
    entry.bytes(8, &tensor.0);
    entry.bytes(9, &metadata.0);
    let mut summary = Message::default();
    summary.bytes(1, &entry.0);
    summary.0
}

/// A protobuf message under construction; field numbers stay below 16, so that every key is one byte.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u8, value: u64) {
        self.0.push(field << 3);
        self.raw_varint(value);
    }

    fn fixed64(&mut self, field: u8, bits: u64) {
        self.0.push(field << 3 | 1);
        self.0.extend(bits.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.0.push(field << 3 | 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn fixed32(&mut self, field: u8, bits: u32) {
        self.0.push(field << 3 | 5);
        self.0.extend(bits.to_le_bytes());
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn raw_varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                break;
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by TensorBoard's own record writer and protobuf classes: `scripts/golden/tensorboard_events.py`.
    const GOLDEN: &str = "\
1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e457665\
6e743a32338d2fe94b00000000000000870999960900001040fc54d94110ac02\
2a3d0a170a10747261696e2f6c6f73732f746f74616c15000084400a090a026c\
721517b7d1380a0b0a047a65726f15000000000a0a0a036e616e150000c07fbf\
bd75893e00000000000000d9d240e70900001040fc54d9412a330a310a13636f\
6e6669672f746578745f73756d6d61727942100807120412020801420661203d\
20310a4a080a060a0474657874dd23675d";

    #[test]
    fn bytes_equal_those_of_tensorboard() {
        let wall = 1_700_000_000.25;
        let scalars = [("train/loss/total", 4.125), ("lr", 1e-4), ("zero", 0.0), ("nan", f64::NAN)];
        let mut bytes = frame(&event(wall, 0, &Content::Version));
        bytes.extend(frame(&event(wall, 300, &Content::Scalars(&scalars))));
        bytes.extend(frame(&event(wall, 0, &Content::Text { name: "config", text: "a = 1\n" })));
        let golden: Vec<u8> = GOLDEN
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(bytes, golden);
    }

    #[test]
    fn varints_grow_by_seven_bits() {
        for (value, bytes) in [
            (0, vec![0x00]),
            (127, vec![0x7f]),
            (128, vec![0x80, 0x01]),
            (300, vec![0xac, 0x02]),
            (u64::MAX, [vec![0xff; 9], vec![0x01]].concat()),
        ] {
            let mut message = Message::default();
            message.raw_varint(value);
            assert_eq!(message.0, bytes, "{value}");
        }
    }

    #[test]
    fn each_sink_begins_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let tb = folder.path().join("tb");
        for step in 0..3 {
            let mut sink = TensorBoardSink::create(&tb).unwrap();
            sink.scalars(step, &[("x", 1.0)]).unwrap();
            sink.flush().unwrap();
            assert_eq!(std::fs::metadata(&sink.path).unwrap().len(), sink.length);
        }
        let names: Vec<String> =
            std::fs::read_dir(&tb).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.len(), 3);
        for name in names {
            let parts: Vec<&str> = name.split('.').collect();
            assert_eq!(parts[..3], ["events", "out", "tfevents"]);
            assert!(parts.len() == 5 && parts[3].len() == 10 && parts[4].len() == 3, "{name}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_and_counts_no_bytes() {
        let path = PathBuf::from("/dev/full");
        let Ok(file) = OpenOptions::new().append(true).open(&path) else {
            println!("skipped: no /dev/full here");
            return;
        };
        let mut sink = TensorBoardSink { file, path, length: 0 };
        let error = sink.scalars(1, &[("x", 1.0)]).unwrap_err();
        assert_eq!((error.exit_code(), sink.length), (4, 0), "{error}");
    }
}
