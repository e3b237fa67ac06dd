//! The state of a run: everything from which it goes on as if it had never stopped.
//!
//! Random numbers need no state: every draw is a function of seed and step.

pub mod store;
pub mod writer;

use std::fmt;
use std::path::PathBuf;

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::Bytes;
use model::weights::{self, TensorMap};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::optim::{OptimConfig, Plateau, number_parameters};
use store::format_error;

/// What a run depends on; written beside its position so that a state can be told from another run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the configuration.
    pub config_sha256: String,
    /// SHA-256 of the studies that are trained on.
    pub data_sha256: String,
    /// SHA-256 of the tokenizer.
    pub tokenizer_sha256: String,
    /// Version of this project.
    pub version: String,
    /// Version of Burn.
    pub burn: String,
    /// The device.
    pub device: String,
}

/// Where training stands, besides the tensors of the objective and of the optimizer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainState {
    /// Updates done, skipped ones included.
    pub step: u64,
    /// Passes over the data that were completed.
    pub epoch: u64,
    /// Batches of the current pass that were seen.
    pub position: u64,
    /// Studies seen.
    pub samples_seen: u64,
    /// Best validation loss and learning-rate reductions.
    pub plateau: Plateau,
    /// Whether a best state was kept.
    pub kept: bool,
    /// The latest updates that were skipped because a number was NaN or infinite.
    pub skipped: Vec<u64>,
    /// What the run depends on.
    pub origin: Origin,
}

impl TrainState {
    /// The beginning.
    pub fn new(origin: Origin) -> Self {
        Self { origin, ..Self::default() }
    }
}

/// A state of a run that goes on changing.
///
/// It holds on to the tensors as they are now, so that taking it costs next to nothing: while it lives, the next update
/// writes new tensors instead of these.
pub struct Snapshot {
    pub(crate) train: TrainState,
    /// Tensors of the objective and of the optimizer, read from the device.
    pub(crate) tensors: Box<dyn FnOnce() -> (TensorMap, OptimizerRecord) + Send>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("train", &self.train).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Takes the state of a run.
    pub fn take<M: Module + 'static>(objective: &M, optimizer: &ModuleOptimizer, train: &TrainState) -> Self {
        // A copy for inference has running statistics of its own; a clone would share them.
        let (objective, optimizer) = (objective.valid(), optimizer.clone());
        let tensors = Box::new(move || (weights::collect(&objective), optimizer.to_record()));
        Self { train: train.clone(), tensors }
    }

    /// Bytes that the states of an objective will take, with two moments of each parameter.
    pub fn estimated_bytes<M: Module>(objective: &M) -> u64 {
        3 * (objective.num_params() * size_of::<f32>()) as u64
    }
}

/// A state that was read back.
#[derive(Debug)]
pub struct SavedState {
    /// Its folder.
    pub path: PathBuf,
    /// Where training stands.
    pub train: TrainState,
    pub(crate) tensors: TensorMap,
    pub(crate) optimizer: Vec<u8>,
}

impl SavedState {
    /// Puts the state into a fresh objective of the same configuration and a fresh optimizer.
    ///
    /// # Errors
    /// If the tensors do not fit the objective, or the optimizer's state cannot be read.
    pub fn restore<M: Module>(self, objective: M, optim: &OptimConfig) -> Result<(M, ModuleOptimizer, TrainState)> {
        let objective = weights::apply(number_parameters(objective), self.tensors, &self.path)?;
        let optimizer = optim
            .init(&objective)
            .from_bytes(Bytes::from_bytes_vec(self.optimizer))
            .map_err(|error| format_error(&self.path, error.to_string()))?;
        Ok((objective, optimizer, self.train))
    }
}
