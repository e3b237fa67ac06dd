//! The folder that is prepared: one process at a time, nobody else's files, no remains of a killed run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{IMAGES, journal};
use crate::error::{DataError, Result};
use crate::fsx;

/// The lock, held for as long as this value lives.
const LOCK: &str = ".lock";

/// A folder that belongs to this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
    move |source| DataError::Io { action, path: path.to_path_buf(), source }
}

/// The entries of a folder; none where it does not exist.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let list = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(failed("read folder", path))?,
    };
    list.map(|entry| Ok(entry.map_err(failed("read folder", path))?.path())).collect()
}

impl Folder {
    /// Creates a folder, or takes up one that was prepared before, finished or not.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let foreign = !path.join(LOCK).exists() && !entries(path)?.is_empty();
        if foreign {
            let why = "the folder holds other files: name a new or an empty one";
            return Err(DataError::Setting { key: "--out", value: path.display().to_string(), why });
        }
        fsx::create_private_dir(path)?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).open(&lock_path).map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let source = io::Error::new(io::ErrorKind::WouldBlock, "another process is preparing there");
                return Err(failed("lock", &lock_path)(source));
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let folder = Self { path: path.to_path_buf(), _lock: lock };
        folder.sweep()?;
        Ok(folder)
    }

    /// Removes temporary files of writes that never ended.
    fn sweep(&self) -> Result<()> {
        let images = self.path.join(IMAGES);
        let inner = entries(&images)?.into_iter().filter(|path| path.is_dir());
        for dir in inner.chain([self.path.clone()]) {
            for path in entries(&dir)? {
                let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                if name.starts_with('.') && name.contains(".tmp-") {
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Creates the folders of some images.
    pub(super) fn create_parents<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut last = None;
        for parent in names.filter_map(|name| Path::new(name).parent()) {
            // Names come in order: equal folders follow each other.
            if last != Some(parent) {
                fsx::create_private_dir(&self.path.join(parent))?;
                last = Some(parent);
            }
        }
        Ok(())
    }

    /// The path of a file in this folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether a file is there and has these bytes.
    pub(super) fn holds(&self, name: &str, sha256: &str) -> bool {
        fsx::sha256_file(&self.file(name)).is_ok_and(|found| found == sha256)
    }

    /// Removes images of an earlier call that this one does not list.
    pub(super) fn remove(&self, names: impl Iterator<Item = String>) -> Result<()> {
        for name in names.filter(|name| journal::is_image_name(name)) {
            let path = self.file(&name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path)(error)),
                _ => {}
            }
        }
        Ok(())
    }
}
