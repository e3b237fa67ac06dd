//! What the fuzz targets do with an input: one module for each crate, one function for each target.

use std::sync::Once;

pub mod data;
pub mod engine;
pub mod model;

/// Calls a target. A panic that the product itself contains is no finding; one that leaves the target ends the process.
pub fn run(target: fn(&[u8]), input: &[u8]) {
    static HOOK: Once = Once::new();
    // libFuzzer's own hook would end the process at the first panic, contained or not.
    HOOK.call_once(|| drop(std::panic::take_hook()));
    target(input);
}
