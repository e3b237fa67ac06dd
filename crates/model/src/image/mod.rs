//! Image encoders.

pub mod layers;
pub mod resnet;
pub mod swin;
pub mod vit;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use resnet::{ResNet, ResNetConfig};
use swin::{Swin, SwinConfig};
use vit::{Vit, VitConfig};

/// What an image encoder returns.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// One vector per image, `[B, D]`.
    pub global: Tensor<2>,
    /// One vector per region, row by row, `[B, M, L]`; absent where the configuration names no stage for them.
    pub local: Option<Tensor<3>>,
    /// Attention of the last block, `[B, N, 1 + M, 1 + M]`: each token to each, the class token first. Only transformers
    /// with a class token have it.
    pub attention: Option<Tensor<4>>,
}

/// Architecture of an image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ImageEncoderConfig {
    /// A residual network in torchvision's layout.
    Resnet(ResNetConfig),
    /// A vision transformer in timm's layout.
    Vit(VitConfig),
    /// A Swin transformer in timm's layout.
    Swin(SwinConfig),
}

impl ImageEncoderConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Resnet(config) => config.validate(),
            Self::Vit(config) => config.validate(),
            Self::Swin(config) => config.validate(),
        }
    }

    /// A randomly initialised encoder.
    pub fn init(&self, device: &Device) -> ImageEncoder {
        match self {
            Self::Resnet(config) => ImageEncoder::Resnet(config.init(device)),
            Self::Vit(config) => ImageEncoder::Vit(config.init(device)),
            Self::Swin(config) => ImageEncoder::Swin(config.init(device)),
        }
    }

    /// Channels of the input: 1 (grey) or 3 (grey repeated).
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Resnet(config) => config.in_channels,
            Self::Vit(config) => config.in_channels,
            Self::Swin(config) => config.in_channels,
        }
    }

    /// Side of the images (px) where it is part of the architecture; others take any.
    pub fn image_size(&self) -> Option<usize> {
        match self {
            Self::Resnet(_) => None,
            Self::Vit(config) => Some(config.image_size),
            Self::Swin(config) => Some(config.image_size),
        }
    }

    /// The vision transformer, if it is one.
    pub(crate) fn as_vit_mut(&mut self) -> Option<&mut VitConfig> {
        match self {
            Self::Vit(config) => Some(config),
            Self::Resnet(_) | Self::Swin(_) => None,
        }
    }

    /// Width `L` of local features; nothing where there are none.
    pub fn local_size(&self) -> Option<usize> {
        match self {
            Self::Resnet(config) => config.local_size(),
            Self::Vit(config) => Some(config.hidden_size),
            Self::Swin(config) => Some(config.feature_size()),
        }
    }

    /// Where local features of images of `image_size` pixels lie; nothing where there are none.
    pub fn cells(&self, image_size: usize) -> Option<Cells> {
        match self {
            Self::Resnet(config) => config.cells(image_size),
            Self::Vit(config) => Some(Cells::tiles(image_size / config.patch_size)),
            // Each of the later stages merges four.
            Self::Swin(config) => Some(Cells::tiles(image_size / (config.patch_size << (config.stages.len() - 1)))),
        }
    }

    /// Width `D` of the global feature.
    pub fn feature_size(&self) -> usize {
        match self {
            Self::Resnet(config) => config.feature_size(),
            Self::Vit(config) => config.hidden_size,
            Self::Swin(config) => config.feature_size(),
        }
    }
}

/// Where the cells of a grid of local features lie along either side of the square that a network sees, as fractions of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cells {
    /// Middle of the first.
    pub first: f64,
    /// From the middle of one to that of the next.
    pub step: f64,
}

impl Cells {
    /// Cells that share the side evenly.
    pub fn tiles(count: usize) -> Self {
        Self { first: 0.5 / count as f64, step: 1.0 / count as f64 }
    }

    /// Middle of a cell.
    pub fn middle(&self, cell: usize) -> f64 {
        self.first + cell as f64 * self.step
    }
}

/// An image encoder of any supported architecture.
#[derive(Module, Debug)]
pub enum ImageEncoder {
    /// A residual network.
    Resnet(ResNet),
    /// A vision transformer.
    Vit(Vit),
    /// A Swin transformer.
    Swin(Swin),
}

impl ImageEncoder {
    /// Features of a batch of normalised images.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`; see [`ImageFeatures`] for the result.
    pub fn forward(&self, images: Tensor<4>) -> ImageFeatures {
        match self {
            Self::Resnet(encoder) => encoder.forward(images),
            Self::Vit(encoder) => encoder.forward(images),
            Self::Swin(encoder) => encoder.forward(images),
        }
    }
}
