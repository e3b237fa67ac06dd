//! What is put on towers besides their projections.

pub mod classifier;
pub mod logit_scale;
pub mod topics;
