//! Checkpoints of this project and of others, with what is needed to use them: architecture, preprocessing, tokenizer,
//! classes.
//!
//! A checkpoint of this project is one safetensors file. Its metadata holds a [`Card`], so that evaluation needs no recipe;
//! it holds no time and no path, so that equal runs write equal bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use data::fsx;
use data::text::{Tokenizer, TokenizerConfig};
pub use model::card::{Architecture, Card, Provenance, TextCard};
use model::card::{FORMAT, KEY};
use model::head::classifier::ImageClassifier;
use model::image::{ImageEncoder, ImageEncoderConfig};
use model::text::bert::Pooling;
use model::text::{TextEncoder, TextEncoderConfig};
use model::weights::{self, CARD_FILE, Weights};
use model::{DualEncoder, DualEncoderConfig, ModelError};

use crate::error::{CheckpointProblem, EngineError, Result};

/// Writes a module and its card as one safetensors file, atomically, and the card beside it for people.
///
/// # Errors
/// If a file cannot be written.
pub fn save<M: Module>(path: &Path, module: &M, card: &Card) -> Result<()> {
    let json = serde_json::to_string(card).map_err(|e| format_error(path, &e.to_string()))?;
    let metadata = BTreeMap::from([(KEY.to_owned(), json)]);
    fsx::write_atomic(path, &weights::encode(&weights::collect(module), &metadata))?;
    save_card(&path.with_file_name(CARD_FILE), card)
}

/// Writes a card for people, and for files that lost their metadata.
///
/// # Errors
/// If the file cannot be written.
pub fn save_card(path: &Path, card: &Card) -> Result<()> {
    let text = toml::to_string(card).map_err(|e| format_error(path, &e.to_string()))?;
    Ok(fsx::write_atomic(path, text.as_bytes())?)
}

fn format_error(path: &Path, reason: &str) -> EngineError {
    EngineError::Checkpoint { path: path.to_owned(), why: CheckpointProblem::Format { reason: reason.to_owned() } }
}

/// A checkpoint whose tensors are read when they are asked for.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its card, or what follows from its kind.
    pub card: Card,
    /// Its tensors.
    pub weights: Weights,
}

impl Checkpoint {
    /// Opens a run folder (its `model.safetensors`), a folder of Hugging Face, or a file of any kind that
    /// [`model::weights::family`] knows.
    ///
    /// # Errors
    /// If there is none, or it is of no known kind.
    pub fn read(path: &Path) -> Result<Self> {
        let missing = || EngineError::Checkpoint { path: path.to_owned(), why: CheckpointProblem::Missing };
        if !path.exists() {
            return Err(missing());
        }
        let weights = match Weights::open(path) {
            Err(ModelError::Folder { .. }) if path.is_dir() => return Err(missing()),
            weights => weights?,
        };
        let mut card = weights.card.clone();
        if card.format > FORMAT {
            let why = CheckpointProblem::Version { found: card.format, supported: FORMAT };
            return Err(EngineError::Checkpoint { path: weights.source.path.clone(), why });
        }
        if card.text.is_none() {
            card.text = text_card(&weights)?;
        }
        let kept = weights.carried.len();
        tracing::info!(kind = weights.family.name, tensors = weights.tensors.len(), kept, "weights opened");
        Ok(Self { card, weights })
    }

    /// The same for images of another side, where positions are learned for one.
    ///
    /// # Errors
    /// If the architecture allows no such side.
    pub fn at_image_size(self, size: usize) -> Result<Self> {
        let weights = self.weights.at_image_size(size)?;
        let card = Card { model: weights.card.model.clone(), preprocess: weights.card.preprocess.clone(), ..self.card };
        Ok(Self { card, weights })
    }

