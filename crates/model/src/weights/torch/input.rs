//! The bytes of pickles, counted and never more than a file of weights needs.

use std::io::{BufRead, Read as _};

use super::error::{Result, TorchProblem};

/// Most bytes of the pickles of a file.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Longest line of the text protocols.
const MAX_LINE: u64 = 1 << 20;

/// Bytes of one or more pickles.
#[derive(Debug)]
pub(super) struct Input<R> {
    reader: R,
    left: u64,
    read: u64,
}

impl<R: BufRead> Input<R> {
    /// `len` bytes of a reader, or as many as a pickle may have.
    pub(super) fn new(reader: R, len: u64) -> Self {
        Self { reader, left: len.min(MAX_BYTES), read: 0 }
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> TorchProblem {
        if self.read >= MAX_BYTES {
            return TorchProblem::TooMuch { what: "bytes in its pickle", limit: MAX_BYTES };
        }
        TorchProblem::Pickle { at: self.read, what: what.into() }
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if N as u64 > self.left {
            self.read += self.left;
            return Err(self.damaged("it ends too early"));
        }
        self.reader.read_exact(&mut bytes)?;
        self.left -= N as u64;
        self.read += N as u64;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.fixed::<1>()?[0])
    }

    /// A length of `N` little-endian bytes.
    pub(super) fn len<const N: usize>(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.fixed::<N>()?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        // Before anything is allocated.
        if len > self.left {
            return Err(self.damaged(format!("{len} bytes are announced where {} are left", self.left)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        (&mut self.reader).take(len).read_to_end(&mut bytes)?;
        self.left -= bytes.len() as u64;
        self.read += bytes.len() as u64;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(self.damaged("it ends too early")) }
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<()> {
        self.bytes(len).map(drop)
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        (&mut self.reader).take(self.left.min(MAX_LINE)).read_until(b'\n', &mut line)?;
        self.left -= line.len() as u64;
        self.read += line.len() as u64;
        if line.pop() != Some(b'\n') {
            return Err(self.damaged("a line does not end"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(text(line))
    }
}

/// UTF-8, or Latin-1 as Python 2 wrote it.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().iter().map(|byte| char::from(*byte)).collect())
}
