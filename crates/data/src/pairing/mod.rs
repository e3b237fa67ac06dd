//! Images and texts that were never paired, brought together by what is known of both.
//!
//! Images have labels, sentences have labels, and an image is shown beside a sentence that shares a finding with it.
//! Which sentence is a pure function of (seed, epoch, image), whatever the number of workers.
//!
//! # Source
//! Wang et al., "MedCLIP: contrastive learning from unpaired medical images and text", 2022, section 3.2; `methods.md`
//! 3.2.

pub mod augment;
pub mod labels;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use self::labels::{Labels, NO_FINDING, NONE, OBSERVATIONS, SentenceLabeler, Translation};
use crate::error::{DataError, Result};
use crate::fsx;
use crate::record::{Dataset, Phi, Study};
use crate::report::words_apart;
use crate::rng::{Purpose, Stream, stream};
use crate::source::texts::Texts;
use crate::text::Tokenizer;

/// How images and sentences come together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairingConfig {
    /// Sentences of each observation that an epoch draws from; 200 in the published code.
    pub pool_size: usize,
    /// What an image gets that has a finding of which no text tells.
    pub without_shared: Fallback,
    /// What an image gets of which nothing is known to be there: neither a finding nor that there is none.
    pub without_labels: Fallback,
    /// Whether a study that has a report takes a sentence of it, as in the published code. Without texts of their own
    /// (`data.texts`) the sentences are those of the reports of the images.
    pub own_report: bool,
    /// What a sentence is that names no finding at all.
    pub silent: Silent,
    /// What becomes of a finding that a text leaves open.
    pub uncertain: Uncertain,
    /// Whether an observation is positive where one that it includes is, on both sides.
    pub hierarchy: bool,
    /// Whether sentences are cut as by the published code: lower case, words and marks apart, more than four of them.
    pub normalise: bool,
}

impl Default for PairingConfig {
    fn default() -> Self {
        Self {
            pool_size: 200,
            without_shared: Fallback::NoFinding,
            without_labels: Fallback::NoFinding,
            own_report: false,
            silent: Silent::None,
            uncertain: Uncertain::Absent,
            hierarchy: false,
            normalise: false,
        }
    }
}

/// The sentence of an image that no sentence can be told to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// One that says that nothing was found. The published code takes its first character alone where nothing is known
    /// of the image, by a slip that is not repeated here.
    NoFinding,
    /// Any.
    Any,
    /// None: the image is left out.
    LeaveOut,
}

/// What a sentence is that names no finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silent {
    /// It says nothing of any observation, and stands for none.
    None,
    /// It says that nothing was found, as in the published code: "Comparison to the prior film." then fits normal
    /// images.
    NoFinding,
}

/// What a finding is that a text leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncertain {
    /// As if the text did not name it, as in the published code.
    Absent,
    /// There.
    Positive,
}

/// A sentence and what it says.
#[derive(Debug, Clone)]
struct Sentence {
    text: Phi<String>,
    ids: Vec<u32>,
    labels: Labels,
}

/// Sentences with their labels, each once, and how they are drawn.
#[derive(Debug)]
pub struct Corpus {
    config: PairingConfig,
    sentences: Vec<Sentence>,
    /// Sentences in which each observation is positive.
    positive: Vec<Vec<u32>>,
    /// Places of a text among the sentences: labels of one text can differ where a table gives them.
    places: HashMap<String, Vec<u32>>,
    /// The pools of the last epoch, kept because all of it uses them.
    pools: Mutex<(u64, u64, Arc<Vec<Vec<u32>>>)>,
}

impl Corpus {
    /// The sentences of `texts`, and of the reports of `own` where the settings ask for them or there are no other
    /// texts.
    ///
    /// # Errors
    /// If there is no sentence at all, or one cannot be tokenised.
    pub fn new(
        config: &PairingConfig,
        texts: Option<&Texts>,
        own: &Dataset,
        tokenizer: &Tokenizer,
        max_tokens: usize,
    ) -> Result<Self> {
        if config.pool_size == 0 {
            let why = "use at least 1";
            return Err(DataError::Setting { key: "data.pairing.pool_size", value: "0".to_owned(), why });
        }
        let mut corpus = Self {
            config: config.clone(),
            sentences: Vec::new(),
            positive: vec![Vec::new(); OBSERVATIONS],
            places: HashMap::new(),
            pools: Mutex::new((u64::MAX, 0, Arc::new(Vec::new()))),
        };
        let has_own = config.own_report || texts.is_none();
        let all_given = texts.is_some_and(|texts| texts.classes.is_some()) && !has_own;
        let labeler = if all_given { None } else { Some(SentenceLabeler::new(config)?) };
        let mut add = |sentence: &Phi<String>, given: Option<Labels>| -> Result<()> {
            let Some(text) = corpus.wording(sentence.expose()) else { return Ok(()) };
            let labels = match given {
                Some(labels) => labels::complete(labels, config.hierarchy),
                None => labeler.as_ref().map_or(NONE, |labeler| labeler.label(sentence.expose())),
            };
            corpus.push(text, labels, tokenizer, max_tokens)
        };
        if let Some(texts) = texts {
            let translation = texts.classes.as_ref().map(|classes| Translation::new(classes));
            for report in &texts.reports {
                let given = translation.as_ref().map(|translation| translation.labels(&report.labels));
                report.sentences.iter().try_for_each(|sentence| add(sentence, given))?;
            }
        }
        if has_own {
            own.studies.iter().flat_map(|study| &study.sentences).try_for_each(|sentence| add(sentence, None))?;
        }
        if corpus.sentences.is_empty() {
            let name = texts.map_or_else(|| own.name.clone(), |texts| texts.name.clone());
            let what = "no sentence to learn from: name a CSV of reports with data.texts.manifest, or lower \
                        data.texts.text.min_tokens";
            return Err(DataError::Empty { name, what });
        }
        Ok(corpus)
    }

