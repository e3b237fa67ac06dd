//! Tests of the public interface of `eval`.

#![expect(clippy::unwrap_used, reason = "tests on inputs of their own")]

mod cli;
mod downstream;
mod embed;
mod explain;
mod explain_command;
mod foreign;
mod kept;
mod labelled;
mod linear_probe;
mod metric;
mod pointing;
mod prop_metric;
mod prototypes;
mod ranking;
mod report;
mod retrieval_command;
mod zero_shot;
mod zero_shot_command;

/// Held by whoever draws initial weights: Burn's random generator is one per process.
static GENERATOR: std::sync::Mutex<()> = std::sync::Mutex::new(());
