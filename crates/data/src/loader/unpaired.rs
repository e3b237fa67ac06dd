//! Sentences for images that they were never written about.

use std::sync::Arc;

use super::LoaderConfig;
use crate::error::Result;
use crate::pairing::Corpus;
use crate::pairing::labels::Labels;
use crate::record::Dataset;
use crate::rng::{Purpose, stream};
use crate::text::Tokenizer;

/// The sentences that images are shown with.
#[derive(Debug)]
pub(super) struct Unpaired {
    pub(super) corpus: Arc<Corpus>,
    /// Sentences of the report of each study that is to learn from its own.
    own: Vec<Vec<u32>>,
}

/// What stands beside one image.
pub(super) struct Beside {
    /// Token ids of a sentence and of copies of it in other words.
    pub(super) texts: Vec<Vec<u32>>,
    /// What the sentence says.
    pub(super) labels: Labels,
}

impl Unpaired {
    pub(super) fn new(images: &Dataset, corpus: Arc<Corpus>) -> Self {
        let own = images.studies.iter().map(|study| corpus.own(study)).collect();
        Self { corpus, own }
    }

    /// The sentence of an image in an epoch, with as many copies in other words as make up the texts of a study. It is
    /// the `image`-th of the data set, or the one whose place that takes (`labelled`), as a negative control has it.
    pub(super) fn beside(
        &self,
        images: &Dataset,
        config: &LoaderConfig,
        tokenizer: &Tokenizer,
        epoch: u64,
        (image, labelled): (usize, usize),
    ) -> Result<Beside> {
        let own = stream(config.seed, Purpose::Sentence, epoch, image as u64).pick(&self.own[labelled]).copied();
        let labels = &images.studies[labelled].labels;
        let sentence = own.unwrap_or_else(|| self.corpus.draw(config.seed, epoch, image as u64, labels));
        let mut texts = Vec::with_capacity(config.sentences);
        texts.push(self.corpus.ids(sentence).to_vec());
        let mut random = stream(config.seed, Purpose::Rewording, epoch, image as u64);
        for _ in 1..config.sentences {
            texts.push(self.corpus.reworded(sentence, tokenizer, config.max_tokens, &mut random)?);
        }
        Ok(Beside { texts, labels: *self.corpus.labels(sentence) })
    }
}
