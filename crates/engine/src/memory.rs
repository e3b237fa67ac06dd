//! Memory of an update, by its passes.
//!
//! All is 0 in a program that does not count: see [`model::ops::count_memory`].

use std::sync::{Mutex, PoisonError};

use model::ops::{live_bytes, take_peak_bytes};

/// Bytes in use at the end of the forward pass, and the most of them until then.
static FORWARD: Mutex<Option<[u64; 2]>> = Mutex::new(None);

/// Bytes in use while something is learned from one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passes {
    /// Before it began.
    pub before: u64,
    /// The most until the forward pass had ended.
    pub forward_peak: u64,
    /// When the forward pass had ended, with all that the way back needs. Where a batch is divided: of its first part.
    pub forward: u64,
    /// The most from then on.
    pub backward_peak: u64,
    /// When everything was over.
    pub after: u64,
}

/// What `update` does, and the memory that it takes.
pub fn measured<R>(update: impl FnOnce() -> R) -> (R, Passes) {
    let forward = || FORWARD.lock().unwrap_or_else(PoisonError::into_inner).take();
    forward();
    take_peak_bytes();
    let before = live_bytes();
    let result = update();
    let [forward, forward_peak] = forward().unwrap_or([before; 2]);
    (result, Passes { before, forward_peak, forward, backward_peak: take_peak_bytes(), after: live_bytes() })
}

/// Says that the way back begins.
pub(crate) fn after_forward() {
    let mut forward = FORWARD.lock().unwrap_or_else(PoisonError::into_inner);
    if forward.is_none() {
        *forward = Some([live_bytes(), take_peak_bytes()]);
    }
}
