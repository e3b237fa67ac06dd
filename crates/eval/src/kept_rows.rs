//! What a network gave images, on the disk (`--keep`): a task that was stopped does not compute it again, nor does the next
//! task on the same images.
//!
//! A file holds the rows of one output of one network for some images, in their order: 8 bytes of magic, the width as u64, and
//! the numbers as f32, all little-endian. Its name is the SHA-256 of everything that the rows depend on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use data::fsx;
use engine::upload::Preprocess;
use model::weights;

use crate::error::Result;
use crate::partial::{failed, lock};
use crate::tasks::Opened;

const MAGIC: &[u8; 8] = b"rtgrows1";
/// Bytes before the rows.
const HEADER: usize = 16;

/// Rows that are on the disk, and the file that takes more.
#[derive(Debug)]
pub(crate) struct KeptRows {
    path: PathBuf,
    file: File,
    width: usize,
    rows: Vec<f32>,
}

impl KeptRows {
    /// Opens the rows of `images`, as many as there are; nothing where another process adds to them. `what` names the output of
    /// the network.
    pub(crate) fn open<M: Module + fmt::Display>(
        folder: &Path,
        (network, what): (&M, &str),
        opened: &Opened<'_>,
        images: &[(usize, usize)],
        preprocess: &Preprocess,
        device: &Device,
    ) -> Result<Option<Self>> {
        fsx::create_private_dir(folder)?;
        let weights = fsx::sha256_hex(&weights::encode(&weights::collect(network), &BTreeMap::new()));
        // The numbers of a network do not tell all of it, such as the heads of an attention.
        let mut of = format!("{} {what} {weights} {network} {preprocess:?} {device:?}", env!("CARGO_PKG_VERSION"));
        for &(study, image) in images {
            of = fsx::sha256_hex(format!("{of}{}", opened.dataset.studies[study].images[image].state()).as_bytes());
        }
        let path = folder.join(format!("{}.rows", fsx::sha256_hex(of.as_bytes())));
        let Some(mut file) = lock(&path)? else { return Ok(None) };
        let mut read = || -> io::Result<(usize, Vec<f32>)> {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let (width, rows) = parse(&bytes, images.len());
            // What a crash left of a row goes.
            let whole = if width == 0 { 0 } else { (HEADER + size_of_val(rows.as_slice())) as u64 };
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            Ok((width, rows))
        };
        let (width, rows) = read().map_err(|source| failed("read", &path, source))?;
        Ok(Some(Self { path, file, width, rows }))
    }

    /// Width and rows that were there.
    pub(crate) fn take(&mut self) -> (usize, Vec<f32>) {
        (self.width, std::mem::take(&mut self.rows))
    }

    /// Adds rows.
    pub(crate) fn push(&mut self, width: usize, rows: &[f32]) -> Result<()> {
        let mut bytes = Vec::new();
        if self.width == 0 {
            self.width = width;
            bytes.extend(MAGIC);
            bytes.extend((width as u64).to_le_bytes());
        }
        bytes.extend(rows.iter().flat_map(|value| value.to_le_bytes()));
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| failed("write", &self.path, source))
    }
}

/// Width and whole rows of a file, at most `most`; nothing of one that was not written here.
fn parse(bytes: &[u8], most: usize) -> (usize, Vec<f32>) {
    let width = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<8>());
    let width = width.and_then(|width| usize::try_from(u64::from_le_bytes(*width)).ok()).unwrap_or(0);
    let Some(row) = width.checked_mul(size_of::<f32>()).filter(|&row| row > 0) else { return (0, Vec::new()) };
    let count = ((bytes.len() - HEADER) / row).min(most);
    let numbers = bytes[HEADER..HEADER + count * row].chunks_exact(size_of::<f32>());
    (width, numbers.map(|number| f32::from_le_bytes([number[0], number[1], number[2], number[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_rows_of_files_of_this_kind_are_read() {
        let mut file = MAGIC.to_vec();
        file.extend(2_u64.to_le_bytes());
        file.extend([1.0_f32, -2.5, 3.0, 4.0, 5.0].iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(parse(&file, 9), (2, vec![1.0, -2.5, 3.0, 4.0]));
        assert_eq!(parse(&file, 1), (2, vec![1.0, -2.5]));
        assert_eq!(parse(&file[..20], 9), (2, vec![]));
        for other in [&file[..12], b"", b"rtgrows2\x02\0\0\0\0\0\0\0aaaaaaaa", b"rtgrows1\0\0\0\0\0\0\0\0aaaaaaaa"] {
            assert_eq!(parse(other, 9), (0, vec![]));
        }
        let endless = [&MAGIC[..], &u64::MAX.to_le_bytes(), &[0; 64]].concat();
        assert_eq!(parse(&endless, 9), (0, vec![]));
    }
}
