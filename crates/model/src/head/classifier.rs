//! A linear classifier on an image encoder: the supervised model, and the head that fine-tuning starts from.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::bad_config;
use crate::image::{ImageEncoder, ImageEncoderConfig};

/// Architecture of an [`ImageClassifier`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageClassifierConfig {
    /// The encoder.
    pub image: ImageEncoderConfig,
    /// Number of classes, one logit each.
    pub num_classes: usize,
    /// Dropout before the last layer; 0.2 in `ConVIRT`'s protocol.
    pub dropout: f64,
}

impl ImageClassifierConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        if self.num_classes == 0 {
            return Err(bad_config("classifier", "num_classes", &self.num_classes, "use at least 1"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(bad_config("classifier", "dropout", &self.dropout, "use 0 or more and less than 1"));
        }
        self.image.validate()
    }

    /// A randomly initialised model; call [`ImageClassifierConfig::validate`] on user input first.
    pub fn init(&self, device: &Device) -> ImageClassifier {
        ImageClassifier {
            image_encoder: self.image.init(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            fc: LinearConfig::new(self.image.feature_size(), self.num_classes).init(device),
        }
    }
}

/// An image encoder with dropout and one linear layer.
#[derive(Module, Debug)]
pub struct ImageClassifier {
    /// The encoder.
    pub image_encoder: ImageEncoder,
    dropout: Dropout,
    fc: Linear,
}

impl ImageClassifier {
    /// One logit per class.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`; the result: `[B, K]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.fc.forward(self.dropout.forward(self.image_encoder.forward(images).global))
    }
}
