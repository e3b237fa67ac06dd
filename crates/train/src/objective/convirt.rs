//! `ConVIRT`: an image and one sentence of its report are pulled together against the other pairs of the batch.
//!
//! Shape letters: `B` studies, `S` sentences per study, `E` width of the joint space, `K` topics.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use data::batch::PairBatch;
use engine::objective::{Context, Embeds, LossTerm, Losses, Objective};
use engine::upload::{Preprocess, texts};
use model::DualEncoder;
use model::head::logit_scale::LogitScale;
use model::head::topics::TopicHeads;
use model::ops::mean_similarity;
use model::text::TextInput;
use serde::{Deserialize, Serialize};

use crate::loss::info_nce::{InfoNceConfig, info_nce, info_nce_of_logits};
use crate::objective::topics::{TopicEmbeds, topic_terms};

/// Constants of the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConVirtConfig {
    /// Temperature; 0.1 in the paper.
    pub temperature: f64,
    /// Whether the temperature is learned from there, as in CLIP; fixed in the paper.
    pub learn_temperature: bool,
    /// Weight of the image-to-text direction; 0.75 in the paper.
    pub lambda: f64,
    /// Topics of the report that both towers predict besides; 0 in the paper.
    pub topics: usize,
    /// Weight of the error of either prediction.
    pub topics_weight: f64,
}

impl Default for ConVirtConfig {
    /// The paper's.
    fn default() -> Self {
        let InfoNceConfig { temperature, lambda } = InfoNceConfig::default();
        Self { temperature, learn_temperature: false, lambda, topics: 0, topics_weight: 1.0 }
    }
}

impl ConVirtConfig {
    /// Constants of InfoNCE.
    fn info_nce(&self) -> InfoNceConfig {
        InfoNceConfig { temperature: self.temperature, lambda: self.lambda }
    }
}

/// A dual encoder under bidirectional InfoNCE.
#[derive(Module, Debug)]
pub struct ConVirt {
    /// The two towers.
    pub model: DualEncoder,
    topics: Option<TopicHeads>,
    scale: Option<LogitScale>,
    #[module(skip)]
    loss: ConVirtConfig,
    #[module(skip)]
    preprocess: Preprocess,
}

impl ConVirt {
    /// Puts the loss on a model; `topics` adds the prediction of the report's topics, which is not in the paper.
    pub fn new(model: DualEncoder, loss: ConVirtConfig, topics: Option<TopicHeads>, preprocess: Preprocess) -> Self {
        let device = model.devices().into_iter().next().unwrap_or_default();
        let scale = loss.learn_temperature.then(|| LogitScale::new(loss.temperature, &device));
        Self { model, topics, scale, loss, preprocess }
    }
}

/// A batch on the device.
#[derive(Debug)]
pub struct Pairs {
    images: Tensor<4>,
    texts: TextInput,
    topics: Option<Tensor<2>>,
}

/// Rows of unit length in the joint space.
#[derive(Debug, Clone)]
pub struct PairEmbeds {
    /// `[B, E]`.
    pub image: Tensor<2>,
    /// `[B * S, E]`, the `S` sentences of a study in a row.
    pub text: Tensor<2>,
    /// Topics of the reports, where the objective predicts them.
    pub topics: Option<TopicEmbeds>,
}

impl Embeds for PairEmbeds {
    fn into_rows(self) -> Vec<Tensor<2>> {
        let topics = self.topics.into_iter().flat_map(TopicEmbeds::into_rows);
        [self.image, self.text].into_iter().chain(topics).collect()
    }

    fn from_rows(rows: Vec<Tensor<2>>, like: &Self) -> Self {
        let mut rows = rows.into_iter();
        let mut next = |old: &Tensor<2>| rows.next().unwrap_or_else(|| old.clone());
        Self {
            image: next(&like.image),
            text: next(&like.text),
            topics: like.topics.as_ref().map(|topics| topics.refilled(next)),
        }
    }
}

impl Objective for ConVirt {
    type Batch = Pairs;
    type Embeds = PairEmbeds;

    fn upload(&self, batch: &PairBatch, device: &Device) -> Pairs {
        Pairs {
            images: self.preprocess.images(&batch.images, batch.len, batch.size, device),
            texts: texts(&batch.texts, device),
            topics: self.topics.as_ref().map(|_| {
                let shape = [batch.len, batch.topics.len() / batch.len];
                Tensor::from_data(TensorData::new(batch.topics.clone(), shape), device)
            }),
        }
    }

    fn encode(&self, batch: &Pairs, _ctx: &Context) -> PairEmbeds {
        let image = self.model.encode_image(batch.images.clone());
        let text = self.model.encode_text(batch.texts.clone());
        let topics = self.topics.as_ref().zip(batch.topics.clone()).map(|(heads, target)| TopicEmbeds {
            image: heads.of_images(image.features),
            text: heads.of_texts(text.features),
            target,
        });
        PairEmbeds { image: image.embeds, text: text.embeds, topics }
    }

    /// The mean over the `S` sentences of a study of its InfoNCE; `S` is 1 in the paper.
    fn losses(&self, embeds: &PairEmbeds, _ctx: &Context) -> Losses {
        let [b, e] = embeds.image.dims();
        let s = embeds.text.dims()[0] / b;
        let texts = embeds.text.clone().reshape([b, s, e]);
        let views = (0..s).map(|view| {
            let (image, text) = (embeds.image.clone(), texts.clone().narrow(1, view, 1).reshape([b, e]));
            match &self.scale {
                Some(scale) => info_nce_of_logits(scale.logits(image.matmul(text.transpose())), self.loss.lambda),
                None => info_nce(image, text, &self.loss.info_nce()),
            }
        });
        let sum = views.reduce(|a, b| crate::loss::info_nce::InfoNce {
            loss: a.loss + b.loss,
            image_to_text: a.image_to_text + b.image_to_text,
            text_to_image: a.text_to_image + b.text_to_image,
            accuracy: a.accuracy + b.accuracy,
        });
        let Some(sum) = sum else { panic!("the loader draws at least one sentence for ConVIRT") };
        let mean = |total: Tensor<1>| total.div_scalar(s as f64);
        let mut losses = Losses {
            terms: vec![
                LossTerm { name: "image_to_text", value: mean(sum.image_to_text), weight: self.loss.lambda },
                LossTerm { name: "text_to_image", value: mean(sum.text_to_image), weight: 1.0 - self.loss.lambda },
            ],
            metrics: vec![
                ("accuracy", mean(sum.accuracy)),
                ("image_similarity", mean_similarity(embeds.image.clone())),
                ("text_similarity", mean_similarity(embeds.text.clone())),
            ],
        };
        losses.metrics.extend(self.scale.as_ref().map(|scale| ("temperature", scale.temperature())));
        if let Some(topics) = &embeds.topics {
            losses.terms.extend(topic_terms(topics, self.loss.topics_weight));
        }
        losses
    }

    fn after_step(self, _ctx: &Context) -> Self {
        Self { scale: self.scale.map(LogitScale::clamped), ..self }
    }
}
