//! Workers that prepare batches ahead, and the batches in their order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::{Shared, to_index};
use crate::batch::PairBatch;
use crate::error::Result;

/// Batches of a range of steps, in order.
#[derive(Debug)]
pub struct LoaderRun {
    shared: Arc<Shared>,
    queues: Vec<Receiver<Result<PairBatch>>>,
    workers: Vec<JoinHandle<()>>,
    first: u64,
    next: u64,
    end: u64,
}

impl LoaderRun {
    pub(super) fn start(shared: Arc<Shared>, first: u64, end: u64) -> Self {
        let workers = shared.config.num_workers;
        let bytes = shared.config.batch_size * shared.config.image_size.pow(2) * size_of::<f32>();
        let depth = (shared.config.prefetch_bytes / bytes.max(1) / workers.max(1)).clamp(1, 64);
        let mut run = Self { shared, queues: Vec::new(), workers: Vec::new(), first, next: first, end };
        for worker in 0..workers as u64 {
            let (sender, receiver) = sync_channel(depth);
            let shared = Arc::clone(&run.shared);
            run.queues.push(receiver);
            run.workers.push(std::thread::spawn(move || {
                for step in (first + worker..end).step_by(workers) {
                    // The consumer is gone: nobody waits for the rest.
                    if sender.send(shared.batch(step)).is_err() {
                        return;
                    }
                }
            }));
        }
        run
    }
}

impl Iterator for LoaderRun {
    type Item = Result<PairBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let step = self.next;
        self.next += 1;
        if self.queues.is_empty() {
            return Some(self.shared.batch(step));
        }
        let queue = to_index((step - self.first) % self.queues.len() as u64);
        // A worker ends early only by a panic outside of the guarded parts; its batch is then prepared here.
        Some(self.queues[queue].recv().unwrap_or_else(|_| self.shared.batch(step)))
    }
}

impl Drop for LoaderRun {
    fn drop(&mut self) {
        self.queues.clear();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}
