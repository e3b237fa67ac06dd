//! Contrast with soft targets: an image agrees with every text as far as their labels do (`MedCLIP`'s semantic
//! matching).
//!
//! Shape letters: `B` pairs, `K` labels.

use burn::tensor::{Tensor, assert_shape};
use model::ops::{l2_normalize, log_softmax_rows};
use serde::{Deserialize, Serialize};

/// How alike two vectors of labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSimilarity {
    /// Their inner product, as in the published code: a whole number.
    Dot,
    /// Their cosine, as in the paper; 0 where nothing is said.
    Cosine,
}

impl LabelSimilarity {
    /// How alike each image and each text are, not differentiated.
    ///
    /// # Shapes
    /// `image_labels`, `text_labels`: `[B, K]`; the result: `[B, B]`, a row for each image.
    pub fn of(self, image_labels: Tensor<2>, text_labels: Tensor<2>) -> Tensor<2> {
        let [image, text] = [image_labels, text_labels].map(Tensor::without_autodiff);
        match self {
            Self::Dot => image.matmul(text.transpose()),
            Self::Cosine => l2_normalize(image).matmul(l2_normalize(text).transpose()),
        }
    }
}

/// The loss, its two directions and what its targets leave open, each `[1]`.
#[derive(Debug, Clone)]
pub struct SoftInfoNce {
    /// Mean of both directions.
    pub loss: Tensor<1>,
    /// Cross-entropy of the texts of each image with their targets, a mean over the batch.
    pub image_to_text: Tensor<1>,
    /// Cross-entropy of the images of each text with theirs.
    pub text_to_image: Tensor<1>,
    /// Entropy of the targets, the mean of both directions: no loss is smaller. What is above it is the divergence.
    pub entropy: Tensor<1>,
    /// Fraction of images whose nearest text is among those that are most alike by labels (not differentiated).
    pub accuracy: Tensor<1>,
}

/// Cross-entropy of logits with the softmax of label similarities, both ways.
///
/// Without any label on either side targets are uniform.
///
/// # Shapes
/// `logits`, `similarity`: `[B, B]`, a row for each image.
///
/// # Panics
/// If the shapes differ or are not square.
///
/// # Source
/// Wang et al. 2022, section 3.3, equations 3 to 6; `methods.md` 3.3. The paper's targets have temperature 1.
pub fn soft_info_nce(logits: Tensor<2>, similarity: Tensor<2>, target_temperature: f64) -> SoftInfoNce {
    let [b, _] = logits.dims();
    assert_shape!(logits, [b, b]);
    assert_shape!(similarity, [b, b]);
    let similarity = similarity.without_autodiff();
    let scaled = similarity.clone().div_scalar(target_temperature);
    let direction = |logits: Tensor<2>, scaled: Tensor<2>| {
        let log_target = log_softmax_rows(scaled);
        let target = log_target.clone().exp();
        let mean = |rows: Tensor<2>| rows.sum().div_scalar(-(b as f64));
        let entropy = mean(target.clone() * log_target);
        let log_p = log_softmax_rows(logits);
        let target = if log_p.is_autodiff() { target.autodiff() } else { target };
        (mean(log_p * target), entropy)
    };
    let (image_to_text, rows) = direction(logits.clone(), scaled.clone());
    let (text_to_image, columns) = direction(logits.clone().transpose(), scaled.transpose());
    let largest = |of: Tensor<2>| of.clone().equal(of.max_dim(1).expand([b, b])).float();
    let hits = (largest(logits.without_autodiff()) * largest(similarity)).max_dim(1).mean();
    SoftInfoNce {
        loss: (image_to_text.clone() + text_to_image.clone()).mul_scalar(0.5),
        image_to_text,
        text_to_image,
        entropy: (rows + columns).mul_scalar(0.5),
        accuracy: hits,
    }
}
