//! The errors of this crate: what failed, where, why and what to do next.

use std::path::PathBuf;

use data::error::DataError;
use thiserror::Error;

use crate::config::ConfigError;

/// Result of this crate.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Everything that configuring, running and saving can fail with.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Data or a file could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An architecture or a weights file cannot be used.
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// A device cannot be used.
    #[error("device \"{requested}\" {why}; available here: {}", available.join(", "))]
    Device {
        /// The device as it was typed.
        requested: String,
        /// Devices that this binary can use on this machine.
        available: Vec<String>,
        /// Why it cannot be used.
        why: DeviceProblem,
    },
    /// A checkpoint or a weights file cannot be used.
    #[error("{}: {why}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// Why it cannot be used.
        why: CheckpointProblem,
    },
    /// A run folder cannot be used.
    #[error("{}: {why}", path.display())]
    RunDir {
        /// The folder.
        path: PathBuf,
        /// Why it cannot be used.
        why: RunDirProblem,
    },
    /// A number that training depends on is NaN or infinite.
    #[error(
        "{what} is {value} at step {step} ({skipped} updates were skipped for such numbers): training cannot go on. \
         Lower the learning rate, raise the temperature or look for broken images with the sample counts of the log"
    )]
    NonFinite {
        /// Name of the number, as it is logged.
        what: String,
        /// Its value.
        value: f64,
        /// Optimizer updates done before.
        step: u64,
        /// Updates of the last thousand that were skipped.
        skipped: usize,
    },
    /// The loader ended before its time.
    #[error("the loader ended before update {step}: this is a fault of the program, please report it")]
    ShortEpoch {
        /// Updates done.
        step: u64,
    },
    /// A signal asked the run to end.
    #[error("interrupted after step {step}; the state is saved: the same command goes on from there")]
    Interrupted {
        /// Number of the signal.
        signal: u8,
        /// Updates done.
        step: u64,
    },
    /// There is no room for the states of a run.
    #[error(
        "{}: {} MiB are free, and the saved states of this run need {} MiB: make room, choose another --out, or save no \
         states on the way with --set run.save_every=0",
        path.display(), available >> 20, (needed >> 20) + 1
    )]
    Space {
        /// Where they would lie.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// A run cannot go on under another configuration, data set or version.
    #[error(
        "{}: the run was started with other settings:\n{}\nGo on with the old ones (--resume {}), take a new --out, or \
         insist with --force-resume",
        path.display(), difference.join("\n"), path.display()
    )]
    Changed {
        /// The run folder.
        path: PathBuf,
        /// One line for each difference.
        difference: Vec<String>,
    },
}

impl EngineError {
    /// The exit code of a program that ends with this error: 2 for a wrong configuration or folder and for weights of
    /// another kind than the task needs, 3 for rejected data, 4 where storage failed, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::RunDir { .. }
            | Self::Changed { .. }
            | Self::Checkpoint { why: CheckpointProblem::Lacks { .. } | CheckpointProblem::Tokenizer { .. }, .. }
            | Self::Model(model::ModelError::Config { .. }) => 2,
            Self::Space { .. } => 4,
            Self::Data(error) => error.exit_code(),
            Self::Interrupted { signal, .. } => 128 + signal,
            Self::Device { .. }
            | Self::Checkpoint { .. }
            | Self::NonFinite { .. }
            | Self::ShortEpoch { .. }
            | Self::Model(_) => 1,
        }
    }
}

/// Why a device cannot be used; continues the sentence `device "cuda:1" ...`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceProblem {
    /// Not a name of a device.
    #[error(
        "is not a device: write auto, cpu, ndarray, cuda, wgpu or vulkan, the last three with a number if needed \
         (cuda:1)"
    )]
    UnknownName,
    /// The backend was left out of this binary.
    #[error("is not compiled in: build with --features {feature}")]
    NotCompiled {
        /// The cargo feature that brings the backend.
        feature: &'static str,
    },
    /// The driver is absent or refused.
    #[error("cannot be opened ({reason}): is its driver installed?")]
    Driver {
        /// The driver's or the backend's answer, on one line.
        reason: String,
    },
    /// The driver answers and computes something else.
    #[error("computes wrongly ({reason}): update its driver, or take wgpu in a build without vulkan")]
    Wrong {
        /// What came out and what is right, on one line.
        reason: String,
    },
}

