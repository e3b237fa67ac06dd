//! Soft assignment of samples to prototypes that uses all prototypes alike (Sinkhorn-Knopp).
//!
//! Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", 2020, section 3.2.
//!
//! Shape letters: `B` samples, `K` prototypes.

use burn::tensor::Tensor;

/// Share of each prototype in each sample; every row sums to 1. Not differentiated.
///
/// Alternately the prototypes get equal shares of the batch and the samples get equal shares of the whole. All of it in
/// logarithms, so that no similarity overflows.
///
/// # Shapes
/// `similarities`: `[B, K]`, cosines; the result: `[B, K]`.
///
/// # Source
/// `methods.md` 2.5, CPA, step 3.
pub fn sinkhorn(similarities: Tensor<2>, epsilon: f64, iterations: usize) -> Tensor<2> {
    let mut log_q = similarities.without_autodiff().div_scalar(epsilon);
    for _ in 0..iterations {
        log_q = log_q.clone() - log_sum_exp(log_q, 0);
        log_q = log_q.clone() - log_sum_exp(log_q, 1);
    }
    (log_q.clone() - log_sum_exp(log_q, 1)).exp()
}

/// Logarithm of the sum of exponentials along an axis, which is kept with size 1.
fn log_sum_exp(x: Tensor<2>, axis: usize) -> Tensor<2> {
    let max = x.clone().max_dim(axis);
    (x - max.clone()).exp().sum_dim(axis).log() + max
}
