//! CSV files with a header, read whole, with every fault of every row.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::quotes::quote_fault;
use crate::error::{DataError, Result, RowFault, RowFaultKind};
use crate::fsx;
use crate::phi::{Phi, SampleRef, shows_paths};

/// First bytes of a gzip file.
pub(super) const GZIP: &[u8] = b"\x1f\x8b";
/// What some editors put before UTF-8 text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Largest accepted manifest (bytes), after decompression.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Largest accepted field (bytes): far more than any report.
pub(super) const MAX_FIELD_BYTES: usize = 1 << 20;

/// The rows of a CSV file.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) file: PathBuf,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Fields that are not UTF-8 and were read as Windows-1252.
    pub(crate) legacy: usize,
    /// Faults found so far; the caller adds its own.
    faults: Vec<RowFault>,
    /// How messages name the rows, in their order; empty before [`Table::identify`].
    samples: Vec<SampleRef>,
}

/// What a row says of the sample that it lists.
#[derive(Debug, Default)]
pub(crate) struct Listing<'a> {
    /// Its study.
    pub(crate) study: Option<String>,
    /// Its image, as the row names it.
    pub(crate) path: Option<&'a str>,
}

/// One row: its number (1 = first data row) and as many fields as the header has.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: usize,
    pub(crate) fields: Vec<String>,
}

impl Table {
    /// Reads a file: UTF-8 or Windows-1252, with or without a byte order mark, LF or CRLF.
    ///
    /// Rows with another number of fields than the header are left out and noted as faults.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        Self::read_as(file, None, &|_| true)
    }

    /// As [`Table::read`] for a file without a header, whose columns are called `columns`.
    pub(crate) fn read_bare(file: &Path, columns: &[&str]) -> Result<Self> {
        Self::read_as(file, Some(columns), &|_| true)
    }

    /// As [`Table::read`], also of a gzip file; fields of columns that are not `wanted` are empty.
    pub(crate) fn read_columns(file: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Self> {
        Self::read_as(file, None, wanted)
    }

    /// As [`Table::read`] of bytes that are, or would be, those of `file`.
    pub(crate) fn parse(file: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::parse_as(file, &unpack(file, bytes, MAX_FILE_BYTES)?, None, &|_| true)
    }

    fn read_as(file: &Path, columns: Option<&[&str]>, wanted: &dyn Fn(&str) -> bool) -> Result<Self> {
        Self::parse_as(file, &content(file, MAX_FILE_BYTES)?, columns, wanted)
    }

    fn parse_as(file: &Path, bytes: &[u8], columns: Option<&[&str]>, wanted: &dyn Fn(&str) -> bool) -> Result<Self> {
        let content = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(columns.is_none()).from_reader(content);
        let broken = |error: csv::Error| DataError::Io {
            action: "read",
            path: file.to_path_buf(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        };
        let mut legacy = 0;
        let header: Vec<String> = if let Some(columns) = columns {
            columns.iter().map(|&name| name.to_owned()).collect()
        } else {
            let fields = reader.byte_headers().map_err(broken)?.iter();
            fields.map(|f| decode(f, &mut legacy).trim().to_owned()).collect()
        };
        let wanted: Vec<bool> = header.iter().map(|name| wanted(name)).collect();
        let mut table = Self {
            file: file.to_path_buf(),
            header,
            rows: Vec::new(),
            legacy: 0,
            faults: Vec::new(),
            samples: Vec::new(),
        };
        let mut record = csv::ByteRecord::new();
        let mut number = 0;
        let mut start = position(&reader);
        table.check_quotes(0, &content[..start]);
        while reader.read_byte_record(&mut record).map_err(broken)? {
            number += 1;
            let end = position(&reader);
            let sound = table.check_quotes(number, &content[start..end]);
            start = end;
            if !sound {
                continue;
            }
            if record.len() == table.header.len() {
                let field = |(field, &wanted)| if wanted { decode(field, &mut legacy) } else { String::new() };
                let fields = record.iter().zip(&wanted).map(field).collect();
                table.push(Row { number, fields });
            } else {
                let why = RowFaultKind::Fields(record.len(), table.header.len());
                table.faults.push(RowFault::new(number, "", why));
            }
        }
        table.legacy = legacy;
        if legacy > 0 {
            tracing::warn!(file = %file.display(), fields = legacy, "not UTF-8, read as Windows-1252");
        }
        Ok(table)
    }

    fn push(&mut self, row: Row) {
        for (field, column) in row.fields.iter().zip(&self.header) {
            let why = if field.len() > MAX_FIELD_BYTES {
                RowFaultKind::TooLong(field.len(), MAX_FIELD_BYTES)
            } else if field.contains('\0') {
                RowFaultKind::Nul
            } else {
                continue;
            };
            self.faults.push(RowFault::new(row.number, column, why));
        }
        self.rows.push(row);
    }

    /// Whether the quotes of a row, given as it stands in the file, are sound; notes a fault where they are not.
    fn check_quotes(&mut self, number: usize, raw: &[u8]) -> bool {
        match quote_fault(raw) {
            Some(why) => self.faults.push(RowFault::new(number, "", why)),
            None => return true,
        }
        false
    }

    /// Position of a column, `None` where the header lacks it. A name that occurs twice is a fault.
    pub(crate) fn column(&mut self, name: &str) -> Option<usize> {
        let mut found = (0..self.header.len()).filter(|&i| self.header[i] == name);
        let first = found.next();
        if found.next().is_some() {
            let why = RowFaultKind::TwoColumns;
            self.faults.push(RowFault::new(0, name, why));
        }
        first
    }

    /// Position of a column that must exist; `option` is what names it.
    pub(crate) fn require(&mut self, name: &str, option: &'static str) -> Result<usize> {
        self.column(name).ok_or_else(|| DataError::Column {
            file: self.file.clone(),
            column: name.to_owned(),
            found: self.header.clone(),
            option,
        })
    }

    /// Notes a fault of a field.
    pub(crate) fn fault(&mut self, row: usize, column: usize, why: RowFaultKind) {
        let column = self.header.get(column).map_or("", String::as_str);
        self.faults.push(RowFault::new(row, column, why));
    }

    /// Lets faults name the sample of their row: call it while the rows are still here.
    pub(crate) fn identify(&mut self, of: impl Fn(&Row) -> Listing<'_>) {
        let sample = |row: &Row| {
            let Listing { study, path } = of(row);
            // Paths take memory for every row, and are shown on demand only.
            let path = path.filter(|path| shows_paths() && !path.is_empty());
            SampleRef {
                row: row.number,
                study: study.filter(|study| !study.is_empty()).map(Phi::new),
                path: path.map(|path| Phi::new(path.into())),
            }
        };
        self.samples = self.rows.iter().map(sample).collect();
    }

    /// All faults so far, in the order of the rows; none is kept.
    pub(crate) fn take_faults(&mut self) -> Vec<RowFault> {
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort_by_key(|fault| fault.sample.row);
        for fault in &mut faults {
            if let Ok(known) = self.samples.binary_search_by_key(&fault.sample.row, |sample| sample.row) {
                fault.sample = self.samples[known].clone();
            }
        }
        faults
    }

    /// Ends reading: all faults as one error, in the order of the rows.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.take_faults() {
            faults if faults.is_empty() => Ok(()),
            faults => Err(DataError::Rows { file: self.file.clone(), faults }),
        }
    }
}

