//! Bidirectional InfoNCE, `ConVIRT` equations 2 to 4.
//!
//! Shape letters: `B` pairs, `E` width of the joint space.

use burn::tensor::{Tensor, assert_shape};
use model::ops::log_softmax_rows;

/// Constants of the loss, as the paper has them: neither is learned.
#[derive(Debug, Clone, PartialEq)]
pub struct InfoNceConfig {
    /// Temperature; 0.1 in the paper.
    pub temperature: f64,
    /// Weight of the image-to-text direction; 0.75 in the paper.
    pub lambda: f64,
}

impl Default for InfoNceConfig {
    /// The paper's.
    fn default() -> Self {
        Self { temperature: 0.1, lambda: 0.75 }
    }
}

/// The loss and its two directions, each `[1]`.
#[derive(Debug, Clone)]
pub struct InfoNce {
    /// `lambda * image_to_text + (1 - lambda) * text_to_image`.
    pub loss: Tensor<1>,
    /// Mean of `-log p(own text | image)` over the batch.
    pub image_to_text: Tensor<1>,
    /// Mean of `-log p(own image | text)` over the batch.
    pub text_to_image: Tensor<1>,
    /// Fraction of images whose own text is the most similar one (not differentiated).
    pub accuracy: Tensor<1>,
}

/// InfoNCE over rows of unit length; row `i` of both is one pair.
///
/// With uniform similarities the loss is `ln B`; both directions are means over the batch.
///
/// # Shapes
/// `image_embeds`, `text_embeds`: `[B, E]`.
///
/// # Panics
/// If the shapes differ.
///
/// # Source
/// Zhang et al. 2022, section 3.1, equations 2, 3 and 4.
pub fn info_nce(image_embeds: Tensor<2>, text_embeds: Tensor<2>, config: &InfoNceConfig) -> InfoNce {
    let [b, e] = image_embeds.dims();
    assert_shape!(text_embeds, [b, e]);
    let similarities = image_embeds.matmul(text_embeds.transpose()); // [B, B]
    info_nce_of_logits(similarities.div_scalar(config.temperature), config.lambda)
}

/// InfoNCE over logits, `[B, B]`: entry `(i, j)` is the similarity of image `i` and text `j` by the temperature.
///
/// # Panics
/// If the logits are not square.
///
/// # Source
/// As [`info_nce`].
pub fn info_nce_of_logits(logits: Tensor<2>, lambda: f64) -> InfoNce {
    let [b, _] = logits.dims();
    assert_shape!(logits, [b, b]);
    let device = logits.device();
    let own = Tensor::<2>::eye(b, &device);
    let mean_own = |log_p: Tensor<2>| (log_p * own.clone()).sum().div_scalar(-(b as f64));
    let image_to_text = mean_own(log_softmax_rows(logits.clone()));
    let text_to_image = mean_own(log_softmax_rows(logits.clone().transpose()));
    let plain = logits.without_autodiff();
    let best = plain.clone().max_dim(1).expand([b, b]);
    let hits = plain.equal(best).float() * own.without_autodiff();
    let accuracy = hits.sum().div_scalar(b as f64);
    let loss = image_to_text.clone().mul_scalar(lambda) + text_to_image.clone().mul_scalar(1.0 - lambda);
    InfoNce { loss, image_to_text, text_to_image, accuracy }
}
