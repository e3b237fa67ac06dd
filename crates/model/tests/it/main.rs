//! Parity with torchvision and transformers, and what may and may not be loaded.
//!
//! The goldens are written by `scripts/golden`. They run on the CPU by default; `--features test-ndarray` or
//! `--features test-vulkan` runs the same tests on that device.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod bert;
mod fuzz_replay;
mod heads;
mod resnet;
mod support;
mod weights;
