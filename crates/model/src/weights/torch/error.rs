//! Why a PyTorch checkpoint is not read.

use std::path::{Path, PathBuf};

/// A checkpoint that cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the PyTorch checkpoint {path}: {problem}")]
pub struct TorchError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TorchProblem,
}

/// What is wrong with a checkpoint. Names out of the file are shown escaped.
#[derive(Debug, thiserror::Error)]
pub enum TorchProblem {
    /// The file cannot be opened or read.
    #[error("{0}; check that it exists and can be read")]
    Io(#[from] std::io::Error),
    /// The bytes are not those of `torch.save`.
    #[error("{0}")]
    NotTorch(&'static str),
    /// The archive does not hang together.
    #[error("its zip archive is damaged: {0}; copy or download the file again")]
    Archive(String),
    /// An entry of the archive is compressed or encrypted, which `torch.save` never does.
    #[error(
        "the entry {0:?} of its zip archive is compressed or encrypted, which torch.save never does; load the file in \
         PyTorch and save it again, or unpack an archive that has the checkpoint inside"
    )]
    Compressed(String),
    /// The numbers were written on a big-endian machine.
    #[error("its numbers are big-endian; load it in PyTorch on a little-endian machine and save it again")]
    BigEndian,
    /// The file is a compiled program.
    #[error("it is a TorchScript program; load it with torch.jit.load and save model.state_dict() instead")]
    TorchScript,
    /// The file holds a module with its code's name, not its weights.
    #[error(
        "it holds a whole pickled object of class {class:?}, which only its own Python code can rebuild; load it there \
         and save model.state_dict() instead"
    )]
    PickledModule {
        /// Class of the object.
        class: String,
    },
    /// The pickle breaks the rules of its format.
    #[error("its pickle is damaged at byte {at}: {what}; copy or download the file again")]
    Pickle {
        /// Bytes read up to there.
        at: u64,
        /// The rule that is broken.
        what: String,
    },
    /// A legacy file does not hang together behind its pickles.
    #[error("its storages are damaged: {0}; copy or download the file again")]
    Storages(String),
    /// The file is larger than any of weights.
    #[error("it has more {what} than a file of weights needs (limit {limit}); save model.state_dict() alone")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The largest number that is read.
        limit: u64,
    },
    /// Nothing in the file looks like a state dict.
    #[error(
        "no state dict was found in it: {found}; save model.state_dict(), alone or under one of the keys {}",
        super::state_dict::WRAPPERS.join(", ")
    )]
    NoStateDict {
        /// What there is instead.
        found: String,
    },
    /// An entry of the state dict is not a tensor of plain numbers.
    #[error("the entry {name:?} of its state dict is {what}; save the state dict with plain dense tensors only")]
    NotATensor {
        /// Name of the entry.
        name: String,
        /// What it is instead.
        what: String,
    },
    /// A tensor does not fit the numbers in the file.
    #[error("the tensor {name:?} does not fit the numbers in the file: {what}; copy or download the file again")]
    Misplaced {
        /// Name of the tensor.
        name: String,
        /// What is out of bounds.
        what: String,
    },
    /// There is no tensor of that name.
    #[error("it has no tensor {0:?}; its names are those that `tensors` lists")]
    Unknown(String),
}

impl TorchProblem {
    pub(super) fn at(self, path: &Path) -> TorchError {
        TorchError { path: path.to_owned(), problem: self }
    }
}

pub(super) type Result<T, E = TorchProblem> = std::result::Result<T, E>;
