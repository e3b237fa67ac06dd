//! What a run shows and keeps while it trains: bar, metrics, validation loss, states, the best checkpoint.

use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use data::loader::Loader;
use engine::Result;
use engine::checkpoint::Card;
use engine::clock::Stopwatch;
use engine::fit::{Observer, StepReport};
use engine::interrupt::Interrupts;
use engine::monitor::Monitor;
use engine::objective::{Context, Objective};
use engine::progress::Progress;
use engine::run_dir::RunDir;
use engine::sink::{MetricSink, MultiSink};
use engine::state::writer::StateWriter;
use engine::state::{Snapshot, TrainState};

/// Shows and keeps what happens in a run.
pub struct Recorder<'a, F> {
    /// Where it is kept.
    pub run: &'a RunDir,
    /// Card of the checkpoints.
    pub card: &'a Card,
    /// The bar.
    pub progress: &'a Progress,
    /// Metrics.
    pub sinks: MultiSink,
    /// Updates between two entries of the logs.
    pub log_every: u64,
    /// Validation batches; absent where nothing is validated.
    pub validation: Option<&'a Loader>,
    /// Batches of the validation loss.
    pub validation_steps: u64,
    /// The plain device.
    pub device: &'a Device,
    /// Saves the module that evaluation loads.
    pub save: F,
    /// States to go on from.
    pub states: StateWriter,
    /// Signals that ask the run to end.
    pub interrupts: Interrupts,
    /// Watches the figures of updates.
    pub monitor: Monitor,
    /// Studies seen and seconds of training since the last entry and in all.
    pub totals: Totals,
}

/// Running sums.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    samples: usize,
    seconds: f64,
    wait: f64,
    all_samples: usize,
    all_seconds: f64,
}

impl Totals {
    /// Images per second over the whole run.
    pub fn images_per_second(&self) -> f64 {
        self.all_samples as f64 / self.all_seconds.max(1e-9)
    }
}

impl<F> std::fmt::Debug for Recorder<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl<O, F> Observer<O> for Recorder<'_, F>
where
    O: Objective + 'static,
    F: Fn(&std::path::Path, &O, &Card) -> Result<()>,
{
    fn on_step(&mut self, report: &StepReport) -> Result<()> {
        let totals = &mut self.totals;
        totals.samples += report.samples;
        totals.seconds += report.seconds;
        totals.wait += report.wait_seconds;
        totals.all_samples += report.samples;
        totals.all_seconds += report.seconds;
        let rate = totals.samples as f64 / totals.seconds.max(1e-9);
        let wait = totals.wait / totals.seconds.max(1e-9);
        let message = format!(
            "loss {:.3}  accuracy {:.2}  {rate:.0} images/s  data wait {:.0} %",
            report.get("loss").unwrap_or(f64::NAN),
            report.get("accuracy").unwrap_or(f64::NAN),
            100.0 * wait
        );
        self.progress.set(report.step, &message);
        for (figure, advice) in self.monitor.observe(report) {
            tracing::warn!(step = report.step, figure, "{advice}");
        }
        if report.step.is_multiple_of(self.log_every.max(1)) {
            let mut values: Vec<(String, f64)> =
                report.scalars.iter().map(|(name, value)| (format!("train/{name}"), *value)).collect();
            values.push(("train/images_per_second".to_owned(), rate));
            values.push(("train/data_wait".to_owned(), wait));
            let values: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            self.sinks.scalars(report.step, &values)?;
            *totals = Totals { all_samples: totals.all_samples, all_seconds: totals.all_seconds, ..Totals::default() };
        }
        Ok(())
    }

    fn validate(&mut self, objective: &O, step: u64) -> Result<f64> {
        let Some(loader) = self.validation else { return Ok(f64::NAN) };
        let ctx = Context { step, epoch: 0, total_steps: step, seed: 0 };
        let mut sum = 0.0;
        for batch in loader.run(0, self.validation_steps) {
            let batch = objective.upload(&batch?, self.device);
            let total = objective.losses(&objective.encode(&batch, &ctx), &ctx).total();
            sum += f64::from(total.into_scalar::<f32>());
        }
        let loss = sum / self.validation_steps.max(1) as f64;
        self.sinks.scalars(step, &[("validate/loss", loss)])?;
        Ok(loss)
    }

    fn on_best(&mut self, objective: &O, step: u64) -> Result<()> {
        let folder = self.run.best();
        data::fsx::create_private_dir(&folder)?;
        tracing::info!(step, "best so far");
        (self.save)(&folder.join("model.safetensors"), objective, self.card)
    }

    fn on_save(&mut self, objective: &O, optimizer: &ModuleOptimizer, state: &TrainState) -> Result<()> {
        // Metrics up to this step must outlive a crash that this state outlives.
        self.sinks.flush()?;
        let clock = Stopwatch::start();
        self.states.save(Snapshot::take(objective, optimizer, state))?;
        tracing::debug!(step = state.step, seconds = clock.seconds(), "training waited for its state to be saved");
        Ok(())
    }

    fn interrupted(&self) -> Option<u8> {
        self.interrupts.signal()
    }
}
