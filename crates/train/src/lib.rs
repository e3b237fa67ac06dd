//! Objectives, recipes and the command that trains and evaluates.

pub mod ablate;
pub mod batches;
pub mod cli;
mod comparison;
pub mod dry_run;
pub mod efficiency;
pub mod error;
pub mod loss;
pub mod objective;
pub mod observe;
pub mod recipe;
pub mod resume;
pub mod run;
mod text_cache;
