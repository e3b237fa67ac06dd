//! `MGCA`: images and reports are aligned as pairs, as words and patches, and as members of the same prototypes.
//!
//! Wang et al., "Multi-granularity cross-modal alignment for generalized medical visual representation learning", 2022.
//!
//! Shape letters: `B` studies, `M` words, `P` patches, `E` width of the joint space, `K` topics.

pub mod flavour;

use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use data::batch::{PairBatch, TextBatch};
use data::rng::{Purpose, stream};
use data::text::Tokenizer;
use engine::objective::{Context, Embeds, LossTerm, Losses, Objective};
use engine::upload::{Preprocess, texts};
use model::DualEncoder;
use model::head::topics::TopicHeads;
use model::image::ImageFeatures;
use model::ops::{l2_normalize, mean_similarity};
use model::text::words::{WordPlan, WordRules, Words};
use model::text::{TextFeatures, TextInput};

use crate::loss::info_nce::{InfoNceConfig, info_nce};
use crate::loss::prototype::{PrototypeConfig, prototype_loss};
use crate::loss::sentence::{SentenceConfig, sentence_loss};
use crate::loss::token::{TokenConfig, Tokens, clipped, token_loss};
use crate::objective::topics::{TopicEmbeds, topic_terms};
use flavour::MgcaConfig;

/// What the objective knows of text.
#[derive(Debug, Clone)]
pub struct Wording {
    /// For each token id whether it goes on with the word before it.
    pub continues: Arc<Vec<bool>>,
    /// Longest report in tokens.
    pub max_tokens: usize,
}

/// A dual encoder with local heads and prototypes under the three losses.
#[derive(Module, Debug)]
pub struct Mgca {
    /// The towers and what aligns them.
    pub model: DualEncoder,
    topics: Option<TopicHeads>,
    #[module(skip)]
    config: MgcaConfig,
    #[module(skip)]
    wording: Wording,
    #[module(skip)]
    preprocess: Preprocess,
}

impl Wording {
    /// That of a tokenizer, with which reports are cut at a length.
    pub fn new(tokenizer: &Tokenizer, max_tokens: usize) -> Self {
        Self { continues: Arc::new(tokenizer.continuations()), max_tokens }
    }
}

impl Mgca {
    /// Puts the losses on a model, whose prototypes get unit length.
    ///
    /// # Panics
    /// If the model has nothing to align; a checked recipe has.
    pub fn new(
        model: DualEncoder,
        config: MgcaConfig,
        topics: Option<TopicHeads>,
        wording: Wording,
        preprocess: Preprocess,
    ) -> Self {
        assert!(model.alignment.is_some(), "MGCA aligns words and patches");
        Self { model, topics, config, wording, preprocess }.with_unit_prototypes()
    }

    fn with_unit_prototypes(mut self) -> Self {
        if let Some(alignment) = self.model.alignment.take() {
            let prototypes = alignment.prototypes.clone().unit();
            self.model.alignment = Some(model::alignment::Alignment { prototypes, ..alignment });
        }
        self
    }

    fn alignment(&self) -> &model::alignment::Alignment {
        let Some(alignment) = &self.model.alignment else { panic!("the constructor checked it") };
        alignment
    }

    /// What the towers return, in the joint space.
    ///
    /// # Panics
    /// If the image tower returns no local features; that of a checked recipe does.
    pub fn project(&self, image: ImageFeatures, text: TextFeatures, words: &Words) -> AlignedEmbeds {
        let Some(patches) = image.local else { panic!("a checked recipe has local features") };
        let [b, p, _] = patches.dims();
        // What the class token of a vision transformer pays to each patch.
        let paid = image.attention.map(|attention| {
            let from_class = attention.detach().narrow(2, 0, 1).narrow(3, 1, p);
            from_class.mean_dim(1).reshape([b, p])
        });
        let paid = paid.unwrap_or_else(|| Tensor::ones([b, p], &patches.device()));
        let (word_embeds, is_word) = self.words(text.tokens, words);
        let heard = words.attention(text.attention, self.config.attention_shifted);
        let tokens = Tokens {
            words: word_embeds,
            word_weights: self.weights(heard, Some(is_word.clone())),
            is_word,
            patches: self.alignment().image_local.forward_all(patches),
            patch_weights: self.weights(paid, None),
        };
        AlignedEmbeds {
            image: l2_normalize(self.model.image_projection.forward(image.global)),
            text: l2_normalize(self.model.text_projection.forward(text.global)),
            tokens,
            sentences: None,
            topics: None,
        }
    }

