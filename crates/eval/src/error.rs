//! What evaluation can fail with.

use data::error::DataError;
use data::prompt::PromptError;
use engine::EngineError;
use model::ModelError;

use crate::metric::MetricError;
use crate::ranking::RankingError;

/// Result of this crate.
pub type Result<T, E = EvalError> = std::result::Result<T, E>;

/// Everything that evaluation can fail with.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A run, a checkpoint or a device could not be used.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// Weights do not fit.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A metric could not be computed.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// Embeddings could not be ranked.
    #[error(transparent)]
    Ranking(#[from] RankingError),
    /// A prompt set could not be read.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A chart could not be drawn.
    #[error(transparent)]
    Plot(#[from] crate::plot::PlotError),
    /// A signal asked the program to end.
    #[error("interrupted while evaluating: the same command evaluates again")]
    Interrupted {
        /// Number of the signal.
        signal: u8,
    },
    /// The data lack something that the task needs.
    #[error("{data}: {what}")]
    Unfit {
        /// The data set.
        data: String,
        /// What is missing and what to do.
        what: String,
    },
}

impl From<EngineError> for EvalError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl EvalError {
    /// The exit code of a program that ends with this error: 2 for wrong settings, 3 for rejected data, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Data(error) => error.exit_code(),
            Self::Engine(error) => error.exit_code(),
            Self::Interrupted { signal } => 128 + signal,
            Self::Prompt(_) | Self::Unfit { .. } => 2,
            Self::Model(_) | Self::Metric(_) | Self::Ranking(_) | Self::Plot(_) => 1,
        }
    }
}
