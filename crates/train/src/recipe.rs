//! Recipes: every value of a run in one typed tree.
//!
//! Later wins: the recipe that `extends` names, the recipe, `--set`, named flags.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data::image::augment::AugmentConfig;
use data::pairing::PairingConfig;
use data::source::parts::SourceConfig;
use data::source::texts::TextsConfig;
use data::text::{Tokenizer, TokenizerConfig};
use engine::Result;
use engine::config::{Layer, Layered, Source};
use engine::optim::OptimConfig;
use eval::linear_probe::ProbeConfig;
use model::DualEncoderConfig;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::objective::convirt::ConVirtConfig;
use crate::objective::flavour::{Difference, Flavour};
use crate::objective::medclip::{self, MedClipConfig};
use crate::objective::mgca::flavour::{self as mgca, MgcaConfig};

/// The recipes of this project, by name.
pub const RECIPES: [(&str, &str); 15] = [
    ("convirt-phantom", include_str!("../../../models/convirt-phantom/recipe.toml")),
    ("supervised-phantom", include_str!("../../../models/supervised-phantom/recipe.toml")),
    ("supervised-mini", include_str!("../../../models/supervised-mini/recipe.toml")),
    ("convirt-small", include_str!("../../../models/convirt-small/recipe.toml")),
    ("convirt-mini", include_str!("../../../models/convirt-mini/recipe.toml")),
    ("mgca-phantom", include_str!("../../../models/mgca-phantom/recipe.toml")),
    ("mgca-mini", include_str!("../../../models/mgca-mini/recipe.toml")),
    ("mgca-small", include_str!("../../../models/mgca-small/recipe.toml")),
    ("mgca-rn50", include_str!("../../../models/mgca-rn50/recipe.toml")),
    ("medclip-phantom", include_str!("../../../models/medclip-phantom/recipe.toml")),
    ("medclip-mini", include_str!("../../../models/medclip-mini/recipe.toml")),
    ("medclip-small", include_str!("../../../models/medclip-small/recipe.toml")),
    ("medclip-rn50", include_str!("../../../models/medclip-rn50/recipe.toml")),
    ("medclip-swin", include_str!("../../../models/medclip-swin/recipe.toml")),
    ("convirt-rn50", include_str!("../../../models/convirt-rn50/recipe.toml")),
];

/// A whole recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The recipe below this one, already merged.
    #[serde(default, skip_serializing)]
    extends: Option<String>,
    /// The run.
    pub run: RunSection,
    /// The data.
    pub data: DataSection,
    /// The architecture. A supervised run takes its image encoder and leaves the rest.
    pub model: DualEncoderConfig,
    /// Weights to start from.
    #[serde(default)]
    pub init: InitSection,
    /// The training method.
    pub objective: ObjectiveConfig,
    /// Optimizer and schedule.
    pub optim: OptimConfig,
    /// Evaluation.
    pub eval: EvalSection,
}

/// The run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// Seed of everything that is random.
    pub seed: u64,
    /// Optimizer updates.
    pub steps: u64,
    /// Updates between two entries of the logs.
    pub log_every: u64,
    /// Updates between two saved states, from which a run goes on after it was interrupted; 0 saves the last alone.
    #[serde(default = "default_save_every")]
    pub save_every: u64,
    /// States of updates that this divides are kept for ever; 0 keeps the last two alone.
    #[serde(default)]
    pub keep_every: u64,
    /// Licence of the weights to come, for their card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

fn default_save_every() -> u64 {
    100
}

