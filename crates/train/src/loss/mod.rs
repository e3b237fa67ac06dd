//! Losses: functions of tensors and numbers, without parameters.

pub mod info_nce;
pub mod topics;
