//! From host buffers to the device.

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::batch::TextBatch;
pub use model::card::Preprocess;
use model::text::TextInput;

/// Texts on the device.
///
/// # Shapes
/// `[len, T]` each.
pub fn texts(batch: &TextBatch, device: &Device) -> TextInput {
    let shape = [batch.len, batch.tokens];
    let ints = |values: &[u32]| {
        let values: Vec<i64> = values.iter().map(|&v| i64::from(v)).collect();
        Tensor::<2, Int>::from_data(TensorData::new(values, shape), device)
    };
    TextInput { input_ids: ints(&batch.input_ids), padding: ints(&batch.attention_mask).equal_scalar(0) }
}