/// The data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Where studies come from.
    pub source: SourceConfig,
    /// Side of an image as the encoder sees it (px).
    pub image_size: usize,
    /// Larger side to which images are scaled when they are read (px).
    pub source_size: usize,
    /// Mean of each input channel; absent: `ImageNet`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Deviation of each input channel; absent: `ImageNet`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Studies per update.
    pub batch_size: usize,
    /// Studies encoded at once where memory is short; absent: the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch_size: Option<usize>,
    /// What a text is.
    #[serde(default, skip_serializing_if = "TextUnit::is_sentence")]
    pub text: TextUnit,
    /// Sentences drawn beside each whole report, for an objective that contrasts them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sentences_beside_report: usize,
    /// Texts drawn per study and update; 1 in the papers of `ConVIRT` and `MGCA`. Of `MedCLIP` all but the first are the same in
    /// other words.
    pub sentences_per_study: usize,
    /// Longest sentence in tokens.
    pub max_tokens: usize,
    /// The tokenizer.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// Augmentation.
    pub augment: AugmentConfig,
    /// Threads that prepare batches.
    pub num_workers: usize,
    /// Memory for decoded images (MiB).
    pub cache_mib: usize,
    /// Memory for what the frozen layers of the text tower return for each text (MiB).
    #[serde(default = "base_text_cache", skip_serializing_if = "is_base_text_cache")]
    pub text_cache_mib: usize,
    /// Folder that keeps the same beyond a run, for texts that memory has no room for; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cache: Option<PathBuf>,
    /// Largest fraction of unreadable studies.
    pub max_bad_fraction: f64,
    /// Negative control: every study gets the report of another, or its labels where texts are drawn by labels.
    #[serde(default)]
    pub shuffle_pairs: bool,
    /// Texts apart from the images (`MedCLIP`); absent: those of the studies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<TextsConfig>,
    /// How images and texts come together by their labels (`MedCLIP`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub pairing: PairingConfig,
}

fn is_default(pairing: &PairingConfig) -> bool {
    *pairing == PairingConfig::default()
}

fn base_text_cache() -> usize {
    512
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_base_text_cache(mib: &usize) -> bool {
    *mib == base_text_cache()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What a text of a study is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// A random sentence of the report (`ConVIRT`).
    #[default]
    Sentence,
    /// The whole report (`MGCA`).
    Report,
}

impl TextUnit {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_sentence(&self) -> bool {
        *self == Self::Sentence
    }
}

/// Weights to start from; absent: random.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitSection {
    /// A run folder or checkpoint of this project with the same architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// A file of any known kind that holds such an image encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<PathBuf>,
    /// A file or folder of any known kind that holds such a text encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
}

/// A training method and its constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectiveConfig {
    /// Pairs under InfoNCE.
    Convirt(ConVirtConfig),
    /// Pairs, words and patches, and prototypes.
    Mgca(MgcaConfig),
    /// Images and texts that are no pairs, by their labels.
    Medclip(MedClipConfig),
    /// Labels under binary cross-entropy.
    Supervised(SupervisedConfig),
}

/// Constants of supervised training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisedConfig {
    /// Dropout before the last layer.
    pub dropout: f64,
}

/// Evaluation while training and after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// Updates between two looks at the validation loss; 0: never.
    pub every: u64,
    /// Studies of the validation loss.
    pub max_studies: usize,
    /// Looks without improvement after which training ends; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stop: Option<u32>,
    /// Images encoded at once.
    pub batch_size: usize,
    /// Cut-offs of retrieval.
    pub ks: Vec<usize>,
    /// Resamples of an interval.
    pub resamples: usize,
    /// Linear probe.
    #[serde(default)]
    pub probe: ProbeConfig,
}

/// The layers of a recipe, by name or by path, with what it extends below it.
fn layers_of(recipe: &str) -> Result<Vec<Layer>, TrainError> {
    let layer = if let Some((name, text)) = RECIPES.iter().find(|(name, _)| *name == recipe) {
        Layer::text(Source::Preset((*name).to_owned()), text)?
    } else {
        let path = Path::new(recipe);
        let file = if path.is_dir() { path.join("recipe.toml") } else { path.to_owned() };
        if !file.is_file() {
            return Err(TrainError::UnknownRecipe { name: recipe.to_owned() });
        }
        Layer::file(&file)?
    };
    Ok(vec![layer])
}

