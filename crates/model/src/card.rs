//! What a file of weights says of itself: architecture, preparation of its input, origin.
//!
//! A card travels in the metadata of a file and as `card.toml` beside it. It holds no time and no path, so that equal runs
//! write equal bytes.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::alignment::AlignmentConfig;
use crate::alignment::rules::AlignmentRules;
use crate::head::classifier::{ImageClassifier, ImageClassifierConfig};
use crate::head::label_kind::LabelKind;
use crate::image::ImageEncoderConfig;
use crate::text::TextEncoderConfig;
use crate::{DualEncoder, DualEncoderConfig, Result};

/// Key of the card in a file's metadata.
pub const KEY: &str = "roentgen";
/// Version of the card that this program writes.
pub const FORMAT: u32 = 1;

/// Architecture of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Two towers.
    DualEncoder(DualEncoderConfig),
    /// An image encoder with a classifier.
    ImageClassifier(ImageClassifierConfig),
    /// An image encoder alone, its tensors under `image_encoder.`.
    ImageEncoder(ImageEncoderConfig),
    /// A text encoder alone, its tensors under `text_encoder.`.
    TextEncoder(TextEncoderConfig),
}

impl Architecture {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::DualEncoder(config) => config.validate(),
            Self::ImageClassifier(config) => config.validate(),
            Self::ImageEncoder(config) => config.validate(),
            Self::TextEncoder(config) => config.validate(),
        }
    }

    /// The image tower, where there is one.
    pub fn image(&self) -> Option<&ImageEncoderConfig> {
        match self {
            Self::DualEncoder(config) => Some(&config.image),
            Self::ImageClassifier(config) => Some(&config.image),
            Self::ImageEncoder(config) => Some(config),
            Self::TextEncoder(_) => None,
        }
    }

    /// The text tower, where there is one.
    pub fn text(&self) -> Option<&TextEncoderConfig> {
        match self {
            Self::DualEncoder(config) => Some(&config.text),
            Self::TextEncoder(config) => Some(config),
            Self::ImageClassifier(_) | Self::ImageEncoder(_) => None,
        }
    }

    /// What aligns words with patches, where there is anything.
    pub fn alignment(&self) -> Option<&AlignmentConfig> {
        match self {
            Self::DualEncoder(config) => config.alignment.as_ref(),
            Self::ImageClassifier(_) | Self::ImageEncoder(_) | Self::TextEncoder(_) => None,
        }
    }

    /// Runs a function on the module, which is initialised when its tensors are first asked for.
    pub fn with_module<T>(&self, device: &Device, visit: impl Visit<T>) -> T {
        match self {
            Self::DualEncoder(config) => visit.module::<DualEncoder>("", &config.init(device)),
            Self::ImageClassifier(config) => visit.module::<ImageClassifier>("", &config.init(device)),
            Self::ImageEncoder(config) => visit.module("image_encoder.", &config.init(device)),
            Self::TextEncoder(config) => visit.module("text_encoder.", &config.init(device)),
        }
    }
}

/// A function of a module of any type, with the prefix under which its tensors lie in a file.
pub trait Visit<T> {
    /// The function.
    fn module<M: Module>(self, prefix: &str, module: &M) -> T;
}

/// How a checkpoint reads text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextCard {
    /// SHA-256 of the tokenizer's file.
    pub tokenizer_sha256: String,
    /// Whether a `vocab.txt` is applied to lower-cased text.
    pub lowercase: bool,
    /// Longest text in tokens.
    pub max_tokens: usize,
}

/// Published weights as they were fetched, each file checked against its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Repository on the Hugging Face hub.
    pub source: String,
    /// Commit of the repository.
    pub revision: String,
    /// SHA-256 of each file.
    pub sha256: BTreeMap<String, String>,
}

/// Where weights come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Data sets that they were trained on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// Licence, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// SHA-256 of the values of the run's configuration that decide what is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<String>,
    /// Family of the file that they were imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
    /// Where they were published, if they were fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Publication>,
}

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of the card.
    pub format: u32,
    /// Objective that it was trained with.
    pub objective: String,
    /// Architecture.
    pub model: Architecture,
    /// Preparation of images.
    pub preprocess: Preprocess,
    /// Preparation of text, where there is a text tower and its tokenizer is known.
    pub text: Option<TextCard>,
    /// Classes of a classifier, in the order of its logits.
    pub classes: Vec<String>,
    /// How the classes relate, hence what the logits mean.
    #[serde(default, skip_serializing_if = "is_default")]
    pub label_kind: LabelKind,
    /// How words and patches were aligned, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<AlignmentRules>,
    /// Where the weights come from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub provenance: Provenance,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Card {
    /// A card of the current format.
    pub fn new(objective: &str, model: Architecture, preprocess: Preprocess) -> Self {
        Self {
            format: FORMAT,
            objective: objective.to_owned(),
            model,
            preprocess,
            text: None,
            classes: Vec::new(),
            label_kind: LabelKind::default(),
            alignment: None,
            provenance: Provenance::default(),
        }
    }
}

/// What becomes of an image that is not square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Padded to a square with black.
    Pad,
    /// Scaled until its shorter side fits; what sticks out is cut.
    Crop,
}

/// How an image is cut to the square that an encoder sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framing {
    /// What becomes of an image that is not square.
    pub fit: Fit,
    /// Side to which the square (or the shorter side) is scaled before its centre is cut out (px).
    pub side: usize,
}

/// How grey values become the input of an image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Side of the square input (px).
    pub image_size: usize,
    /// Larger side to which images are scaled when they are read (px).
    pub source_size: usize,
    /// Mean of each input channel; `ImageNet`'s by default.
    pub mean: Vec<f32>,
    /// Deviation of each input channel; `ImageNet`'s by default.
    pub std: Vec<f32>,
    /// How an image becomes a square; absent: padded, then scaled to `image_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
}

impl Preprocess {
    /// `ImageNet`'s mean and deviation for three channels; their average for one.
    pub fn imagenet(image_size: usize, source_size: usize, channels: usize) -> Self {
        let (mean, std): (&[f32], &[f32]) =
            if channels == 1 { (&[0.449], &[0.226]) } else { (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]) };
        Self { image_size, source_size, mean: mean.to_vec(), std: std.to_vec(), framing: None }
    }

    /// Grey images as a normalised tensor, repeated to the channels of `mean`.
    ///
    /// # Shapes
    /// `images`: `len * size * size` values; the result: `[len, C, size, size]`.
    pub fn images(&self, images: &[f32], len: usize, size: usize, device: &Device) -> Tensor<4> {
        let channels = self.mean.len();
        let grey = Tensor::<4>::from_data(TensorData::new(images.to_vec(), [len, 1, size, size]), device);
        let row =
            |values: &[f32]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, channels, 1, 1]), device);
        if channels == 1 {
            return grey.sub_scalar(self.mean[0]).div_scalar(self.std[0]);
        }
        (grey.expand([len, channels, size, size]) - row(&self.mean)) / row(&self.std)
    }
}
