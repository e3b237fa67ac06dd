//! Losses: functions of tensors and numbers, without parameters.

pub mod info_nce;
pub mod prototype;
pub mod sentence;
pub mod sinkhorn;
pub mod soft_info_nce;
pub mod token;
pub mod topics;
