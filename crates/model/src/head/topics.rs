//! Topics of a report, predicted from its image and from single sentences of it: auxiliary heads of pretraining.
//!
//! They give towers that start at random a direction before either means anything to the other.
//!
//! Shape letters: `R` rows, `D` feature width, `K` topics.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// A linear layer for each tower, from its features to the topics of the report.
#[derive(Module, Debug)]
pub struct TopicHeads {
    image: Linear,
    text: Linear,
}

impl TopicHeads {
    /// Heads for `topics` topics on towers of the given feature widths.
    pub fn new(image_size: usize, text_size: usize, topics: usize, device: &Device) -> Self {
        let linear = |size| LinearConfig::new(size, topics).init(device);
        Self { image: linear(image_size), text: linear(text_size) }
    }

    /// Topics as an image shows them.
    ///
    /// # Shapes
    /// `[R, D]` to `[R, K]`.
    pub fn of_images(&self, features: Tensor<2>) -> Tensor<2> {
        self.image.forward(features)
    }

    /// Topics as a sentence tells of them.
    ///
    /// # Shapes
    /// `[R, D]` to `[R, K]`.
    pub fn of_texts(&self, features: Tensor<2>) -> Tensor<2> {
        self.text.forward(features)
    }
}
