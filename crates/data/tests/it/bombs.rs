//! Files that claim or take too much memory: refused from their headers.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use data::error::ImageFault;
use data::image::decode::{MAX_ASPECT, MAX_DECODED_BYTES, MAX_FILE_BYTES, MAX_PIXELS, decode_bytes, decode_file};

use crate::picture_files::{header, jpeg, png};
use crate::support::{command, write};

/// Far more than a header takes to read, and far less than a thousand million pixels take to decode.
const SOON: Duration = Duration::from_millis(20);

/// How long something takes when nothing else gets in its way.
fn fastest(run: impl Fn()) -> Duration {
    let times = (0..20).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().unwrap()
}

/// A whole PNG that claims a size.
fn png_of(width: u32, height: u32, depth: u8, colour: u8) -> Vec<u8> {
    png(&header(width, height, depth, colour, 0), &[], &[0; 64])
}

/// A whole JPEG that claims a size.
fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// Files with the fault that each must meet.
fn bombs() -> Vec<(&'static str, Vec<u8>, ImageFault)> {
    let area = |width, height| ImageFault::Dimensions { width, height, limit: MAX_PIXELS };
    let thin = |width, height| ImageFault::Aspect { width, height, limit: MAX_ASPECT };
    vec![
        ("a PNG of 100000 x 100000", png_of(100_000, 100_000, 8, 0), area(100_000, 100_000)),
        ("a PNG of the largest size there is", png_of(0x7FFF_FFFF, 0x7FFF_FFFF, 16, 6), area(0x7FFF_FFFF, 0x7FFF_FFFF)),
        ("a JPEG of the largest size there is", jpeg_of(65_535, 65_535), area(65_535, 65_535)),
        ("a PNG one row over 64 Mpx", png_of(8192, 8193, 8, 0), area(8192, 8193)),
        ("a JPEG one row over 64 Mpx", jpeg_of(8192, 8193), area(8192, 8193)),
        ("a PNG without a column", png_of(0, 5, 8, 0), area(0, 5)),
        // JPEG may leave the height to be told behind the pixels; nobody does.
        ("a JPEG without a row", jpeg_of(5, 0), area(5, 0)),
        ("a PNG of 21 x 1", png_of(21, 1, 8, 0), thin(21, 1)),
        ("a JPEG of 100 x 2001", jpeg_of(100, 2001), thin(100, 2001)),
        // 64 Mpx of eight bytes.
        ("a PNG of 512 MiB", png_of(8192, 8192, 16, 6), ImageFault::Memory { limit: MAX_DECODED_BYTES }),
    ]
}

#[test]
fn bombs_are_refused_at_once() {
    for (name, bytes, fault) in bombs() {
        let taken = fastest(|| assert_eq!(decode_bytes(&bytes), Err(fault.clone()), "{name}"));
        assert!(taken < SOON, "{name}: {taken:?}");
    }
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "large.png", b"");
    // A hole: it takes no room on the disk.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    let fault = ImageFault::FileTooLarge { bytes: MAX_FILE_BYTES + 1, limit: MAX_FILE_BYTES };
    let taken = fastest(|| assert_eq!(decode_file(&path), Err(fault.clone())));
    assert!(taken < SOON, "{taken:?}");
}

#[test]
fn other_formats_are_named_with_a_way_out() {
    for (name, bytes) in [
        ("TIFF", b"II\x2A\0\x08\0\0\0".as_slice()),
        ("TIFF, big end first", b"MM\0\x2A\0\0\0\x08"),
        ("DICOM", &[&[0; 128], b"DICM".as_slice()].concat()),
        ("GIF", b"GIF89a\x01\0\x01\0"),
        ("a web page", b"<html>Please log in</html>"),
    ] {
        let fault = decode_bytes(bytes).unwrap_err();
        assert_eq!(fault, ImageFault::Format, "{name}");
        assert!(fault.to_string().contains("neither PNG nor JPEG: convert TIFF, DICOM and others to PNG"), "{fault}");
    }
}

/// All of the address space that the program is given is less than the least of the large images takes.
#[test]
#[cfg(target_os = "linux")]
fn bombs_take_next_to_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = "image_path\n".to_owned();
    for (i, (_, bytes, _)) in bombs().iter().enumerate() {
        write(dir.path(), &format!("{i}.png"), bytes);
        writeln!(rows, "{i}.png").unwrap();
    }
    let csv = write(dir.path(), "pairs.csv", rows.as_bytes());
    // 60 000 KiB; the least of the large images has 64 Mpx.
    let program = command(&[]).get_program().to_owned();
    let mut child = std::process::Command::new("sh");
    child.args(["-c", "ulimit -v 60000; exec \"$0\" verify \"$1\" --json"]).arg(program).arg(&csv);
    child.env("RAYON_NUM_THREADS", "1");
    let output = child.output().unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{text}{error}");
    assert!(text.contains("\"images\":10,\"unreadable\":10"), "{text}");
}
