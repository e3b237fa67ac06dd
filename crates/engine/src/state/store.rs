//! States of a run on disk.
//!
//! ```text
//! checkpoints/step-00000100/model.safetensors   every tensor of the objective
//! checkpoints/step-00000100/optim.bpk           state of the optimizer
//! checkpoints/step-00000100/train.json          where training stands
//! checkpoints/step-00000100/manifest.json       version of the format; size and SHA-256 of the three
//! checkpoints/latest                            name of the newest folder, for people and scripts
//! ```
//!
//! A state is written into a hidden folder, which takes its name in one step after everything reached the disk; a reader
//! believes a folder only if its manifest fits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use data::error::DataError;
use data::fsx;
use model::weights::{self, WeightsFile};
use serde::{Deserialize, Serialize};

use super::{SavedState, Snapshot, TrainState};
use crate::error::{CheckpointProblem, EngineError, Result};

/// Version of the files that this program writes.
const FORMAT: u32 = 1;
/// States that are always kept.
const KEPT: usize = 2;
/// Space to have before a run starts, in states: those that are kept and the one that is written.
const ROOM: u64 = KEPT as u64 + 1;
/// Largest file of a state that is read.
const MAX_BYTES: u64 = 16 << 30;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optim.bpk";
const TRAIN: &str = "train.json";
const MANIFEST: &str = "manifest.json";
const LATEST: &str = "latest";

/// The manifest: what must be there.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Version of the files.
    format: u32,
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
    /// States of steps that this divides are kept too; 0 for none.
    keep_every: u64,
}

impl StateStore {
    /// The states in `folder`, which need not exist. Besides the last two, those of steps that `keep_every` divides are
    /// kept; 0 keeps no others.
    pub fn new(folder: &Path, keep_every: u64) -> Self {
        Self { folder: folder.to_owned(), keep_every }
    }

    /// Whether the disk has room for the states of a run.
    ///
    /// # Errors
    /// [`EngineError::Space`] where it has not.
    pub fn check_space(&self, state_bytes: u64) -> Result<()> {
        fsx::create_private_dir(&self.folder)?;
        let needed = ROOM * state_bytes;
        match fsx::available_space(&self.folder)? {
            available if available < needed => Err(EngineError::Space { path: self.folder.clone(), needed, available }),
            _ => Ok(()),
        }
    }

    /// Writes a state and then removes those that are no longer kept. Interrupted at any time, it leaves the states
    /// before.
    ///
    /// # Errors
    /// If the state cannot be encoded or written.
    pub fn save(&self, snapshot: Snapshot) -> Result<()> {
        fsx::create_private_dir(&self.folder)?;
        let name = name(snapshot.train.step);
        let target = self.folder.join(&name);
        let bad = |reason: String| format_error(&target, reason);
        let (tensors, optimizer) = (snapshot.tensors)();
        let optimizer = optimizer.into_bytes().map_err(|error| bad(error.to_string()))?;
        let train = serde_json::to_vec_pretty(&snapshot.train).map_err(|error| bad(error.to_string()))?;
        let files: [(&str, &[u8]); 3] =
            [(MODEL, &weights::encode(&tensors, &BTreeMap::new())), (OPTIMIZER, &optimizer), (TRAIN, &train)];
        let entries = files.iter().map(|(name, bytes)| ((*name).to_owned(), FileEntry::of(bytes))).collect();
        let manifest = serde_json::to_vec_pretty(&Manifest { format: FORMAT, files: entries })
            .map_err(|error| bad(error.to_string()))?;

        let temporary = self.folder.join(format!(".{name}.tmp-{}", std::process::id()));
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
        fsx::write_atomic(&self.folder.join(LATEST), format!("{name}\n").as_bytes())?;
        self.prune()
    }

    /// Removes the states that are not kept.
    fn prune(&self) -> Result<()> {
        let marked = |step: u64| self.keep_every > 0 && step.is_multiple_of(self.keep_every);
        for old in self.steps()?.into_iter().rev().skip(KEPT).filter(|step| !marked(*step)) {
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

    /// Removes what a run that goes on after `step` cannot use: what interrupted writes left behind, and states of later
    /// steps, which are not whole and would pass for the newest.
    ///
    /// # Errors
    /// If the folder cannot be listed or written.
    pub fn clean(&self, step: u64) -> Result<()> {
        fsx::remove_leftovers(&self.folder)?;
        for torn in self.steps()?.into_iter().filter(|torn| *torn > step) {
            tracing::warn!(step = torn, "removed: the run goes on from an earlier state");
            fsx::remove_dir_all(&self.folder.join(name(torn)))?;
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

pub(super) fn format_error(path: &Path, reason: String) -> EngineError {
    EngineError::Checkpoint { path: path.to_owned(), why: CheckpointProblem::Format { reason } }
}

/// Reads a state whose manifest must fit.
fn read(path: &Path) -> Result<SavedState> {
    let bad = |reason: String| format_error(path, reason);
    let manifest: Manifest = serde_json::from_slice(&fsx::read_capped(&path.join(MANIFEST), 1 << 20)?)
        .map_err(|error| bad(error.to_string()))?;
    if manifest.format > FORMAT {
        let why = CheckpointProblem::Version { found: manifest.format, supported: FORMAT };
        return Err(EngineError::Checkpoint { path: path.to_owned(), why });
    }
    let mut files = BTreeMap::new();
    for file in [MODEL, OPTIMIZER, TRAIN] {
        let bytes = fsx::read_capped(&path.join(file), MAX_BYTES)?;
        if manifest.files.get(file) != Some(&FileEntry::of(&bytes)) {
            return Err(bad(format!("{file} is not what the manifest says")));
        }
        files.insert(file, bytes);
    }
    let train: TrainState = serde_json::from_slice(&files[TRAIN]).map_err(|error| bad(error.to_string()))?;
    let tensors = WeightsFile::read(&path.join(MODEL))?.tensors;
    let optimizer = files.remove(OPTIMIZER).unwrap_or_default();
    Ok(SavedState { path: path.to_owned(), train, tensors, optimizer })
}
