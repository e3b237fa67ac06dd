//! Radiographs and reports as host buffers: sources, decoding, augmentation, tokenisation, splits and batches.
//!
//! Nothing here knows of tensors or devices, so that reading, checking and testing data builds in seconds.

pub mod batch;
pub mod demographics;
pub mod error;
pub mod fsx;
pub mod image;
pub mod label;
pub mod loader;
pub mod pairing;
pub mod phi;
pub mod prepare;
pub mod prompt;
pub mod record;
pub mod report;
pub mod rng;
pub mod source;
pub mod split;
pub mod store;
pub mod text;
pub mod verify;
