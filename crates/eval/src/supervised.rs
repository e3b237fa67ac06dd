//! Supervised classification of the image, as an objective of [`engine::fit`]: what fine-tuning trains, and the ceiling that
//! pretraining is measured against.
//!
//! Shape letters: `B` images, `K` classes.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use data::batch::PairBatch;
use engine::objective::{Context, Embeds, LossTerm, Losses, Objective};
use engine::upload::Preprocess;
use model::head::classifier::ImageClassifier;
use model::head::label_kind::LabelKind;

/// A classifier under the loss of its labels: binary cross-entropy, or cross-entropy of classes that exclude each other.
#[derive(Module, Debug)]
pub struct Supervised {
    /// Encoder and head.
    pub model: ImageClassifier,
    #[module(skip)]
    preprocess: Preprocess,
    #[module(skip)]
    kind: LabelKind,
}

impl Supervised {
    /// Puts the loss of any number of labels on a model.
    pub fn new(model: ImageClassifier, preprocess: Preprocess) -> Self {
        Self { model, preprocess, kind: LabelKind::Multilabel }
    }

    /// The same with the loss of other labels.
    #[must_use]
    pub fn with_kind(self, kind: LabelKind) -> Self {
        Self { kind, ..self }
    }
}

/// A batch on the device.
#[derive(Debug)]
pub struct LabelBatch {
    images: Tensor<4>,
    targets: Tensor<2>,
    labelled: Tensor<2>,
}

/// Logits and what they are compared with, each `[B, K]`.
#[derive(Debug, Clone)]
pub struct Scored {
    logits: Tensor<2>,
    targets: Tensor<2>,
    labelled: Tensor<2>,
}

impl Embeds for Scored {
    fn into_rows(self) -> Vec<Tensor<2>> {
        vec![self.logits, self.targets, self.labelled]
    }

    fn from_rows(rows: Vec<Tensor<2>>, like: &Self) -> Self {
        let mut rows = rows.into_iter();
        let mut next = |old: &Tensor<2>| rows.next().unwrap_or_else(|| old.clone());
        Self { logits: next(&like.logits), targets: next(&like.targets), labelled: next(&like.labelled) }
    }
}

impl Objective for Supervised {
    type Batch = LabelBatch;
    type Embeds = Scored;

    fn upload(&self, batch: &PairBatch, device: &Device) -> LabelBatch {
        let shape = [batch.len, batch.classes];
        let rows = |value: fn(f32) -> f32| {
            let values: Vec<f32> = batch.labels.iter().map(|&label| value(label)).collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), device)
        };
        LabelBatch {
            images: self.preprocess.images(&batch.images, batch.len, batch.size, device),
            targets: rows(|label| if label > 0.5 { 1.0 } else { 0.0 }),
            labelled: rows(|label| if label.is_nan() { 0.0 } else { 1.0 }),
        }
    }

    fn encode(&self, batch: &LabelBatch, _ctx: &Context) -> Scored {
        Scored {
            logits: self.model.forward(batch.images.clone()),
            targets: batch.targets.clone(),
            labelled: batch.labelled.clone(),
        }
    }

    fn losses(&self, embeds: &Scored, _ctx: &Context) -> Losses {
        let Scored { logits, targets, labelled } = embeds.clone();
        let [found, wanted, known] = [&logits, &targets, &labelled].map(|rows| rows.clone().without_autodiff());
        let (name, accuracy) = match self.kind {
            LabelKind::Multilabel => {
                let right = found.greater_elem(0.0).float().equal(wanted).float() * known.clone();
                ("bce", right.sum() / known.sum().clamp_min(1.0))
            }
            LabelKind::Multiclass => ("cross_entropy", found.argmax(1).equal(wanted.argmax(1)).float().mean()),
        };
        let value = self.kind.loss(logits, targets, labelled);
        Losses { terms: vec![LossTerm { name, value, weight: 1.0 }], metrics: vec![("accuracy", accuracy)] }
    }
}
