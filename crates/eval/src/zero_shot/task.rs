//! Zero-shot classification as a question to a checkpoint: prompt set, rule, samplings, and another model to compare with.
//!
//! # Source
//! Rules: `MedCLIP` (`RyanWangZf/MedCLIP`, commit 9c3396f), CLIP, `BioViL`, `CheXzero` (`rajpurkarlab/CheXzero`, commit
//! 5c341db) and `GLoRIA` (`marshuang80/gloria`, commit 416466a); see [`Rule`]. `MedCLIP` repeats with drawn prompts and gives
//! the mean and deviation. Deviations: an image that is positive for several classes has no accuracy, where `MedCLIP` takes
//! the first of them; `GLoRIA`'s similarity of words and regions is left out.

use data::error::DataError;
use data::prompt::PromptSet;
use data::record::Dataset;
use data::rng::{Purpose, key};
use engine::checkpoint::{Architecture, Checkpoint};
use engine::upload::Preprocess;
use model::DualEncoder;
use model::text::TextEncoderConfig;
use model::text::bert::Pooling;
use serde_json::{Map, Value};

use super::draw::{Draw, Sampling};
use super::encode::Classifier;
use super::figures::Question;
use super::matching::{Compared, compared};
use super::rule::{Rule, Scores};
use super::settings;
use crate::embed::TextTower;
use crate::error::Result;
use crate::tasks::Tools;

/// What a checkpoint is compared with.
#[derive(Debug)]
pub enum Against {
    /// The same architecture, tokenizer and preprocessing with random weights.
    Random,
    /// Another checkpoint, with its own.
    Checkpoint(Box<Checkpoint>),
}

/// How images are classified.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroShotTask {
    /// The sentences.
    pub set: PromptSet,
    /// The rule.
    pub rule: Rule,
    /// Which of the sentences; its seed is that of random weights too.
    pub sampling: Sampling,
    /// `T` of the rule, above 0.
    pub temperature: f64,
    /// Whether figures are given within each view, too.
    pub stratify: bool,
    /// Whether the settings quote the sentences.
    pub show_text: bool,
}

impl ZeroShotTask {
    /// `zero_shot`, the figures; with another model `against`, its figures, and `difference`, of the first minus those of the
    /// second over the same images, sentences and resamples; and `settings`, by which they can be had again.
    ///
    /// # Errors
    /// Settings that make no sense, no label of any class, unreadable images, and weights that do not fit.
    pub fn run(
        &self,
        checkpoint: &Checkpoint,
        against: Option<&Against>,
        dataset: &Dataset,
        tools: &Tools,
    ) -> Result<Map<String, Value>> {
        self.check()?;
        let classes = compared(&self.set.prompts, dataset)?;
        let draws = self.sampling.draws(&self.set.prompts, &classes, self.rule)?;
        let images = tools.open(dataset, &checkpoint.card.preprocess)?.images;
        let question = Question::new(dataset, &images, classes, self.stratify)?;
        let scores = self.scores(checkpoint, &checkpoint.dual_encoder(&tools.device)?, &draws, dataset, tools)?;
        let mut all = Map::new();
        let mut insert = |name: &str, value| {
            all.insert(name.to_owned(), Value::Object(value));
        };
        insert("zero_shot", question.figures(&scores, &tools.bootstrap)?);
        if let Some(against) = against {
            let (other, model) = self.other(checkpoint, against, tools)?;
            let second = self.scores(other, &model, &draws, dataset, tools)?;
            insert("against", question.figures(&second, &tools.bootstrap)?);
            insert("difference", question.difference(&scores, &second, &tools.bootstrap)?);
        }
        insert("settings", settings::settings(self, checkpoint, question.classes(), &draws, tools));
        if let Some(against) = against {
            all["settings"]["against"] = settings::against(against);
        }
        Ok(all)
    }

    /// Scores of every sampling by one checkpoint, of classes that [`compared`] has matched.
    ///
    /// # Errors
    /// As [`ZeroShotTask::run`].
    pub(crate) fn scores_of(
        &self,
        checkpoint: &Checkpoint,
        classes: &[Compared],
        dataset: &Dataset,
        tools: &Tools,
    ) -> Result<Vec<Scores>> {
        self.check()?;
        let draws = self.sampling.draws(&self.set.prompts, classes, self.rule)?;
        self.scores(checkpoint, &checkpoint.dual_encoder(&tools.device)?, &draws, dataset, tools)
    }

    fn check(&self) -> Result<()> {
        if self.temperature > 0.0 && self.temperature.is_finite() {
            return Ok(());
        }
        let value = self.temperature.to_string();
        Err(DataError::Setting { key: "--temperature", value, why: "use a number above 0" }.into())
    }

    fn other<'a>(
        &self,
        checkpoint: &'a Checkpoint,
        against: &'a Against,
        tools: &Tools,
    ) -> Result<(&'a Checkpoint, DualEncoder)> {
        Ok(match against {
            Against::Random => {
                tools.device.seed(key(self.sampling.seed, Purpose::Init, 1, 0));
                (checkpoint, checkpoint.dual_config()?.init(&tools.device))
            }
            Against::Checkpoint(other) => (other, other.dual_encoder(&tools.device)?),
        })
    }

    /// Scores of every draw, with the tokenizer and the preprocessing of a checkpoint.
    fn scores(
        &self,
        checkpoint: &Checkpoint,
        model: &DualEncoder,
        draws: &[Draw<'_>],
        dataset: &Dataset,
        tools: &Tools,
    ) -> Result<Vec<Scores>> {
        let preprocess: &Preprocess = &checkpoint.card.preprocess;
        let (tokenizer, text) = checkpoint.tokenizer()?;
        let opened = tools.open(dataset, preprocess)?;
        let text = TextTower { model, tokenizer: &tokenizer, max_tokens: text.max_tokens, device: &tools.device };
        let classifier = Classifier { text, preprocess, counts_padding: counts_padding(&checkpoint.card.model) };
        classifier.scores((self.rule, self.temperature), draws, &opened, tools)
    }
}

/// Whether the vector of a text depends on its padding.
pub(super) fn counts_padding(model: &Architecture) -> bool {
    match model.text() {
        Some(TextEncoderConfig::Bert(bert)) => bert.pooling == Pooling::PaddedMean,
        _ => false,
    }
}