    /// The words of texts.
    fn plan(&self, texts: &TextBatch, rules: WordRules) -> WordPlan {
        let continues = |id: u32| self.wording.continues.get(id as usize).copied().unwrap_or(false);
        let (ids, mask) = (&texts.input_ids, &texts.attention_mask);
        WordPlan::new(ids, mask, texts.tokens, self.wording.max_tokens, rules, continues)
    }

    /// The sentences that stand beside `b` reports, each the direction of the sum of its words, `[B, S, E]`. Each is read by
    /// itself: one that knew its report could tell its image by the findings of other sentences.
    fn sentences(&self, texts: &TextInput, words: &Words, b: usize) -> Tensor<3> {
        let tokens = self.model.text_encoder.forward(texts.clone(), self.model.frozen_text_layers()).tokens;
        let head = &self.alignment().text_local;
        let embeds = words.spread(head.forward(words.gather(words.merge(tokens)))); // [B * S, M, E]
        let [rows, _, e] = embeds.dims();
        l2_normalize(embeds.sum_dim(1).reshape([rows, e])).reshape([b, rows / b, e])
    }

    /// Words in the joint space, `[B, M, E]`, and 1 where there is one, `[B, M]`.
    fn words(&self, tokens: Tensor<3>, words: &Words) -> (Tensor<3>, Tensor<2>) {
        let head = &self.alignment().text_local;
        let is_word = words.padding.clone().bool_not().float();
        let merged = words.merge(tokens);
        let embeds = if self.config.padding_takes_part {
            head.forward_all(merged)
        } else {
            words.spread(head.forward(words.gather(merged)))
        };
        (embeds, is_word)
    }

    /// Weights of tokens in the loss, from the attention that is paid to them; none at padding (`counts`: zeros there).
    fn weights(&self, attention: Tensor<2>, counts: Option<Tensor<2>>) -> Tensor<2> {
        let [b, l] = attention.dims();
        let device = attention.device();
        let mut weights = attention;
        if self.config.clip_weights {
            let mut values: Vec<f32> = weights.into_data().iter::<f32>().collect();
            for sample in values.chunks_mut(l) {
                // Of words those that have any attention, of patches all.
                clipped(sample, |weight| counts.is_none() || weight != 0.0);
            }
            weights = Tensor::from_data(TensorData::new(values, [b, l]), &device);
        }
        if self.config.weight_per_token {
            weights = match counts {
                Some(counts) => weights / counts.sum_dim(1).clamp_min(1.0),
                None => weights.div_scalar(l as f64),
            };
        }
        weights
    }
}

/// A batch on the device.
#[derive(Debug)]
pub struct Reports {
    images: Tensor<4>,
    texts: TextInput,
    words: Words,
    sentences: Option<(TextInput, Words)>,
    topics: Option<Tensor<2>>,
}

/// What the towers make of a batch; all rows of unit length.
#[derive(Debug, Clone)]
pub struct AlignedEmbeds {
    /// `[B, E]`.
    pub image: Tensor<2>,
    /// `[B, E]`.
    pub text: Tensor<2>,
    /// Words and patches.
    pub tokens: Tokens,
    /// Sentences of the reports, `[B, S, E]`, where the objective contrasts them.
    pub sentences: Option<Tensor<3>>,
    /// Topics of the reports, where the objective predicts them.
    pub topics: Option<TopicEmbeds>,
}

