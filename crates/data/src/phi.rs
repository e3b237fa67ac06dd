//! What must not be shown, and how messages name a sample all the same.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

/// A value that must not be shown: a patient's id, a study's id, the text of a report, the path of an image.
///
/// `Debug` prints a salted hash such as `#3f9a1c2b`. There is no `Display` and no `Serialize`: reaching the value takes
/// a call to [`Phi::expose`], which is easy to search for.
///
/// The salt is drawn once per process from the operating system and never written anywhere. Equal values have equal
/// hashes within one run, so that messages can be matched with each other, while nobody can find an id by hashing all
/// ids there are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Phi<T>(T);

impl<T> Phi<T> {
    /// Wraps a protected value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The protected value itself. Never pass it to a log, an error or a report.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Hash> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", salted(salt(), &self.0))
    }
}

/// The first 32 bits of the SHA-256 of a salt and a value.
fn salted(salt: &[u8], value: &impl Hash) -> u64 {
    let mut hasher = Sha(Sha256::new_with_prefix(salt));
    value.hash(&mut hasher);
    hasher.finish() >> 32
}

/// SHA-256 as a hasher of any value.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

/// The salt of this process.
fn salt() -> &'static [u8; 32] {
    static SALT: OnceLock<[u8; 32]> = OnceLock::new();
    SALT.get_or_init(|| {
        // Its keys, 128 bits, come from the operating system.
        let keyed = RandomState::new();
        let mut salt = [0; 32];
        for (part, number) in salt.chunks_exact_mut(8).zip(0_u8..) {
            part.copy_from_slice(&keyed.hash_one(number).to_le_bytes());
        }
        salt
    })
}

/// Whether messages show the paths of images.
static SHOW_PATHS: AtomicBool = AtomicBool::new(false);

/// Makes messages of this process show the paths of images, or hides them again (the default).
///
/// It is the choice of whoever reads the output, made once by the command line (`--show-paths`), and concerns every
/// error and warning whichever part of the program it comes from: hence a switch of the process and no argument of each
/// function that can fail.
pub fn show_paths(show: bool) {
    SHOW_PATHS.store(show, Ordering::Relaxed);
}

/// Whether messages show the paths of images.
pub(crate) fn shows_paths() -> bool {
    SHOW_PATHS.load(Ordering::Relaxed)
}

/// Makes every panic of this process tell its place and nothing else: what a panic says may quote its input.
pub fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" in {}:{}", place.file(), place.line()));
        let _ = writeln!(std::io::stderr(), "a fault of the program{place}: please report it");
    }));
}

/// A sample as messages name it: its row, the salted hash of its study and, where [`show_paths`] allows it, its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRef {
    /// Row of the manifest (1 = first data row) or index of the phantom.
    pub row: usize,
    /// The study, where it is known.
    pub study: Option<Phi<String>>,
    /// The image, where one is meant.
    pub path: Option<Phi<PathBuf>>,
}

impl fmt::Display for SampleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(study) = &self.study {
            write!(f, ", study {study:?}")?;
        }
        match &self.path {
            // Quoted, so that no name can smuggle control characters into a terminal.
            Some(path) if shows_paths() => write!(f, ", image {:?}", path.expose().to_string_lossy()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_value_is_shown_as_a_salted_hash() {
        let shown = |text: &str| format!("{:?}", Phi::new(text.to_owned()));
        let one = shown("s50414267");
        assert!(one.len() == 9 && one.starts_with('#'), "{one}");
        assert!(one[1..].bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{one}");
        // The same within a process; two values share 32 bits once in four thousand million.
        assert_eq!(one, shown("s50414267"));
        assert_ne!(one, shown("s50414268"));
        // Another process, another hash: nobody can look it up.
        assert_ne!(salted(b"one", &"s50414267"), salted(b"two", &"s50414267"));
        assert!(salt().chunks_exact(8).all(|part| part != [0; 8]));
    }

    #[test]
    fn a_sample_is_named_without_its_id_and_path() {
        let study = Phi::new("s-secret".to_owned());
        let sample = SampleRef { row: 4, study: Some(study.clone()), path: Some(Phi::new("/secret/a.png".into())) };
        assert_eq!(sample.to_string(), format!("row 4, study {study:?}"));
        assert_eq!(SampleRef { row: 2, study: None, path: None }.to_string(), "row 2");
    }
}