    /// A sentence as it is learned from, `None` where it is too short for that.
    fn wording(&self, sentence: &str) -> Option<String> {
        if self.config.normalise { words_apart(sentence) } else { Some(sentence.to_owned()) }
    }

    fn push(&mut self, text: String, labels: Labels, tokenizer: &Tokenizer, max_tokens: usize) -> Result<()> {
        let known = self.places.entry(text.clone()).or_default();
        if known.iter().any(|&place| self.sentences[place as usize].labels == labels) {
            return Ok(());
        }
        let place = u32::try_from(self.sentences.len()).unwrap_or(u32::MAX);
        known.push(place);
        for (class, label) in labels.iter().enumerate() {
            if *label == Some(true) {
                self.positive[class].push(place);
            }
        }
        let ids = tokenizer.encode(&text, max_tokens)?.input_ids;
        self.sentences.push(Sentence { text: Phi::new(text), ids, labels });
        Ok(())
    }

    /// Number of different sentences.
    pub fn num_sentences(&self) -> usize {
        self.sentences.len()
    }

    /// Different sentences in which each observation is positive.
    pub fn counts(&self) -> [usize; OBSERVATIONS] {
        std::array::from_fn(|class| self.positive[class].len())
    }

    /// What a sentence says.
    pub fn labels(&self, sentence: u32) -> &Labels {
        &self.sentences[sentence as usize].labels
    }

    /// SHA-256 of all sentences and their labels, in order.
    pub fn fingerprint(&self) -> String {
        self.sentences.iter().fold(String::new(), |digest, sentence| {
            fsx::sha256_hex(format!("{digest}{:?}{:?}", sentence.text.expose(), sentence.labels).as_bytes())
        })
    }

    /// Images with the observations as their classes, without those that are to be left out.
    ///
    /// # Errors
    /// If none of the classes stands for an observation, or no image remains.
    pub fn observed(&self, images: Dataset) -> Result<Dataset> {
        let Dataset { name, classes, mut studies } = images;
        let translation = Translation::new(&classes);
        if !translation.knows_any() {
            let what = "no class of the images is one of the 14 observations of CheXpert or a known name for one: see \
                        datasets/texts/README.md";
            return Err(DataError::Empty { name, what });
        }
        for study in &mut studies {
            let labels = labels::complete(translation.labels(&study.labels), self.config.hierarchy);
            study.labels = labels.to_vec();
        }
        let before = studies.len();
        studies.retain(|study| self.fallback(&study.labels) != Some(Fallback::LeaveOut) || self.has_own(study));
        if studies.len() < before {
            tracing::info!(data = %name, images = before - studies.len(), "left out: no sentence fits their labels");
        }
        let classes = labels::names();
        Ok(Dataset { name, classes, studies })
    }

    fn has_own(&self, study: &Study) -> bool {
        !self.own(study).is_empty()
    }

    /// The sentences of the report of a study, where it is to be learned from.
    pub fn own(&self, study: &Study) -> Vec<u32> {
        if !self.config.own_report {
            return Vec::new();
        }
        let texts = study.sentences.iter().filter_map(|sentence| self.wording(sentence.expose()));
        let places: BTreeSet<u32> = texts.filter_map(|text| self.places.get(&text)).flatten().copied().collect();
        places.into_iter().collect()
    }

    /// What comes in the place of a sentence that shares a finding, `None` where there are such sentences or the image
    /// is known to show nothing.
    fn fallback(&self, image: &[Option<bool>]) -> Option<Fallback> {
        let mut positive = image.iter().enumerate().filter(|(_, label)| **label == Some(true)).map(|(class, _)| class);
        let shares = positive.clone().any(|class| class != NO_FINDING && !self.positive[class].is_empty());
        let Some(first) = positive.next() else { return Some(self.config.without_labels) };
        let nothing_else = first == NO_FINDING && positive.next().is_none();
        (!shares && !nothing_else).then_some(self.config.without_shared)
    }

