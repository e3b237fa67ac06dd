//! Swin transformers in timm's layout and key names (0.9 and later: a stage begins with its merging of patches).
//!
//! Liu et al., "Swin transformer", 2021; timm `models/swin_transformer.py`: attention in windows, which every second block
//! shifts by half a window; learned biases by relative position; exact GELU; `LayerNorm` epsilon 1e-5. Swin-T: width 96,
//! blocks `[2,2,6,2]`, heads `[3,6,12,24]`, windows of 7.
//!
//! Shape letters: `B` batch, `C` channels, `H`/`W` rows and columns of patches, `D` width of a stage, `N` heads, `S` side of a
//! window, `K` windows of an image.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};

use super::ImageFeatures;
use super::layers::{Mlp, SMALL, small_linear};
use crate::Result;
use crate::error::bad_config;
use crate::ops::{layer_norm, linear};

const EPSILON: f64 = 1e-5;
/// What is added where two patches of a shifted window are no neighbours.
const APART: f32 = -100.0;

/// Architecture of a [`Swin`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwinConfig {
    /// Side of the input (px).
    #[serde(default = "SwinConfig::tiny_image_size")]
    pub image_size: usize,
    /// Side of a patch (px).
    #[serde(default = "SwinConfig::tiny_patch_size")]
    pub patch_size: usize,
    /// Width of the first stage; doubled at each later one.
    #[serde(default = "SwinConfig::tiny_width")]
    pub width: usize,
    /// Blocks of each stage.
    #[serde(default = "SwinConfig::tiny_stages")]
    pub stages: Vec<usize>,
    /// Attention heads of each stage; each divides the width of its stage.
    #[serde(default = "SwinConfig::tiny_heads")]
    pub heads: Vec<usize>,
    /// Side of a window (patches); stages that are smaller are one window.
    #[serde(default = "SwinConfig::tiny_window_size")]
    pub window_size: usize,
    /// Channels of the input: 3 with published weights, 1 for grey images.
    #[serde(default = "SwinConfig::tiny_in_channels")]
    pub in_channels: usize,
}

impl SwinConfig {
    fn tiny_image_size() -> usize {
        224
    }

    fn tiny_patch_size() -> usize {
        4
    }

    fn tiny_width() -> usize {
        96
    }

    fn tiny_stages() -> Vec<usize> {
        vec![2, 2, 6, 2]
    }

    fn tiny_heads() -> Vec<usize> {
        vec![3, 6, 12, 24]
    }

    fn tiny_window_size() -> usize {
        7
    }

    fn tiny_in_channels() -> usize {
        3
    }

    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, value: &dyn ToString, why| Err(bad_config("swin", field, value, why));
        if self.stages.is_empty() || self.stages.contains(&0) || self.stages.len() > 8 {
            return refuse("stages", &format!("{:?}", self.stages), "use 1 to 8 stages of at least 1 block");
        }
        let widths = (0..self.stages.len()).map(|stage| self.width << stage);
        let fits = self.heads.len() == self.stages.len()
            && self.width > 0
            && self.heads.iter().zip(widths).all(|(heads, width)| *heads > 0 && width.is_multiple_of(*heads));
        if !fits {
            let why = "give a number for each stage that divides its width";
            return refuse("heads", &format!("{:?}", self.heads), why);
        }
        if self.patch_size == 0 || self.window_size == 0 {
            return refuse("window_size", &self.window_size, "neither it nor patch_size may be 0");
        }
        let whole = |stage: usize| {
            let unit = self.patch_size << stage;
            let side = self.image_size / unit;
            self.image_size.is_multiple_of(unit) && side > 0 && side.is_multiple_of(self.window_size.min(side))
        };
        if !(0..self.stages.len()).all(whole) {
            return refuse("image_size", &self.image_size, "every stage must divide into whole windows");
        }
        if self.in_channels != 1 && self.in_channels != 3 {
            return refuse("in_channels", &self.in_channels, "use 1 (grey) or 3 (grey repeated)");
        }
        Ok(())
    }

    /// Width `D` of the features.
    pub fn feature_size(&self) -> usize {
        self.width << (self.stages.len() - 1)
    }

    /// A randomly initialised network; call [`SwinConfig::validate`] on user input first.
    pub fn init(&self, device: &Device) -> Swin {
        let stride = [self.patch_size, self.patch_size];
        let stage = |index: usize| {
            let width = self.width << index;
            let side = (self.image_size / self.patch_size) >> index;
            let window = self.window_size.min(side);
            let shift = |block: usize| if block % 2 == 1 && window < side { window / 2 } else { 0 };
            Stage {
                downsample: (index > 0).then(|| PatchMerging::new(width / 2, device)),
                blocks: (0..self.stages[index])
                    .map(|block| {
                        let windows = Windows { side: window, shift: shift(block) };
                        Block::new(width, self.heads[index], windows, device)
                    })
                    .collect(),
            }
        };
        Swin {
            patch_embed: PatchEmbed {
                proj: Conv2dConfig::new([self.in_channels, self.width], stride).with_stride(stride).init(device),
                norm: new_norm(self.width, device),
            },
            layers: (0..self.stages.len()).map(stage).collect(),
            norm: new_norm(self.feature_size(), device),
        }
    }
}

