//! Image encoders.

pub mod layers;
pub mod resnet;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use resnet::{ResNet, ResNetConfig};

/// What an image encoder returns.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// One vector per image, `[B, D]`.
    pub global: Tensor<2>,
}

/// Architecture of an image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ImageEncoderConfig {
    /// A residual network in torchvision's layout.
    Resnet(ResNetConfig),
}

impl ImageEncoderConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Resnet(config) => config.validate(),
        }
    }

    /// A randomly initialised encoder.
    pub fn init(&self, device: &Device) -> ImageEncoder {
        match self {
            Self::Resnet(config) => ImageEncoder::Resnet(config.init(device)),
        }
    }

    /// Channels of the input: 1 (grey) or 3 (grey repeated).
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Resnet(config) => config.in_channels,
        }
    }

    /// Width `D` of the global feature.
    pub fn feature_size(&self) -> usize {
        match self {
            Self::Resnet(config) => config.feature_size(),
        }
    }
}

/// An image encoder of any supported architecture.
#[derive(Module, Debug)]
pub enum ImageEncoder {
    /// A residual network.
    Resnet(ResNet),
}

impl ImageEncoder {
    /// Features of a batch of normalised images.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`; the result holds `global`: `[B, D]`.
    pub fn forward(&self, images: Tensor<4>) -> ImageFeatures {
        match self {
            Self::Resnet(encoder) => encoder.forward(images),
        }
    }
}
