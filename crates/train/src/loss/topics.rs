//! The error of predicted topics: what an image or a sentence tells of its report, beside what the report says.
//!
//! Shape letters: `B` studies, `S` rows per study, `K` topics.

use burn::tensor::Tensor;

/// Mean squared difference of predicted topics and those of the report, `[1]`.
///
/// # Shapes
/// `predicted`: `[B * S, K]`, the rows of a study in a row; `target`: `[B, K]`.
pub fn topic_error(predicted: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let [b, k] = target.dims();
    let [rows, _] = predicted.dims();
    (predicted.reshape([b, rows / b, k]) - target.reshape([b, 1, k])).square().mean()
}
