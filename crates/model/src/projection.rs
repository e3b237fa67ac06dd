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
    },
    /// One linear layer (`ConVIRT`'s ablation, table 4).
    Linear,
}

impl ProjectionConfig {
    /// A randomly initialised head from `in_size` to `embed_dim`.
    pub fn init(&self, in_size: usize, embed_dim: usize, device: &Device) -> ProjectionHead {
        let linear = |i, o| LinearConfig::new(i, o).init(device);
        match self {
            Self::Mlp { hidden_size, batch_norm } => {
                let hidden = hidden_size.unwrap_or(in_size);
                let norm = |size| batch_norm.then(|| BatchNorm2d::new(size, device));
                ProjectionHead {
                    fc1: Some(linear(in_size, hidden)),
                    bn1: norm(hidden),
                    fc2: linear(hidden, embed_dim),
                    bn2: norm(embed_dim),
                }
            }
            Self::Linear => ProjectionHead { fc1: None, bn1: None, fc2: linear(in_size, embed_dim), bn2: None },
        }
    }
}

/// A projection head; `fc1` is absent in the linear form.
#[derive(Module, Debug)]
pub struct ProjectionHead {
    fc1: Option<Linear>,
    bn1: Option<BatchNorm2d>,
    fc2: Linear,
    bn2: Option<BatchNorm2d>,
}

impl ProjectionHead {
    /// Projects features, without scaling them to unit length.
    ///
    /// # Shapes
    /// `[B, D]` to `[B, E]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.fc1 {
            Some(fc1) => relu(normalize(self.bn1.as_ref(), fc1.forward(x))),
            None => x,
        };
        normalize(self.bn2.as_ref(), self.fc2.forward(x))
    }
}

fn normalize(bn: Option<&BatchNorm2d>, x: Tensor<2>) -> Tensor<2> {
    let [b, d] = x.dims();
    match bn {
        Some(bn) => bn.forward(x.reshape([b, d, 1, 1])).reshape([b, d]),
        None => x,
    }
}
