//! A small objective with hooks that can be watched, and batches for it.

use std::sync::{Arc, Mutex};

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use data::batch::{PairBatch, TextBatch};
use data::rng::{Purpose, stream};
use engine::objective::{Context, Embeds, LossTerm, Losses, Objective};
use model::ops::l2_normalize;
use train::loss::info_nce::{InfoNceConfig, info_nce};

use super::support::pair_batch;

/// Pixels per side, tokens per text, width of the embeddings.
pub(crate) const SIZE: usize = 3;
pub(crate) const TOKENS: usize = 5;
const WIDTH: usize = 4;

/// Numbers of a normal distribution.
#[expect(clippy::cast_possible_truncation, reason = "any numbers do")]
pub(crate) fn normal(seed: u64, n: usize) -> Vec<f32> {
    let mut random = stream(seed, Purpose::Control, 0, 0);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// A linear layer whose values need no generator of the device.
pub(crate) fn linear(seed: u64, input: usize, output: usize, device: &Device) -> Linear {
    let values = |seed, shape: Vec<usize>| TensorData::new(normal(seed, shape.iter().product()), shape);
    Linear {
        weight: Param::from_data(values(seed, vec![input, output]), device),
        bias: Some(Param::from_data(values(seed + 1, vec![output]), device)),
    }
}

/// Calls of the hooks with their step, and of the encoders with 1 where their parameters ask for a gradient, in order.
pub(crate) type Calls = Arc<Mutex<Vec<(&'static str, u64)>>>;

/// What the hooks of a [`Toy`] do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hooks {
    /// Nothing.
    Off,
    /// After backward: no gradient for the text tower. After the step: weights of the image tower within `-limit..limit`.
    FreezeTextAndClamp(f32),
}

/// Two linear towers with dropout under InfoNCE.
#[derive(Module, Debug)]
pub(crate) struct Toy {
    pub(crate) image: Linear,
    pub(crate) text: Linear,
    dropout: Dropout,
    #[module(skip)]
    hooks: Hooks,
    #[module(skip)]
    calls: Calls,
}

impl Toy {
    pub(crate) fn new(dropout: f64, hooks: Hooks, device: &Device) -> Self {
        Self {
            image: linear(1, SIZE * SIZE, WIDTH, device),
            text: linear(3, TOKENS, WIDTH, device),
            dropout: DropoutConfig::new(dropout).init(),
            hooks,
            calls: Calls::default(),
        }
    }

    /// Calls that were noted, of the encoders or of the hooks.
    pub(crate) fn calls(&self, of_encoders: bool) -> Vec<(&'static str, u64)> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| (*name == "encode") == of_encoders).copied().collect()
    }
}

/// Rows of unit length, `[B, E]` each.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    image: Tensor<2>,
    text: Tensor<2>,
}

impl Embeds for Rows {
    fn into_rows(self) -> Vec<Tensor<2>> {
        vec![self.image, self.text]
    }

    fn from_rows(rows: Vec<Tensor<2>>, _like: &Self) -> Self {
        let [image, text] = rows.try_into().unwrap();
        Self { image, text }
    }
}

impl Objective for Toy {
    type Batch = (Tensor<2>, Tensor<2>);
    type Embeds = Rows;

    fn upload(&self, batch: &PairBatch, device: &Device) -> Self::Batch {
        let texts = &batch.texts;
        #[expect(clippy::cast_precision_loss, reason = "ids are small")]
        let ids: Vec<f32> = texts.input_ids.iter().map(|&id| id as f32 / 10.0).collect();
        let images = TensorData::new(batch.images.clone(), [batch.len, batch.size * batch.size]);
        (Tensor::from_data(images, device), Tensor::from_data(TensorData::new(ids, [texts.len, texts.tokens]), device))
    }

    fn encode(&self, (images, texts): &Self::Batch, _ctx: &Context) -> Rows {
        self.calls.lock().unwrap().push(("encode", u64::from(self.image.weight.is_require_grad())));
        let encode = |tower: &Linear, x: &Tensor<2>| l2_normalize(tower.forward(self.dropout.forward(x.clone())));
        Rows { image: encode(&self.image, images), text: encode(&self.text, texts) }
    }

    fn losses(&self, embeds: &Rows, _ctx: &Context) -> Losses {
        let result = info_nce(embeds.image.clone(), embeds.text.clone(), &InfoNceConfig::default());
        Losses {
            terms: vec![
                LossTerm { name: "image_to_text", value: result.image_to_text, weight: 0.75 },
                LossTerm { name: "text_to_image", value: result.text_to_image, weight: 0.25 },
            ],
            metrics: vec![("accuracy", result.accuracy)],
        }
    }

    fn after_backward(&self, grads: &mut GradientsParams, ctx: &Context) {
        self.calls.lock().unwrap().push(("after_backward", ctx.step));
        if self.hooks != Hooks::Off {
            grads.remove::<2>(self.text.weight.id);
            grads.remove::<1>(self.text.bias.as_ref().unwrap().id);
        }
    }

    fn after_step(mut self, ctx: &Context) -> Self {
        self.calls.lock().unwrap().push(("after_step", ctx.step));
        if let Hooks::FreezeTextAndClamp(limit) = self.hooks {
            self.image.weight =
                self.image.weight.map(|w| Tensor::from_inner(w.without_autodiff().clamp(-limit, limit)).require_grad());
        }
        self
    }
}

/// A batch of `len` studies with `sentences` texts of [`TOKENS`] tokens, ids 1 to 20, the last token of every other text
/// being padding.
pub(crate) fn batch(len: usize, size: usize, sentences: usize) -> PairBatch {
    let mut random = stream(8, Purpose::Control, 0, 0);
    let texts = len * sentences;
    let padded = |place: usize| place % TOKENS == TOKENS - 1 && (place / TOKENS).is_multiple_of(2);
    let mut id = |place| if padded(place) { 0 } else { u32::try_from(1 + random.below(20)).unwrap() };
    let texts = TextBatch {
        len: texts,
        tokens: TOKENS,
        input_ids: (0..texts * TOKENS).map(&mut id).collect(),
        attention_mask: (0..texts * TOKENS).map(|place| u32::from(!padded(place))).collect(),
    };
    pair_batch(size, normal(9, len * size * size), sentences, texts)
}
