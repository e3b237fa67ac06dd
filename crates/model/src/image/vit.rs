//! Vision transformers in timm's layout and key names, `LayerScale` of `DINOv2` included.
//!
//! Dosovitskiy et al., "An image is worth 16x16 words", 2021; timm `models/vision_transformer.py`: pre-norm blocks, a class
//! token, learned positions, exact GELU, `LayerNorm` epsilon 1e-6. B/16 and DeiT-B: patch 16, width 768, 12 layers, 12 heads;
//! `DINOv2` S/14: patch 14, width 384, 12 layers, 6 heads, layer scale.
//!
//! Shape letters: `B` batch, `C` channels, `H`/`W` pixels, `P` patches, `T = 1 + P` tokens, `D` width, `N` heads.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor, assert_shape};
use serde::{Deserialize, Serialize};

use super::ImageFeatures;
use super::layers::{Mlp, SMALL, small_linear};
use crate::Result;
use crate::error::bad_config;
use crate::ops::{Rows, attend, attention_weights, layer_norm, linear};

const EPSILON: f64 = 1e-6;

/// Architecture of a [`Vit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Side of the input (px), a multiple of the patch: positions are learned for its grid.
    #[serde(default = "VitConfig::base_image_size")]
    pub image_size: usize,
    /// Side of a patch (px).
    #[serde(default = "VitConfig::base_patch_size")]
    pub patch_size: usize,
    /// Width `D`.
    #[serde(default = "VitConfig::base_hidden_size")]
    pub hidden_size: usize,
    /// Number of blocks.
    #[serde(default = "VitConfig::base_num_layers")]
    pub num_layers: usize,
    /// Attention heads; divides the width.
    #[serde(default = "VitConfig::base_num_layers")]
    pub num_heads: usize,
    /// Width of the feed-forward layer; absent: four times the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// Initial factor of what each half of a block adds (`DINOv2`: 1e-5); absent: there is no such factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// Channels of the input: 3 with published weights, 1 for grey images.
    #[serde(default = "VitConfig::base_in_channels")]
    pub in_channels: usize,
}

impl VitConfig {
    fn base_image_size() -> usize {
        224
    }

    fn base_patch_size() -> usize {
        16
    }

    fn base_hidden_size() -> usize {
        768
    }

    fn base_num_layers() -> usize {
        12
    }

    fn base_in_channels() -> usize {
        3
    }

    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, value: &dyn ToString, why| Err(bad_config("vit", field, value, why));
        if self.patch_size == 0 || self.image_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            return refuse("image_size", &self.image_size, "it must be a multiple of patch_size, and not 0");
        }
        if self.num_heads == 0 || self.hidden_size == 0 || !self.hidden_size.is_multiple_of(self.num_heads) {
            return refuse("num_heads", &self.num_heads, "it must divide hidden_size, and neither may be 0");
        }
        if self.num_layers == 0 {
            return refuse("num_layers", &self.num_layers, "use at least 1");
        }
        if self.in_channels != 1 && self.in_channels != 3 {
            return refuse("in_channels", &self.in_channels, "use 1 (grey) or 3 (grey repeated)");
        }
        Ok(())
    }

    /// A randomly initialised network; call [`VitConfig::validate`] on user input first.
    pub fn init(&self, device: &Device) -> Vit {
        let d = self.hidden_size;
        let patches = (self.image_size / self.patch_size).pow(2);
        let stride = [self.patch_size, self.patch_size];
        Vit {
            cls_token: SMALL.init([1, 1, d], device),
            pos_embed: SMALL.init([1, 1 + patches, d], device),
            patch_embed: PatchEmbed {
                proj: Conv2dConfig::new([self.in_channels, d], stride).with_stride(stride).init(device),
            },
            blocks: (0..self.num_layers).map(|_| Block::new(self, device)).collect(),
            norm: new_norm(d, device),
        }
    }
}

fn new_norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(EPSILON).init(device)
}

/// A vision transformer without its classifier.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Param<Tensor<3>>,
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Conv2d,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    ls1: Option<LayerScale>,
    norm2: LayerNorm,
    mlp: Mlp,
    ls2: Option<LayerScale>,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    proj: Linear,
    num_heads: usize,
}

#[derive(Module, Debug)]
struct LayerScale {
    factor: Param<Tensor<1>>,
}

impl Vit {
    /// Features of a batch of normalised images: the class token, the patches row by row, and the attention of the last
    /// block, all after the last normalisation.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`, `H = W = image_size`; `global`: `[B, D]`; `local`: `[B, P, D]`; `attention`:
    /// `[B, N, T, T]`, rows are queries, the class token first.
    ///
    /// # Panics
    /// If the images have another size or number of channels than the network.
    pub fn forward(&self, images: Tensor<4>) -> ImageFeatures {
        let [_, in_channels, _, _] = self.patch_embed.proj.weight.dims();
        assert_shape!(images, [_, in_channels, _, _]);
        let map = self.patch_embed.proj.forward(images); // [B, D, H/p, W/p]
        let [b, d, h, w] = map.dims();
        let patches = map.reshape([b, d, h * w]).swap_dims(1, 2); // [B, P, D]
        let class = self.cls_token.val().expand([b, 1, d]);
        let mut x = Tensor::cat(vec![class, patches], 1) + self.pos_embed.val(); // [B, T, D]
        let mut attention = None;
        for block in &self.blocks {
            let (next, weights) = block.forward(x);
            (x, attention) = (next, Some(weights));
        }
        let x = layer_norm(&self.norm, EPSILON, x, None);
        let global = x.clone().narrow(1, 0, 1).reshape([b, d]);
        ImageFeatures { global, local: Some(x.narrow(1, 1, h * w)), attention }
    }
}

impl Block {
    fn new(config: &VitConfig, device: &Device) -> Self {
        let d = config.hidden_size;
        let inner = config.intermediate_size.unwrap_or(4 * d);
        let scale = || {
            let factor = config.layer_scale?;
            Some(LayerScale { factor: Initializer::Constant { value: factor }.init([d], device) })
        };
        Self {
            norm1: new_norm(d, device),
            attn: Attention {
                qkv: small_linear(d, 3 * d, device),
                proj: small_linear(d, d, device),
                num_heads: config.num_heads,
            },
            ls1: scale(),
            norm2: new_norm(d, device),
            mlp: Mlp::new(d, inner, device),
            ls2: scale(),
        }
    }

    /// `[B, T, D]` to the same and the attention weights, `[B, N, T, T]`.
    fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Tensor<4>) {
        let scaled = |scale: &Option<LayerScale>, x: Tensor<3>| match scale {
            Some(scale) => x * scale.factor.val().unsqueeze(),
            None => x,
        };
        let (attended, weights) = self.attn.forward(layer_norm(&self.norm1, EPSILON, x.clone(), None));
        let x = x + scaled(&self.ls1, attended);
        let inner = self.mlp.forward(layer_norm(&self.norm2, EPSILON, x.clone(), None));
        (x + scaled(&self.ls2, inner), weights)
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Tensor<4>) {
        let [_, _, d] = x.dims();
        // Rows of the joint weight: query, key, value, each head by head.
        let joint = linear(&self.qkv, x);
        let part = |i: usize| joint.clone().narrow(2, i * d, d);
        let rows = Rows::Padded(None);
        let weights = attention_weights(part(0), part(1), self.num_heads, &rows); // [B, N, T, T]
        (linear(&self.proj, attend(weights.clone(), part(2), &rows)), weights)
    }
}
