//! Residual networks in torchvision's layout and key names (stride 2 sits in the 3x3 convolution of a bottleneck).
//!
//! He et al., "Deep residual learning for image recognition", 2016; torchvision `models/resnet.py`. Depth and width are
//! configuration: 18 = basic `[2,2,2,2]`, 34 = basic `[3,4,6,3]`, 50 = bottleneck `[3,4,6,3]`, 101 = `[3,4,23,3]`,
//! 152 = `[3,8,36,3]`.
//!
//! Shape letters: `B` batch, `C` channels, `H`/`W` pixels, `D` width of the global feature.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};

use super::layers::{BatchNorm2d, conv, conv_norm};
use super::{Cells, ImageFeatures};
use crate::Result;
use crate::error::bad_config;
use crate::ops::{fork, max_pool_halve, resize_bilinear};

/// Kind of residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1 with four times the width at the end.
    Bottleneck,
}

impl BlockKind {
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// Architecture of a [`ResNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Kind of block.
    pub block: BlockKind,
    /// Blocks in each of the four stages.
    pub stages: [usize; 4],
    /// Channels of the stem and of the first stage; doubled at each later stage. torchvision: 64.
    #[serde(default = "default_width")]
    pub width: usize,
    /// Channels of the input: 3 with `ImageNet` weights, 1 for grey images.
    #[serde(default = "default_in_channels")]
    pub in_channels: usize,
    /// Stage, 1 to 4, whose map gives the local features (MGCA: 3); absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_stage: Option<usize>,
    /// Whether local features tell where they are: two more channels with column and row, from -1 to 1 (Liu et al., "An
    /// intriguing failing of convolutional neural networks and the `CoordConv` solution", 2018). A convolution knows no side of
    /// the patient, and would have to look for it elsewhere in the image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local_position: bool,
    /// Side (px) to which images are enlarged inside the network, corners on corners (`MGCA` and `GLoRIA`: 299).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsample: Option<usize>,
}

fn default_width() -> usize {
    64
}

fn default_in_channels() -> usize {
    3
}

impl ResNetConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        if self.stages.contains(&0) {
            return Err(bad_config("resnet", "stages", &format!("{:?}", self.stages), "every stage needs a block"));
        }
        if self.width == 0 || self.width > 1024 {
            return Err(bad_config("resnet", "width", &self.width, "use 1 to 1024"));
        }
        if self.in_channels != 1 && self.in_channels != 3 {
            return Err(bad_config("resnet", "in_channels", &self.in_channels, "use 1 (grey) or 3 (grey repeated)"));
        }
        if self.local_stage.is_some_and(|stage| !(1..=4).contains(&stage)) {
            return Err(bad_config("resnet", "local_stage", &format!("{:?}", self.local_stage), "use 1 to 4"));
        }
        if self.local_position && self.local_stage.is_none() {
            let why = "only local features have a position: set local_stage, or leave it out";
            return Err(bad_config("resnet", "local_position", &true, why));
        }
        if let Some(size) = self.upsample.filter(|size| !(32..=4096).contains(size)) {
            return Err(bad_config("resnet", "upsample", &size, "use 32 to 4096"));
        }
        Ok(())
    }

    /// Width `D` of the global feature.
    pub fn feature_size(&self) -> usize {
        self.width * 8 * self.block.expansion()
    }

    /// Width of local features; nothing where no stage is named for them.
    pub fn local_size(&self) -> Option<usize> {
        let position = if self.local_position { 2 } else { 0 };
        self.local_stage.map(|stage| (self.width << (stage - 1)) * self.block.expansion() + position)
    }

    /// Where the local features of images of `image_size` pixels lie. A stage that halves the resolution keeps every other
    /// position, so that the first stays in the corner: positions are corners of tiles, not their middles.
    pub(super) fn cells(&self, image_size: usize) -> Option<Cells> {
        let pixels = 2_usize.pow(u32::try_from(self.local_stage?).ok()? + 1) as f64;
        // Enlarged corners on corners, pixels of the image are that much nearer to each other.
        let size = image_size.max(2) as f64;
        let shrink = self.upsample.map_or(1.0, |enlarged| (size - 1.0) / (enlarged - 1) as f64);
        Some(Cells { first: 0.5 / size, step: pixels * shrink / size })
    }

    /// A randomly initialised network; call [`ResNetConfig::validate`] on user input first.
    pub fn init(&self, device: &Device) -> ResNet {
        let mut channels = self.width;
        let mut stage = |index: usize| -> Vec<Block> {
            let planes = self.width << index;
            (0..self.stages[index])
                .map(|i| {
                    let stride = if i == 0 && index > 0 { 2 } else { 1 };
                    let block = Block::new(self.block, channels, planes, stride, device);
                    channels = planes * self.block.expansion();
                    block
                })
                .collect()
        };
        ResNet {
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            conv1: conv(self.in_channels, self.width, 7, 2, device),
            bn1: BatchNorm2d::new(self.width, device),
            local_stage: self.local_stage,
            local_position: self.local_position,
            upsample: self.upsample,
        }
    }
}

