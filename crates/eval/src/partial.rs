//! A result that is not finished: a folder beside it, from which a command that was stopped goes on.
//!
//! ```text
//! OUT.partial/of           digest of everything that the result depends on; locked by the command that makes it
//! OUT.partial/...          what there is of it
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use data::error::DataError;
use data::fsx;
use serde::Serialize;

use crate::error::{EvalError, Result};

/// The folder of a result to come.
#[derive(Debug)]
pub(crate) struct Partial {
    out: PathBuf,
    folder: PathBuf,
    _lock: File,
}

impl Partial {
    /// Opens the folder of the result `out`; what is in it of another result goes. `of` is the digest.
    ///
    /// # Errors
    /// If another process makes the same result, or the folder cannot be written.
    pub(crate) fn open(out: &Path, of: &str) -> Result<Self> {
        if out.is_dir() {
            let what = "is a folder: name a file to write".to_owned();
            return Err(EvalError::Unfit { data: out.display().to_string(), what });
        }
        let mut name = out.as_os_str().to_owned();
        name.push(".partial");
        let folder = PathBuf::from(name);
        fsx::create_private_dir(&folder)?;
        let path = folder.join("of");
        let Some(mut lock) = lock(&path)? else { return Err(in_use(out)) };
        let mut renew = || -> io::Result<()> {
            let mut old = String::new();
            lock.read_to_string(&mut old)?;
            if old == of {
                return Ok(());
            }
            for entry in fs::read_dir(&folder)? {
                let entry = entry?.path();
                if entry != path {
                    fs::remove_file(entry)?;
                }
            }
            lock.set_len(0)?;
            lock.seek(SeekFrom::Start(0))?;
            lock.write_all(of.as_bytes())?;
            lock.sync_data()
        };
        renew().map_err(|source| failed("prepare", &folder, source))?;
        Ok(Self { out: out.to_owned(), folder, _lock: lock })
    }

    /// The result.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// Where what there is of it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the folder: the result is written.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(fsx::remove_dir_all(&self.folder)?)
    }
}

/// Writes a value as JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> data::error::Result<()> {
    let json = serde_json::to_vec(value).map_err(|error| DataError::Io {
        action: "write",
        path: path.to_owned(),
        source: error.into(),
    })?;
    fsx::write_atomic(path, &json)
}

/// Opens a file and keeps other processes out of it for as long as the result lives; nothing where one is in it.
pub(crate) fn lock(path: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = file.map_err(|source| failed("open", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(source)) => Err(failed("lock", path, source)),
    }
}

/// Another process makes the same.
pub(crate) fn in_use(out: &Path) -> EvalError {
    let what = "another process is making it: wait for that, or name another --out".to_owned();
    EvalError::Unfit { data: out.display().to_string(), what }
}

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> EvalError {
    DataError::Io { action, path: path.to_owned(), source }.into()
}
