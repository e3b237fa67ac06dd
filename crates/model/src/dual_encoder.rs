//! Two towers and the joint space between them. The loss lives elsewhere: an objective composes it.
//!
//! Zhang et al., "Contrastive learning of medical visual representations from paired images and text", 2022, section 3.
//!
//! Shape letters: `B` batch, `C` channels, `H`/`W` pixels, `T` tokens, `D` feature width, `E` embedding width.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::alignment::{Alignment, AlignmentConfig};
use crate::error::bad_config;
use crate::image::{ImageEncoder, ImageEncoderConfig};
use crate::ops::l2_normalize;
use crate::projection::{ProjectionConfig, ProjectionHead};
use crate::text::{TextEncoder, TextEncoderConfig, TextInput};

/// Architecture of a [`DualEncoder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DualEncoderConfig {
    /// Image tower.
    pub image: ImageEncoderConfig,
    /// Text tower.
    pub text: TextEncoderConfig,
    /// Head of both towers.
    pub projection: ProjectionConfig,
    /// Head of the text tower, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_projection: Option<ProjectionConfig>,
    /// Width `E` of the joint space; 512 in the paper.
    pub embed_dim: usize,
    /// Freezes the text tower's embeddings and this many of its first layers (6 in the paper); absent: nothing is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_text_layers: Option<usize>,
    /// What aligns words with patches and pairs with prototypes (`MGCA`); absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<AlignmentConfig>,
}

impl DualEncoderConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        if self.embed_dim == 0 {
            return Err(bad_config("model", "embed_dim", &self.embed_dim, "use at least 1"));
        }
        self.image.validate()?;
        self.text.validate()?;
        if let Some(alignment) = &self.alignment {
            alignment.validate()?;
            if self.image.local_size().is_none() {
                let why = "it needs local features: set model.image.local_stage";
                return Err(bad_config("model", "alignment", &"present", why));
            }
        }
        let widths = [
            self.projection.out_size(self.image.feature_size(), self.embed_dim),
            self.head_of_text().out_size(self.text.feature_size(), self.embed_dim),
        ];
        if widths.iter().any(|width| *width != self.embed_dim) {
            let why = "without a projection it must be the width of that tower's features";
            return Err(bad_config("model", "embed_dim", &self.embed_dim, why));
        }
        Ok(())
    }

    fn head_of_text(&self) -> &ProjectionConfig {
        self.text_projection.as_ref().unwrap_or(&self.projection)
    }

    /// A randomly initialised model; call [`DualEncoderConfig::validate`] on user input first.
    pub fn init(&self, device: &Device) -> DualEncoder {
        DualEncoder {
            image_encoder: self.image.init(device),
            text_encoder: self.text.init(device),
            image_projection: self.projection.init(self.image.feature_size(), self.embed_dim, device),
            text_projection: self.head_of_text().init(self.text.feature_size(), self.embed_dim, device),
            alignment: self
                .alignment
                .as_ref()
                .zip(self.image.local_size())
                .map(|(alignment, local)| alignment.init(local, self.text.feature_size(), self.embed_dim, device)),
            frozen_text_layers: self.frozen_text_layers,
        }
    }
}

/// An image tower and a text tower with a projection head each.
#[derive(Module, Debug)]
pub struct DualEncoder {
    /// Image tower.
    pub image_encoder: ImageEncoder,
    /// Text tower.
    pub text_encoder: TextEncoder,
    /// From image features to the joint space.
    pub image_projection: ProjectionHead,
    /// From text features to the joint space.
    pub text_projection: ProjectionHead,
    /// What aligns them below the level of pairs.
    pub alignment: Option<Alignment>,
    #[module(skip)]
    frozen_text_layers: Option<usize>,
}

/// What one tower returns.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Encoder output, `[B, D]`.
    pub features: Tensor<2>,
    /// Rows of unit length in the joint space, `[B, E]`.
    pub embeds: Tensor<2>,
}

impl DualEncoder {
    /// Layers of the text tower that are frozen, if any part of it is.
    pub fn frozen_text_layers(&self) -> Option<usize> {
        self.frozen_text_layers
    }

    /// Features and embeddings of normalised images.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`.
    pub fn encode_image(&self, images: Tensor<4>) -> Encoded {
        let features = self.image_encoder.forward(images).global;
        let embeds = l2_normalize(self.image_projection.forward(features.clone()));
        Encoded { features, embeds }
    }

    /// Features and embeddings of texts.
    ///
    /// # Shapes
    /// See [`TextInput`].
    pub fn encode_text(&self, texts: TextInput) -> Encoded {
        let features = self.text_encoder.forward(texts, self.frozen_text_layers).global;
        let embeds = l2_normalize(self.text_projection.forward(features.clone()));
        Encoded { features, embeds }
    }
}
