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

use crate::clock::Stopwatch;
use crate::error::{EngineError, Result};
use crate::objective::{Context, Embeds, Losses, Objective};
use crate::optim::{OptimConfig, Plateau, clip_global_norm};

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
    fn on_best(&mut self, objective: &O, optimizer: &ModuleOptimizer, step: u64) -> Result<()>;
}

/// Trains an objective and returns it as it is after the last update.
///
/// # Errors
/// What the loader or the observer returns, and [`EngineError::NonFinite`] for a loss that is no number.
pub fn fit<O: Objective>(
    mut objective: O,
    loader: &Loader,
    config: &FitConfig,
    device: &Device,
    observer: &mut impl Observer<O>,
) -> Result<O> {
    let mut optimizer = config.optim.init(&objective);
    let mut plateau = Plateau::default();
    let mut batches = loader.run(0, config.steps);
    let mut kept = false;
    for step in 0..config.steps {
        let clock = Stopwatch::start();
        let Some(batch) = batches.next() else { break };
        let batch = batch?;
        let wait_seconds = clock.seconds();
        let ctx =
            Context { step, epoch: step / loader.steps_per_epoch(), total_steps: config.steps, seed: config.seed };
        let lr = config.optim.lr * plateau.factor() * config.optim.schedule.factor(step, config.steps);
        let (updated, mut scalars) = update(objective, &mut optimizer, &batch, config, lr, &ctx, device)?;
        objective = updated;
        scalars.push(("lr".to_owned(), lr));
        let report = StepReport { step: step + 1, scalars, wait_seconds, seconds: clock.seconds(), samples: batch.len };
        observer.on_step(&report)?;
        if config.eval_every > 0 && (step + 1).is_multiple_of(config.eval_every) {
            let inference = objective.valid();
            let loss = observer.validate(&inference, step + 1)?;
            if plateau.observe(loss, &config.optim.schedule) {
                observer.on_best(&inference, &optimizer, step + 1)?;
                kept = true;
            }
            if config.early_stop.is_some_and(|patience| plateau.since_best() >= patience) {
                tracing::info!(step = step + 1, "early stop: the validation loss no longer falls");
                return Ok(objective);
            }
        }
    }
    if !kept {
        observer.on_best(&objective.valid(), &optimizer, config.steps)?;
    }
    Ok(objective)
}

/// One optimizer update; returns the objective after it and the named figures.
///
/// # Errors
/// [`EngineError::NonFinite`] where the total loss is no number; nothing is updated then.
pub fn update<O: Objective>(
    objective: O,
    optimizer: &mut ModuleOptimizer,
    batch: &PairBatch,
    config: &FitConfig,
    lr: f64,
    ctx: &Context,
    device: &Device,
) -> Result<(O, Vec<(String, f64)>)> {
    let (mut grads, losses) = gradients(&objective, batch, config.micro_batch_size, ctx, device);
    let mut scalars = read(&losses);
    let total = scalars[0].1;
    if !total.is_finite() {
        return Err(EngineError::NonFinite { what: "loss".to_owned(), value: total, step: ctx.step });
    }
    objective.after_backward(&mut grads, ctx);
    let norm = clip_global_norm(&objective, &mut grads, config.optim.clip_norm);
    scalars.push(("grad_norm".to_owned(), norm));
    Ok((optimizer.step(lr, objective, grads).after_step(ctx), scalars))
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
            device.seed(seed);
            let uploaded = objective.upload(batch, device);
            let losses = objective.losses(&objective.encode(&uploaded, ctx), ctx);
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
            device.seed(part_seed(i));
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
        device.seed(part_seed(i));
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
