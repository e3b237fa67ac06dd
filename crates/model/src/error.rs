//! What can be wrong with an architecture or a weights file.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// An error of configuration or of a weights file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A value of an architecture makes no sense.
    #[error("{part}.{field} is {value}: {why}")]
    Config {
        /// Part of the model.
        part: &'static str,
        /// Field of its configuration.
        field: &'static str,
        /// The value found.
        value: String,
        /// What is allowed.
        why: &'static str,
    },
    /// The file cannot be read or written.
    #[error("cannot access the weights file {path}: {source}; check that it exists and can be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is not safetensors.
    #[error("{path} is not a safetensors file ({source}); was it cut short or is it another format?")]
    Format {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: safetensors::SafeTensorError,
    },
    /// The file is not what a file of weights is like.
    #[error("{path} is not a safetensors file of weights: {what}")]
    Implausible {
        /// The file.
        path: PathBuf,
        /// What is out of bounds.
        what: String,
    },
    /// A tensor has a type of number that is not read.
    #[error("{path}: {name} holds {dtype} numbers; save it as F32, F16 or BF16")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type in the file.
        dtype: String,
    },
    /// The file has no tensor of a name.
    #[error("{path} has no tensor {name}")]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The architecture does not follow from the file.
    #[error("{path} does not tell {what}: {ask}")]
    Undetermined {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
        /// What helps.
        ask: String,
    },
    /// No family of checkpoints has such names.
    #[error("{path} is no checkpoint that is known: its tensors are named {names}; known are {known}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Some of the names.
        names: String,
        /// The families.
        known: String,
    },
    /// A folder holds no weights, or several files of them.
    #[error("{path} {what}: name one file of weights")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// The weights cannot be written under such names.
    #[error("{path} cannot be written for {target}: {why}")]
    Export {
        /// The file.
        path: PathBuf,
        /// Whose names were asked for.
        target: &'static str,
        /// What does not fit.
        why: String,
    },
    /// The file carries no value under a key of its metadata.
    #[error(
        "{path} has no `{key}` in its metadata; it was not written by this project, or lost its card: put its `card.toml` beside it"
    )]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// The metadata cannot be understood.
    #[error("the metadata `{key}` of {path} cannot be read: {source}")]
    MetadataValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Cause.
        source: serde_json::Error,
    },
    /// A thread that read a part of a file ended early.
    #[error("reading the weights was interrupted; run the command again")]
    Interrupted,
    /// A file of `PyTorch` cannot be read.
    #[error(transparent)]
    Torch(#[from] crate::weights::torch::TorchError),
    /// Names, shapes or values do not fit the model.
    #[error("{path} does not fit this model: {report}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All that is missing, unused or misshapen.
        report: Box<crate::weights::Mismatch>,
    },
}

/// An error for a bad configuration value.
pub(crate) fn bad_config(
    part: &'static str,
    field: &'static str,
    value: &dyn ToString,
    why: &'static str,
) -> ModelError {
    ModelError::Config { part, field, value: value.to_string(), why }
}
