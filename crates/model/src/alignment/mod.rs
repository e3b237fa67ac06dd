//! What aligns two towers below the level of whole images and reports: local heads, attention between words and patches, and
//! prototypes of diseases.
//!
//! Wang et al., "Multi-granularity cross-modal alignment for generalized medical visual representation learning" (`MGCA`), 2022.
//!
//! Shape letters: `R` rows, `D` feature width, `H` hidden width, `E` width of the joint space, `K` prototypes.

pub mod attend;
pub mod rules;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::tensor::{Device, Tensor, assert_shape};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::bad_config;
use crate::image::layers::BatchNorm2d;
use crate::ops::{affine, l2_normalize};
use attend::CrossAttention;

/// Architecture of an [`Alignment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlignmentConfig {
    /// Width `H` of the hidden layer of the local heads.
    pub hidden_size: usize,
    /// Prototypes `K`.
    pub num_prototypes: usize,
    /// Whether there are learned maps between words and patches. (Published checkpoints hold them even where they were never
    /// used.)
    pub attention: bool,
}

impl Default for AlignmentConfig {
    /// The paper's.
    fn default() -> Self {
        Self { hidden_size: 2048, num_prototypes: 500, attention: true }
    }
}

impl AlignmentConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("hidden_size", self.hidden_size), ("num_prototypes", self.num_prototypes)] {
            if value == 0 {
                return Err(bad_config("alignment", field, &value, "use at least 1"));
            }
        }
        Ok(())
    }

    /// A randomly initialised module for local features of the given widths.
    pub fn init(&self, image_size: usize, text_size: usize, embed_dim: usize, device: &Device) -> Alignment {
        let head = |size| LocalHead::new(size, self.hidden_size, embed_dim, device);
        let attention = || self.attention.then(|| CrossAttention::new(embed_dim, device));
        let rows = Initializer::Normal { mean: 0.0, std: 1.0 };
        Alignment {
            image_local: head(image_size),
            text_local: head(text_size),
            word_attention: attention(),
            patch_attention: attention(),
            prototypes: Prototypes { weight: rows.init([self.num_prototypes, embed_dim], device) },
        }
    }
}

/// Everything with parameters that `MGCA` puts on two towers besides their global heads.
#[derive(Module, Debug)]
pub struct Alignment {
    /// From patches to the joint space.
    pub image_local: LocalHead,
    /// From words to the joint space.
    pub text_local: LocalHead,
    /// Patches as words see them.
    pub word_attention: Option<CrossAttention>,
    /// Words as patches see them.
    pub patch_attention: Option<CrossAttention>,
    /// Centres of diseases in the joint space.
    pub prototypes: Prototypes,
}

/// A head for local features: two convolutions of one position with batch normalisation, the last without scale and shift.
///
/// Statistics run over the positions of all samples (section 4 of the paper's supplement; `methods.md` 2.2).
#[derive(Module, Debug)]
pub struct LocalHead {
    conv1: Conv1d,
    bn1: BatchNorm2d,
    conv2: Conv1d,
    bn2: BatchNorm2d,
}

impl LocalHead {
    /// A randomly initialised head.
    pub fn new(in_size: usize, hidden_size: usize, embed_dim: usize, device: &Device) -> Self {
        let conv = |from, to| Conv1dConfig::new(from, to, 1).init(device);
        Self {
            conv1: conv(in_size, hidden_size),
            bn1: BatchNorm2d::new(hidden_size, device),
            conv2: conv(hidden_size, embed_dim),
            bn2: BatchNorm2d::plain(embed_dim, device),
        }
    }

    /// Rows of unit length in the joint space.
    ///
    /// # Shapes
    /// `[R, D]` to `[R, E]`, one row per position.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.bn1.forward_rows(apply(&self.conv1, x), true);
        l2_normalize(self.bn2.forward_rows(apply(&self.conv2, x), false))
    }

    /// The same for the positions of each sample.
    ///
    /// # Shapes
    /// `[B, P, D]` to `[B, P, E]`.
    pub fn forward_all(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, p, d] = x.dims();
        let embeds = self.forward(x.reshape([b * p, d]));
        let e = embeds.dims()[1];
        embeds.reshape([b, p, e])
    }
}

/// A convolution of one position is a matrix product.
fn apply(conv: &Conv1d, x: Tensor<2>) -> Tensor<2> {
    let weight = conv.weight.val();
    let [out, d, one] = weight.dims();
    assert_shape!(x, [_, d]);
    let weight = weight.reshape([out, d * one]).transpose();
    match &conv.bias {
        Some(bias) => affine(x, weight, bias.val()),
        None => x.matmul(weight),
    }
}

/// Centres of diseases, `[K, E]`.
#[derive(Module, Debug)]
pub struct Prototypes {
    weight: Param<Tensor<2>>,
}

impl Prototypes {
    /// Rows of unit length as they are; see [`Prototypes::unit`].
    ///
    /// # Shapes
    /// `[K, E]`.
    pub fn val(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// The parameter, for its gradient.
    pub fn param(&self) -> &Param<Tensor<2>> {
        &self.weight
    }

    /// The same with rows of unit length: what a loss wants before every use. The scaling is no part of a graph.
    #[must_use]
    pub fn unit(self) -> Self {
        Self { weight: self.weight.map(unit_leaf) }
    }
}

fn unit_leaf(value: Tensor<2>) -> Tensor<2> {
    let tracked = value.is_require_grad();
    let unit = l2_normalize(value.without_autodiff());
    if tracked { unit.autodiff().require_grad() } else { unit }
}
