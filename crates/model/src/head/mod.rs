//! Downstream heads.

pub mod classifier;
pub mod topics;
