//! The device under test: the CPU. `crates/device-suite` puts another file in the place of this one.

use burn::tensor::Device;

/// The plain device under test.
pub(crate) fn device() -> Device {
    Device::flex()
}

/// Whether tolerances are those of a CPU.
pub(crate) fn on_cpu() -> bool {
    true
}
