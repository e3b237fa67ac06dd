//! The only training loop. It knows an [`Objective`] and nothing of what is inside.
//!
//! A batch may be divided into micro-batches. Contrastive losses need every pair at once, so the division follows Gao et
//! al., "Scaling deep contrastive learning batch size under memory limited setup", 2021: all parts are encoded without a
//! graph, the loss and its gradient with respect to the embeddings are computed on the whole batch, and each part is
//! encoded again and differentiated with its share of that gradient. Random numbers of the two passes are the same.
//! (Batch normalisation sees micro-batches, as with any accumulation.)

use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use data::batch::PairBatch;
use data::loader::{Loader, device_seed};
use model::weights;

use crate::clock::Stopwatch;
use crate::error::{EngineError, Result};
use crate::memory::after_forward;
use crate::objective::{Context, Embeds, Losses, Objective};
use crate::optim::{OptimConfig, clip_global_norm, num_with_gradient, number_parameters};
use crate::state::{Origin, SavedState, TrainState};

/// What the loop does besides the objective.
#[derive(Debug, Clone)]
pub struct FitConfig {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer updates.
    pub steps: u64,
    /// Studies per micro-batch; `None` encodes the whole batch at once.
    pub micro_batch_size: Option<usize>,
    /// Optimizer and schedule.
    pub optim: OptimConfig,
    /// Updates between two evaluations of the validation loss; 0 never evaluates.
    pub eval_every: u64,
    /// Evaluations without improvement after which training ends; `None` never ends it early.
    pub early_stop: Option<u32>,
    /// Updates between two saved states; 0 saves the last alone.
    pub save_every: u64,
}

impl FitConfig {
    /// Updates alone, of whole batches: without validation, early stop and saved states.
    pub fn updates(seed: u64, steps: u64, optim: OptimConfig) -> Self {
        Self { seed, steps, micro_batch_size: None, optim, eval_every: 0, early_stop: None, save_every: 0 }
    }
}

/// Updates in a row that may be skipped for a number that is NaN or infinite; the next one ends training.
const MAX_SKIPPED_IN_A_ROW: usize = 2;
/// Updates that may be skipped of the last [`SKIP_WINDOW`].
const MAX_SKIPPED: usize = 10;
const SKIP_WINDOW: u64 = 1000;

/// What training starts from.
pub struct Start<O> {
    objective: O,
    optimizer: ModuleOptimizer,
    state: TrainState,
}

impl<O> std::fmt::Debug for Start<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<O: Objective> Start<O> {
    /// The beginning.
    pub fn fresh(objective: O, optim: &OptimConfig, origin: Origin) -> Self {
        let objective = number_parameters(objective);
        let optimizer = optim.init(&objective);
        Self { objective, optimizer, state: TrainState::new(origin) }
    }

    /// A saved state, which goes on as a run of `origin`.
    ///
    /// # Errors
    /// As [`SavedState::restore`].
    pub fn resumed(saved: SavedState, objective: O, optim: &OptimConfig, origin: Origin) -> Result<Self> {
        let (objective, optimizer, state) = saved.restore(objective, optim)?;
        Ok(Self { objective, optimizer, state: TrainState { origin, ..state } })
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// What is trained.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// What trains it.
    pub fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }
}

/// One update, for logs and bars.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Updates done.
    pub step: u64,
    /// Named figures: total loss, its terms, metrics, learning rate, gradient norm, throughput.
    pub scalars: Vec<(String, f64)>,
    /// Seconds spent waiting for data, out of [`StepReport::seconds`].
    pub wait_seconds: f64,
    /// Seconds of the whole update.
    pub seconds: f64,
    /// Studies of the batch.
    pub samples: usize,
}

impl StepReport {
    /// A figure by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.scalars.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }
}

/// What a caller wants to know while training runs.
pub trait Observer<O> {
    /// After every update.
    ///
    /// # Errors
    /// Ends training.
    fn on_step(&mut self, report: &StepReport) -> Result<()>;

    /// Every [`FitConfig::eval_every`] updates; returns the validation loss. `objective` is an inference copy.
    ///
    /// # Errors
    /// Ends training.
    fn validate(&mut self, objective: &O, step: u64) -> Result<f64>;

    /// The validation loss is the lowest so far, or training ended before any was.
    ///
    /// # Errors
    /// Ends training.
    fn on_best(&mut self, objective: &O, step: u64) -> Result<()>;

    /// Every [`FitConfig::save_every`] updates, when training is interrupted and when it ends.
    ///
    /// # Errors
    /// Ends training.
    fn on_save(&mut self, objective: &O, optimizer: &ModuleOptimizer, state: &TrainState) -> Result<()>;

    /// Number of the signal that asks training to end, if there was one.
    fn interrupted(&self) -> Option<u8> {
        None
    }
}

