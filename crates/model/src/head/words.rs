//! Which words a report holds, predicted from the image: an auxiliary head of pretraining.
//!
//! Joulin et al., "Learning visual features from large weakly supervised data", 2016, predict the words of a caption from
//! its image. Here it gives an image tower that starts at random a direction before the text tower means anything.
//!
//! Shape letters: `B` images, `D` feature width, `W` words.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};

/// A linear layer from image features to one logit per word.
#[derive(Module, Debug)]
pub struct WordHead {
    fc: Linear,
}

impl WordHead {
    /// A head for words that occur in the given shares of the reports (between 0 and 1, exclusive): its bias starts at
    /// their log-odds, so that the first steps are not spent on what is common.
    pub fn new(feature_size: usize, shares: &[f64], device: &Device) -> Self {
        let mut fc = LinearConfig::new(feature_size, shares.len()).init(device);
        #[expect(clippy::cast_possible_truncation, reason = "log-odds are small")]
        let bias: Vec<f32> = shares.iter().map(|share| (share / (1.0 - share)).ln() as f32).collect();
        let bias = Tensor::<1>::from_data(TensorData::new(bias, [shares.len()]), device);
        fc.bias = Some(Param::from_tensor(bias));
        Self { fc }
    }

    /// One logit per word.
    ///
    /// # Shapes
    /// `[B, D]` to `[B, W]`.
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.fc.forward(features)
    }
}
