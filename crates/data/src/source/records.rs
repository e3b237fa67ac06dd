//! CSV files with a header, read row by row in bounded memory.
//!
//! [`super::table`] holds a file whole, for manifests whose rows depend on each other; this is for files of any length
//! whose rows do not.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::table::{BYTE_ORDER_MARK, GZIP, MAX_FIELD_BYTES, decode};
use crate::error::{DataError, MAX_PRINTED_FAULTS, Result, RowFault, RowFaultKind};

/// Bytes read at a time.
const BUFFER: usize = 1 << 16;

/// A CSV file that is being read: UTF-8 or Windows-1252, plain or gzip, LF or CRLF, quoted line breaks.
pub(crate) struct Records {
    file: PathBuf,
    header: Vec<String>,
    reader: Box<dyn BufRead>,
    fields: Fields,
    /// Data rows so far.
    number: usize,
    /// Bytes so far, decompressed.
    pub(crate) bytes: u64,
    legacy: usize,
    faults: Vec<RowFault>,
    more_faults: usize,
}

impl Records {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |source| DataError::Io { action: "read", path: path.to_path_buf(), source };
        let mut plain = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed)?);
        let packed = plain.fill_buf().map_err(failed)?.starts_with(GZIP);
        let mut reader: Box<dyn BufRead> = if packed {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        if reader.fill_buf().map_err(failed)?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        let (file, fields) = (path.to_path_buf(), Fields::default());
        let (header, faults) = (Vec::new(), Vec::new());
        let mut records = Self { file, header, reader, fields, number: 0, bytes: 0, legacy: 0, faults, more_faults: 0 };
        if records.read()? {
            let names: Vec<String> = records.take_fields().iter().map(|name| name.trim().to_owned()).collect();
            records.header = names;
        }
        Ok(records)
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// Position of a column, `None` where the header lacks it.
    pub(crate) fn column(&mut self, name: &str) -> Option<usize> {
        let mut found = (0..self.header.len()).filter(|&i| self.header[i] == name);
        let first = found.next();
        if found.next().is_some() {
            self.fault(0, name, RowFaultKind::TwoColumns);
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

    /// The next row: its number (1 = first data row) and as many fields as the header has. Rows that cannot be read are
    /// noted as faults and left out.
    pub(crate) fn next_row(&mut self) -> Result<Option<(usize, Vec<String>)>> {
        while self.read()? {
            self.number += 1;
            let before = self.fault_count();
            let (found, expected) = (self.fields.count(), self.header.len());
            match self.fields.fault.take() {
                Some(why) => self.fault(self.number, "", why),
                None if found != expected => self.fault(self.number, "", RowFaultKind::Fields(found, expected)),
                None => self.check_fields(),
            }
            let row = self.take_fields();
            if self.fault_count() == before {
                return Ok(Some((self.number, row)));
            }
        }
        Ok(None)
    }

    fn check_fields(&mut self) {
        for i in 0..self.fields.count() {
            let field = self.fields.get(i);
            let why = if field.len() > MAX_FIELD_BYTES {
                RowFaultKind::TooLong(field.len(), MAX_FIELD_BYTES)
            } else if field.contains(&0) {
                RowFaultKind::Nul
            } else {
                continue;
            };
            let name = self.header[i].clone();
            self.fault(self.number, &name, why);
        }
    }

    /// Notes a fault of a row.
    pub(crate) fn fault(&mut self, row: usize, column: &str, why: RowFaultKind) {
        // Each is printed, or else only counted: a file of faults alone needs no memory either.
        if self.faults.len() < MAX_PRINTED_FAULTS {
            self.faults.push(RowFault::new(row, column, why));
        } else {
            self.more_faults += 1;
        }
    }

    fn fault_count(&self) -> usize {
        self.faults.len() + self.more_faults
    }

    /// Ends reading: the first faults as one error.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.legacy > 0 {
            tracing::warn!(file = %self.file.display(), fields = self.legacy, "not UTF-8, read as Windows-1252");
        }
        if self.more_faults > 0 {
            let file = self.file.display();
            tracing::error!(%file, more = self.more_faults, "more rows with faults than are listed");
        }
        match std::mem::take(&mut self.faults) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(DataError::Rows { file: self.file.clone(), faults }),
        }
    }

    fn take_fields(&mut self) -> Vec<String> {
        (0..self.fields.count()).map(|i| decode(self.fields.get(i), &mut self.legacy)).collect()
    }

    /// Reads one record; blank lines are no records. `false` at the end of the file.
    fn read(&mut self) -> Result<bool> {
        self.fields.clear();
        loop {
            let buffer = self.reader.fill_buf();
            let failed = |source| DataError::Io { action: "read", path: self.file.clone(), source };
            let buffer = buffer.map_err(failed)?;
            if buffer.is_empty() {
                return Ok(self.fields.finish());
            }
            let used = self.fields.feed(buffer);
            let (consumed, complete) = (used.unwrap_or(buffer.len()), used.is_some());
            self.reader.consume(consumed);
            self.bytes += consumed as u64;
            if complete {
                return Ok(true);
            }
        }
    }
}

