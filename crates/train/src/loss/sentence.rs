//! Contrast of sentences with patches: a sentence must find its own image among those of the batch by the patches that agree with
//! it most.
//!
//! `MGCA`'s token loss compares words and patches of one pair alone, so that nothing binds a word to what the image shows. This
//! one does: it is the text-to-image side of the local contrast of `GLoRIA` (Huang et al. 2021, equation 5) with sentences for
//! words and a smooth maximum over patches (Pinheiro and Collobert, "From image-level to pixel-level labeling with convolutional
//! networks", 2015, equation 6) for attention.
//!
//! Shape letters: `B` pairs, `S` sentences of each report, `P` patches, `E` width of the joint space.

use burn::tensor::{Tensor, assert_shape};
use model::ops::{log_softmax_rows, sum_in_chunks};

/// Constants of the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct SentenceConfig {
    /// Temperature of the contrast and of the smooth maximum.
    pub temperature: f64,
}

/// The loss, `[1]`.
#[derive(Debug, Clone)]
pub struct SentenceLoss {
    /// Mean over sentences of `-log p(own image | sentence)`.
    pub loss: Tensor<1>,
    /// Share of sentences whose own image is the most similar one (not differentiated).
    pub accuracy: Tensor<1>,
}

/// Numbers of the similarities that are held at once: 64 MiB.
const CHUNK: usize = 1 << 24;

/// The loss. A sentence of length zero, which has no words, takes no part; without any the loss is 0.
///
/// # Shapes
/// `sentences`: `[B, S, E]`, `patches`: `[B, P, E]`, rows of unit length.
///
/// # Panics
/// If the shapes do not fit.
pub fn sentence_loss(sentences: &Tensor<3>, patches: &Tensor<3>, config: &SentenceConfig) -> SentenceLoss {
    let ([b, s, e], [_, p, _]) = (sentences.dims(), patches.dims());
    assert_shape!(patches, [b, p, e]);
    let device = sentences.device();
    let has_words = sentences.clone().detach().square().sum_dim(2).reshape([b, s]).greater_elem(0.5).float();
    let count = has_words.clone().sum().clamp_min(1.0);
    let vectors = sentences.clone().reshape([b, s * e]);
    let patches = patches.clone().reshape([b * p, e]);
    let tau = config.temperature;
    let rows = [vectors, has_words, Tensor::eye(b, &device)];
    let (loss, [hits]) = sum_in_chunks(&rows, &[patches], (CHUNK / (s * b * p)).max(1), |rows, patches| {
        let [vectors, has_words, own] = [0, 1, 2].map(|i| rows[i].clone());
        let n = own.dims()[0];
        let cosines = vectors.reshape([n * s, e]).matmul(patches[0].clone().transpose()); // [n * S, B * P]
        let logits = smooth_max(cosines.reshape([n * s * b, p]), tau).reshape([n * s, b]).div_scalar(tau);
        let own: Tensor<2> = own.unsqueeze_dim::<3>(1).expand([n, s, b]).reshape([n * s, b]);
        let own = own * has_words.reshape([n * s, 1]);
        let loss = (log_softmax_rows(logits.clone()) * own.clone()).sum().neg();
        let (logits, own) = (logits.without_autodiff(), own.without_autodiff());
        let best = logits.clone().max_dim(1).expand([n * s, b]);
        (loss, [(logits.equal(best).float() * own).sum()])
    });
    SentenceLoss { loss: loss / count.clone(), accuracy: hits / count }
}

/// `t ln mean exp(x / t)` of each row, between its mean and its maximum; `[R, P]` to `[R, 1]`.
fn smooth_max(x: Tensor<2>, temperature: f64) -> Tensor<2> {
    let max = x.clone().detach().max_dim(1);
    let mean = (x - max.clone()).div_scalar(temperature).exp().mean_dim(1);
    mean.log().mul_scalar(temperature) + max
}
