//! CSV files with a header, read whole, with every fault of every row.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{DataError, Result, RowFault, RowFaultKind};
use crate::fsx;

/// First bytes of a gzip file.
const GZIP: &[u8] = b"\x1f\x8b";
/// Largest accepted manifest (bytes), after decompression.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Largest accepted field (bytes): far more than any report.
const MAX_FIELD_BYTES: usize = 1 << 20;

/// The rows of a CSV file.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) file: PathBuf,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Faults found so far; the caller adds its own.
    pub(crate) faults: Vec<RowFault>,
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
        let content = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
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
        let mut table = Self { file: file.to_path_buf(), header, rows: Vec::new(), faults: Vec::new() };
        let mut record = csv::ByteRecord::new();
        let mut number = 0;
        while reader.read_byte_record(&mut record).map_err(broken)? {
            number += 1;
            if record.len() == table.header.len() {
                let field = |(field, &wanted)| if wanted { decode(field, &mut legacy) } else { String::new() };
                let fields = record.iter().zip(&wanted).map(field).collect();
                table.push(Row { number, fields });
            } else {
                let why = RowFaultKind::Fields(record.len(), table.header.len());
                table.faults.push(RowFault { row: number, column: String::new(), why });
            }
        }
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
            self.faults.push(RowFault { row: row.number, column: column.clone(), why });
        }
        self.rows.push(row);
    }

    /// Position of a column, `None` where the header lacks it. A name that occurs twice is a fault.
    pub(crate) fn column(&mut self, name: &str) -> Option<usize> {
        let mut found = (0..self.header.len()).filter(|&i| self.header[i] == name);
        let first = found.next();
        if found.next().is_some() {
            let why = RowFaultKind::TwoColumns;
            self.faults.push(RowFault { row: 0, column: name.to_owned(), why });
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
        let column = self.header.get(column).cloned().unwrap_or_default();
        self.faults.push(RowFault { row, column, why });
    }

    /// Ends reading: all faults as one error, in the order of the rows.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort_by_key(|fault| fault.row);
        Err(DataError::Rows { file: self.file.clone(), faults })
    }
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
        let read = table(b"\xEF\xBB\xBFa, b \r\n1,\"x, \"\"y\"\"\r\nz\"\r\n\r\n2,\r\n");
        assert_eq!(read.header, ["a", "b"]);
        let fields: Vec<_> = read.rows.iter().map(|r| (r.number, r.fields.clone())).collect();
        assert_eq!(
            fields,
            [(1, vec!["1".to_owned(), "x, \"y\"\r\nz".to_owned()]), (2, vec!["2".to_owned(), String::new()])]
        );
        assert!(read.faults.is_empty());
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