impl Embeds for AlignedEmbeds {
    fn into_rows(self) -> Vec<Tensor<2>> {
        let Tokens { words, word_weights, is_word, patches, patch_weights } = self.tokens;
        let flat = |x: Tensor<3>| x.flatten::<2>(1, 2);
        let rows = [self.image, self.text, flat(words), word_weights, is_word, flat(patches), patch_weights];
        rows.into_iter()
            .chain(self.sentences.map(flat))
            .chain(self.topics.into_iter().flat_map(TopicEmbeds::into_rows))
            .collect()
    }

    fn from_rows(rows: Vec<Tensor<2>>, like: &Self) -> Self {
        let mut rows = rows.into_iter();
        let mut next = |old: &Tensor<2>| rows.next().unwrap_or_else(|| old.clone());
        let old = &like.tokens;
        Self {
            image: next(&like.image),
            text: next(&like.text),
            tokens: Tokens {
                words: parts(next(&like.image), &old.words),
                word_weights: next(&old.word_weights),
                is_word: next(&old.is_word),
                patches: parts(next(&like.image), &old.patches),
                patch_weights: next(&old.patch_weights),
            },
            sentences: like.sentences.as_ref().map(|old| parts(next(&like.image), old)),
            topics: like.topics.as_ref().map(|topics| topics.refilled(next)),
        }
    }
}

/// Flattened parts of samples in the shape of others, `[B, L, E]`.
fn parts(rows: Tensor<2>, like: &Tensor<3>) -> Tensor<3> {
    let ([b, _], [_, l, e]) = (rows.dims(), like.dims());
    rows.reshape([b, l, e])
}

/// A share of the patches of each image, drawn for the update; `[B, P, E]` to `[B, K, E]`.
fn some_patches(patches: &Tensor<3>, share: f64, ctx: &Context) -> Tensor<3> {
    let [b, p, e] = patches.dims();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and P")]
    let kept = ((share * p as f64).round() as usize).clamp(1, p);
    if kept == p {
        return patches.clone();
    }
    let mut rows = Vec::with_capacity(b * kept);
    for image in 0..b {
        let mut places: Vec<usize> = (image * p..(image + 1) * p).collect();
        stream(ctx.seed, Purpose::Patches, ctx.step, image as u64).shuffle(&mut places);
        rows.extend(places[..kept].iter().map(|&place| i64::try_from(place).unwrap_or(i64::MAX)));
    }
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [b * kept]), &patches.device());
    patches.clone().reshape([b * p, e]).select(0, rows).reshape([b, kept, e])
}

impl Objective for Mgca {
    type Batch = Reports;
    type Embeds = AlignedEmbeds;

    /// One text a study, its whole report.
    fn upload(&self, batch: &PairBatch, device: &Device) -> Reports {
        let rules = self.config.alignment_rules().words;
        let plan = self.plan(&batch.texts, rules);
        // Every part of a batch gets as many rows, so that they can be put together again.
        let rows = if self.config.padding_takes_part { self.wording.max_tokens } else { batch.texts.tokens };
        let plan = plan.padded_to(rows - 1);
        Reports {
            images: self.preprocess.images(&batch.images, batch.len, batch.size, device),
            texts: texts(&batch.texts, device),
            sentences: (self.config.sentence_weight > 0.0).then(|| {
                let words = self.plan(&batch.beside, WordRules::default()).upload(device);
                (texts(&batch.beside, device), words)
            }),
            words: plan.upload(device),
            topics: self.topics.as_ref().map(|_| {
                let shape = [batch.len, batch.topics.len() / batch.len];
                Tensor::from_data(TensorData::new(batch.topics.clone(), shape), device)
            }),
        }
    }

