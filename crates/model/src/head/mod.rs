//! Downstream heads.

pub mod classifier;
pub mod words;
