//! `MedCLIP`: images and sentences that were never paired, pulled together as far as their labels agree.
//!
//! Wang et al., "MedCLIP: contrastive learning from unpaired medical images and text", 2022.
//!
//! Shape letters: `B` studies, `S` sentences per study, `E` width of the joint space, `K` labels.

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use data::batch::PairBatch;
use engine::objective::{Context, Embeds, LossTerm, Losses, Objective};
use engine::upload::{Preprocess, texts};
use model::DualEncoder;
use model::alignment::Alignment;
use model::head::logit_scale::LogitScale;
use model::image::ImageEncoder;
use model::ops::mean_similarity;
use model::projection::ProjectionHead;
use model::text::{TextEncoder, TextInput};
use serde::{Deserialize, Serialize};

use crate::loss::info_nce::info_nce_of_logits;
use crate::loss::soft_info_nce::{LabelSimilarity, SoftInfoNce, soft_info_nce};
use crate::objective::flavour::{Difference, Flavour};

/// Every difference of paper and published code that changes a result: key, the paper's value, that of the published
/// code. Constants without a difference are defaults; `methods.md` 8 (24 to 41) has what concerns evaluation alone.
///
/// # Source
/// `methods.md` 3.1 to 3.5 and 8.
pub const DIFFERENCES: [Difference; 5] = [
    ("objective.label_similarity", "\"cosine\"", "\"dot\""),
    ("data.pairing.silent", "\"none\"", "\"no_finding\""),
    ("data.pairing.normalise", "false", "true"),
    ("model.text.pooling", "\"mean\"", "\"padded_mean\""),
    ("optim.lr", "5e-5", "2e-5"),
];

/// Constants of the objective. Those that [`DIFFERENCES`] names are set by the flavour unless a recipe sets them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MedClipConfig {
    /// Whose values fill what a recipe leaves open.
    pub flavour: Flavour,
    /// Temperature that learning starts from.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// What an image and a text are to agree by.
    #[serde(default)]
    pub targets: Targets,
    /// How alike two vectors of labels are.
    pub label_similarity: LabelSimilarity,
    /// Numbers that stand for labels.
    #[serde(default)]
    pub label_values: LabelValues,
    /// Temperature of the targets: below 1 they are sharper; 1 in paper and published code.
    #[serde(default = "one")]
    pub target_temperature: f64,
}

fn temperature() -> f64 {
    0.07
}

fn one() -> f64 {
    1.0
}

/// What an image and a text are to agree by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// Their labels.
    #[default]
    Labels,
    /// Standing beside each other, as in CLIP: the sentences of all other images are wrong.
    Pairs,
}

/// Numbers that stand for labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelValues {
    /// 1 for what is there, 0 for the rest: what is denied is as what is not told of.
    #[default]
    Positive,
    /// 1 for what is there, -1 for what is not, 0 where nothing is said.
    Signed,
}

impl LabelValues {
    /// The number of a label of a batch: 1, 0, or NaN where nothing is said.
    fn of(self, label: f32) -> f32 {
        match (self, label) {
            (_, label) if label > 0.5 => 1.0,
            (Self::Signed, label) if !label.is_nan() => -1.0,
            _ => 0.0,
        }
    }
}

impl MedClipConfig {
    /// The first key that makes no sense, its value and what to use.
    pub fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        if !(0.01..=1.0).contains(&self.temperature) {
            return Some(("objective.temperature", self.temperature, "use 0.01 to 1, the bounds of what is learned"));
        }
        let sharp = self.target_temperature;
        let odd = !(sharp > 0.0 && sharp.is_finite());
        odd.then_some(("objective.target_temperature", sharp, "use more than 0"))
    }
}

/// A dual encoder and a learned temperature under semantic matching.
#[derive(Module, Debug)]
pub struct MedClip {
    /// The two towers.
    pub model: DualEncoder,
    scale: LogitScale,
    #[module(skip)]
    config: MedClipConfig,
    #[module(skip)]
    preprocess: Preprocess,
}

/// What a checkpoint holds: the towers under their names, and the temperature where imported checkpoints have it.
#[derive(Module, Debug)]
pub struct Kept {
    image_encoder: ImageEncoder,
    text_encoder: TextEncoder,
    image_projection: ProjectionHead,
    text_projection: ProjectionHead,
    alignment: Option<Alignment>,
    carried: LogitScale,
}

impl MedClip {
    /// Puts the loss on a model. `log_scale` is the logarithm of the factor on similarities in the weights that it
    /// starts from, brought into its bounds; without it the factor is the inverse of the temperature of the settings.
    pub fn new(model: DualEncoder, config: MedClipConfig, log_scale: Option<f32>, preprocess: Preprocess) -> Self {
        let device = model.devices().into_iter().next().unwrap_or_default();
        let temperature = log_scale.map_or(config.temperature, |log| (-f64::from(log)).exp());
        let scale = LogitScale::new(temperature, &device).clamped();
        Self { model, scale, config, preprocess }
    }

    /// The number of the temperature's parameter.
    pub fn scale_id(&self) -> ParamId {
        self.scale.id()
    }

    /// What a checkpoint is to hold.
    pub fn kept(&self) -> Kept {
        let model = self.model.clone();
        Kept {
            image_encoder: model.image_encoder,
            text_encoder: model.text_encoder,
            image_projection: model.image_projection,
            text_projection: model.text_projection,
            alignment: model.alignment,
            carried: self.scale.clone(),
        }
    }

