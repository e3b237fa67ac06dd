//! Alignment at the level of diseases: an image and its report belong to the same prototypes (`MGCA`'s CPA).
//!
//! Shape letters: `B` pairs, `E` width of the joint space, `K` prototypes.

use burn::tensor::{Tensor, assert_shape};
use model::ops::log_softmax_rows;

use super::sinkhorn::sinkhorn;

/// Constants of the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct PrototypeConfig {
    /// Temperature of the predictions.
    pub temperature: f64,
    /// Entropy of the assignments: small is sharp.
    pub epsilon: f64,
    /// Rounds of the assignment.
    pub iterations: usize,
}

/// The loss and what it says of the prototypes, each `[1]`.
#[derive(Debug, Clone)]
pub struct PrototypeLoss {
    /// Mean of both swapped predictions.
    pub loss: Tensor<1>,
    /// Entropy of the mean assignment of the batch, 1 where all prototypes are used alike, 0 where one is.
    pub usage_entropy: Tensor<1>,
    /// Fraction of pairs whose image and report have the same largest prototype.
    pub agreement: Tensor<1>,
}

/// Predicts the prototypes of a report from its image and those of an image from its report.
///
/// # Shapes
/// `image_embeds`, `text_embeds`: `[B, E]`; `prototypes`: `[K, E]`; all rows of unit length.
///
/// # Panics
/// If the shapes do not fit.
///
/// # Source
/// Wang et al. 2022, section 3.3, equations 7 to 9.
pub fn prototype_loss(
    image_embeds: Tensor<2>,
    text_embeds: Tensor<2>,
    prototypes: Tensor<2>,
    config: &PrototypeConfig,
) -> PrototypeLoss {
    let ([b, e], [k, _]) = (image_embeds.dims(), prototypes.dims());
    assert_shape!(text_embeds, [b, e]);
    assert_shape!(prototypes, [k, e]);
    let prototypes = prototypes.transpose(); // [E, K]
    let (image, text) = (image_embeds.matmul(prototypes.clone()), text_embeds.matmul(prototypes)); // [B, K]
    let codes = |similarities: &Tensor<2>| sinkhorn(similarities.clone(), config.epsilon, config.iterations);
    let (image_codes, text_codes) = (codes(&image), codes(&text));
    let swapped = |similarities: Tensor<2>, codes: &Tensor<2>| {
        let log_p = log_softmax_rows(similarities.div_scalar(config.temperature));
        let codes = if log_p.is_autodiff() { codes.clone().autodiff() } else { codes.clone() };
        (log_p * codes).sum().div_scalar(-(b as f64))
    };
    let loss = (swapped(image, &text_codes) + swapped(text, &image_codes)).mul_scalar(0.5);
    let usage = (image_codes.clone() + text_codes.clone()).mean_dim(0).mul_scalar(0.5); // [1, K]
    let entropy = (usage.clone() * usage.clamp_min(1e-30).log()).sum().div_scalar(-(k.max(2) as f64).ln());
    let same = image_codes.argmax(1).equal(text_codes.argmax(1)).float().mean();
    PrototypeLoss { loss, usage_entropy: entropy, agreement: same }
}