    /// The same with another way of pooling the last layer of its text tower.
    #[must_use]
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        let text = match &mut self.card.model {
            Architecture::DualEncoder(config) => Some(&mut config.text),
            Architecture::TextEncoder(config) => Some(config),
            Architecture::ImageClassifier(_) | Architecture::ImageEncoder(_) => None,
        };
        if let Some(TextEncoderConfig::Bert(bert)) = text {
            bert.pooling = pooling;
            bert.pooled_layers.clear();
        }
        self
    }

    fn path(&self) -> &Path {
        &self.weights.source.path
    }

    /// What it would have to have for a task.
    fn lacks(&self, lacks: &'static str) -> EngineError {
        let holds = match &self.card.model {
            Architecture::DualEncoder(_) => "a dual encoder",
            Architecture::ImageClassifier(_) => "an image classifier",
            Architecture::ImageEncoder(_) => "an image encoder",
            Architecture::TextEncoder(_) => "a text encoder",
        };
        EngineError::Checkpoint { path: self.path().to_owned(), why: CheckpointProblem::Lacks { holds, lacks } }
    }

    /// Architecture of the image tower.
    ///
    /// # Errors
    /// If there is none.
    pub fn image_config(&self) -> Result<&ImageEncoderConfig> {
        self.card.model.image().ok_or_else(|| self.lacks("image tower"))
    }

    /// Architecture of the text tower.
    ///
    /// # Errors
    /// If there is none.
    pub fn text_config(&self) -> Result<&TextEncoderConfig> {
        self.card.model.text().ok_or_else(|| self.lacks("text tower"))
    }

    /// Architecture of the two towers.
    ///
    /// # Errors
    /// If the checkpoint has not both.
    pub fn dual_config(&self) -> Result<&DualEncoderConfig> {
        match &self.card.model {
            Architecture::DualEncoder(config) => Ok(config),
            Architecture::TextEncoder(_) => Err(self.lacks("image tower")),
            Architecture::ImageClassifier(_) | Architecture::ImageEncoder(_) => Err(self.lacks("text tower")),
        }
    }

    /// The two towers.
    ///
    /// # Errors
    /// If the checkpoint has not both, or its tensors do not fit its card.
    pub fn dual_encoder(&self, device: &Device) -> Result<DualEncoder> {
        let config = self.dual_config()?;
        config.validate()?;
        Ok(self.weights.load(config.init(device), "")?)
    }

    /// The classifier.
    ///
    /// # Errors
    /// If the checkpoint has none, or its tensors do not fit its card.
    pub fn image_classifier(&self, device: &Device) -> Result<ImageClassifier> {
        let Architecture::ImageClassifier(config) = &self.card.model else {
            return Err(self.lacks("classifier, such as `fine-tune` trains"));
        };
        config.validate()?;
        Ok(self.weights.load(config.init(device), "")?)
    }

    /// The image encoder of any architecture that has one.
    ///
    /// # Errors
    /// If there is none, or the tensors do not fit the card.
    pub fn image_encoder(&self, device: &Device) -> Result<ImageEncoder> {
        let config = self.image_config()?;
        config.validate()?;
        Ok(self.weights.load(config.init(device), "image_encoder.")?)
    }

    /// The text encoder of any architecture that has one.
    ///
    /// # Errors
    /// If there is none, or the tensors do not fit the card.
    pub fn text_encoder(&self, device: &Device) -> Result<TextEncoder> {
        let config = self.text_config()?;
        config.validate()?;
        Ok(self.weights.load(config.init(device), "text_encoder.")?)
    }

    /// The tokenizer that it was trained with: the built-in one, or the file beside the weights with the same hash.
    ///
    /// # Errors
    /// If the checkpoint has no text tower, or its tokenizer is not beside it or has tokens that the tower does not know.
    pub fn tokenizer(&self) -> Result<(Tokenizer, TextCard)> {
        let known = self.text_config()?.vocab_size();
        let missing = "its tokenizer.json or vocab.txt is not beside it: copy the one it was trained with";
        let text = self.card.text.as_ref().ok_or_else(|| format_error(self.path(), missing))?;
        let tokenizer = self.tokenizer_of(text)?.ok_or_else(|| format_error(self.path(), missing))?;
        let found = tokenizer.vocab_size();
        if found > known {
            let why = CheckpointProblem::Tokenizer { known, found };
            return Err(EngineError::Checkpoint { path: self.path().to_owned(), why });
        }
        Ok((tokenizer, text.clone()))
    }

    fn tokenizer_of(&self, text: &TextCard) -> Result<Option<Tokenizer>> {
        let builtin = Tokenizer::builtin()?;
        if builtin.sha256() == text.tokenizer_sha256 {
            return Ok(Some(builtin));
        }
        for path in tokenizers_in(&self.weights.source.folder) {
            let tokenizer = Tokenizer::load(&TokenizerConfig { path, lowercase: text.lowercase })?;
            if tokenizer.sha256() == text.tokenizer_sha256 {
                return Ok(Some(tokenizer));
            }
        }
        Ok(None)
    }
}

/// Names under which a tokenizer lies beside weights.
pub const TOKENIZER_FILES: [&str; 2] = ["tokenizer.json", "vocab.txt"];

fn tokenizers_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    TOKENIZER_FILES.iter().map(|name| folder.join(name)).filter(|path| path.is_file())
}

/// How a text tower of another project reads text: the tokenizer beside it. Nothing where there is none.
fn text_card(weights: &Weights) -> Result<Option<TextCard>> {
    let (Some(text), Some(path)) = (weights.card.model.text(), tokenizers_in(&weights.source.folder).next()) else {
        return Ok(None);
    };
    let config = weights.source.folder.join("tokenizer_config.json");
    let config: Option<serde_json::Value> =
        fsx::read_capped(&config, 1 << 20).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let value = |key: &str| config.as_ref().and_then(|config| config.get(key));
    let lowercase = value("do_lower_case").and_then(serde_json::Value::as_bool).unwrap_or(true);
    let longest = value("model_max_length").and_then(serde_json::Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let tokenizer = Tokenizer::load(&TokenizerConfig { path, lowercase })?;
    Ok(Some(TextCard {
        tokenizer_sha256: tokenizer.sha256().to_owned(),
        lowercase,
        max_tokens: longest.unwrap_or(usize::MAX).min(text.max_tokens()).min(weights.family.max_tokens),
    }))
}
