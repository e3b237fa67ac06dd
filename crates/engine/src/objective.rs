//! What training needs to know of a method: embeddings from a batch, named losses from embeddings, and two hooks.
//!
//! The split between [`Objective::encode`] and [`Objective::losses`] is what lets the loop divide a large batch into
//! micro-batches whose contrastive loss still sees every pair (see [`crate::fit`]).

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use data::batch::PairBatch;

/// Where training stands.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Optimizer updates done before this one.
    pub step: u64,
    /// Passes over the data done before this one.
    pub epoch: u64,
    /// Updates that the whole run will make.
    pub total_steps: u64,
    /// Seed of the run.
    pub seed: u64,
}

/// Tensors that an objective hands from its encoders to its loss, one row per sample.
///
/// Parts of higher rank are flattened to rows; `like` (of the same objective and batch layout) tells the shape again.
pub trait Embeds: Clone {
    /// All parts as `[B, ...]` flattened to rank 2, in a fixed order.
    fn into_rows(self) -> Vec<Tensor<2>>;

    /// The inverse of [`Embeds::into_rows`].
    fn from_rows(rows: Vec<Tensor<2>>, like: &Self) -> Self;
}

/// One named loss.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// Name under which it is logged.
    pub name: &'static str,
    /// Scalar, `[1]`.
    pub value: Tensor<1>,
    /// Factor in the total.
    pub weight: f64,
}

/// Named losses in a fixed order, and figures that are only logged.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// Terms of the total.
    pub terms: Vec<LossTerm>,
    /// Scalars, `[1]`, that take no part in the total.
    pub metrics: Vec<(&'static str, Tensor<1>)>,
}

impl Losses {
    /// The weighted sum of all terms, `[1]`: what is differentiated.
    ///
    /// # Panics
    /// If there is no term.
    pub fn total(&self) -> Tensor<1> {
        let mut terms = self.terms.iter().map(|t| t.value.clone().mul_scalar(t.weight));
        let Some(first) = terms.next() else { panic!("an objective returns at least one loss") };
        terms.fold(first, |sum, term| sum + term)
    }
}

/// A training method: a module with a loss.
///
/// Everything with parameters is a field of the module; state such as a queue is a field too and is saved with the rest.
pub trait Objective: Module {
    /// A batch on the device.
    type Batch;
    /// What the encoders return.
    type Embeds: Embeds;

    /// Moves a host batch to the device.
    fn upload(&self, batch: &PairBatch, device: &Device) -> Self::Batch;

    /// Runs the encoders.
    fn encode(&self, batch: &Self::Batch, ctx: &Context) -> Self::Embeds;

    /// The losses of a whole batch of embeddings.
    fn losses(&self, embeds: &Self::Embeds, ctx: &Context) -> Losses;

    /// Changes gradients before the update (freezes prototypes for a while, say).
    fn after_backward(&self, _grads: &mut GradientsParams, _ctx: &Context) {}

    /// Changes parameters after the update (clamps a temperature, say).
    #[must_use]
    fn after_step(self, _ctx: &Context) -> Self {
        self
    }
}