    /// The loss of one sentence a study.
    fn view(&self, image: Tensor<2>, text: Tensor<2>, similarity: Option<&Tensor<2>>) -> SoftInfoNce {
        let logits = self.scale.logits(image.matmul(text.transpose())); // [B, B]
        if let Some(similarity) = similarity {
            return soft_info_nce(logits, similarity.clone(), self.config.target_temperature);
        }
        let hard = info_nce_of_logits(logits, 0.5);
        let entropy = hard.accuracy.zeros_like();
        let (image_to_text, text_to_image) = (hard.image_to_text, hard.text_to_image);
        SoftInfoNce { loss: hard.loss, image_to_text, text_to_image, entropy, accuracy: hard.accuracy }
    }
}

/// A batch on the device.
#[derive(Debug)]
pub struct LabelledPairs {
    images: Tensor<4>,
    texts: TextInput,
    labels: Option<LabelEmbeds>,
}

/// Labels as numbers.
#[derive(Debug, Clone)]
pub struct LabelEmbeds {
    /// Of the images, `[B, K]`.
    pub image: Tensor<2>,
    /// Of the texts that stand beside them, `[B, K]`.
    pub text: Tensor<2>,
}

/// Rows of unit length in the joint space, and labels.
#[derive(Debug, Clone)]
pub struct LabelledEmbeds {
    /// `[B, E]`.
    pub image: Tensor<2>,
    /// `[B * S, E]`, the `S` sentences of a study in a row.
    pub text: Tensor<2>,
    /// Labels; absent: images agree with what stands beside them.
    pub labels: Option<LabelEmbeds>,
}

impl Embeds for LabelledEmbeds {
    fn into_rows(self) -> Vec<Tensor<2>> {
        let labels = self.labels.into_iter().flat_map(|labels| [labels.image, labels.text]);
        [self.image, self.text].into_iter().chain(labels).collect()
    }

    fn from_rows(rows: Vec<Tensor<2>>, like: &Self) -> Self {
        let mut rows = rows.into_iter();
        let mut next = |old: &Tensor<2>| rows.next().unwrap_or_else(|| old.clone());
        Self {
            image: next(&like.image),
            text: next(&like.text),
            labels: like
                .labels
                .as_ref()
                .map(|labels| LabelEmbeds { image: next(&labels.image), text: next(&labels.text) }),
        }
    }
}

impl Objective for MedClip {
    type Batch = LabelledPairs;
    type Embeds = LabelledEmbeds;

    fn upload(&self, batch: &PairBatch, device: &Device) -> LabelledPairs {
        let values = |labels: &[f32]| {
            let values: Vec<f32> = labels.iter().map(|&label| self.config.label_values.of(label)).collect();
            Tensor::from_data(TensorData::new(values, [batch.len, batch.classes]), device)
        };
        let has_labels = self.config.targets == Targets::Labels && !batch.text_labels.is_empty();
        LabelledPairs {
            images: self.preprocess.images(&batch.images, batch.len, batch.size, device),
            texts: texts(&batch.texts, device),
            labels: has_labels.then(|| LabelEmbeds { image: values(&batch.labels), text: values(&batch.text_labels) }),
        }
    }

    fn encode(&self, batch: &LabelledPairs, _ctx: &Context) -> LabelledEmbeds {
        LabelledEmbeds {
            image: self.model.encode_image(batch.images.clone()).embeds,
            text: self.model.encode_text(batch.texts.clone()).embeds,
            labels: batch.labels.clone(),
        }
    }

    /// The mean over the `S` sentences of a study: one and the same in other words, so that the labels are the same.
    fn losses(&self, embeds: &LabelledEmbeds, _ctx: &Context) -> Losses {
        let [b, e] = embeds.image.dims();
        let s = embeds.text.dims()[0] / b;
        let texts = embeds.text.clone().reshape([b, s, e]);
        let similarity = embeds
            .labels
            .as_ref()
            .map(|labels| self.config.label_similarity.of(labels.image.clone(), labels.text.clone()));
        let views = (0..s).map(|view| {
            let text = texts.clone().narrow(1, view, 1).reshape([b, e]);
            self.view(embeds.image.clone(), text, similarity.as_ref())
        });
        let sum = views.reduce(|a, b| SoftInfoNce {
            loss: a.loss + b.loss,
            image_to_text: a.image_to_text + b.image_to_text,
            text_to_image: a.text_to_image + b.text_to_image,
            entropy: a.entropy + b.entropy,
            accuracy: a.accuracy + b.accuracy,
        });
        let Some(sum) = sum else { panic!("the loader draws at least one sentence for MedCLIP") };
        let mean = |total: Tensor<1>| total.div_scalar(s as f64);
        let (loss, entropy) = (mean(sum.loss.without_autodiff()), mean(sum.entropy));
        Losses {
            terms: vec![
                LossTerm { name: "image_to_text", value: mean(sum.image_to_text), weight: 0.5 },
                LossTerm { name: "text_to_image", value: mean(sum.text_to_image), weight: 0.5 },
            ],
            metrics: vec![
                ("accuracy", mean(sum.accuracy)),
                ("target_entropy", entropy.clone()),
                ("divergence", loss - entropy),
                ("temperature", self.scale.temperature()),
                ("image_similarity", mean_similarity(embeds.image.clone())),
                ("text_similarity", mean_similarity(embeds.text.clone())),
            ],
        }
    }

    fn after_step(self, _ctx: &Context) -> Self {
        Self { scale: self.scale.clamped(), ..self }
    }
}