/// Why a checkpoint or a weights file cannot be used; continues the sentence `<path>: ...`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointProblem {
    /// There is nothing to load.
    #[error("no checkpoint here; give a run folder, a checkpoint folder or a .safetensors file")]
    Missing,
    /// The file is not what its name says.
    #[error("not a readable checkpoint: {reason}")]
    Format {
        /// The parser's answer.
        reason: String,
    },
    /// It lacks a part that the task needs.
    #[error("it holds {holds}, which has no {lacks}: give weights that have one")]
    Lacks {
        /// What it is.
        holds: &'static str,
        /// What it would have to have.
        lacks: &'static str,
    },
    /// The tokenizer beside it is another model's.
    #[error(
        "its text tower knows {known} tokens and the tokenizer beside it has {found}: copy the one it was trained with"
    )]
    Tokenizer {
        /// Rows of its table of tokens.
        known: usize,
        /// Tokens of the tokenizer.
        found: usize,
    },
    /// The checkpoint was written by a newer version.
    #[error("format version {found}, this program reads up to {supported}: use a newer version of it")]
    Version {
        /// Version of the file.
        found: u32,
        /// Newest version that this program reads.
        supported: u32,
    },
}

/// Why a run folder cannot be used; continues the sentence `<path>: ...`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunDirProblem {
    /// It holds a run that ended.
    #[error("holds a finished run, which is never overwritten: choose another --out, or delete the folder")]
    Finished,
    /// It holds a run that did not end.
    #[error("holds a run that did not finish: let it go on (--resume auto), or choose another --out")]
    Unfinished,
    /// It holds files that no run wrote.
    #[error("is not empty: choose a new or an empty folder for --out")]
    Foreign,
    /// It is a file.
    #[error("is a file: choose a folder for --out")]
    NotAFolder,
    /// It is not a run folder.
    #[error("is not a run folder: it has no config.toml")]
    NoRun,
    /// Another process trains in it.
    #[error("is in use by {by}: wait for it, or choose another --out")]
    Locked {
        /// Process and machine, as far as known.
        by: String,
    },
    /// Every numbered name is taken.
    #[error("and its numbered successors are taken: give a folder with --out")]
    NoFreeName,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn device_errors_are_one_sentence_with_what_is_there() {
        let error = EngineError::Device {
            requested: "cuda:1".to_owned(),
            available: vec!["cpu".to_owned(), "vulkan:0".to_owned()],
            why: DeviceProblem::NotCompiled { feature: "cuda" },
        };
        assert_eq!(
            error.to_string(),
            "device \"cuda:1\" is not compiled in: build with --features cuda; available here: cpu, vulkan:0"
        );
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn exit_codes_tell_whose_fault_it_was() {
        let io = |source| EngineError::from(DataError::Io { action: "write", path: "x".into(), source });
        assert_eq!(io(io::ErrorKind::StorageFull.into()).exit_code(), 4);
        assert_eq!(io(io::ErrorKind::NotFound.into()).exit_code(), 1);
        if cfg!(unix) {
            assert_eq!(io(io::Error::from_raw_os_error(5)).exit_code(), 4, "EIO");
        }
        assert_eq!(EngineError::from(ConfigError::SetSyntax { text: "a".to_owned() }).exit_code(), 2);
        assert_eq!(EngineError::RunDir { path: "x".into(), why: RunDirProblem::Finished }.exit_code(), 2);
        assert_eq!(
            EngineError::NonFinite { what: "loss".to_owned(), value: f64::NAN, step: 3, skipped: 3 }.exit_code(),
            1
        );
    }
}
