//! Workers that prepare batches ahead, and the batches in their order.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Shared, to_index};
use crate::batch::PairBatch;
use crate::error::Result;

/// Batches of a range of steps, in order.
#[derive(Debug)]
pub struct LoaderRun {
    shared: Arc<Shared>,
    queues: Vec<Receiver<Result<PairBatch>>>,
    room: Arc<Room>,
    workers: Vec<JoinHandle<()>>,
    first: u64,
    next: u64,
    end: u64,
}

impl LoaderRun {
    pub(super) fn start(shared: Arc<Shared>, first: u64, end: u64) -> Self {
        let workers = shared.config.num_workers;
        let room = Arc::new(Room::new(shared.config.prefetch_bytes, workers));
        let mut run = Self { shared, queues: Vec::new(), room, workers: Vec::new(), first, next: first, end };
        for worker in 0..workers {
            let (sender, receiver) = channel();
            let (shared, room) = (Arc::clone(&run.shared), Arc::clone(&run.room));
            let steps = (first + worker as u64..end).step_by(workers);
            run.queues.push(receiver);
            run.workers.push(std::thread::spawn(move || work(&shared, &room, worker, steps, &sender)));
        }
        run
    }
}

/// Prepares the batches of a worker's steps until there are no more, or the consumer is gone.
fn work(
    shared: &Shared,
    room: &Room,
    worker: usize,
    steps: impl Iterator<Item = u64>,
    sender: &Sender<Result<PairBatch>>,
) {
    for step in steps {
        if !room.wait(worker) {
            return;
        }
        let batch = shared.batch(step);
        // Counted before it is sent: the consumer may take it at once.
        room.put(worker, bytes(&batch));
        if sender.send(batch).is_err() {
            return;
        }
    }
}

fn bytes(batch: &Result<PairBatch>) -> usize {
    batch.as_ref().map_or(0, PairBatch::bytes)
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
        let worker = to_index((step - self.first) % self.queues.len() as u64);
        // A worker ends early only by a panic outside of the guarded parts; its batch is then prepared here.
        let Ok(batch) = self.queues[worker].recv() else { return Some(self.shared.batch(step)) };
        self.room.take(worker, bytes(&batch));
        Some(batch)
    }
}

impl Drop for LoaderRun {
    fn drop(&mut self) {
        self.room.close();
        self.queues.clear();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Room for batches that wait to be taken.
///
/// A worker begins a batch while fewer bytes wait than the bound, or none of its own does: the batch that is asked for
/// next is its worker's first, so that it is always made, however small the bound.
#[derive(Debug)]
struct Room {
    bound: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// What waits.
#[derive(Debug)]
struct Waiting {
    bytes: usize,
    /// Batches of each worker.
    batches: Vec<usize>,
    is_closed: bool,
}

impl Room {
    fn new(bound: usize, workers: usize) -> Self {
        let waiting = Mutex::new(Waiting { bytes: 0, batches: vec![0; workers], is_closed: false });
        Self { bound, waiting, changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a worker may begin a batch; `false` once nobody takes any.
    fn wait(&self, worker: usize) -> bool {
        let is_full =
            |waiting: &mut Waiting| !waiting.is_closed && waiting.bytes >= self.bound && waiting.batches[worker] > 0;
        let waiting = self.changed.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        !waiting.is_closed
    }

    fn put(&self, worker: usize, bytes: usize) {
        let mut waiting = self.lock();
        waiting.bytes += bytes;
        waiting.batches[worker] += 1;
    }

    fn take(&self, worker: usize, bytes: usize) {
        let mut waiting = self.lock();
        waiting.bytes -= bytes;
        waiting.batches[worker] -= 1;
        drop(waiting);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::loader::{Loader, LoaderConfig, TopicSource};
    use crate::record::Split;
    use crate::source::phantom::{self, Prevalence};
    use crate::text::Tokenizer;

    const STEPS: u64 = 12;

    fn loader(num_workers: usize, prefetch_bytes: usize) -> Loader {
        let config = LoaderConfig {
            seed: 5,
            batch_size: 2,
            image_size: 16,
            sentences: 2,
            whole_reports: false,
            sentences_beside: 0,
            max_tokens: 16,
            augment: None,
            shuffle_pairs: false,
            num_workers,
            prefetch_bytes,
            topics: TopicSource::Learn(4),
            max_bad_fraction: 0.0,
        };
        let data = phantom::dataset(3, 0..8, Prevalence::Natural, Split::Train);
        Loader::new(data, 16, 0, Arc::new(Tokenizer::builtin().unwrap()), config).unwrap()
    }

    /// Batches that wait, by worker, once there are as many as asked for and then as long as it takes to make many more.
    fn settled(run: &LoaderRun, enough: impl Fn(&Waiting) -> bool) -> (Vec<usize>, usize) {
        while !enough(&run.room.lock()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(100));
        let waiting = run.room.lock();
        (waiting.batches.clone(), waiting.bytes)
    }

    #[test]
    fn one_batch_a_worker_waits_where_there_is_no_room() {
        let inline: Vec<PairBatch> = loader(0, 0).run(0, STEPS).map(Result::unwrap).collect();
        for workers in [1, 2, 3] {
            let mut run = loader(workers, 0).run(0, STEPS);
            for step in 0..4 {
                let (batches, bytes) = settled(&run, |waiting| waiting.batches.iter().all(|&count| count > 0));
                assert_eq!(batches, vec![1; workers], "{workers} workers, step {step}");
                let expected: usize = inline[step..step + workers].iter().map(PairBatch::bytes).sum();
                assert_eq!(bytes, expected, "{workers} workers, step {step}");
                assert_eq!(run.next().unwrap().unwrap().texts, inline[step].texts);
            }
        }
    }

    #[test]
    fn batches_are_made_ahead_until_their_bytes_fill_the_bound() {
        let inline: Vec<usize> = loader(0, 0).run(0, STEPS).map(|batch| batch.unwrap().bytes()).collect();
        let total: usize = inline.iter().sum();
        // One worker makes them in order: it stops at the batch with which the bound is reached.
        let bound: usize = inline[..5].iter().sum();
        for (bound, expected) in [(bound, 5), (bound + 1, 6), (usize::MAX, STEPS.try_into().unwrap())] {
            let run = loader(1, bound).run(0, STEPS);
            let (batches, bytes) = settled(&run, |waiting| waiting.bytes >= bound.min(total));
            assert_eq!((batches, bytes), (vec![expected], inline[..expected].iter().sum()));
        }
        let mut run = loader(2, usize::MAX).run(0, STEPS);
        assert_eq!(settled(&run, |waiting| waiting.bytes >= total).0, [6, 6]);
        assert_eq!(run.by_ref().count(), inline.len());
        let waiting = run.room.lock();
        assert_eq!((waiting.bytes, waiting.batches.as_slice()), (0, [0, 0].as_slice()));
    }
}
