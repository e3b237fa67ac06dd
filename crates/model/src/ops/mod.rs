//! Operations that Burn lacks or defines otherwise than `PyTorch`, written in plain tensors.
//!
//! A body here is the reference: it runs on every device. Kernels for one backend may be put beside it later and are
//! compared with it.

mod chunks;
mod resize;

use burn::tensor::{Tensor, assert_shape, s};

pub use chunks::sum_in_chunks;
pub use resize::resize_bilinear;

/// GELU with the error function, `x * Phi(x)`, any shape.
///
/// Burn's own operation differentiates the tanh approximation on backends that do not override its backward pass; composed
/// from `erf` the gradient is exact everywhere, as in `PyTorch`'s default.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let phi = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    x * phi
}

/// Rows scaled to unit length, `x / max(|x|, 1e-12)`, as `torch.nn.functional.normalize`.
///
/// # Shapes
/// `[B, E]` to `[B, E]`.
pub fn l2_normalize(x: Tensor<2>) -> Tensor<2> {
    // The clamp acts on the square, where the root's gradient at zero would otherwise be infinite.
    let norm = x.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    x / norm
}

/// Mean cosine of different rows of unit length, `[1]`, without a gradient: 1 where all rows are one, about 0 where they
/// point everywhere; 0 for a single row.
///
/// # Shapes
/// `[B, E]` to `[1]`.
pub fn mean_similarity(rows: Tensor<2>) -> Tensor<1> {
    let b = rows.dims()[0] as f64;
    // The squared length of the sum holds every pair twice and every row with itself once.
    let all = rows.without_autodiff().sum_dim(0).square().sum();
    (all - b).div_scalar((b * (b - 1.0)).max(1.0))
}

/// Row-wise log-softmax composed of maximum, exponential and sum: one definition for every device.
///
/// # Shapes
/// `[R, K]` to `[R, K]`.
pub fn log_softmax_rows(logits: Tensor<2>) -> Tensor<2> {
    let max = logits.clone().detach().max_dim(1);
    let shifted = logits - max;
    let log_sum = shifted.clone().exp().sum_dim(1).log();
    shifted - log_sum
}

/// Binary cross-entropy of logits: the mean over labelled entries of `max(x, 0) - x y + ln(1 + exp(-|x|))`, `[1]`; 0 where nothing is labelled.
///
/// # Shapes
/// `logits`, `targets` (0 or 1), `labelled` (0 or 1): `[B, K]`.
///
/// # Panics
/// If the shapes differ.
pub fn bce_with_logits(logits: Tensor<2>, targets: Tensor<2>, labelled: Tensor<2>) -> Tensor<1> {
    let [b, k] = logits.dims();
    assert_shape!(targets, [b, k]);
    assert_shape!(labelled, [b, k]);
    let magnitude = logits.clone().abs();
    // Half of `x + |x|` is `max(x, 0)` with the gradient 1/2 at zero, which makes that of the sum `sigmoid(0) - y`.
    let positive = (logits.clone() + magnitude.clone()).mul_scalar(0.5);
    let entry = positive - logits * targets + magnitude.neg().exp().add_scalar(1.0).log();
    let count = labelled.clone().sum().clamp_min(1.0);
    (entry * labelled).sum() / count
}

/// Cross-entropy of logits with one right class in each row: the mean of `-log_softmax(x)` at it, `[1]`; rows without one do
/// not count.
///
/// # Shapes
/// `logits`, `targets` (1 at the right class, else 0): `[B, K]`.
///
/// # Panics
/// If the shapes differ.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let [b, k] = logits.dims();
    assert_shape!(targets, [b, k]);
    let count = targets.clone().sum().clamp_min(1.0);
    (log_softmax_rows(logits) * targets).sum().neg() / count
}

/// A convolution as one matrix product, for inputs of one channel: windows of the input become columns.
///
/// Burn's CPU backend unfolds such an input value by value, which made the stem half of a training step.
///
/// # Shapes
/// `x`: `[B, 1, H, W]`; `weight`: `[O, 1, k, k]`, `k` odd, padding `k / 2`; the result: `[B, O, H', W']`.
pub fn conv2d_one_channel(x: Tensor<4>, weight: Tensor<4>, stride: usize) -> Tensor<4> {
    let [b, _, h, w] = x.dims();
    let [out, _, k, _] = weight.dims();
    let (rows, columns) = ((h - 1) / stride + 1, (w - 1) / stride + 1);
    let (pad, tracked) = (k / 2, x.is_autodiff() && x.is_tracked());
    // An input without a gradient is unfolded outside of the graph.
    let (plain, autodiff) = if tracked { (x, false) } else { (x.clone().without_autodiff(), x.is_autodiff()) };
    let padded = plain.pad((pad, pad, pad, pad), 0.0);
    let shifted = |i: usize| {
        let (top, left) = (i / k, i % k);
        padded.clone().slice(s![
            ..,
            ..,
            top..top + (rows - 1) * stride + 1;stride,
            left..left + (columns - 1) * stride + 1;stride
        ])
    };
    let windows = Tensor::cat((0..k * k).map(shifted).collect(), 1).reshape([b, k * k, rows * columns]);
    let windows = if autodiff { windows.autodiff() } else { windows };
    weight.reshape([1, out, k * k]).matmul(windows).reshape([b, out, rows, columns])
}