/// The layers of a recipe and of everything that it extends, the lowest first.
fn chain(recipe: &str) -> Result<Vec<Layer>, TrainError> {
    const DEEPEST: usize = 8;
    let mut layers: Vec<Layer> = Vec::new();
    let mut next = Some(recipe.to_owned());
    while let Some(name) = next.take() {
        if layers.len() == DEEPEST {
            return Err(TrainError::ExtendsTooDeep { name: recipe.to_owned() });
        }
        let found = layers_of(&name)?;
        next = found[0].table().get("extends").and_then(|v| v.as_str()).map(str::to_owned);
        layers.splice(0..0, found);
    }
    Ok(layers)
}

/// The flavour of an objective that has flavours, and what it decides.
fn flavour(table: &toml::Table) -> Option<(Flavour, &'static [Difference])> {
    let objective = table.get("objective")?;
    let differences: &[Difference] = match objective.get("kind")?.as_str()? {
        "mgca" => &mgca::DIFFERENCES,
        "medclip" => &medclip::DIFFERENCES,
        _ => return None,
    };
    Some((objective.get("flavour")?.clone().try_into().ok()?, differences))
}

/// A recipe with everything that was set on the command line.
#[derive(Debug)]
pub struct Resolved {
    /// The typed tree.
    pub recipe: Recipe,
    /// The merged layers, which know where every value comes from.
    pub layered: Layered,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
}

/// Reads a recipe, puts `overrides` on top and fills in what follows from the tokenizer.
///
/// # Errors
/// An unknown recipe, an unknown or wrong key, a value that makes no sense.
pub fn resolve(recipe: &str, overrides: &[Layer]) -> Result<Resolved, TrainError> {
    let mut layered = Layered::new();
    for layer in chain(recipe)?.iter().chain(overrides) {
        layered.push(layer);
    }
    if let Some((flavour, differences)) = flavour(layered.table()) {
        layered.push(&flavour.fill(differences, layered.table())?);
    }
    let table = layered.table().clone();
    let tokenizer_config = table.get("data").and_then(|d| d.get("tokenizer")).cloned();
    let tokenizer_config: TokenizerConfig =
        tokenizer_config.and_then(|value| value.try_into().ok()).unwrap_or_default();
    let tokenizer = Arc::new(Tokenizer::load(&tokenizer_config)?);
    let text = table.get("model").and_then(|m| m.get("text"));
    if text.is_some_and(|text| text.get("vocab_size").is_none()) {
        let size = i64::try_from(tokenizer.vocab_size()).unwrap_or(i64::MAX);
        layered.push(&Layer::flag("tokenizer", &["model", "text", "vocab_size"], size));
    }
    let recipe: Recipe = layered.load()?;
    recipe.validate(&tokenizer)?;
    Ok(Resolved { recipe, layered, tokenizer })
}

