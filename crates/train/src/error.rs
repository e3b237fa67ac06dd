//! What a training run can fail with.

use data::error::DataError;
use engine::EngineError;
use engine::config::ConfigError;
use eval::EvalError;
use eval::plot::PlotError;

use crate::recipe::RECIPES;

/// Everything that a training run can fail with.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Configuration, device, run folder or training.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// A recipe or a value set on the command line.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A chart.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// There is no such recipe.
    #[error(
        "there is no recipe \"{name}\": give a path to a recipe.toml or one of {}",
        RECIPES.map(|(name, _)| name).join(", ")
    )]
    UnknownRecipe {
        /// What was asked for.
        name: String,
    },
    /// Recipes extend each other without end.
    #[error("recipe \"{name}\" extends more than 8 others: is there a circle?")]
    ExtendsTooDeep {
        /// The recipe.
        name: String,
    },
    /// A value makes no sense.
    #[error("{key} = {value}: {why}")]
    Setting {
        /// Key of the recipe.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is accepted.
        why: &'static str,
    },
}

impl From<EngineError> for TrainError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl TrainError {
    /// The exit code of a program that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(error) => error.exit_code(),
            Self::Data(error) => error.exit_code(),
            Self::Eval(error) => error.exit_code(),
            Self::Plot(_) => 1,
            Self::Config(_) | Self::UnknownRecipe { .. } | Self::ExtendsTooDeep { .. } | Self::Setting { .. } => 2,
        }
    }
}