/// Trains an objective and returns it as it is after the last update.
///
/// A resumed run makes the same updates as one that never stopped.
///
/// # Errors
/// What the loader or the observer returns, [`EngineError::NonFinite`] where too many updates had to be skipped and
/// [`EngineError::Interrupted`] after a signal, with the state saved.
pub fn fit<O: Objective>(
    start: Start<O>,
    loader: &Loader,
    config: &FitConfig,
    device: &Device,
    observer: &mut impl Observer<O>,
) -> Result<O> {
    let Start { mut objective, mut optimizer, mut state } = start;
    let mut batches = loader.run(position(&state), config.steps);
    let mut saved = state.step;
    while state.step < config.steps && !has_converged(&state, config) {
        let clock = Stopwatch::start();
        let Some(batch) = batches.next() else { return Err(EngineError::ShortEpoch { step: state.step }) };
        let batch = batch?;
        let wait_seconds = clock.seconds();
        let step = state.step;
        let ctx =
            Context { step, epoch: step / loader.steps_per_epoch(), total_steps: config.steps, seed: config.seed };
        let lr = config.optim.lr * state.plateau.factor() * config.optim.schedule.factor(step, config.steps);
        let updated = update(objective, &mut optimizer, &batch, config, lr, &ctx, device);
        objective = updated.objective;
        let mut scalars = updated.scalars;
        state.step += 1;
        state.samples_seen += batch.len as u64;
        (state.epoch, state.position) = (state.step / loader.steps_per_epoch(), state.step % loader.steps_per_epoch());
        if let Some((what, value)) = updated.skipped {
            let samples: Vec<String> = loader.samples(&batch).iter().map(ToString::to_string).collect();
            note_skipped(&mut state, &what, value, &samples.join("; "))?;
        }
        scalars.push(("lr".to_owned(), lr));
        let report =
            StepReport { step: state.step, scalars, wait_seconds, seconds: clock.seconds(), samples: batch.len };
        observer.on_step(&report)?;
        if config.eval_every > 0 && state.step.is_multiple_of(config.eval_every) {
            let inference = objective.valid();
            let loss = observer.validate(&inference, state.step)?;
            if state.plateau.observe(loss, &config.optim.schedule) {
                observer.on_best(&inference, state.step)?;
                state.kept = true;
            }
        }
        let signal = observer.interrupted();
        let due = config.save_every > 0 && state.step.is_multiple_of(config.save_every);
        if due || signal.is_some() {
            observer.on_save(&objective, &optimizer, &state)?;
            saved = state.step;
        }
        if let Some(signal) = signal {
            return Err(EngineError::Interrupted { signal, step: state.step });
        }
    }
    if has_converged(&state, config) {
        tracing::info!(step = state.step, "early stop: the validation loss no longer falls");
    }
    if !state.kept {
        observer.on_best(&objective.valid(), state.step)?;
        state.kept = true;
    }
    if saved != state.step {
        observer.on_save(&objective, &optimizer, &state)?;
    }
    Ok(objective)
}

/// The batch that comes next. Tests switch it off, as they do [`seed_device`], to see that a run needs it to go on.
fn position(state: &TrainState) -> u64 {
    fail::fail_point!("fit-position", |_| 0);
    state.step
}

/// Sets the random numbers of the device, which dropout draws from.
fn seed_device(device: &Device, seed: u64) {
    fail::fail_point!("fit-seed", |_| ());
    device.seed(seed);
}

/// Whether the validation loss has not fallen for as long as the configuration waits.
fn has_converged(state: &TrainState, config: &FitConfig) -> bool {
    config.early_stop.is_some_and(|patience| state.plateau.since_best() >= patience)
}

/// Counts the update before [`TrainState::step`] as skipped; an error once there are too many. `samples` names its batch.
fn note_skipped(state: &mut TrainState, what: &str, value: f64, samples: &str) -> Result<()> {
    let step = state.step - 1;
    tracing::warn!(step, what, value, samples, "not a number: the update is skipped");
    state.skipped.push(step);
    state.skipped.retain(|skipped| skipped + SKIP_WINDOW > step);
    let in_a_row = state.skipped.iter().rev().zip(0..).take_while(|(skipped, i)| **skipped + i == step).count();
    if in_a_row > MAX_SKIPPED_IN_A_ROW || state.skipped.len() > MAX_SKIPPED {
        return Err(EngineError::NonFinite { what: what.to_owned(), value, step, skipped: state.skipped.len() });
    }
    Ok(())
}

/// What an update leaves.
#[derive(Debug)]
pub struct Updated<O> {
    /// The objective after it.
    pub objective: O,
    /// Named figures.
    pub scalars: Vec<(String, f64)>,
    /// Name and value of the number for which the update was skipped, where it was.
    pub skipped: Option<(String, f64)>,
    /// Numbers of the parameters that had a gradient.
    pub trained: usize,
}

