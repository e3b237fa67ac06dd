//! The device under test.

use burn::tensor::Device;

use crate::train_goldens::support;
pub(crate) use crate::train_goldens::support::on_cpu;

/// The plain device under test.
pub(crate) fn device() -> Device {
    support::device().0
}

/// The name it was asked for by and, of a card, what its driver calls it.
pub(crate) fn name() -> String {
    let (device, name) = support::device();
    match engine::device::model(&device) {
        Some(model) => format!("{name} ({model})"),
        None => name,
    }
}