    fn encode(&self, batch: &Reports, _ctx: &Context) -> AlignedEmbeds {
        let image = self.model.image_encoder.forward(batch.images.clone());
        let text = self.model.text_encoder.forward(batch.texts.clone(), self.model.frozen_text_layers());
        let topics = self.topics.as_ref().zip(batch.topics.clone()).map(|(heads, target)| TopicEmbeds {
            image: heads.of_images(image.global.clone()),
            text: heads.of_texts(text.global.clone()),
            target,
        });
        let b = batch.images.dims()[0];
        let sentences = batch.sentences.as_ref().map(|(texts, words)| self.sentences(texts, words, b));
        AlignedEmbeds { sentences, topics, ..self.project(image, text, &batch.words) }
    }

    fn losses(&self, embeds: &AlignedEmbeds, ctx: &Context) -> Losses {
        let config = &self.config;
        let alignment = self.alignment();
        let contrast = InfoNceConfig { temperature: config.instance_temperature, lambda: 0.5 };
        let instance = info_nce(embeds.image.clone(), embeds.text.clone(), &contrast);
        let directions = if config.instance_mean { 1.0 } else { 2.0 };
        let mut losses = Losses {
            terms: vec![LossTerm {
                name: "instance_loss",
                value: instance.loss.mul_scalar(directions),
                weight: config.instance_weight,
            }],
            metrics: vec![
                ("accuracy", instance.accuracy),
                ("image_similarity", mean_similarity(embeds.image.clone())),
                ("text_similarity", mean_similarity(embeds.text.clone())),
            ],
        };
        // A loss without weight costs nothing.
        if config.token_weight > 0.0 {
            let learned = alignment.word_attention.as_ref().zip(alignment.patch_attention.as_ref());
            let maps =
                learned.filter(|_| config.learned_attention).map(|(words, patches)| [words.maps(), patches.maps()]);
            let vit = matches!(self.model.image_encoder, model::image::ImageEncoder::Vit(_));
            let token = TokenConfig {
                temperature: config.token_temperature,
                mean: config.token_mean,
                unit_patch_context: config.learned_attention || !(config.raw_vit_context && vit),
                padding_takes_part: config.padding_takes_part,
            };
            let token = token_loss(&embeds.tokens, &maps, &token);
            losses.terms.push(LossTerm { name: "token_loss", value: token.loss, weight: config.token_weight });
            losses.metrics.extend([("word_loss", token.word), ("patch_loss", token.patch)]);
        }
        if let Some(sentences) = &embeds.sentences {
            let sentence = SentenceConfig { temperature: config.sentence_temperature };
            let patches = some_patches(&embeds.tokens.patches, config.sentence_patches, ctx);
            let sentence = sentence_loss(sentences, &patches, &sentence);
            losses.terms.push(LossTerm { name: "sentence_loss", value: sentence.loss, weight: config.sentence_weight });
            losses.metrics.push(("sentence_accuracy", sentence.accuracy));
        }
        if config.prototype_weight > 0.0 {
            let prototype = PrototypeConfig {
                temperature: config.prototype_temperature,
                epsilon: config.sinkhorn_epsilon,
                iterations: config.sinkhorn_iterations,
            };
            let prototypes = alignment.prototypes.val();
            let prototype = prototype_loss(embeds.image.clone(), embeds.text.clone(), prototypes, &prototype);
            let weight = config.prototype_weight;
            losses.terms.push(LossTerm { name: "prototype_loss", value: prototype.loss, weight });
            losses.metrics.push(("prototype_usage_entropy", prototype.usage_entropy));
            losses.metrics.push(("prototype_agreement", prototype.agreement));
        }
        if let Some(topics) = &embeds.topics {
            losses.terms.extend(topic_terms(topics, config.topics_weight));
        }
        losses
    }

    /// Prototypes stay as they are at first.
    fn after_backward(&self, grads: &mut GradientsParams, ctx: &Context) {
        if ctx.epoch < self.config.freeze_prototypes_epochs {
            grads.remove::<2>(self.alignment().prototypes.param().id);
        }
    }

    fn after_step(self, _ctx: &Context) -> Self {
        self.with_unit_prototypes()
    }
}
