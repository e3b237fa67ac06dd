//! From host buffers to the device.

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::batch::TextBatch;
use model::text::TextInput;
use serde::{Deserialize, Serialize};

/// How grey values become the input of an image encoder. Travels with every checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Side of the square input (px).
    pub image_size: usize,
    /// Larger side to which images are scaled when they are read (px).
    pub source_size: usize,
    /// Mean of each input channel; `ImageNet`'s by default.
    pub mean: Vec<f32>,
    /// Deviation of each input channel; `ImageNet`'s by default.
    pub std: Vec<f32>,
}

impl Preprocess {
    /// `ImageNet`'s mean and deviation for three channels; their average for one.
    pub fn imagenet(image_size: usize, source_size: usize, channels: usize) -> Self {
        let (mean, std): (&[f32], &[f32]) =
            if channels == 1 { (&[0.449], &[0.226]) } else { (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]) };
        Self { image_size, source_size, mean: mean.to_vec(), std: std.to_vec() }
    }

    /// Grey images as a normalised tensor, repeated to the channels of `mean`.
    ///
    /// # Shapes
    /// `images`: `len * size * size` values; the result: `[len, C, size, size]`.
    pub fn images(&self, images: &[f32], len: usize, size: usize, device: &Device) -> Tensor<4> {
        let channels = self.mean.len();
        let grey = Tensor::<4>::from_data(TensorData::new(images.to_vec(), [len, 1, size, size]), device);
        let row =
            |values: &[f32]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, channels, 1, 1]), device);
        if channels == 1 {
            return grey.sub_scalar(self.mean[0]).div_scalar(self.std[0]);
        }
        (grey.expand([len, channels, size, size]) - row(&self.mean)) / row(&self.std)
    }
}

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
