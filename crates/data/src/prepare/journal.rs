//! What is done already: one line for each image that was written, kept beside the images.
//!
//! A line names the image, a fingerprint of what it was made of and the hash of its bytes. An image counts as done where
//! its line has the fingerprint of today and the file has the hash: after a kill, a repaired source file, another seed
//! or another size, exactly the images in question are made again.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::IMAGES;
use crate::error::{DataError, Result};
use crate::fsx::{self, LineLog};
use crate::record::ImageSource;

const FILE: &str = "journal.jsonl";
/// Largest accepted journal (bytes): about two hundred for each image.
const MAX_BYTES: u64 = 1 << 30;

/// What was made of which source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Fingerprint of the source, as [`fingerprint`].
    pub(super) of: String,
    /// Hash of the written file.
    pub(super) sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    image: String,
    #[serde(flatten)]
    entry: Entry,
}

/// The lines of earlier calls and the file that takes those of this one.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    done: HashMap<String, Entry>,
    log: Mutex<LineLog>,
}

impl Journal {
    /// Opens the journal of a folder; creates it where it is missing. Torn lines count as not written.
    pub(super) fn open(folder: &super::folder::Folder) -> Result<Self> {
        let path = folder.file(FILE);
        let bytes = match fsx::read_capped(&path, MAX_BYTES) {
            Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let lines = bytes.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let done = lines.filter(|line| is_image_name(&line.image)).map(|line| (line.image, line.entry)).collect();
        Ok(Self { done, log: Mutex::new(LineLog::open(&path)?), path })
    }

    /// What an earlier call wrote under a name.
    pub(super) fn entry(&self, image: &str) -> Option<&Entry> {
        self.done.get(image)
    }

    /// All names of earlier calls.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.done.keys()
    }

    /// Notes an image whose file is complete.
    pub(super) fn add(&self, image: &str, entry: &Entry) -> Result<()> {
        let line = Line { image: image.to_owned(), entry: entry.clone() };
        // A panic elsewhere leaves whole lines behind.
        self.log.lock().unwrap_or_else(PoisonError::into_inner).line(&json(&line)?)
    }

    /// Replaces all lines by those of the images that are in the folder now, in order.
    pub(super) fn finish(self, images: &BTreeMap<String, Entry>) -> Result<()> {
        let mut text = String::new();
        for (image, entry) in images {
            text.push_str(&json(&Line { image: image.clone(), entry: entry.clone() })?);
            text.push('\n');
        }
        fsx::write_atomic(&self.path, text.as_bytes())
    }
}

fn json(line: &Line) -> Result<String> {
    let failed = |error| DataError::Io { action: "write", path: FILE.into(), source: std::io::Error::other(error) };
    serde_json::to_string(line).map_err(failed)
}

/// Whether a name is one that [`super::image_name`] gives: a journal that somebody edited must not reach other files.
pub(super) fn is_image_name(name: &str) -> bool {
    let known = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let inner = name.strip_prefix(IMAGES).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(".png"));
    inner.and_then(|inner| inner.split_once('/')).is_some_and(|(dir, file)| known(dir) && known(file))
}

/// A number of an image's source and of what is done to it: another source, an edited file and another size have
/// another one.
pub(super) fn fingerprint(source: &ImageSource, size: usize) -> String {
    let told = match source {
        ImageSource::File(path) => {
            let path = path.expose();
            let state = std::fs::metadata(path).map(|m| (m.len(), m.modified().ok()));
            format!("file {} {:?}", path.display(), state.ok())
        }
        ImageSource::Phantom(key) => format!("phantom {key:?}"),
    };
    fsx::sha256_hex(format!("{} {size} {told}", env!("CARGO_PKG_VERSION")).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_prepared_images_are_believed() {
        assert!(is_image_name(&super::super::image_name(1234, 5)));
        for name in ["../a.png", "images/../a.png", "images/0000/../1.png", "images//1.png", "/etc/passwd", "pairs.csv"]
        {
            assert!(!is_image_name(name), "{name}");
        }
    }
}
