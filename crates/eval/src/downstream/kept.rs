//! What a probe or a fine-tuning has done so far, in a folder, so that one that was stopped goes on.
//!
//! ```text
//! config.toml                what the repetitions depend on
//! repetitions/NAME.json      scores of a finished repetition
//! repetitions/NAME/          classifier and states of one that is under way, and the classifier of the best one
//! ```
//!
//! Scores tell no patient and no path.

use std::path::{Path, PathBuf};

use data::error::DataError;
use data::fsx;
use engine::checkpoint::Checkpoint;
use engine::config;
use serde::{Deserialize, Serialize};

use super::figures::Scored;
use super::labelled::Labelled;
use crate::error::{EvalError, Result};

/// Below the folder.
const REPETITIONS: &str = "repetitions";
const CONFIG: &str = "config.toml";
/// Bound on a file of this folder (bytes).
const MAX_FILE: u64 = 1 << 30;

/// What repetitions depend on, besides share of the labels and seed, which name them.
#[derive(Debug, Serialize)]
struct Dependence<'a, T> {
    version: &'static str,
    weights_sha256: String,
    train_sha256: String,
    validate_sha256: String,
    test_sha256: String,
    protocol: &'a T,
}

/// A repetition that ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Repetition {
    /// The best score on the validation part; more is better.
    pub(super) validation: f64,
    /// What it gives the images.
    pub(super) scored: Scored,
}

/// Repetitions in a folder.
#[derive(Debug, Clone)]
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// Opens a folder, which is made where it is missing. `protocol` is everything that the command line decides, besides
    /// shares of the labels and seeds.
    ///
    /// # Errors
    /// If the folder was begun with other weights, data or settings, or cannot be read or written.
    pub fn open<T: Serialize>(
        folder: &Path,
        checkpoint: &Checkpoint,
        labelled: &Labelled,
        protocol: &T,
    ) -> Result<Self> {
        let depends = Dependence {
            version: env!("CARGO_PKG_VERSION"),
            weights_sha256: fsx::sha256_file(&checkpoint.weights.source.path)?,
            train_sha256: labelled.train.fingerprint(),
            validate_sha256: labelled.validate.fingerprint(),
            test_sha256: labelled.test.fingerprint(),
            protocol,
        };
        let path = folder.join(CONFIG);
        if path.is_file() {
            let old = fsx::read_capped(&path, 1 << 20)?;
            let changed = config::differences(&String::from_utf8_lossy(&old), &depends).map_err(in_engine)?;
            if !changed.is_empty() {
                let lines: Vec<String> = changed.into_iter().map(|(_, line)| format!("  {line}")).collect();
                let what = format!(
                    "was begun with other settings:\n{}\nGive the old ones, or another folder",
                    lines.join("\n")
                );
                return Err(EvalError::Unfit { data: folder.display().to_string(), what });
            }
        }
        fsx::create_private_dir(&folder.join(REPETITIONS))?;
        fsx::write_atomic(&path, config::to_toml(&depends).map_err(in_engine)?.as_bytes())?;
        fsx::remove_leftovers(&folder.join(REPETITIONS))?;
        Ok(Self { folder: folder.join(REPETITIONS) })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// The folder of a repetition that is under way.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A repetition that ended before. A file that cannot be understood is as good as none: the repetition comes again.
    pub(super) fn find(&self, name: &str) -> Option<Repetition> {
        let bytes = fsx::read_capped(&self.file(name), MAX_FILE).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps a repetition that ended.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn keep(&self, name: &str, repetition: &Repetition) -> Result<()> {
        let path = self.file(name);
        let json = serde_json::to_vec(repetition).map_err(|error| DataError::Io {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        Ok(fsx::write_atomic(&path, &json)?)
    }

    /// Removes the classifier and the states of a repetition; its scores stay.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub(super) fn forget(&self, name: &str) -> Result<()> {
        Ok(fsx::remove_dir_all(&self.place(name))?)
    }

    /// Removes what is of no use once the figures are written.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn finish(self) -> Result<()> {
        Ok(fsx::remove_dir_all(&self.folder)?)
    }
}

fn in_engine(error: config::ConfigError) -> EvalError {
    engine::EngineError::from(error).into()
}

/// How the repetition of a seed on a share of the labels is called; `of` are the initial weights.
pub(super) fn name(of: &str, fraction: f64, seed: u64) -> String {
    format!("{of}-{fraction}-{seed}")
}

/// How weights are called that others are compared with: their place may change, their bytes may not.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn name_of_weights(checkpoint: &Checkpoint) -> Result<String> {
    Ok(format!("weights-{}", &fsx::sha256_file(&checkpoint.weights.source.path)?[..16]))
}
