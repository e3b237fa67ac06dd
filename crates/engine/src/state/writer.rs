//! Saves states while training goes on.
//!
//! The caller waits only where the state before is still being written. A crash loses the updates since the last state
//! that was written: at most one interval and those made while a state was being written.

use std::thread::JoinHandle;

use super::Snapshot;
use super::store::StateStore;
use crate::clock::Stopwatch;
use crate::error::Result;

/// Saves in a row that may fail, as on a full disk; the next one ends training.
const MAX_FAILED_IN_A_ROW: u32 = 2;

/// Writes the states of a run on a thread, one at a time.
#[derive(Debug)]
pub struct StateWriter {
    store: StateStore,
    pending: Option<JoinHandle<Result<()>>>,
    failed_in_a_row: u32,
}

impl StateWriter {
    /// A writer into a store.
    pub fn new(store: StateStore) -> Self {
        Self { store, pending: None, failed_in_a_row: 0 }
    }

    /// Begins to write a state.
    ///
    /// # Errors
    /// That of the state before, if it was the third in a row that failed: training that cannot be saved is not worth
    /// its time. Failures before the third are logged.
    pub fn save(&mut self, snapshot: Snapshot) -> Result<()> {
        if let Err(error) = self.finish() {
            if self.failed_in_a_row > MAX_FAILED_IN_A_ROW {
                return Err(error);
            }
            tracing::warn!(%error, "a state could not be saved; training goes on, and the states before are kept");
        }
        let store = self.store.clone();
        self.pending = Some(std::thread::spawn(move || {
            let (step, clock) = (snapshot.train.step, Stopwatch::start());
            store.save(snapshot)?;
            tracing::debug!(step, seconds = clock.seconds(), "state written");
            Ok(())
        }));
        Ok(())
    }

    /// Whether a state is being written.
    pub fn is_busy(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.is_finished())
    }

    /// Waits until the last state is written.
    ///
    /// # Errors
    /// If it could not be.
    pub fn finish(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        // A panic of the thread goes on here: nothing that a user does leads to one.
        let written = pending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.failed_in_a_row = if written.is_err() { self.failed_in_a_row + 1 } else { 0 };
        written
    }
}

impl Drop for StateWriter {
    /// A thread that is cut off would leave half a state behind.
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take()
            && !matches!(pending.join(), Ok(Ok(())))
        {
            tracing::warn!("the last state could not be saved; the states before are kept");
        }
    }
}
