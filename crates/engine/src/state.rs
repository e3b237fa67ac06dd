//! States of a run on disk, from which it goes on as if it had never stopped.
//!
//! ```text
//! checkpoints/step-00000100/model.safetensors   every tensor of the objective
//! checkpoints/step-00000100/optim.bpk           state of the optimizer
//! checkpoints/step-00000100/train.json          where training stands
//! checkpoints/step-00000100/manifest.json       size and SHA-256 of the three
//! ```
//!
//! A state is written into a hidden folder, which takes its name in one step after everything reached the disk; a reader
//! believes a folder only if its manifest fits. Random numbers need no state: every draw is a function of seed and step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Bytes;
use data::error::DataError;
use data::fsx;
use model::weights::{self, TensorMap, WeightsFile};
use serde::{Deserialize, Serialize};

use crate::error::{CheckpointProblem, EngineError, Result};
use crate::optim::{OptimConfig, Plateau, number_parameters};

/// Version of the files that this program writes.
const FORMAT: u32 = 1;
/// States that are kept.
const KEPT: usize = 2;
/// Largest file of a state that is read.
const MAX_BYTES: u64 = 16 << 30;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optim.bpk";
const TRAIN: &str = "train.json";
const MANIFEST: &str = "manifest.json";

/// Where training stands, besides the tensors of the objective and of the optimizer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainState {
    /// Version of the files.
    pub format: u32,
    /// Updates done, skipped ones included.
    pub step: u64,
    /// Best validation loss and learning-rate reductions.
    pub plateau: Plateau,
    /// Whether a best state was kept.
    pub kept: bool,
    /// The latest updates that were skipped because a number was NaN or infinite.
    pub skipped: Vec<u64>,
    /// SHA-256 of the studies that are trained on.
    pub data_sha256: String,
}

/// The manifest: what must be there.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileEntry {
    bytes: u64,
    sha256: String,
}

impl FileEntry {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: fsx::sha256_hex(bytes) }
    }
}

/// The states of one run.
#[derive(Debug, Clone)]
pub struct StateStore {
    folder: PathBuf,
}

/// A state that was read back.
#[derive(Debug)]
pub struct SavedState {
    /// Its folder.
    pub path: PathBuf,
    /// Where training stands.
    pub train: TrainState,
    tensors: TensorMap,
    optimizer: Vec<u8>,
}

impl StateStore {
    /// The states in `folder`, which need not exist.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Writes a state and then removes all but the last two. Interrupted at any time, it leaves the states before.
    ///
    /// # Errors
    /// If the state cannot be encoded or written.
    pub fn save<M: Module>(&self, objective: &M, optimizer: &ModuleOptimizer, train: &TrainState) -> Result<()> {
        fsx::create_private_dir(&self.folder)?;
        let target = self.folder.join(name(train.step));
        let bad = |reason: String| format_error(&target, reason);
        let optimizer = optimizer.into_bytes().map_err(|error| bad(error.to_string()))?;
        let train_json = serde_json::to_vec_pretty(&TrainState { format: FORMAT, ..train.clone() })
            .map_err(|error| bad(error.to_string()))?;
        let files: [(&str, &[u8]); 3] = [
            (MODEL, &weights::encode(&weights::collect(objective), &BTreeMap::new())),
            (OPTIMIZER, &optimizer),
            (TRAIN, &train_json),
        ];
        let entries = files.iter().map(|(name, bytes)| ((*name).to_owned(), FileEntry::of(bytes))).collect();
        let manifest =
            serde_json::to_vec_pretty(&Manifest { files: entries }).map_err(|error| bad(error.to_string()))?;

        let temporary = self.folder.join(format!(".{}.tmp-{}", name(train.step), std::process::id()));
        let written = (|| {
            fsx::remove_dir_all(&temporary)?;
            fsx::create_private_dir(&temporary)?;
            for (name, bytes) in files.iter().chain([&(MANIFEST, manifest.as_slice())]) {
                fsx::write_atomic(&temporary.join(name), bytes)?;
            }
            // The state of this step may be there already, after a run that was started again.
            fsx::remove_dir_all(&target)?;
            fsx::rename_durable(&temporary, &target)
        })();
        if written.is_err() {
            let _ = fsx::remove_dir_all(&temporary);
        }
        written?;
        self.prune()
    }

    /// Removes all but the last states.
    fn prune(&self) -> Result<()> {
        for old in self.steps()?.into_iter().rev().skip(KEPT) {
            fsx::remove_dir_all(&self.folder.join(name(old)))?;
        }
        Ok(())
    }

    /// The newest state that is whole; those that are not are passed over with a warning. `None` where there is none.
    ///
    /// # Errors
    /// If the folder cannot be listed, or a whole state was written by a newer program.
    pub fn newest(&self) -> Result<Option<SavedState>> {
        for step in self.steps()?.into_iter().rev() {
            let path = self.folder.join(name(step));
            match read(&path) {
                Ok(state) => return Ok(Some(state)),
                Err(error @ EngineError::Checkpoint { why: CheckpointProblem::Version { .. }, .. }) => {
                    return Err(error);
                }
                Err(error) => tracing::warn!(step, %error, "state is not whole and is passed over"),
            }
        }
        Ok(None)
    }

    /// Removes what interrupted writes left behind.
    ///
    /// # Errors
    /// If the folder cannot be listed or written.
    pub fn clean(&self) -> Result<()> {
        for name in self.names()? {
            if name.starts_with(".step-") {
                fsx::remove_dir_all(&self.folder.join(name))?;
            }
        }
        self.prune()
    }

    fn names(&self) -> Result<Vec<String>> {
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let failed = |source| DataError::Io { action: "list", path: self.folder.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// Steps of the states, in order.
    fn steps(&self) -> Result<Vec<u64>> {
        let mut steps: Vec<u64> =
            self.names()?.iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

fn name(step: u64) -> String {
    format!("step-{step:08}")
}

fn format_error(path: &Path, reason: String) -> EngineError {
    EngineError::Checkpoint { path: path.to_owned(), why: CheckpointProblem::Format { reason } }
}

/// Reads a state whose manifest must fit.
fn read(path: &Path) -> Result<SavedState> {
    let bad = |reason: String| format_error(path, reason);
    let manifest: Manifest = serde_json::from_slice(&fsx::read_capped(&path.join(MANIFEST), 1 << 20)?)
        .map_err(|error| bad(error.to_string()))?;
    let mut files = BTreeMap::new();
    for file in [MODEL, OPTIMIZER, TRAIN] {
        let bytes = fsx::read_capped(&path.join(file), MAX_BYTES)?;
        if manifest.files.get(file) != Some(&FileEntry::of(&bytes)) {
            return Err(bad(format!("{file} is not what the manifest says")));
        }
        files.insert(file, bytes);
    }
    let train: TrainState = serde_json::from_slice(&files[TRAIN]).map_err(|error| bad(error.to_string()))?;
    if train.format > FORMAT {
        let why = CheckpointProblem::Version { found: train.format, supported: FORMAT };
        return Err(EngineError::Checkpoint { path: path.to_owned(), why });
    }
    let tensors = WeightsFile::read(&path.join(MODEL))?.tensors;
    let optimizer = files.remove(OPTIMIZER).unwrap_or_default();
    Ok(SavedState { path: path.to_owned(), train, tensors, optimizer })
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