    /// The sentence that an image of an epoch is shown with: of the pools of its findings, or what takes their place.
    ///
    /// `image`: labels of the observations; `index`: its number in the data set.
    pub fn draw(&self, seed: u64, epoch: u64, index: u64, image: &[Option<bool>]) -> u32 {
        let mut random = stream(seed, Purpose::Sentence, epoch, index);
        let pools = self.pools(seed, epoch);
        let abnormal = (0..OBSERVATIONS).filter(|&class| class != NO_FINDING && image[class] == Some(true));
        let shared: Vec<&[u32]> = abnormal.map(|class| pools[class].as_slice()).collect();
        let mut drawn = one_of(&shared, &mut random);
        if drawn.is_none() && self.fallback(image) != Some(Fallback::Any) {
            drawn = one_of(&[&pools[NO_FINDING]], &mut random);
        }
        // Where no text says that nothing was found, any has to do: similarity goes by labels, not by who stands where.
        drawn.unwrap_or_else(|| u32::try_from(random.below(self.sentences.len())).unwrap_or(u32::MAX))
    }

    /// The sentences of an epoch by the observation that is positive in them, at most so many of each as settings say.
    pub fn pools(&self, seed: u64, epoch: u64) -> Arc<Vec<Vec<u32>>> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if (pools.0, pools.1) != (epoch, seed) || pools.2.is_empty() {
            let drawn = self.positive.iter().zip(0..).map(|(all, class)| {
                let mut random = stream(seed, Purpose::Pool, epoch, class);
                some_of(all, self.config.pool_size, &mut random)
            });
            *pools = (epoch, seed, Arc::new(drawn.collect()));
        }
        Arc::clone(&pools.2)
    }

    /// Token ids of a sentence.
    pub fn ids(&self, sentence: u32) -> &[u32] {
        &self.sentences[sentence as usize].ids
    }

    /// Token ids of a copy in slightly other words.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn reworded(
        &self,
        sentence: u32,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        random: &mut Stream,
    ) -> Result<Vec<u32>> {
        let text = augment::reworded(self.sentences[sentence as usize].text.expose(), random);
        Ok(tokenizer.encode(&text, max_tokens)?.input_ids)
    }
}

/// Patients who are among both.
pub fn shared_patients(images: &Dataset, texts: &Texts) -> usize {
    let shown: BTreeSet<&String> = images.studies.iter().map(|study| study.patient_id.expose()).collect();
    let told: BTreeSet<&String> = texts.reports.iter().map(|report| report.patient_id.expose()).collect();
    shown.intersection(&told).count()
}

/// One entry of some lists, each as likely as every other; nothing of none.
fn one_of(lists: &[&[u32]], random: &mut Stream) -> Option<u32> {
    let total: usize = lists.iter().map(|list| list.len()).sum();
    if total == 0 {
        return None;
    }
    let mut place = random.below(total);
    for list in lists {
        match list.get(place) {
            Some(&entry) => return Some(entry),
            None => place -= list.len(),
        }
    }
    None
}

/// At most `count` different entries, in a random order where some are left out.
fn some_of(all: &[u32], count: usize, random: &mut Stream) -> Vec<u32> {
    if all.len() <= count {
        return all.to_vec();
    }
    let mut all = all.to_vec();
    for i in 0..count {
        let other = i + random.below(all.len() - i);
        all.swap(i, other);
    }
    all.truncate(count);
    all
}

/// Labels in a batch: 1, 0, or NaN where nothing is said.
pub(crate) fn values(labels: &[Option<bool>]) -> impl Iterator<Item = f32> + '_ {
    labels.iter().map(|label| label.map_or(f32::NAN, |positive| f32::from(u8::from(positive))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_many_are_different_ones() {
        let all: Vec<u32> = (10..40).collect();
        let mut seen = BTreeSet::new();
        for key in 0..200 {
            let some = some_of(&all, 7, &mut Stream::new(key));
            let distinct: BTreeSet<u32> = some.iter().copied().collect();
            assert_eq!((some.len(), distinct.len()), (7, 7));
            seen.extend(distinct);
        }
        assert_eq!(seen.len(), 30);
        assert_eq!(some_of(&all, 30, &mut Stream::new(1)), all);
    }

    #[test]
    fn every_entry_of_every_list_is_drawn() {
        let mut random = Stream::new(3);
        let lists: [&[u32]; 3] = [&[1, 2], &[], &[3]];
        let mut counts = [0; 4];
        for _ in 0..3000 {
            counts[one_of(&lists, &mut random).unwrap() as usize] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(one_of(&[&[], &[]], &mut random), None);
        assert!(NONE.iter().all(Option::is_none));
    }
}
