//! Batches of a recipe: images with the texts of their studies, or with texts of others.

use std::sync::Arc;

use data::loader::{Loader, LoaderConfig, TopicSource};
use data::pairing::{Corpus, shared_patients};
use data::record::Dataset;
use data::source::texts::Texts;
use data::text::Tokenizer;

use crate::error::TrainError;
use crate::recipe::{ObjectiveConfig, Recipe, TextUnit};

/// Bytes of batches that wait for training at which no more are begun.
pub(crate) const PREFETCH_BYTES: usize = 64 << 20;

/// What batches are made of besides images.
#[derive(Debug)]
pub struct Batches<'a> {
    recipe: &'a Recipe,
    tokenizer: &'a Arc<Tokenizer>,
    texts: Option<Texts>,
    /// Sentences that all parts of the data share.
    corpus: Option<Arc<Corpus>>,
}

impl<'a> Batches<'a> {
    /// Reads the texts that the recipe names apart from the images that are trained on.
    ///
    /// # Errors
    /// Texts that cannot be used.
    pub fn new(recipe: &'a Recipe, tokenizer: &'a Arc<Tokenizer>, images: &Dataset) -> Result<Self, TrainError> {
        let mut batches = Self { recipe, tokenizer, texts: None, corpus: None };
        let Some(config) = &recipe.data.texts else { return Ok(batches) };
        let texts = config.read()?;
        tracing::info!(data = %texts.name, reports = texts.reports.len(), "texts read");
        let patients = shared_patients(images, &texts);
        if patients > 0 {
            tracing::warn!(data = %texts.name, patients, "these have images too: the data are not unpaired");
        }
        batches.texts = Some(texts);
        if !recipe.data.pairing.own_report {
            batches.corpus = Some(batches.sentences(images)?);
        }
        Ok(batches)
    }

    /// The sentences for the images of a part.
    fn sentences(&self, part: &Dataset) -> Result<Arc<Corpus>, TrainError> {
        if let Some(corpus) = &self.corpus {
            return Ok(Arc::clone(corpus));
        }
        let data = &self.recipe.data;
        let corpus = Corpus::new(&data.pairing, self.texts.as_ref(), part, self.tokenizer, data.max_tokens)?;
        tracing::info!(sentences = corpus.num_sentences(), by_observation = ?corpus.counts(), "texts labelled");
        Ok(Arc::new(corpus))
    }

    /// Batches of a part: augmented for training, or plain `like` the training loader for the validation loss.
    ///
    /// # Errors
    /// As [`Loader::new`] and [`Loader::unpaired`].
    pub fn loader(&self, part: &Dataset, like: Option<&Loader>) -> Result<Loader, TrainError> {
        let data = &self.recipe.data;
        let (contrast, topics) = match &self.recipe.objective {
            ObjectiveConfig::Convirt(loss) => (true, loss.topics),
            ObjectiveConfig::Mgca(loss) => (true, loss.topics),
            ObjectiveConfig::Medclip(_) => (true, 0),
            ObjectiveConfig::Supervised(_) => (false, 0),
        };
        let config = LoaderConfig {
            seed: self.recipe.run.seed,
            batch_size: data.batch_size,
            image_size: data.image_size,
            sentences: if contrast { data.sentences_per_study } else { 0 },
            whole_reports: data.text == TextUnit::Report,
            sentences_beside: data.sentences_beside_report,
            max_tokens: data.max_tokens,
            augment: like.is_none().then(|| data.augment.clone()),
            shuffle_pairs: data.shuffle_pairs,
            num_workers: data.num_workers,
            prefetch_bytes: PREFETCH_BYTES,
            max_bad_fraction: data.max_bad_fraction,
            topics: match like.and_then(Loader::topics) {
                Some(learned) => TopicSource::Given(Arc::clone(learned)),
                None if topics > 0 => TopicSource::Learn(topics),
                None => TopicSource::None,
            },
        };
        let (cache, tokenizer) = (data.cache_mib << 20, Arc::clone(self.tokenizer));
        if !matches!(self.recipe.objective, ObjectiveConfig::Medclip(_)) {
            return Ok(Loader::new(part.clone(), data.source_size, cache, tokenizer, config)?);
        }
        let corpus = self.sentences(part)?;
        Ok(Loader::unpaired(part.clone(), data.source_size, cache, tokenizer, config, corpus)?)
    }

    /// Where the texts come from, for a card; `None` where they are those of the images.
    pub fn name_of_texts(&self) -> Option<&str> {
        self.texts.as_ref().map(|texts| texts.name.as_str())
    }
}