fn new_norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(EPSILON).init(device)
}

/// A Swin transformer without its classifier.
#[derive(Module, Debug)]
pub struct Swin {
    patch_embed: PatchEmbed,
    layers: Vec<Stage>,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Conv2d,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Stage {
    downsample: Option<PatchMerging>,
    blocks: Vec<Block>,
}

#[derive(Module, Debug)]
struct PatchMerging {
    norm: LayerNorm,
    reduction: Linear,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn: WindowAttention,
    norm2: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    windows: Windows,
}

#[derive(Module, Debug)]
struct WindowAttention {
    relative_position_bias_table: Param<Tensor<2>>,
    qkv: Linear,
    proj: Linear,
    num_heads: usize,
}

/// How a block divides its map.
#[derive(Debug, Clone, Copy)]
struct Windows {
    /// Side of a window.
    side: usize,
    /// Rows and columns by which the map is moved first.
    shift: usize,
}

impl Swin {
    /// Features of a batch of normalised images: the last map after its normalisation, row by row, and its mean.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`; `global`: `[B, D]`; `local`: `[B, M, D]`.
    ///
    /// # Panics
    /// If the images have another size or number of channels than the network.
    pub fn forward(&self, images: Tensor<4>) -> ImageFeatures {
        let [_, in_channels, _, _] = self.patch_embed.proj.weight.dims();
        assert_shape!(images, [_, in_channels, _, _]);
        let map = self.patch_embed.proj.forward(images).permute([0, 2, 3, 1]); // [B, H, W, D]
        let mut x = layer_norm(&self.patch_embed.norm, EPSILON, map, None);
        for stage in &self.layers {
            if let Some(merge) = &stage.downsample {
                x = merge.forward(x);
            }
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x));
        }
        let [b, h, w, d] = x.dims();
        let local = layer_norm(&self.norm, EPSILON, x.reshape([b, h * w, d]), None); // [B, M, D]
        let global = local.clone().mean_dim(1).reshape([b, d]);
        ImageFeatures { global, local: Some(local), attention: None }
    }
}

impl PatchMerging {
    fn new(width: usize, device: &Device) -> Self {
        let reduction = LinearConfig::new(4 * width, 2 * width).with_bias(false).with_initializer(SMALL).init(device);
        Self { norm: new_norm(4 * width, device), reduction }
    }

    /// Four neighbours side by side: `[B, H, W, D]` to `[B, H/2, W/2, 2 D]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, d] = x.dims();
        // Column parity outside, row parity inside, as timm and Hugging Face have it.
        let quads = x.reshape([b, h / 2, 2, w / 2, 2, d]).permute([0, 1, 3, 4, 2, 5]);
        self.reduction.forward(layer_norm(&self.norm, EPSILON, quads.reshape([b, h / 2, w / 2, 4 * d]), None))
    }
}

impl Block {
    fn new(width: usize, num_heads: usize, windows: Windows, device: &Device) -> Self {
        let offsets = (2 * windows.side - 1).pow(2);
        Self {
            norm1: new_norm(width, device),
            attn: WindowAttention {
                relative_position_bias_table: SMALL.init([offsets, num_heads], device),
                qkv: small_linear(width, 3 * width, device),
                proj: small_linear(width, width, device),
                num_heads,
            },
            norm2: new_norm(width, device),
            mlp: Mlp::new(width, 4 * width, device),
            windows,
        }
    }

    /// `[B, H, W, D]` to the same.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, d] = x.dims();
        let Windows { side, shift } = self.windows;
        let moved = roll(layer_norm(&self.norm1, EPSILON, x.clone(), None), h - shift, w - shift);
        let attended = self.attn.forward(partition(moved, side), self.windows, h, w);
        let x = x + roll(join(attended, side, [b, h, w, d]), shift, shift);
        let tokens = x.reshape([b, h * w, d]);
        let inner = self.mlp.forward(layer_norm(&self.norm2, EPSILON, tokens.clone(), None));
        (tokens + inner).reshape([b, h, w, d])
    }
}