/// One optimizer update. Where the loss or the norm of the gradient is NaN or infinite, objective and optimizer are left as
/// if it had never been tried.
pub fn update<O: Objective>(
    objective: O,
    optimizer: &mut ModuleOptimizer,
    batch: &PairBatch,
    config: &FitConfig,
    lr: f64,
    ctx: &Context,
    device: &Device,
) -> Updated<O> {
    // Running statistics change in the forward pass. This copy has its own.
    let before = objective.valid();
    let (mut grads, losses) = gradients(&objective, batch, config.micro_batch_size, ctx, device);
    let mut scalars = read(&losses);
    objective.after_backward(&mut grads, ctx);
    let trained = num_with_gradient(&objective, &grads);
    let norm = clip_global_norm(&objective, &mut grads, config.optim.clip_norm);
    scalars.push(("grad_norm".to_owned(), norm));
    let odd = [&scalars[0], &scalars[scalars.len() - 1]].into_iter().find(|(_, value)| !value.is_finite()).cloned();
    if odd.is_some() {
        return Updated { objective: weights::restore(objective, &before), scalars, skipped: odd, trained };
    }
    // Parameters that nobody else holds are updated in place.
    drop(before);
    let objective = optimizer.step(lr, objective, grads).after_step(ctx);
    Updated { objective, scalars, skipped: None, trained }
}

/// Gradients of all parameters, and the losses they come from.
pub fn gradients<O: Objective>(
    objective: &O,
    batch: &PairBatch,
    micro_batch_size: Option<usize>,
    ctx: &Context,
    device: &Device,
) -> (GradientsParams, Losses) {
    let seed = device_seed(ctx.seed, ctx.step);
    let parts = match micro_batch_size {
        Some(size) if size < batch.len => batch.micro_batches(size),
        _ => {
            seed_device(device, seed);
            let uploaded = objective.upload(batch, device);
            let losses = objective.losses(&objective.encode(&uploaded, ctx), ctx);
            after_forward();
            return (GradientsParams::from_grads(losses.total().backward(), objective), losses);
        }
    };
    let parts: Vec<O::Batch> = parts.iter().map(|part| objective.upload(part, device)).collect();
    let part_seed = |i: usize| seed.wrapping_add(i as u64);

    // First pass, on a twin with running statistics of its own so that they are not updated twice. Its parameters ask for
    // no gradient: Burn keeps a graph that is never differentiated, and with it the activations of every part.
    let twin = objective.valid().train().no_grad();
    let encoded: Vec<O::Embeds> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            seed_device(device, part_seed(i));
            twin.encode(part, ctx)
        })
        .collect();
    let like = encoded[0].clone();
    let first: Vec<Vec<Tensor<2>>> = encoded.into_iter().map(Embeds::into_rows).collect();
    let leaf = |column: usize| {
        let rows = first.iter().map(|rows| rows[column].clone().without_autodiff()).collect();
        Tensor::cat(rows, 0).autodiff().require_grad()
    };
    let leaves: Vec<Tensor<2>> = (0..first[0].len()).map(leaf).collect();
    let losses = objective.losses(&O::Embeds::from_rows(leaves.clone(), &like), ctx);
    let mut backward = losses.total().backward();
    let leaf_grads: Vec<Option<Tensor<2>>> = leaves.iter().map(|leaf| leaf.grad_remove(&mut backward)).collect();

    // Second pass: each part with its share of the gradient.
    let mut sum = GradientsAccumulator::new();
    sum.accumulate(objective, GradientsParams::from_grads(backward, objective));
    let mut starts = vec![0; leaves.len()];
    for (i, part) in parts.iter().enumerate() {
        seed_device(device, part_seed(i));
        let mut surrogate: Option<Tensor<1>> = None;
        for (column, row) in objective.encode(part, ctx).into_rows().into_iter().enumerate() {
            let end = starts[column] + row.dims()[0];
            if let Some(grad) = &leaf_grads[column] {
                let grad = grad.clone().narrow(0, starts[column], end - starts[column]).autodiff();
                let share = (row * grad).sum();
                surrogate = Some(surrogate.map_or(share.clone(), |sum| sum + share));
            }
            starts[column] = end;
        }
        if let Some(surrogate) = surrogate {
            after_forward();
            sum.accumulate(objective, GradientsParams::from_grads(surrogate.backward(), objective));
        }
    }
    (sum.grads(), losses)
}

/// The figures of a step on the host: `loss` first, then every term and metric.
fn read(losses: &Losses) -> Vec<(String, f64)> {
    let value = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
    let mut scalars = vec![("loss".to_owned(), value(losses.total()))];
    scalars.extend(losses.terms.iter().map(|t| (format!("loss/{}", t.name), value(t.value.clone()))));
    scalars.extend(losses.metrics.iter().map(|(name, metric)| ((*name).to_owned(), value(metric.clone()))));
    scalars
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether training goes on after updates of which those of some steps were skipped.
    fn goes_on(skipped: impl IntoIterator<Item = u64>) -> bool {
        let mut state = TrainState::default();
        let mut note = |step| {
            state.step = step + 1;
            note_skipped(&mut state, "loss", f64::NAN, "").is_ok()
        };
        skipped.into_iter().all(&mut note)
    }

    #[test]
    fn two_skips_in_a_row_are_borne_and_ten_in_a_thousand() {
        assert!(goes_on([0, 1, 3, 4, 6, 7]));
        assert!(!goes_on([5, 6, 7]));
        assert!(goes_on((0..10).map(|i| i * 100)));
        assert!(!goes_on((0..11).map(|i| i * 99)));
        // Those of long ago no longer count.
        assert!(goes_on((0..100).map(|i| i * 101)));
    }
}
