//! File access in one place: atomic writes, private folders, hashes and paths that stay in their folder.
//!
//! A reader of a file written here sees the old content or the new, never a part: the bytes go to a temporary file in
//! the same folder, reach the disk, and take the name in one step.

mod contained;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

pub use contained::{Folder, contained};

use crate::error::{DataError, Result};

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
    move |source| DataError::Io { action, path: path.to_path_buf(), source }
}

/// Writes a whole file so that no reader and no crash ever sees a part of it.
///
/// # Errors
/// [`DataError::Io`] where the folder does not exist or cannot be written; an older file of that name stays as it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |temporary| write_and_sync(temporary, bytes))
}

/// As [`write_atomic`], of a file that is too large to be held whole: `body` writes it.
///
/// # Errors
/// As [`write_atomic`], and what `body` returns.
pub fn write_atomic_with(path: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    replace(path, |temporary| {
        let file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        body(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    })
}

/// Puts a file in the place of another once `write` has it on the disk.
fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let temporary = temporary_name(path)?;
    let written = write(&temporary).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // Best effort: the error that matters is the one that is returned.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed("write", path))?;
    sync_dir(parent(path)).map_err(failed("write", path))
}

fn temporary_name(path: &Path) -> Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
        return Err(failed("write", path)(source));
    };
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".tmp-{}-{count}", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// Tests let each part fail as a full disk does, at points that compile to nothing elsewhere.
fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fail::fail_point!("fsx-create", |_| Err(io::ErrorKind::StorageFull.into()));
    // `create_new` refuses a file or a link that somebody planted under the temporary name.
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    fail::fail_point!("fsx-write", |_| {
        // A full disk takes a part.
        file.write_all(&bytes[..bytes.len() / 2])?;
        Err(io::ErrorKind::StorageFull.into())
    });
    fail::fail_point!("fsx-broken", |_| Err(io::Error::from_raw_os_error(5)));
    file.write_all(bytes)?;
    fail::fail_point!("fsx-sync", |_| Err(io::ErrorKind::StorageFull.into()));
    file.sync_all()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that renames, after the bytes are on the disk")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fail::fail_point!("fsx-rename", |_| Err(io::ErrorKind::StorageFull.into()));
    fs::rename(from, to)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a folder durable; a no-op where folders cannot be opened.
fn sync_dir(path: &Path) -> io::Result<()> {
    fail::fail_point!("fsx-sync-dir", |_| Err(io::ErrorKind::StorageFull.into()));
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Renames a finished folder or file and makes the new name durable: the last step of a write in several files.
///
/// # Errors
/// [`DataError::Io`] where the target exists as a folder that is not empty, or a folder cannot be written.
pub fn rename_durable(from: &Path, to: &Path) -> Result<()> {
    rename(from, to).and_then(|()| sync_dir(parent(to))).map_err(failed("rename to", to))
}

/// Creates a folder and those above it.
///
/// # Errors
/// [`DataError::Io`] where that is not possible.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(failed("create folder", path))
}

/// Creates a folder that only its owner can read, and those above it; one that exists keeps its permissions.
///
/// # Errors
/// [`DataError::Io`] where that is not possible.
pub fn create_private_dir(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed("create folder", path))
}

/// Removes a folder with everything in it, if it is there.
///
/// # Errors
/// [`DataError::Io`] where that is not possible.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(source)),
        _ => Ok(()),
    }
}

/// Removes what interrupted writes left in a folder, which nobody else may write to meanwhile.
///
/// # Errors
/// [`DataError::Io`] where the folder cannot be read or written; one that does not exist holds nothing.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("list", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(failed("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !(name.starts_with('.') && name.contains(".tmp-")) {
            continue;
        }
        if path.is_dir() {
            remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

/// What changes when a file does: where it lies, its length and the time of its last change. For hashing: a path can hold a
/// patient's id.
pub fn state(path: &Path) -> String {
    let changed = fs::metadata(path).ok().map(|found| {
        let time = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (found.len(), time)
    });
    format!("{} {changed:?}", path.display())
}

/// Bytes that this process may still write to the disk of a folder.
///
/// # Errors
/// [`DataError::Io`] where the system does not say.
pub fn available_space(folder: &Path) -> Result<u64> {
    fs4::available_space(folder).map_err(failed("ask for the free space of", folder))
}

/// The content of a file of at most `limit` bytes.
///
/// # Errors
/// [`DataError::Io`] where it cannot be read, [`DataError::FileTooLarge`] where it is larger.
pub fn read_capped(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(failed("read", path))?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file that is too large from one that fits, even if it grows meanwhile.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        let bytes = fs::metadata(path).map_or(limit + 1, |m| m.len());
        return Err(DataError::FileTooLarge { path: path.to_path_buf(), bytes, limit });
    }
    Ok(bytes)
}

/// The SHA-256 of some bytes, as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// The SHA-256 of a file, read in pieces.
///
/// # Errors
/// [`DataError::Io`] where it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(failed("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed("read", path))? {
            0 => return Ok(hex(hasher.finalize().as_slice())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text file that grows by whole lines (JSON lines, logs).
///
/// Every line is one write, so that two processes or a crash can lose lines but not tear them.
#[derive(Debug)]
pub struct LineLog {
    file: File,
    path: PathBuf,
}

impl LineLog {
    /// Opens a file to append to; creates it where it is missing. A torn last line of a crash is ended first.
    ///
    /// # Errors
    /// [`DataError::Io`] where it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                }
            }
            Ok(file)
        };
        let file = open().map_err(failed("open", path))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Appends one line; line breaks in it become spaces.
    ///
    /// # Errors
    /// [`DataError::Io`] where it cannot be written (the disk is full, say).
    pub fn line(&mut self, text: &str) -> Result<()> {
        let mut line = text.replace(['\n', '\r'], " ");
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(failed("append to", &self.path))
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// [`DataError::Io`] where the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(failed("append to", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("folder");
        fs::create_dir_all(target.join("inside")).unwrap();
        let error = write_atomic(&target, b"x").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("folder"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file is removed");
    }

    #[test]
    fn leftovers_go_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", ".hidden", "x.tmp-1"] {
            write_atomic(&dir.path().join(name), b"x").unwrap();
        }
        fs::create_dir_all(dir.path().join(".step-1.tmp-7/inside")).unwrap();
        write_atomic(&dir.path().join(".latest.tmp-9-1"), b"x").unwrap();
        remove_leftovers(dir.path()).unwrap();
        remove_leftovers(&dir.path().join("absent")).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".hidden", "a", "x.tmp-1"]);
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-4 example: the digest of "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        write_atomic(&path, b"abc").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), abc);
    }

    #[test]
    fn lines_are_appended_whole_and_a_torn_one_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        write_atomic(&path, b"{\"torn\"").unwrap();
        LineLog::open(&path).unwrap().line("{\"a\":1}\n{").unwrap();
        LineLog::open(&path).unwrap().line("b").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"torn\"\n{\"a\":1} {\nb\n");
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        write_atomic(&path, &[0; 11]).unwrap();
        assert!(matches!(read_capped(&path, 10), Err(DataError::FileTooLarge { bytes: 11, limit: 10, .. })));
        assert_eq!(read_capped(&path, 11).unwrap().len(), 11);
    }

    #[test]
    #[cfg(unix)]
    fn a_private_folder_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/one");
        create_private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