/// Moves a map `[B, H, W, D]` down and to the right; what leaves at one side comes in at the other.
fn roll(x: Tensor<4>, rows: usize, columns: usize) -> Tensor<4> {
    let turn = |x: Tensor<4>, axis: usize, by: usize| {
        let size = x.dims()[axis];
        match by % size {
            0 => x,
            by => Tensor::cat(vec![x.clone().narrow(axis, size - by, by), x.narrow(axis, 0, size - by)], axis),
        }
    };
    turn(turn(x, 1, rows), 2, columns)
}

/// `[B, H, W, D]` to windows, `[B * K, S * S, D]`.
fn partition(x: Tensor<4>, side: usize) -> Tensor<3> {
    let [b, h, w, d] = x.dims();
    let windows = x.reshape([b, h / side, side, w / side, side, d]).swap_dims(2, 3);
    windows.reshape([b * (h / side) * (w / side), side * side, d])
}

/// The inverse of [`partition`].
fn join(windows: Tensor<3>, side: usize, [b, h, w, d]: [usize; 4]) -> Tensor<4> {
    windows.reshape([b, h / side, w / side, side, side, d]).swap_dims(2, 3).reshape([b, h, w, d])
}

impl WindowAttention {
    /// Attention within windows, `[B * K, S * S, D]` to the same, of maps of `h` by `w` patches.
    fn forward(&self, x: Tensor<3>, windows: Windows, h: usize, w: usize) -> Tensor<3> {
        let [count, t, d] = x.dims();
        let n = self.num_heads;
        let device = x.device();
        let joint = linear(&self.qkv, x);
        let part = |i: usize| joint.clone().narrow(2, i * d, d).reshape([count, t, n, d / n]).swap_dims(1, 2);
        let (query, key, value) = (part(0), part(1), part(2)); // [B K, N, S S, D/N]
        let scale = 1.0 / ((d / n) as f64).sqrt();
        let scores = query.matmul(key.swap_dims(2, 3)).mul_scalar(scale) + self.bias(windows.side, &device);
        let scores = if windows.shift == 0 {
            scores
        } else {
            let mask = windows.mask(h, w);
            let k = mask.len() / (t * t);
            let mask = Tensor::<5>::from_data(TensorData::new(mask, [1, k, 1, t, t]), &device);
            (scores.reshape([count / k, k, n, t, t]) + mask).reshape([count, n, t, t])
        };
        let context = softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([count, t, d]);
        linear(&self.proj, context)
    }

    /// Bias of each pair of places in a window, `[1, N, S S, S S]`.
    fn bias(&self, side: usize, device: &Device) -> Tensor<4> {
        let t = side * side;
        let places: Vec<i32> = relative_offsets(side);
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [t * t]), device);
        let bias = self.relative_position_bias_table.val().select(0, places); // [S S S S, N]
        bias.reshape([t, t, self.num_heads]).permute([2, 0, 1]).unsqueeze()
    }
}

/// Row of the table of biases for each pair of places in a window of a given side, row by row.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a table has few rows")]
pub(crate) fn relative_offsets(side: usize) -> Vec<i32> {
    let t = side * side;
    let pair = |i: usize, j: usize| {
        let (rows, columns) = (i / side + side - 1 - j / side, i % side + side - 1 - j % side);
        (rows * (2 * side - 1) + columns) as i32
    };
    (0..t).flat_map(|i| (0..t).map(move |j| pair(i, j))).collect()
}

impl Windows {
    /// 0 where two places of a window lie in one part of the map that was moved, [`APART`] elsewhere; `K * S^4` values.
    fn mask(self, h: usize, w: usize) -> Vec<f32> {
        let Self { side, shift } = self;
        // The last window is made of three strips: before, within and behind the seam.
        let strip = |place: usize, size: usize| match place {
            _ if place < size - side => 0,
            _ if place < size - shift => 1,
            _ => 2,
        };
        let part = |window: usize, place: usize| {
            let (top, left) = (window / (w / side) * side, window % (w / side) * side);
            (strip(top + place / side, h), strip(left + place % side, w))
        };
        let t = side * side;
        let count = (h / side) * (w / side);
        let mut mask = Vec::with_capacity(count * t * t);
        for window in 0..count {
            for i in 0..t {
                mask.extend((0..t).map(|j| if part(window, i) == part(window, j) { 0.0 } else { APART }));
            }
        }
        mask
    }
}
