//! Where numbers of a run go: files for programs, events for TensorBoard, lines for people.

pub mod console;
pub mod jsonl;
pub mod tensorboard;

use crate::error::Result;

pub use console::ConsoleSink;
pub use jsonl::JsonlSink;
pub use tensorboard::TensorBoardSink;

/// A place that takes the numbers of a run.
pub trait MetricSink: std::fmt::Debug + Send {
    /// Takes the numbers of one step, in the order in which they shall appear. Names are paths: `train/loss/total`.
    ///
    /// # Errors
    /// They cannot be written. What was written before stays readable, and the next call may succeed.
    fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()>;

    /// Takes a text (Markdown), such as the configuration. Places for numbers alone ignore it.
    ///
    /// # Errors
    /// As [`MetricSink::scalars`].
    fn text(&mut self, step: u64, name: &str, text: &str) -> Result<()> {
        let _ = (step, name, text);
        Ok(())
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// The disk refuses.
    fn flush(&mut self) -> Result<()>;
}

/// Several sinks as one that never fails: a full disk must not stop a training that can go on without its log.
///
/// The first failure of each sink is logged as a warning; later ones are counted.
#[derive(Debug, Default)]
pub struct MultiSink {
    sinks: Vec<(Box<dyn MetricSink>, u64)>,
}

impl MultiSink {
    /// No sinks: everything is dropped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sink.
    #[must_use]
    pub fn with(mut self, sink: impl MetricSink + 'static) -> Self {
        self.sinks.push((Box::new(sink), 0));
        self
    }

    /// How many calls failed, over all sinks.
    pub fn failures(&self) -> u64 {
        self.sinks.iter().map(|(_, failures)| failures).sum()
    }

    fn each(&mut self, mut call: impl FnMut(&mut dyn MetricSink) -> Result<()>) {
        for (sink, failures) in &mut self.sinks {
            if let Err(error) = call(sink.as_mut()) {
                *failures += 1;
                if *failures == 1 {
                    tracing::warn!(%error, "a log misses numbers; training goes on, later failures only count");
                }
            }
        }
    }
}

impl MetricSink for MultiSink {
    /// Hands the numbers to every sink; always `Ok`.
    fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        self.each(|sink| sink.scalars(step, values));
        Ok(())
    }

    /// Hands the text to every sink; always `Ok`.
    fn text(&mut self, step: u64, name: &str, text: &str) -> Result<()> {
        self.each(|sink| sink.text(step, name, text));
        Ok(())
    }

    /// Flushes every sink; always `Ok`.
    fn flush(&mut self) -> Result<()> {
        self.each(|sink| sink.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Debug)]
    struct Recorder(Arc<Mutex<Vec<u64>>>);

    impl MetricSink for Recorder {
        fn scalars(&mut self, step: u64, _values: &[(&str, f64)]) -> Result<()> {
            self.0.lock().unwrap().push(step);
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    /// Fails on odd steps.
    #[derive(Debug)]
    struct Odd;

    impl MetricSink for Odd {
        fn scalars(&mut self, step: u64, _values: &[(&str, f64)]) -> Result<()> {
            if step % 2 == 1 {
                let source = std::io::ErrorKind::StorageFull.into();
                return Err(data::error::DataError::Io { action: "append to", path: "odd".into(), source }.into());
            }
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_fails_stops_nobody_and_is_counted() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut sinks = MultiSink::new().with(Odd).with(Recorder(Arc::clone(&seen)));
        for step in 0..5 {
            sinks.scalars(step, &[("loss", 1.0)]).unwrap();
        }
        sinks.text(0, "config", "x").unwrap();
        sinks.flush().unwrap();
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(sinks.failures(), 2);
    }
}
