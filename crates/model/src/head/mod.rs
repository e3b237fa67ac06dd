//! What is put on towers besides their projections.

pub mod classifier;
pub mod label_kind;
pub mod logit_scale;
pub mod topics;