/// A residual network without its classifier.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    #[module(skip)]
    local_stage: Option<usize>,
    #[module(skip)]
    local_position: bool,
    #[module(skip)]
    upsample: Option<usize>,
}

impl ResNet {
    /// Features of a batch of normalised images: the last feature map averaged over its positions, and the positions of
    /// the map of `local_stage`.
    ///
    /// # Shapes
    /// `images`: `[B, C, H, W]`, `H` and `W` at least 32; `global`: `[B, D]`; `local`: `[B, M, L]`, positions row by row
    /// (stage 3 of width 64: `M = H/16 * W/16`, rounded up, and `L = 1024` with bottlenecks).
    ///
    /// # Panics
    /// If `C` is not the configured number of channels.
    pub fn forward(&self, images: Tensor<4>) -> ImageFeatures {
        let [_, in_channels, _, _] = self.conv1.weight.dims();
        assert_shape!(images, [_, in_channels, _, _]);
        let images = match self.upsample {
            Some(size) => resize_bilinear(images, size),
            None => images,
        };
        let mut x = max_pool_halve(conv_norm(&self.conv1, &self.bn1, images, None, true));
        let mut local = None;
        for (stage, number) in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().zip(1..) {
            for block in stage {
                x = block.forward(x);
            }
            if self.local_stage == Some(number) {
                let map = if self.local_position { with_position(x.clone()) } else { x.clone() };
                let [b, l, h, w] = map.dims();
                local = Some(map.reshape([b, l, h * w]).swap_dims(1, 2)); // [B, M, L]
            }
        }
        let [b, d, h, w] = x.dims();
        let global = x.reshape([b, d, h * w]).mean_dim(2).reshape([b, d]); // [B, D]
        ImageFeatures { global, local, attention: None }
    }
}

/// A map with two more channels, column and row from -1 to 1; `[B, C, H, W]` to `[B, C + 2, H, W]`.
fn with_position(map: Tensor<4>) -> Tensor<4> {
    let [b, _, h, w] = map.dims();
    let device = map.device();
    let along = |n: usize| {
        let step = 2.0 / n.saturating_sub(1).max(1) as f32;
        let places: Vec<f32> = (0..n).map(|i| i as f32 * step - 1.0).collect();
        Tensor::<1>::from_data(TensorData::new(places, [n]), &device)
    };
    let column = along(w).reshape([1, 1, 1, w]).expand([b, 1, h, w]);
    let row = along(h).reshape([1, 1, h, 1]).expand([b, 1, h, w]);
    Tensor::cat(vec![map, column, row], 1)
}

/// A residual block; `conv3` and `bn3` exist in bottlenecks alone.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm2d>,
    downsample: Option<(Conv2d, BatchNorm2d)>,
}

impl Block {
    fn new(kind: BlockKind, in_channels: usize, planes: usize, stride: usize, device: &Device) -> Self {
        let out_channels = planes * kind.expansion();
        let shortcut = stride != 1 || in_channels != out_channels;
        let downsample = shortcut
            .then(|| (conv(in_channels, out_channels, 1, stride, device), BatchNorm2d::new(out_channels, device)));
        let bn = |channels| BatchNorm2d::new(channels, device);
        match kind {
            BlockKind::Basic => Self {
                conv1: conv(in_channels, planes, 3, stride, device),
                bn1: bn(planes),
                conv2: conv(planes, planes, 3, 1, device),
                bn2: bn(planes),
                conv3: None,
                bn3: None,
                downsample,
            },
            BlockKind::Bottleneck => Self {
                conv1: conv(in_channels, planes, 1, 1, device),
                bn1: bn(planes),
                conv2: conv(planes, planes, 3, stride, device),
                bn2: bn(planes),
                conv3: Some(conv(planes, out_channels, 1, 1, device)),
                bn3: Some(bn(out_channels)),
                downsample,
            },
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (x, around) = fork(x);
        let shortcut = match &self.downsample {
            Some((conv, bn)) => conv_norm(conv, bn, around, None, false),
            None => around,
        };
        let y = conv_norm(&self.conv1, &self.bn1, x, None, true);
        let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) else {
            return conv_norm(&self.conv2, &self.bn2, y, Some(shortcut), true);
        };
        let y = conv_norm(&self.conv2, &self.bn2, y, None, true);
        conv_norm(conv3, bn3, y, Some(shortcut), true)
    }
}
