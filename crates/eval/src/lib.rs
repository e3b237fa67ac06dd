//! Evaluation: metrics, zero-shot classification, retrieval, linear probes, fine-tuning, predictions and explanations of any
//! checkpoint.

pub mod classes;
pub mod cli;
pub mod columns;
pub mod downstream;
pub mod embed;
pub mod ensemble;
pub mod error;
pub mod explain;
pub mod export;
mod kept_rows;
pub mod linear_probe;
pub mod metric;
mod partial;
pub mod plot;
pub mod pointing;
pub mod predict;
pub mod prototypes;
pub mod ranking;
pub mod report;
pub mod retrieval;
pub mod show;
pub mod supervised;
pub mod tables;
pub mod tasks;
pub mod vectors;
pub mod zero_shot;

pub use error::{EvalError, Result};
