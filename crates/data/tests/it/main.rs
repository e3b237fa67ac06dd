//! Tests of crate `data` through its public interface.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests on inputs of their own"
)]

mod augment;
mod bad_manifests;
mod bombs;
mod cases;
mod cli;
mod fuzz_replay;
mod label;
mod loader;
mod manifest;
mod mimic;
mod mimic_commands;
mod mimic_layout;
mod mimic_sections;
mod mura;
mod pairing;
mod paths;
mod phantom;
mod picture_files;
mod picture_kinds;
mod prepare;
mod privacy;
mod prop_manifest;
mod prop_mimic;
mod prop_paths;
mod prop_report;
mod prop_split;
mod real_data;
mod support;
mod topics;
mod verify;
mod wordpiece;

/// What the fuzz targets do.
#[expect(unreachable_pub, reason = "public in the package of the targets")]
#[path = "../../../../fuzz/src/data.rs"]
mod fuzz_data;
