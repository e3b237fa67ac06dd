//! Downstream heads.

pub mod classifier;
