//! What the frozen layers of a text encoder return, kept for each text: they return it again in every epoch.
//!
//! A text is computed by itself, so that what is kept does not depend on the batch that it was first in, and a run that is
//! resumed with nothing kept goes on with the same bits.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Hidden states by the token ids of their text, in memory up to a limit and, where asked for, in a file.
#[derive(Debug)]
pub struct FrozenStates {
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    memory: HashMap<Box<[u32]>, Arc<[f32]>>,
    bytes: usize,
    file: Option<Stored>,
}

/// Records one after another: number of ids, number of values, checksum of what follows, ids, values; numbers of 32 bits,
/// little-endian.
#[derive(Debug)]
struct Stored {
    file: File,
    /// Where the ids of a text begin, and the number of its values.
    places: HashMap<Box<[u32]>, (u64, usize)>,
    end: u64,
}

/// Bytes of a record before its ids.
const HEAD: u64 = 12;

impl FrozenStates {
    /// Keeps up to `limit` bytes in memory. What comes when they are full is computed again each time.
    pub fn in_memory(limit: usize) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    /// Keeps states in a file, too, and goes on with what it holds. Its name should tell which weights they are of. A record
    /// that was cut off, as when a program was killed, is dropped; one whose bytes changed counts as missing.
    ///
    /// # Errors
    /// If the file cannot be opened or read, or while another program has it.
    pub fn in_file(path: &Path, limit: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another run uses it: name another folder, or wait"),
        })?;
        let stored = Stored::open(file)?;
        Ok(Self { limit, kept: Mutex::new(Kept { file: Some(stored), ..Kept::default() }) })
    }

    /// The states of a text: kept ones, or what `compute` returns, which are kept then.
    pub fn of(&self, ids: &[u32], compute: impl FnOnce() -> Vec<f32>) -> Arc<[f32]> {
        if let Some(states) = self.kept().find(ids) {
            return states;
        }
        let states: Arc<[f32]> = compute().into();
        self.kept().keep(ids, &states, self.limit, true);
        states
    }

    /// Number of texts in memory and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let kept = self.kept();
        (kept.memory.len(), kept.bytes)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, ids: &[u32]) -> Option<Arc<[f32]>> {
        self.memory.get(ids).cloned().or_else(|| self.file.as_mut()?.read(ids))
    }

    fn keep(&mut self, ids: &[u32], states: &Arc<[f32]>, limit: usize, in_file: bool) {
        let bytes = size_of_val(&**states) + size_of_val(ids);
        if self.bytes + bytes <= limit && self.memory.insert(ids.into(), Arc::clone(states)).is_none() {
            self.bytes += bytes;
        }
        if in_file && self.file.as_mut().is_some_and(|file| file.append(ids, states).is_err()) {
            // A full disk is no reason to stop: what is not kept is computed again.
            self.file = None;
        }
    }
}

impl Stored {
    fn open(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let (mut places, mut end) = (HashMap::new(), 0_u64);
        while let (Some(ids_len), Some(values_len), Some(_)) =
            (number(&mut reader)?, number(&mut reader)?, number(&mut reader)?)
        {
            let start = end + HEAD;
            let next = start + 4 * (u64::from(ids_len) + u64::from(values_len));
            if next > len {
                break;
            }
            let mut ids = vec![0; ids_len as usize];
            for id in &mut ids {
                // It is there: the record ends within the file.
                *id = number(&mut reader)?.unwrap_or_default();
            }
            reader.seek_relative(4 * i64::from(values_len))?;
            places.insert(ids.into(), (start, values_len as usize));
            end = next;
        }
        file.set_len(end)?;
        Ok(Self { file, places, end })
    }

    fn read(&mut self, ids: &[u32]) -> Option<Arc<[f32]>> {
        let (start, len) = *self.places.get(ids)?;
        let mut bytes = vec![0; 4 * (1 + ids.len() + len)];
        self.file.seek(SeekFrom::Start(start - 4)).ok()?;
        self.file.read_exact(&mut bytes).ok()?;
        let (checksum, body) = bytes.split_at(4);
        if checksum != crc32c::crc32c(body).to_le_bytes() {
            return None;
        }
        let values = body[4 * ids.len()..].as_chunks().0;
        Some(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    fn append(&mut self, ids: &[u32], states: &[f32]) -> io::Result<()> {
        let ids_bytes = ids.iter().flat_map(|id| id.to_le_bytes());
        let body: Vec<u8> = ids_bytes.chain(states.iter().flat_map(|value| value.to_le_bytes())).collect();
        let lengths = [ids.len(), states.len()].map(|len| u32::try_from(len).unwrap_or(u32::MAX));
        let head = [lengths[0], lengths[1], crc32c::crc32c(&body)];
        let record: Vec<u8> = head.iter().flat_map(|number| number.to_le_bytes()).chain(body).collect();
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&record)?;
        self.places.insert(ids.into(), (self.end + HEAD, states.len()));
        self.end += record.len() as u64;
        Ok(())
    }
}

/// The next number; nothing at the end of the file.
fn number(reader: &mut impl io::Read) -> io::Result<Option<u32>> {
    let mut bytes = [0; 4];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(u32::from_le_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse() -> Vec<f32> {
        panic!("it was kept")
    }

    #[test]
    fn states_are_computed_once_while_there_is_room() {
        let states = FrozenStates::in_memory(24);
        assert_eq!(*states.of(&[1, 2], || vec![0.5, 1.5]), [0.5, 1.5]);
        assert_eq!(*states.of(&[1, 2], refuse), [0.5, 1.5]);
        assert_eq!(states.size(), (1, 16));
        // No room: computed each time, and the first stays.
        assert_eq!(*states.of(&[1], || vec![7.0, 8.0]), [7.0, 8.0]);
        assert_eq!(*states.of(&[1], || vec![9.0, 8.0]), [9.0, 8.0]);
        assert_eq!(*states.of(&[1, 2], refuse), [0.5, 1.5]);
    }

    #[test]
    fn a_file_outlives_the_program_and_a_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("states");
        let odd = [f32::MIN_POSITIVE, -0.0, 3.3, f32::MAX];
        let first = FrozenStates::in_file(&path, 0).unwrap();
        first.of(&[5, 6, 7], || odd.to_vec());
        first.of(&[8], || vec![1.0]);
        drop(first);
        let bits = |states: &[f32]| states.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let second = FrozenStates::in_file(&path, 0).unwrap();
        assert_eq!(bits(&second.of(&[5, 6, 7], refuse)), bits(&odd));
        assert_eq!(*second.of(&[8], refuse), [1.0]);
        drop(second);
        // Killed within the second record: the first is there, the second is computed and stored anew.
        let len = std::fs::metadata(&path).unwrap().len();
        for cut in 1..20 {
            File::options().write(true).open(&path).unwrap().set_len(len - cut).unwrap();
            let third = FrozenStates::in_file(&path, 0).unwrap();
            assert_eq!(bits(&third.of(&[5, 6, 7], refuse)), bits(&odd));
            assert_eq!(*third.of(&[8], || vec![1.0]), [1.0]);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
        }
        // A byte of a value that changed: it is computed anew.
        let mut file = File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(len - 1)).unwrap();
        file.write_all(&[0x55]).unwrap();
        let fourth = FrozenStates::in_file(&path, 0).unwrap();
        assert_eq!(*fourth.of(&[8], || vec![1.0]), [1.0]);
        assert_eq!(*fourth.of(&[8], refuse), [1.0]);
        // One program at a time.
        assert!(FrozenStates::in_file(&path, 0).unwrap_err().to_string().contains("another run uses it"));
    }
}
