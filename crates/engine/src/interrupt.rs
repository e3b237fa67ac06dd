//! Ctrl-C and termination: the first asks a run to save and end, the second ends it at once.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use data::error::DataError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Signals that this process was sent since it began to listen.
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<AtomicUsize>);

impl Interrupts {
    /// Listens for SIGINT and SIGTERM from now on. `folder` is what the process writes to, for the message.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn listen(folder: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Io { action: "listen for signals in", path: folder.to_owned(), source };
        Self::register().map_err(failed)
    }

    fn register() -> io::Result<Self> {
        let seen = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            // Armed by the first signal, so that only a second one ends the process here.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&seen), number)?;
        }
        Ok(Self(seen))
    }

    /// The number of the last signal, 2 or 15; `None` before the first.
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::SeqCst)).ok().filter(|number| *number > 0)
    }
}
