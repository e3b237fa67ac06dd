//! Projection heads: from an encoder's feature to the joint space.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Form of a projection head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProjectionConfig {
    /// `W2 relu(W1 h)` (`ConVIRT`, section 3.2).
    Mlp {
        /// Width of the hidden layer; the paper does not give it. Default: the width of the input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hidden_size: Option<usize>,
    },
    /// One linear layer (`ConVIRT`'s ablation, table 4).
    Linear,
}

impl ProjectionConfig {
    /// A randomly initialised head from `in_size` to `embed_dim`.
    pub fn init(&self, in_size: usize, embed_dim: usize, device: &Device) -> ProjectionHead {
        let linear = |i, o| LinearConfig::new(i, o).init(device);
        match self {
            Self::Mlp { hidden_size } => {
                let hidden = hidden_size.unwrap_or(in_size);
                ProjectionHead { fc1: Some(linear(in_size, hidden)), fc2: linear(hidden, embed_dim) }
            }
            Self::Linear => ProjectionHead { fc1: None, fc2: linear(in_size, embed_dim) },
        }
    }
}

/// A projection head; `fc1` is absent in the linear form.
#[derive(Module, Debug)]
pub struct ProjectionHead {
    fc1: Option<Linear>,
    fc2: Linear,
}

impl ProjectionHead {
    /// Projects features, without normalising them.
    ///
    /// # Shapes
    /// `[B, D]` to `[B, E]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.fc1 {
            Some(fc1) => relu(fc1.forward(x)),
            None => x,
        };
        self.fc2.forward(x)
    }
}
