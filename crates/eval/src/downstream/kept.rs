//! What a probe or a fine-tuning has done so far, in a folder, so that one that was stopped goes on.
//!
//! ```text
//! config.toml                what the repetitions depend on
//! repetitions/NAME.json      scores of a finished repetition
//! repetitions/NAME/          classifier and states of one that is under way, and the classifier of the best one
//! ```
//!
//! Scores tell no patient and no path.

use std::fs::File;
use std::path::{Path, PathBuf};

use data::fsx;
use engine::checkpoint::Checkpoint;
use engine::config;
use serde::{Deserialize, Serialize};

use super::figures::Scored;
use super::labelled::Labelled;
use crate::error::{EvalError, Result};
use crate::partial::{failed, in_use, lock, write_json};

/// Below the folder.
const REPETITIONS: &str = "repetitions";
const CONFIG: &str = "config.toml";
/// Weights of the classifier in the folder of a repetition.
pub(super) const MODEL: &str = "model.safetensors";
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
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// Keeps other processes out.
    _lock: File,
}

/// What becomes of repetitions that depend on something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfChanged {
    /// They are refused, with what changed.
    Refuse,
    /// They are removed: the folder belongs to the program.
    BeginAnew,
}

impl Kept {
    /// Opens a folder, which is made where it is missing. `protocol` is everything that the command line decides, besides
    /// shares of the labels and seeds.
    ///
    /// # Errors
    /// If the folder was begun with other weights, data or settings and they are to be refused, holds other files, or cannot be
    /// read or written; if another process is in it.
    pub fn open<T: Serialize>(
        folder: &Path,
        (checkpoint, labelled): (&Checkpoint, &Labelled),
        protocol: &T,
        if_changed: IfChanged,
    ) -> Result<Self> {
        let depends = Dependence {
            version: env!("CARGO_PKG_VERSION"),
            weights_sha256: fsx::sha256_file(&checkpoint.weights.source.path)?,
            train_sha256: labelled.train.state(),
            validate_sha256: labelled.validate.state(),
            test_sha256: labelled.test.state(),
            protocol,
        };
        let unfit = |what: String| EvalError::Unfit { data: folder.display().to_string(), what };
        let (path, repetitions) = (folder.join(CONFIG), folder.join(REPETITIONS));
        if !path.is_file() && holds_files(folder) {
            return Err(unfit("is not empty: choose a new or an empty folder for --out".to_owned()));
        }
        fsx::create_private_dir(&repetitions)?;
        let Some(lock) = lock(&repetitions.join(".lock"))? else { return Err(in_use(folder)) };
        if path.is_file() {
            let old = fsx::read_capped(&path, 1 << 20)?;
            let changed = config::differences(&String::from_utf8_lossy(&old), &depends).map_err(in_engine)?;
            match if_changed {
                _ if changed.is_empty() => {}
                IfChanged::Refuse => {
                    return Err(unfit(made_otherwise(&changed, "give the old ones, or another --out")));
                }
                IfChanged::BeginAnew => {
                    tracing::warn!("probes of other weights, data or settings are removed");
                    for entry in std::fs::read_dir(&repetitions).into_iter().flatten().flatten() {
                        let entry = entry.path();
                        if entry.extension().is_some_and(|extension| extension == "json") {
                            std::fs::remove_file(&entry).map_err(|source| failed("remove", &entry, source))?;
                        }
                    }
                }
            }
        }
        fsx::write_atomic(&path, config::to_toml(&depends).map_err(in_engine)?.as_bytes())?;
        fsx::remove_leftovers(&repetitions)?;
        Ok(Self { folder: repetitions, _lock: lock })
    }

    /// Whether a folder holds repetitions whose figures are not written yet.
    pub fn is_unfinished(folder: &Path) -> bool {
        folder.join(REPETITIONS).is_dir()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// The folder of a repetition that is under way.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the classifier of a repetition is there.
    pub(super) fn has_model(&self, name: &str) -> bool {
        self.place(name).join(MODEL).is_file()
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
        Ok(write_json(&self.file(name), repetition)?)
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

/// Whether there are files in a folder, hidden ones left out.
fn holds_files(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
}

/// What to say of a folder that was begun with other settings.
pub(crate) fn made_otherwise(changed: &[(String, String)], advice: &str) -> String {
    let lines: Vec<String> = changed.iter().map(|(_, line)| format!("  {line}")).collect();
    format!("was made with other settings:\n{}\nTo go on, {advice}", lines.join("\n"))
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