impl Recipe {
    fn validate(&self, tokenizer: &Tokenizer) -> Result<(), TrainError> {
        let refuse = |key: &'static str, value: &dyn std::fmt::Debug, why: &'static str| {
            Err(TrainError::Setting { key, value: format!("{value:?}"), why })
        };
        self.model.validate().map_err(engine::EngineError::from)?;
        self.data.augment.validate(self.data.image_size)?;
        if self.run.steps == 0 {
            return refuse("run.steps", &self.run.steps, "use at least 1");
        }
        if self.eval.probe.max_epochs == 0 {
            return refuse("eval.probe.max_epochs", &self.eval.probe.max_epochs, "use at least 1");
        }
        if self.data.image_size < 32 {
            return refuse("data.image_size", &self.data.image_size, "the encoders need at least 32 pixels");
        }
        if let Some(size) = self.model.image.image_size().filter(|size| *size != self.data.image_size) {
            return refuse("model.image.image_size", &size, "it must be data.image_size");
        }
        if self.data.batch_size < 2 {
            return refuse("data.batch_size", &self.data.batch_size, "a contrast needs at least 2 studies");
        }
        if self.data.max_tokens > self.model.text.max_tokens() {
            return refuse("data.max_tokens", &self.data.max_tokens, "the text encoder has fewer positions");
        }
        if tokenizer.vocab_size() > self.model.text.vocab_size() {
            return refuse("model.text.vocab_size", &self.model.text.vocab_size(), "the tokenizer has more tokens");
        }
        if let ObjectiveConfig::Convirt(loss) = &self.objective {
            if loss.temperature <= 0.0 || !loss.temperature.is_finite() {
                return refuse("objective.temperature", &loss.temperature, "use more than 0");
            }
            if !(0.0..=1.0).contains(&loss.lambda) {
                return refuse("objective.lambda", &loss.lambda, "use 0 to 1");
            }
            if !(loss.topics_weight >= 0.0 && loss.topics_weight.is_finite()) {
                return refuse("objective.topics_weight", &loss.topics_weight, "use 0 or more");
            }
            if self.data.sentences_per_study == 0 {
                return refuse("data.sentences_per_study", &0, "a contrast needs at least 1 sentence");
            }
        }
        if let ObjectiveConfig::Mgca(loss) = &self.objective {
            if let Some((key, value, why)) = loss.fault() {
                return refuse(key, &value, why);
            }
            let Some(alignment) = &self.model.alignment else {
                return refuse("model.alignment", &"absent", "MGCA aligns words and patches: add [model.alignment]");
            };
            if loss.learned_attention && !alignment.attention {
                let why = "objective.learned_attention asks for it";
                return refuse("model.alignment.attention", &false, why);
            }
            if self.data.sentences_per_study != 1 {
                return refuse(
                    "data.sentences_per_study",
                    &self.data.sentences_per_study,
                    "MGCA takes one text a study",
                );
            }
            if loss.sentence_weight > 0.0 && self.data.sentences_beside_report == 0 {
                return refuse("data.sentences_beside_report", &0, "objective.sentence_weight needs at least 1");
            }
            if self.data.max_tokens < 3 {
                return refuse("data.max_tokens", &self.data.max_tokens, "a report needs room for a word");
            }
        }
        self.validate_texts()?;
        let channels = self.model.image.in_channels();
        for (key, values) in [("data.mean", &self.data.mean), ("data.std", &self.data.std)] {
            if values.as_ref().is_some_and(|values| values.len() != channels) {
                return refuse(key, values, "give one value for each of model.image.in_channels");
            }
        }
        Ok(())
    }

    /// Whether texts and images that are no pairs can come together.
    fn validate_texts(&self) -> Result<(), TrainError> {
        let refuse = |key: &'static str, value: String, why: &'static str| Err(TrainError::Setting { key, value, why });
        let ObjectiveConfig::Medclip(loss) = &self.objective else {
            if self.data.texts.is_some() {
                let why = "texts apart from the images need objective.kind = \"medclip\"";
                return refuse("data.texts", "present".to_owned(), why);
            }
            return Ok(());
        };
        if let Some((key, value, why)) = loss.fault() {
            return refuse(key, format!("{value:?}"), why);
        }
        if self.data.pairing.pool_size == 0 {
            return refuse("data.pairing.pool_size", "0".to_owned(), "use at least 1");
        }
        if self.data.text != TextUnit::Sentence {
            return refuse("data.text", "report".to_owned(), "MedCLIP knows what sentences say, not whole reports");
        }
        if self.data.sentences_per_study == 0 {
            let why = "use 1, or more for copies in other words";
            return refuse("data.sentences_per_study", "0".to_owned(), why);
        }
        Ok(())
    }

    /// Preparation of images.
    pub fn preprocess(&self) -> engine::upload::Preprocess {
        use engine::upload::Preprocess;
        let data = &self.data;
        let imagenet = Preprocess::imagenet(data.image_size, data.source_size, self.model.image.in_channels());
        Preprocess {
            mean: data.mean.clone().unwrap_or(imagenet.mean),
            std: data.std.clone().unwrap_or(imagenet.std),
            ..imagenet
        }
    }
}