/// Where the reader is (bytes).
#[expect(clippy::cast_possible_truncation, reason = "a position in a buffer")]
fn position(reader: &csv::Reader<&[u8]>) -> usize {
    reader.position().byte() as usize
}

/// The bytes of a file of at most `limit` bytes, decompressed where it is a gzip file, whatever its name.
fn content(file: &Path, limit: u64) -> Result<Vec<u8>> {
    unpack(file, fsx::read_capped(file, limit)?, limit)
}

fn unpack(file: &Path, bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>> {
    if !bytes.starts_with(GZIP) {
        return Ok(bytes);
    }
    let mut content = Vec::new();
    // One byte more than the limit tells a file that is too large from one that fits.
    let unpacked = MultiGzDecoder::new(&bytes[..]).take(limit + 1).read_to_end(&mut content);
    let broken = |source| DataError::Io { action: "decompress", path: file.to_path_buf(), source };
    unpacked.map_err(broken)?;
    if content.len() as u64 > limit {
        return Err(DataError::FileTooLarge { path: file.to_path_buf(), bytes: limit + 1, limit });
    }
    Ok(content)
}

/// Bytes as text; where they are not UTF-8 they are read as Windows-1252, which has a character for each.
pub(super) fn decode(field: &[u8], legacy: &mut usize) -> String {
    String::from_utf8(field.to_vec()).unwrap_or_else(|_| {
        *legacy += 1;
        field.iter().map(|&byte| windows_1252(byte)).collect()
    })
}

/// The characters 0x80 to 0x9F of Windows-1252; the five unused ones map to themselves.
#[rustfmt::skip]
const WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(content: &[u8]) -> Table {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        fsx::write_atomic(&path, content).unwrap();
        Table::read(&path).unwrap()
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_do_not_matter() {
        let mut read = table(b"\xEF\xBB\xBFa, b \r\n1,\"x, \"\"y\"\"\r\nz\"\r\n\r\n2,\r\n");
        assert_eq!(read.header, ["a", "b"]);
        let fields: Vec<_> = read.rows.iter().map(|r| (r.number, r.fields.clone())).collect();
        assert_eq!(
            fields,
            [(1, vec!["1".to_owned(), "x, \"y\"\r\nz".to_owned()]), (2, vec!["2".to_owned(), String::new()])]
        );
        assert!(read.check().is_ok());
    }

    #[test]
    fn the_first_line_of_a_bare_file_is_data() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        fsx::write_atomic(&path, b"\xEF\xBB\xBFx/,1\r\ny/,0\n").unwrap();
        let read = Table::read_bare(&path, &["path", "label"]).unwrap();
        let fields: Vec<_> = read.rows.iter().map(|r| (r.number, r.fields.join(" "))).collect();
        assert_eq!(fields, [(1, "x/ 1".to_owned()), (2, "y/ 0".to_owned())]);
    }

    #[test]
    fn old_encodings_are_read_without_loss() {
        let read = table(b"text\n39\xB0C \x93ok\x94\nna\xC3\xAFve\n");
        assert_eq!(read.rows[0].fields, ["39\u{b0}C \u{201c}ok\u{201d}"]);
        assert_eq!(read.rows[1].fields, ["na\u{ef}ve"]);
    }

    #[test]
    fn any_bytes_become_text_and_none_is_dropped() {
        let mut random = crate::rng::Stream::new(9);
        let (mut counted, mut read) = (0, 0);
        for _ in 0..100_000 {
            let any = random.next_u64().to_le_bytes()[0];
            let length = random.below(6);
            let bytes: Vec<u8> = (0..length).map(|_| [b'a', 0xC3, 0xA9, 0x93, any][random.below(5)]).collect();
            let text = decode(&bytes, &mut read);
            if let Ok(same) = std::str::from_utf8(&bytes) {
                assert_eq!(text, same);
                continue;
            }
            counted += 1;
            // One character for each byte, and the bytes of ASCII are themselves.
            assert_eq!(text.chars().count(), bytes.len());
            assert!(text.chars().zip(&bytes).all(|(c, &byte)| c.is_ascii() == byte.is_ascii()));
        }
        assert!(read == counted && counted > 10_000, "{read} {counted}");
        let all: std::collections::HashSet<char> = (0..=255).map(windows_1252).collect();
        assert_eq!(all.len(), 256, "no two bytes become one character");
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_tables_are_read_within_the_limit() {
        let whole = gzip(b"a,b\n1,2\n");
        // Two members one after the other are one file.
        let two = [whole.clone(), gzip(b"3,4\n")].concat();
        assert_eq!(table(&two).rows.iter().map(|r| r.fields[1].as_str()).collect::<Vec<_>>(), ["2", "4"]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv.gz");
        fsx::write_atomic(&path, &whole[..whole.len() - 9]).unwrap();
        let text = Table::read(&path).unwrap_err().to_string();
        assert!(text.contains("cannot decompress") && text.contains("t.csv.gz"), "{text}");
        // A hundred thousand zeros take some hundred bytes.
        fsx::write_atomic(&path, &gzip(&vec![b'0'; 100_000])).unwrap();
        assert!(matches!(content(&path, 99_999), Err(DataError::FileTooLarge { limit: 99_999, .. })));
        assert_eq!(content(&path, 100_000).unwrap().len(), 100_000);
    }

    #[test]
    fn only_wanted_columns_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        fsx::write_atomic(&path, b"a,b ,c\n1,2,3\n4,5\n").unwrap();
        let mut read = Table::read_columns(&path, &|name| name == "b").unwrap();
        assert_eq!(
            (read.header.clone(), read.rows[0].fields.clone()),
            (["a", "b", "c"].map(str::to_owned).to_vec(), ["", "2", ""].map(str::to_owned).to_vec())
        );
        assert!(read.check().unwrap_err().to_string().contains("row 2: 2 fields, the header has 3"));
    }

    #[test]
    fn quotes_that_would_swallow_rows_are_faults() {
        let text = table(b"a,b\n1,\"x\n2,\"y\"\n3,z\n4,\"open\n5,w\n").check().unwrap_err().to_string();
        assert!(text.contains("2 faults\n  row 1: text follows a closing quote"), "{text}");
        assert!(text.contains("row 3: a quote is opened and never closed"), "{text}");
        assert!(table(b"a,\"b\n1,2\n").check().unwrap_err().to_string().contains("header: a quote is opened"));
    }

    #[test]
    fn faults_name_the_study_of_their_row() {
        let mut read = table(b"a,study\n1\0,s-secret\n2, \n3,s-secret\n");
        read.identify(|row| Listing { study: Some(row.fields[1].trim().to_owned()), path: None });
        for row in [2, 3] {
            read.fault(row, 0, RowFaultKind::Label);
        }
        let (hash, text) = (Phi::new("s-secret".to_owned()), read.check().unwrap_err().to_string());
        assert!(text.contains(&format!("row 1, study {hash:?}, column \"a\": the field holds a NUL")), "{text}");
        assert!(text.contains("row 2, column \"a\"") && text.contains(&format!("row 3, study {hash:?}, ")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn every_bad_row_is_named() {
        let long = "x".repeat(MAX_FIELD_BYTES + 1);
        let mut read = table(format!("a,b,a\n1,2,3\n1,2\n1,\0,3\n1,2,3,4\n1,{long},3\n").as_bytes());
        assert_eq!(read.column("a"), Some(0));
        assert_eq!(read.column("c"), None);
        let text = read.check().unwrap_err().to_string();
        for part in [
            "t.csv: 5 faults",
            "header, column \"a\": the column is listed twice",
            "row 2: 2 fields, the header has 3",
            "row 3, column \"b\": the field holds a NUL",
            "row 4: 4 fields, the header has 3",
            "row 5, column \"b\": the field holds 1048577 bytes, the limit is 1048576",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
