//! Parity with torchvision and transformers, and what may and may not be loaded.
//!
//! The goldens are written by `scripts/golden`. They run on the CPU here; `crates/device-suite` runs the same tests on any
//! device.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod bert;
mod commands;
mod device;
mod fetch;
mod fuzz_replay;
mod heads;
mod hostile_weights;
mod hub_server;
mod import;
mod reductions;
mod resnet;
mod support;
mod swin;
mod torch_build;
mod torch_files;
mod torch_hostile;
mod towers;
mod vit;
mod weights;
mod words;
