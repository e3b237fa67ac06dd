//! Layers that image encoders share.

use burn::module::{Flag, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::module::batch_norm;
use burn::tensor::{Device, Tensor};

use crate::ops::{batch_norm_train, conv2d, conv2d_affine, gelu, linear};

/// A convolution without bias, kernel `k` (odd), padding `k / 2`, initialised as torchvision does (Kaiming normal, fan
/// out, gain of a rectifier).
pub fn conv(in_channels: usize, out_channels: usize, k: usize, stride: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([in_channels, out_channels], [k, k])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(k / 2, k / 2, k / 2, k / 2))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true })
        .init(device)
}

/// Batch normalisation over `[B, C, H, W]` with `PyTorch`'s rules: the batch's biased variance normalises, its unbiased
/// variance feeds the running statistics, epsilon 1e-5, momentum 0.1.
///
/// Burn's own layer feeds the biased variance, which differs by `n / (n - 1)` with `n = B * H * W`: visible on small
/// batches of small maps. Statistics are updated only while the layer trains, that is on an autodiff device and unless
/// the module was frozen.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    /// Scale, `[C]`; absent in the plain form.
    pub weight: Option<Param<Tensor<1>>>,
    /// Shift, `[C]`; absent in the plain form.
    pub bias: Option<Param<Tensor<1>>>,
    /// Whether the layer behaves as in training when its input can be differentiated.
    pub training: Param<Flag>,
    /// Mean of past batches, `[C]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Unbiased variance of past batches, `[C]`.
    pub running_var: RunningState<Tensor<1>>,
}

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

impl BatchNorm2d {
    /// A layer with scale 1, shift 0, running mean 0 and running variance 1.
    pub fn new(num_channels: usize, device: &Device) -> Self {
        Self {
            weight: Some(Initializer::Ones.init([num_channels], device)),
            bias: Some(Initializer::Zeros.init([num_channels], device)),
            ..Self::plain(num_channels, device)
        }
    }

    /// A layer that normalises and nothing more: without scale and shift.
    pub fn plain(num_channels: usize, device: &Device) -> Self {
        Self {
            weight: None,
            bias: None,
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([num_channels], device)),
            running_var: RunningState::new(Tensor::ones([num_channels], device)),
        }
    }

    /// Normalises each channel.
    ///
    /// # Shapes
    /// `[B, C, H, W]` to `[B, C, H, W]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_with(x, None, false)
    }

    /// Normalises each channel of rows, and rectifies if asked to.
    ///
    /// # Shapes
    /// `[R, C]` to `[R, C]`.
    pub fn forward_rows(&self, x: Tensor<2>, rectify: bool) -> Tensor<2> {
        let [r, c] = x.dims();
        self.forward_with(x.reshape([r, c, 1, 1]), None, rectify).reshape([r, c])
    }

    /// Whether this layer normalises `x` by its own statistics.
    fn trains(&self, x: &Tensor<4>) -> bool {
        x.device().is_autodiff() && self.training.is_enabled()
    }

    /// Scale and shift, 1 and 0 in the plain form.
    fn affine(&self, channels: usize, device: &Device) -> [Tensor<1>; 2] {
        let constant = |value: f64| Tensor::full([channels], value, device);
        let weight = self.weight.as_ref().map_or_else(|| constant(1.0), Param::val);
        [weight, self.bias.as_ref().map_or_else(|| constant(0.0), Param::val)]
    }

    /// Normalises, adds a shortcut, rectifies.
    fn forward_with(&self, x: Tensor<4>, shortcut: Option<Tensor<4>>, rectify: bool) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let [weight, bias] = self.affine(c, &x.device());
        if !self.trains(&x) {
            let (mean, var) = (self.running_mean.value_sync(), self.running_var.value_sync());
            let y = batch_norm(x, weight, bias, mean, var, EPSILON);
            let y = match shortcut {
                Some(shortcut) => y + shortcut,
                None => y,
            };
            return if rectify { relu(y) } else { y };
        }
        let n = (b * h * w) as f64;
        let unbiased = n / (n - 1.0).max(1.0);
        let result = batch_norm_train(x, [weight, bias], shortcut, rectify, EPSILON);
        let blend = |old: Tensor<1>, new: Tensor<1>, factor: f64| {
            (old.mul_scalar(1.0 - MOMENTUM) + new.detach().mul_scalar(MOMENTUM * factor)).detach()
        };
        self.running_mean.update(blend(self.running_mean.value_sync(), result.mean, 1.0));
        self.running_var.update(blend(self.running_var.value_sync(), result.variance, unbiased));
        result.output
    }
}

/// A convolution of [`conv`], its normalisation, the sum with a shortcut and a rectifier.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, O, H', W']`; `shortcut` has the shape of the result.
pub fn conv_norm(
    conv: &Conv2d,
    bn: &BatchNorm2d,
    x: Tensor<4>,
    shortcut: Option<Tensor<4>>,
    rectify: bool,
) -> Tensor<4> {
    let weight = conv.weight.val();
    let [out, _, k, _] = weight.dims();
    let [stride, _] = conv.stride;
    if x.device().is_autodiff() {
        return bn.forward_with(conv2d(x, weight, stride, k / 2), shortcut, rectify);
    }
    // Statistics are fixed: what they do is one factor and one summand for each channel.
    let [weight_bn, bias] = bn.affine(out, &x.device());
    let scale = weight_bn / bn.running_var.value_sync().add_scalar(EPSILON).sqrt();
    let shift = bias - bn.running_mean.value_sync() * scale.clone();
    conv2d_affine(x, weight, [stride, k / 2], [scale, shift], shortcut, rectify)
}

/// How transformers begin: normal with a deviation of 0.02, as in timm.
pub const SMALL: Initializer = Initializer::Normal { mean: 0.0, std: 0.02 };

/// A linear layer with small weights and a bias of zero.
pub fn small_linear(input: usize, output: usize, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(input, output).with_initializer(SMALL).init(device);
    layer.bias = Some(Initializer::Zeros.init([output], device));
    layer
}

/// The feed-forward half of a transformer block in timm's names: linear, exact GELU, linear.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// A layer of width `d` with `inner` hidden units.
    pub fn new(d: usize, inner: usize, device: &Device) -> Self {
        Self { fc1: small_linear(d, inner, device), fc2: small_linear(inner, d, device) }
    }

    /// Acts on the last axis.
    ///
    /// # Shapes
    /// `[B, T, D]` to `[B, T, D]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        linear(&self.fc2, gelu(linear(&self.fc1, x)))
    }
}
