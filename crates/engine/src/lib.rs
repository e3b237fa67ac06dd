//! What a run needs around a model: configuration, devices, the training loop, optimizers, run folders, logs and bars.
//!
//! It stands on `data` (host buffers) and `model` (modules) and uploads the one to the other.

pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod device;
pub mod error;
pub mod fit;
pub mod interrupt;
pub mod logging;
pub mod memory;
pub mod monitor;
pub mod objective;
pub mod optim;
pub mod progress;
pub mod run_dir;
pub mod sink;
pub mod state;
pub mod table;
pub mod upload;

pub use error::{EngineError, Result};