/// Where the reader stands within a record.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a field.
    #[default]
    Start,
    /// In a field without quotes.
    Plain,
    /// In a field with quotes.
    Quoted,
    /// Behind a quote within such a field.
    Closing,
}

/// The fields of one record as they are read.
#[derive(Debug, Default)]
struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    state: State,
    /// Whether the record has a byte.
    begun: bool,
    fault: Option<RowFaultKind>,
}

impl Fields {
    fn clear(&mut self) {
        *self =
            Self { bytes: std::mem::take(&mut self.bytes), ends: std::mem::take(&mut self.ends), ..Self::default() };
        self.bytes.clear();
        self.ends.clear();
    }

    fn count(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, field: usize) -> &[u8] {
        let start = if field == 0 { 0 } else { self.ends[field - 1] };
        &self.bytes[start..self.ends[field]]
    }

    /// Takes bytes up to the end of the record: how many, `None` where the record goes on.
    fn feed(&mut self, buffer: &[u8]) -> Option<usize> {
        for (at, &byte) in buffer.iter().enumerate() {
            let quoted = self.state == State::Quoted;
            match byte {
                b'\n' if !quoted => {
                    if self.begun {
                        // A carriage return before the line break is a part of it.
                        let start = self.ends.last().copied().unwrap_or(0);
                        if self.state == State::Plain && self.bytes.len() > start && self.bytes.ends_with(b"\r") {
                            self.bytes.pop();
                        }
                        self.ends.push(self.bytes.len());
                        return Some(at + 1);
                    }
                }
                b',' if !quoted => {
                    self.begun = true;
                    self.ends.push(self.bytes.len());
                    self.state = State::Start;
                }
                _ => self.take(byte),
            }
        }
        None
    }

    fn take(&mut self, byte: u8) {
        let line_end = byte == b'\r' && matches!(self.state, State::Start | State::Closing);
        if line_end && (!self.begun || self.state == State::Closing) {
            return;
        }
        self.begun = true;
        self.state = match (self.state, byte) {
            (State::Start, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::Closing,
            (State::Quoted, _) | (State::Closing, b'"') => {
                self.put(byte);
                State::Quoted
            }
            (State::Closing, _) => {
                self.fault = Some(RowFaultKind::StrayQuote);
                State::Plain
            }
            (State::Start | State::Plain, _) => {
                self.put(byte);
                State::Plain
            }
        };
    }

    /// Adds a byte to the field. One byte more than the limit tells a field that is too long; the rest is dropped.
    fn put(&mut self, byte: u8) {
        let start = self.ends.last().copied().unwrap_or(0);
        if self.bytes.len() - start <= MAX_FIELD_BYTES {
            self.bytes.push(byte);
        }
    }

    /// Ends the last record of a file without a line break.
    fn finish(&mut self) -> bool {
        if self.begun {
            if self.state == State::Quoted {
                self.fault = Some(RowFaultKind::OpenQuote);
            }
            self.ends.push(self.bytes.len());
        }
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;
    use crate::fsx;

    fn rows(content: &[u8]) -> (Vec<String>, Vec<Vec<String>>, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        fsx::write_atomic(&path, content).unwrap();
        let mut records = Records::open(&path).unwrap();
        let mut rows = Vec::new();
        while let Some((_, row)) = records.next_row().unwrap() {
            rows.push(row);
        }
        (records.header().to_vec(), rows, records.check())
    }

    #[test]
    fn rows_are_those_of_the_table() {
        let files: [&[u8]; 6] = [
            b"\xEF\xBB\xBFa, b \r\n1,\"x, \"\"y\"\"\r\nz\"\r\n\r\n2,\r\n",
            b"a,b\n\"\",\"\"\n1,\"2\"",
            b"text,c\n39\xB0C,\n,5\" long\n",
            b"",
            b"a\n\n\nx\n",
            b"a,b\n1,\"c\"\"\"\n",
        ];
        for content in files {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t.csv");
            fsx::write_atomic(&path, content).unwrap();
            let table = Table::read(&path).unwrap();
            let (header, rows, checked) = rows(content);
            checked.unwrap();
            let expected: Vec<Vec<String>> = table.rows.into_iter().map(|row| row.fields).collect();
            assert_eq!((header, rows), (table.header.into_iter().filter(|name| !name.is_empty()).collect(), expected));
        }
    }

    #[test]
    fn every_bad_row_is_named() {
        let long = "x".repeat(MAX_FIELD_BYTES + 9);
        let text = format!("a,b\n1,2\n1\n1,\0\n{long},2\n\"x\"y,1\n3,4\n5,\"open\n6,7\n");
        let (_, rows, checked) = rows(text.as_bytes());
        assert_eq!(rows, [["1", "2"], ["3", "4"]]);
        let text = checked.unwrap_err().to_string();
        for part in [
            "t.csv: 5 faults",
            "row 2: 1 fields, the header has 2",
            "row 3, column \"b\": the field holds a NUL",
            "row 4, column \"a\": the field holds 1048577 bytes",
            "row 5: text follows a closing quote",
            "row 7: a quote is opened and never closed",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
