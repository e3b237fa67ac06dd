//! Operations that Burn lacks, defines otherwise than `PyTorch`, or does slowly on the CPU.
//!
//! Each has a body of plain tensors, which is the reference and runs on every device. Those that decide how long a step takes
//! have one for the CPU beside it, with its own way back: fused, with channels last in memory, and as few and large matrix
//! products as there are. Tests compare the two, forward and gradient; [`set_fused`] turns the second off.

mod attention;
mod batch_norm;
mod channels_last;
mod chunks;
mod conv;
mod cpu;
mod dropout;
mod fork;
mod gelu;
mod layer_norm;
mod linear;
mod max_pool;
mod memory;
mod packing;
mod resize;
#[cfg(test)]
mod tests;

use burn::tensor::{Tensor, assert_shape};

pub use attention::{MASKED, Rows, attend, attention_weights};
pub use batch_norm::{BatchNormed, batch_norm_train};
pub use chunks::sum_in_chunks;
pub use conv::{conv2d, conv2d_affine};
pub use cpu::{keep_memory, set_fused};
pub use dropout::dropout;
pub use fork::fork;
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use linear::{affine, linear};
pub use max_pool::max_pool_halve;
pub use memory::{Counted, allocator_bytes, count_memory, live_bytes, take_peak_bytes};
pub use packing::Packing;
pub use resize::resize_bilinear;

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
