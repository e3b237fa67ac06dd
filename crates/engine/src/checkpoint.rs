//! Weights of this project with what is needed to use them: architecture, preprocessing, tokenizer, classes.
//!
//! A checkpoint is one safetensors file. Its metadata holds a [`Card`], so that evaluation needs no recipe; it holds no
//! time and no path, so that equal runs write equal bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use data::fsx;
use data::text::{Tokenizer, TokenizerConfig};
use model::head::classifier::{ImageClassifier, ImageClassifierConfig};
use model::weights::{self, WeightsFile};
use model::{DualEncoder, DualEncoderConfig};
use serde::{Deserialize, Serialize};

use crate::error::{CheckpointProblem, EngineError, Result};
use crate::upload::Preprocess;

/// Key of the card in a file's metadata.
const KEY: &str = "roentgen";
/// Version of the card that this program writes.
const FORMAT: u32 = 1;

/// Architecture of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Two towers.
    DualEncoder(DualEncoderConfig),
    /// An image encoder with a classifier.
    ImageClassifier(ImageClassifierConfig),
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
    /// Preparation of text, where there is a text tower.
    pub text: Option<TextCard>,
    /// Classes of a classifier, in the order of its logits.
    pub classes: Vec<String>,
}

impl Card {
    /// A card of the current format.
    pub fn new(objective: &str, model: Architecture, preprocess: Preprocess) -> Self {
        Self { format: FORMAT, objective: objective.to_owned(), model, preprocess, text: None, classes: Vec::new() }
    }
}

/// Writes a module and its card as one safetensors file, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn save<M: Module>(path: &Path, module: &M, card: &Card) -> Result<()> {
    let json = serde_json::to_string(card).map_err(|e| format_error(path, &e.to_string()))?;
    let metadata = BTreeMap::from([(KEY.to_owned(), json)]);
    Ok(fsx::write_atomic(path, &weights::encode(&weights::collect(module), &metadata))?)
}

fn format_error(path: &Path, reason: &str) -> EngineError {
    EngineError::Checkpoint { path: path.to_owned(), why: CheckpointProblem::Format { reason: reason.to_owned() } }
}

/// A checkpoint on the host.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its card.
    pub card: Card,
    file: WeightsFile,
}

impl Checkpoint {
    /// Reads a run folder (its `model.safetensors`) or a file.
    ///
    /// # Errors
    /// If there is none, or it was not written by this project.
    pub fn read(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() };
        if !file.is_file() {
            return Err(EngineError::Checkpoint { path: path.to_owned(), why: CheckpointProblem::Missing });
        }
        let file = WeightsFile::read(&file)?;
        let card: Card = file.metadata_json(KEY)?;
        if card.format > FORMAT {
            let why = CheckpointProblem::Version { found: card.format, supported: FORMAT };
            return Err(EngineError::Checkpoint { path: file.path, why });
        }
        Ok(Self { card, file })
    }

    /// The two towers.
    ///
    /// # Errors
    /// If the checkpoint is a classifier or its tensors do not fit its card.
    pub fn dual_encoder(&self, device: &Device) -> Result<DualEncoder> {
        let Architecture::DualEncoder(config) = &self.card.model else {
            return Err(format_error(&self.file.path, "it holds an image classifier, which has no text tower"));
        };
        config.validate()?;
        Ok(weights::apply(config.init(device), self.file.tensors.clone(), &self.file.path)?)
    }

    /// The classifier.
    ///
    /// # Errors
    /// If the checkpoint has two towers or its tensors do not fit its card.
    pub fn image_classifier(&self, device: &Device) -> Result<ImageClassifier> {
        let Architecture::ImageClassifier(config) = &self.card.model else {
            return Err(format_error(&self.file.path, "it holds a dual encoder, which has no classifier"));
        };
        config.validate()?;
        Ok(weights::apply(config.init(device), self.file.tensors.clone(), &self.file.path)?)
    }

    /// The image encoder of either architecture.
    ///
    /// # Errors
    /// If the tensors do not fit the card.
    pub fn image_encoder(&self, device: &Device) -> Result<model::image::ImageEncoder> {
        Ok(match self.card.model {
            Architecture::DualEncoder(_) => self.dual_encoder(device)?.image_encoder,
            Architecture::ImageClassifier(_) => self.image_classifier(device)?.image_encoder,
        })
    }

    /// The tokenizer that it was trained with: the built-in one, or the file beside the weights with the same hash.
    ///
    /// # Errors
    /// If the checkpoint has no text tower, or its tokenizer is not beside it.
    pub fn tokenizer(&self) -> Result<(Tokenizer, TextCard)> {
        let Some(text) = &self.card.text else {
            return Err(format_error(&self.file.path, "it has no text tower"));
        };
        let builtin = Tokenizer::builtin()?;
        if builtin.sha256() == text.tokenizer_sha256 {
            return Ok((builtin, text.clone()));
        }
        let folder = self.file.path.parent().map(Path::to_owned).unwrap_or_default();
        for name in TOKENIZER_FILES {
            let path: PathBuf = folder.join(name);
            if path.is_file() {
                let tokenizer = Tokenizer::load(&TokenizerConfig { path, lowercase: text.lowercase })?;
                if tokenizer.sha256() == text.tokenizer_sha256 {
                    return Ok((tokenizer, text.clone()));
                }
            }
        }
        Err(format_error(
            &self.file.path,
            "its tokenizer.json or vocab.txt is not beside it: copy the one it was trained with",
        ))
    }

    /// All tensors under their public names.
    pub fn tensors(&self) -> &weights::TensorMap {
        &self.file.tensors
    }
}

/// Names under which a tokenizer lies beside weights.
pub const TOKENIZER_FILES: [&str; 2] = ["tokenizer.json", "vocab.txt"];
