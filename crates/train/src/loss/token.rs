//! Alignment of words and patches: each word finds itself in what it sees of the image, each patch in what it sees of the
//! report (`MGCA`'s CTA).
//!
//! Shape letters: `B` pairs, `M` words, `P` patches, `L` either, `E` width of the joint space.

use burn::tensor::{Bool, Tensor};
use model::alignment::attend::Gather;
use model::ops::{l2_normalize, sum_in_chunks};

/// Constants of the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenConfig {
    /// Temperature of the contrast, and of attention without parameters.
    pub temperature: f64,
    /// Whether the loss is the mean of both sides instead of their sum.
    pub mean: bool,
    /// Whether what a patch sees of the report is brought to unit length.
    pub unit_patch_context: bool,
    /// Whether padding counts as words on the word side.
    pub padding_takes_part: bool,
}

/// Words and patches of a batch; all rows of unit length, but for padding, where they may be zero.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `[B, M, E]`.
    pub words: Tensor<3>,
    /// Weight of each word in the loss, 0 at padding; `[B, M]`.
    pub word_weights: Tensor<2>,
    /// 1 at words, 0 at padding; `[B, M]`.
    pub is_word: Tensor<2>,
    /// `[B, P, E]`.
    pub patches: Tensor<3>,
    /// Weight of each patch in the loss, `[B, P]`.
    pub patch_weights: Tensor<2>,
}

/// Learned maps of the word side and of the patch side; absent: attention by cosines.
pub type Maps = Option<[[Tensor<2>; 4]; 2]>;

/// The loss and its two sides, each `[1]`. Only the first can be differentiated.
#[derive(Debug, Clone)]
pub struct TokenLoss {
    /// What is minimised.
    pub loss: Tensor<1>,
    /// Words among words.
    pub word: Tensor<1>,
    /// Patches among patches.
    pub patch: Tensor<1>,
}

/// Numbers of one tensor of similarities within samples that are held at once: 64 MiB.
const CHUNK: usize = 1 << 24;

/// The loss, a mean over pairs. Samples are taken a few at a time, so that similarities of tokens take bounded memory.
///
/// # Panics
/// If the shapes do not fit.
///
/// # Source
/// Wang et al. 2022, section 3.2, equations 3 to 6; `methods.md` 2.5, CTA.
pub fn token_loss(tokens: &Tokens, maps: &Maps, config: &TokenConfig) -> TokenLoss {
    let ([b, m, e], [_, p, _]) = (tokens.words.dims(), tokens.patches.dims());
    let rows = [
        tokens.words.clone().reshape([b, m * e]),
        tokens.patches.clone().reshape([b, p * e]),
        tokens.word_weights.clone(),
        tokens.is_word.clone(),
        tokens.patch_weights.clone(),
    ];
    let shared: Vec<Tensor<2>> = maps.iter().flatten().flatten().cloned().collect();
    let chunk = (CHUNK / m.max(p).pow(2)).max(1);
    let (loss, [word, patch]) = sum_in_chunks(&rows, &shared, chunk, |rows, shared| {
        let [words, patches, word_weights, is_word, patch_weights] = [0, 1, 2, 3, 4].map(|i| rows[i].clone());
        let n = words.dims()[0];
        let (words, patches) = (words.reshape([n, m, e]), patches.reshape([n, p, e]));
        let gather = |side: usize| match shared.get(4 * side..4 * side + 4) {
            Some(maps) => Gather::Learned(Box::new([0, 1, 2, 3].map(|i| maps[i].clone()))),
            None => Gather::Similarity(config.temperature),
        };
        let padding: Tensor<2, Bool> = is_word.clone().equal_scalar(0.0);
        let seen_by_words = gather(0).attend(words.clone(), patches.clone(), None).context;
        let seen_by_patches = gather(1).attend(patches.clone(), words.clone(), Some(padding)).context;
        let seen_by_patches = if config.unit_patch_context { unit(seen_by_patches) } else { seen_by_patches };
        let counts = (!config.padding_takes_part).then_some(is_word);
        let word = find_itself(words, unit(seen_by_words), word_weights, counts, config.temperature);
        let patch = find_itself(patches, seen_by_patches, patch_weights, None, config.temperature);
        let [word, patch] = [word, patch].map(|sum| sum.div_scalar(b as f64));
        let share = if config.mean { 0.5 } else { 1.0 };
        ((word.clone() + patch.clone()).mul_scalar(share), [word, patch])
    });
    TokenLoss { loss, word, patch }
}

/// Sum over samples and tokens of the weighted cross-entropy of a token with its own context among all of its sample, and of a
/// context with its own token: half of both.
///
/// # Shapes
/// `tokens` (unit length), `contexts` (at most unit length): `[B, L, E]`; `weights`, `counts` (0: no token): `[B, L]`.
fn find_itself(
    tokens: Tensor<3>,
    contexts: Tensor<3>,
    weights: Tensor<2>,
    counts: Option<Tensor<2>>,
    temperature: f64,
) -> Tensor<1> {
    let [b, l, _] = tokens.dims();
    let own = (tokens.clone() * contexts.clone()).sum_dim(2).reshape([b, l]).div_scalar(temperature);
    // No similarity exceeds 1: its exponential needs no maximum, and serves rows and columns alike.
    let logits = tokens.matmul(contexts.swap_dims(1, 2)).sub_scalar(1.0).div_scalar(temperature); // [B, L, L]
    let mut exp = logits.exp();
    let mut none = None;
    if let Some(counts) = counts {
        exp = exp * counts.clone().reshape([b, l, 1]) * counts.clone().reshape([b, 1, l]);
        // Sums of padding are zero; their logarithm must be finite to count nothing.
        none = Some(counts.neg().add_scalar(1.0));
    }
    let log_sum = |axis: usize| {
        let sum = exp.clone().sum_dim(axis).reshape([b, l]);
        match &none {
            Some(none) => sum + none.clone(),
            None => sum,
        }
        .log()
    };
    let error = log_sum(2) + log_sum(1) + own.mul_scalar(-2.0).add_scalar(2.0 / temperature);
    (weights * error).sum().mul_scalar(0.5)
}

/// Vectors of unit length.
fn unit(x: Tensor<3>) -> Tensor<3> {
    let [b, l, e] = x.dims();
    l2_normalize(x.reshape([b * l, e])).reshape([b, l, e])
}

/// Weights of the tokens of one sample: those that count (`counts`) clipped to their 10 % and 90 % quantiles, then all divided by
/// their sum. Nothing changes where nothing counts.
///
/// # Source
/// `methods.md` 2.5, CTA, step 3 of either side.
pub fn clipped(weights: &mut [f32], counts: impl Fn(f32) -> bool) {
    let mut sorted: Vec<f32> = weights.iter().copied().filter(|&weight| counts(weight)).collect();
    sorted.sort_by(f32::total_cmp);
    let (Some(low), Some(high)) = (quantile(&sorted, 0.1), quantile(&sorted, 0.9)) else { return };
    for weight in weights.iter_mut().filter(|weight| counts(**weight)) {
        *weight = weight.clamp(low, high);
    }
    let sum: f32 = weights.iter().sum();
    if sum > 0.0 {
        for weight in weights {
            *weight /= sum;
        }
    }
}

/// Quantile of sorted values between the two nearest, as torch and numpy do by default; nothing of none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place between two values")]
fn quantile(sorted: &[f32], q: f64) -> Option<f32> {
    let place = q * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract() as f32)
}
