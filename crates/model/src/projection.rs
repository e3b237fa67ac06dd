//! Projection heads: from an encoder's feature to the joint space.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::image::layers::BatchNorm2d;

/// Form of a projection head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProjectionConfig {
    /// `W2 relu(W1 h)` (`ConVIRT`, section 3.2).
    Mlp {
        /// Width of the hidden layer; the paper does not give it. Default: the width of the input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hidden_size: Option<usize>,
        /// Normalises each unit over the batch after both layers. Not in `ConVIRT`; it keeps two towers that both start
        /// at random from meeting in one point, where the loss is flat.
        #[serde(default)]
        batch_norm: bool,
        /// Whether the last normalisation has a scale and a shift; `MGCA`'s has none.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        out_affine: bool,
    },
    /// One linear layer (`ConVIRT`'s ablation, table 4).
    Linear {
        /// Whether it adds a bias; `MedCLIP`'s does not.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        bias: bool,
    },
    /// The feature itself is the embedding.
    Identity,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl ProjectionConfig {
    /// A randomly initialised head from `in_size` to `embed_dim`.
    pub fn init(&self, in_size: usize, embed_dim: usize, device: &Device) -> ProjectionHead {
        let linear = |i, o| LinearConfig::new(i, o).init(device);
        match self {
            Self::Mlp { hidden_size, batch_norm, out_affine } => {
                let hidden = hidden_size.unwrap_or(in_size);
                let last = if *out_affine { BatchNorm2d::new } else { BatchNorm2d::plain };
                ProjectionHead {
                    fc1: Some(linear(in_size, hidden)),
                    bn1: batch_norm.then(|| BatchNorm2d::new(hidden, device)),
                    fc2: Some(linear(hidden, embed_dim)),
                    bn2: batch_norm.then(|| last(embed_dim, device)),
                }
            }
            Self::Linear { bias } => {
                let layer = LinearConfig::new(in_size, embed_dim).with_bias(*bias).init(device);
                ProjectionHead { fc1: None, bn1: None, fc2: Some(layer), bn2: None }
            }
            Self::Identity => ProjectionHead { fc1: None, bn1: None, fc2: None, bn2: None },
        }
    }

    /// Width of what the head returns, given that of its input and that of the joint space.
    pub fn out_size(&self, in_size: usize, embed_dim: usize) -> usize {
        if *self == Self::Identity { in_size } else { embed_dim }
    }
}

/// A projection head; `fc1` is absent in the linear form, both layers where the feature is the embedding.
#[derive(Module, Debug)]
pub struct ProjectionHead {
    fc1: Option<Linear>,
    bn1: Option<BatchNorm2d>,
    fc2: Option<Linear>,
    bn2: Option<BatchNorm2d>,
}

impl ProjectionHead {
    /// Width of what it returns; nothing where it returns what it is given.
    pub fn out_size(&self) -> Option<usize> {
        self.fc2.as_ref().map(|fc2| fc2.weight.lazy_shape()[1])
    }

    /// Projects features, without scaling them to unit length.
    ///
    /// # Shapes
    /// `[B, D]` to `[B, E]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.fc1 {
            Some(fc1) => relu(normalize(self.bn1.as_ref(), fc1.forward(x))),
            None => x,
        };
        let x = match &self.fc2 {
            Some(fc2) => fc2.forward(x),
            None => x,
        };
        normalize(self.bn2.as_ref(), x)
    }
}

fn normalize(bn: Option<&BatchNorm2d>, x: Tensor<2>) -> Tensor<2> {
    match bn {
        Some(bn) => bn.forward_rows(x, false),
        None => x,
    }
}
