//! Training batches: a pure function of (seed, step), whatever the number of workers.
//!
//! Each worker owns every n-th batch and a queue, and the consumer takes from the queues in turn: the order never
//! depends on timing, the bytes that wait are bounded, and starting at step `k` costs no more than starting at zero.
//!
//! A batch never holds two images of one study, so that an image is never contrasted with the report that it belongs
//! to: a study shows one of its images at a time, samples of one study (where a source makes a sample of every image)
//! are put into different batches, and a study that cannot be read is replaced by one that is not in the batch.

mod apart;
mod run;
mod unpaired;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use self::apart::Apart;
pub use self::run::LoaderRun;
use self::unpaired::Unpaired;
use crate::batch::{PairBatch, TextBatch};
use crate::error::{DataError, ImageFault, Result};
use crate::fsx;
use crate::image::Plane;
use crate::image::augment::{AugmentConfig, AugmentParams};
use crate::pairing::{Corpus, values};
use crate::record::{Dataset, SampleRef, Study};
use crate::report::topics::Topics;
use crate::report::words::Denials;
use crate::rng::{Purpose, key, permutation, stream};
use crate::store::ImageStore;
use crate::text::Tokenizer;

/// Whose topics the batches carry.
#[derive(Debug, Clone, PartialEq)]
pub enum TopicSource {
    /// None.
    None,
    /// At most so many, learned from the reports of this data set.
    Learn(usize),
    /// Those of another data set.
    Given(Arc<Topics>),
}

/// What a loader does.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Seed of the run.
    pub seed: u64,
    /// Studies per batch; the last, smaller batch of an epoch is dropped.
    pub batch_size: usize,
    /// Side of an image (px).
    pub image_size: usize,
    /// Sentences drawn per study and step; 1 in `ConVIRT`, 0 to leave texts out.
    pub sentences: usize,
    /// Whether a study's text is its whole report instead of sentences drawn from it.
    pub whole_reports: bool,
    /// Sentences drawn beside each whole report, for [`PairBatch::beside`].
    pub sentences_beside: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Augmentation; `None` shows every image as evaluation does.
    pub augment: Option<AugmentConfig>,
    /// Negative control: every study gets the report of another.
    pub shuffle_pairs: bool,
    /// Threads that prepare batches; 0 prepares them on the caller's thread.
    pub num_workers: usize,
    /// Bytes of batches that wait ([`PairBatch::bytes`]) at which workers stop: each begins another while fewer wait,
    /// or while none of its own does.
    pub prefetch_bytes: usize,
    /// Largest fraction of unreadable studies before training stops; one is allowed unless this is 0.
    pub max_bad_fraction: f64,
    /// Topics of the reports in [`PairBatch::topics`].
    pub topics: TopicSource,
}

/// An endless sequence of training batches over the studies of a data set.
#[derive(Debug, Clone)]
pub struct Loader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dataset: Dataset,
    store: ImageStore,
    tokenizer: Arc<Tokenizer>,
    config: LoaderConfig,
    /// Token ids of the sentences of a study, where any are drawn.
    ids: Vec<Vec<Vec<u32>>>,
    /// Token ids of whole reports, where they are shown.
    reports: Vec<Vec<u32>>,
    topics: Option<Arc<Topics>>,
    /// Topics of the report of every study; empty where there are none.
    study_topics: Vec<Vec<f32>>,
    /// Texts that are not those of the studies.
    unpaired: Option<Unpaired>,
    /// Study whose report each study is paired with.
    partner: Vec<u32>,
    /// Which samples are of one study.
    apart: Apart,
    /// The last epoch's order, kept because a whole epoch uses it.
    order: Mutex<(u64, Arc<Vec<u32>>)>,
    quarantine: Mutex<BTreeMap<usize, (SampleRef, String)>>,
}

impl Loader {
    /// A loader over all studies of `dataset`; studies without sentences are left out where texts are asked for.
    ///
    /// # Errors
    /// If fewer studies remain than fit into a batch, if one has so many samples that two must share a batch, or if a
    /// text cannot be tokenised.
    pub fn new(
        dataset: Dataset,
        source_size: usize,
        cache_bytes: usize,
        tokenizer: Arc<Tokenizer>,
        config: LoaderConfig,
    ) -> Result<Self> {
        Self::with(dataset, (source_size, cache_bytes), tokenizer, config, None)
    }

    /// A loader over the images of `dataset`, each beside a sentence of `corpus` that shares a finding with it. Labels
    /// are those of the 14 observations, for images and for texts; of the texts of a study all but the first are the
    /// same sentence in other words.
    ///
    /// # Errors
    /// As [`Loader::new`], and where the classes of the images stand for no observation.
    pub fn unpaired(
        dataset: Dataset,
        source_size: usize,
        cache_bytes: usize,
        tokenizer: Arc<Tokenizer>,
        config: LoaderConfig,
        corpus: Arc<Corpus>,
    ) -> Result<Self> {
        let dataset = corpus.observed(dataset)?;
        Self::with(dataset, (source_size, cache_bytes), tokenizer, config, Some(corpus))
    }

    fn with(
        mut dataset: Dataset,
        (source_size, cache_bytes): (usize, usize),
        tokenizer: Arc<Tokenizer>,
        config: LoaderConfig,
        corpus: Option<Arc<Corpus>>,
    ) -> Result<Self> {
        if config.sentences > 0 && corpus.is_none() {
            dataset.studies.retain(|study| !study.sentences.is_empty());
            if dataset.studies.is_empty() {
                let what = "no study has a text to learn from. Images alone train with objective.kind = \"supervised\"";
                return Err(DataError::Empty { name: dataset.name, what });
            }
        }
        if config.batch_size == 0 || dataset.studies.len() < config.batch_size {
            return Err(DataError::Setting {
                key: "data.batch_size",
                value: config.batch_size.to_string(),
                why: "it must be at least 1 and at most the number of studies to train on",
            });
        }
        if let Some(augment) = &config.augment {
            augment.validate(config.image_size)?;
        }
        let encode = |study: &Study| -> Result<Vec<Vec<u32>>> {
            let ids = |text: &str| Ok(tokenizer.encode(text, config.max_tokens)?.input_ids);
            study.sentences.iter().map(|sentence| ids(sentence.expose())).collect()
        };
        // Topics are learned from sentences, whatever a text is.
        let by_sentence =
            !config.whole_reports || config.sentences_beside > 0 || !matches!(config.topics, TopicSource::None);
        let has_texts = config.sentences > 0 && corpus.is_none();
        let ids: Vec<Vec<Vec<u32>>> = if has_texts && by_sentence {
            dataset.studies.iter().map(encode).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        let topics = match &config.topics {
            TopicSource::None => None,
            TopicSource::Learn(count) => Some(Arc::new(Topics::learn(&ids, Denials::new(&tokenizer)?, *count))),
            TopicSource::Given(topics) => Some(Arc::clone(topics)),
        };
        let study_topics = topics.iter().flat_map(|topics| ids.iter().map(|report| topics.of(report))).collect();
        let reports = if has_texts && config.whole_reports {
            let whole = |study: &Study| -> Result<Vec<u32>> {
                let sentences: Vec<&str> = study.sentences.iter().map(|sentence| sentence.expose().as_str()).collect();
                Ok(tokenizer.encode(&sentences.join(" "), config.max_tokens)?.input_ids)
            };
            dataset.studies.iter().map(whole).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        let n = dataset.studies.len();
        let partner = if config.shuffle_pairs { derangement(config.seed, n) } else { permutation_identity(n) };
        let store = ImageStore::new(&dataset, source_size, cache_bytes);
        let apart = Apart::new(&dataset.studies);
        let unpaired = corpus.map(|corpus| Unpaired::new(&dataset, corpus));
        let order = Mutex::new((u64::MAX, Arc::new(Vec::new())));
        let quarantine = Mutex::new(BTreeMap::new());
        let loader = Self {
            shared: Arc::new(Shared {
                dataset,
                store,
                tokenizer,
                config,
                ids,
                reports,
                topics,
                study_topics,
                unpaired,
                partner,
                apart,
                order,
                quarantine,
            }),
        };
        // Fails here, where no order of the samples keeps those of one study apart.
        loader.shared.order(0)?;
        Ok(loader)
    }

    /// Batches of one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.shared.dataset.studies.len() / self.shared.config.batch_size) as u64
    }

    /// The images behind the batches, to decode them ahead of time.
    pub fn store(&self) -> &ImageStore {
        &self.shared.store
    }

    /// SHA-256 of what batches are drawn from: [`Dataset::fingerprint`], and the texts that stand beside the images.
    pub fn fingerprint(&self) -> String {
        let mut digest = self.shared.dataset.fingerprint();
        if let Some(unpaired) = &self.shared.unpaired {
            digest = fsx::sha256_hex(format!("{digest}{}", unpaired.corpus.fingerprint()).as_bytes());
        }
        digest
    }

    /// Topics of the reports, where they were asked for.
    pub fn topics(&self) -> Option<&Arc<Topics>> {
        self.shared.topics.as_ref()
    }

    /// Number of studies that batches are drawn from.
    pub fn num_studies(&self) -> usize {
        self.shared.dataset.studies.len()
    }

    /// The batch of a step, prepared on this thread.
    ///
    /// # Errors
    /// [`DataError::TooManyBad`] where more studies are unreadable than allowed.
    pub fn batch(&self, step: u64) -> Result<PairBatch> {
        self.shared.batch(step)
    }

    /// Batches of the steps `from..to`, prepared ahead by the workers.
    pub fn run(&self, from: u64, to: u64) -> LoaderRun {
        LoaderRun::start(Arc::clone(&self.shared), from, to)
    }

    /// How messages name the studies of a batch.
    pub fn samples(&self, batch: &PairBatch) -> Vec<SampleRef> {
        batch.studies.iter().map(|&study| self.shared.dataset.studies[study as usize].sample(None)).collect()
    }

    /// Unreadable studies met so far and their causes, in the order of the data set.
    pub fn quarantine(&self) -> Vec<(SampleRef, String)> {
        let bad = self.shared.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        bad.values().cloned().collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "data sets hold fewer than 2^32 studies")]
fn permutation_identity(n: usize) -> Vec<u32> {
    (0..n as u32).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a position in a collection")]
fn to_index(position: u64) -> usize {
    position as usize
}

/// A permutation without fixed points for `n > 1`: a random cycle through all studies.
fn derangement(seed: u64, n: usize) -> Vec<u32> {
    let cycle = permutation(seed, Purpose::Control, 0, n);
    let mut partner = vec![0; n];
    for (i, &study) in cycle.iter().enumerate() {
        partner[study as usize] = cycle[(i + 1) % n];
    }
    partner
}

impl Shared {
    fn order(&self, epoch: u64) -> Result<Arc<Vec<u32>>> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != epoch {
            let drawn = permutation(self.config.seed, Purpose::Order, epoch, self.dataset.studies.len());
            *order = (epoch, Arc::new(self.apart.arrange(drawn, self.config.batch_size)?));
        }
        Ok(Arc::clone(&order.1))
    }

    fn batch(&self, step: u64) -> Result<PairBatch> {
        let config = &self.config;
        let per_epoch = (self.dataset.studies.len() / config.batch_size) as u64;
        let (epoch, position) = (step / per_epoch, to_index(step % per_epoch));
        let order = self.order(epoch)?;
        let planned = &order[position * config.batch_size..(position + 1) * config.batch_size];
        let mut batch = PairBatch {
            len: config.batch_size,
            size: config.image_size,
            images: Vec::with_capacity(config.batch_size * config.image_size * config.image_size),
            sentences: config.sentences,
            texts: TextBatch::default(),
            beside: TextBatch::default(),
            topics: Vec::new(),
            classes: self.dataset.classes.len(),
            labels: Vec::with_capacity(config.batch_size * self.dataset.classes.len()),
            text_labels: Vec::new(),
            studies: Vec::with_capacity(config.batch_size),
        };
        let mut texts = Vec::with_capacity(config.batch_size * config.sentences);
        let mut beside = Vec::with_capacity(config.batch_size * config.sentences_beside);
        // Studies that the batch holds or is to hold: no substitute may be one of them.
        let mut taken: BTreeSet<u32> = planned.iter().map(|&study| self.apart.study(study as usize)).collect();
        for &study in planned {
            let (study, plane) = self.readable(study as usize, epoch, &mut taken)?;
            batch.images.extend_from_slice(&plane.data);
            let mut labelled = study;
            if let Some(unpaired) = &self.unpaired {
                labelled = self.partner[study] as usize;
                let place = (study, labelled);
                let drawn = unpaired.beside(&self.dataset, config, &self.tokenizer, epoch, place)?;
                texts.extend(drawn.texts);
                batch.text_labels.extend(values(&drawn.labels));
            } else if config.sentences > 0 {
                self.draw_texts(study, epoch, &mut texts, &mut beside);
                batch.topics.extend(self.study_topics.get(self.partner[study] as usize).into_iter().flatten());
            }
            batch.labels.extend(values(&self.dataset.studies[labelled].labels));
            batch.studies.push(u32::try_from(study).unwrap_or(u32::MAX));
        }
        batch.texts = TextBatch::from_ids(&texts, self.tokenizer.pad_id());
        batch.beside = TextBatch::from_ids(&beside, self.tokenizer.pad_id());
        Ok(batch)
    }

    /// Draws the texts of a study and those beside them: sentences of its report, different ones as long as there are
    /// enough, or the whole report.
    fn draw_texts(&self, study: usize, epoch: u64, texts: &mut Vec<Vec<u32>>, beside: &mut Vec<Vec<u32>>) {
        let partner = self.partner[study] as usize;
        let sentences = self.ids.get(partner).map_or(&[][..], Vec::as_slice);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        stream(self.config.seed, Purpose::Sentence, epoch, study as u64).shuffle(&mut order);
        let drawn = order.into_iter().cycle().map(|sentence| sentences[sentence].clone());
        if self.config.whole_reports {
            texts.push(self.reports[partner].clone());
            beside.extend(drawn.take(self.config.sentences_beside));
        } else {
            texts.extend(drawn.take(self.config.sentences));
        }
    }

    /// The image of a study, or of its deterministic substitute where it cannot be read. Every study that is tried is
    /// `taken` afterwards.
    fn readable(&self, planned: usize, epoch: u64, taken: &mut BTreeSet<u32>) -> Result<(usize, Plane)> {
        let mut study = planned;
        let mut substitutes = stream(self.config.seed, Purpose::Substitute, epoch, planned as u64);
        loop {
            match self.view(study, epoch) {
                Ok(plane) => return Ok((study, plane)),
                Err(DataError::Sample { sample, fault, .. }) => self.reject(study, sample, &fault)?,
                Err(other) => return Err(other),
            }
            let n = self.dataset.studies.len();
            let is_free = |candidate: usize| !taken.contains(&self.apart.study(candidate));
            if !(0..n).any(is_free) {
                let what = "no study is left to take the place of one that cannot be read: repair the files that the \
                            warnings name, or make data.batch_size smaller";
                return Err(DataError::Empty { name: self.dataset.name.clone(), what });
            }
            study = substitutes.below(n);
            while !is_free(study) {
                study = substitutes.below(n);
            }
            taken.insert(self.apart.study(study));
        }
    }

    /// One random view of a study; a panic counts as an unreadable image.
    fn view(&self, study: usize, epoch: u64) -> Result<Plane> {
        let config = &self.config;
        let image = stream(config.seed, Purpose::Image, epoch, study as u64).below(self.store.num_images(study));
        let Some(augment) = &config.augment else {
            return self.store.load_square(study, image, config.image_size);
        };
        let grey = self.store.load(study, image)?;
        let mut draw = stream(config.seed, Purpose::Augment, epoch, study as u64);
        let size = config.image_size;
        catch_unwind(AssertUnwindSafe(|| {
            AugmentParams::draw(augment, grey.width, grey.height, size, &mut draw).apply(grey.as_ref(), size)
        }))
        .map_err(|_| self.store.failed(study, image, ImageFault::Panicked))
    }

    /// Counts an unreadable study; an error once there are too many.
    fn reject(&self, study: usize, sample: SampleRef, fault: &ImageFault) -> Result<()> {
        let total = self.dataset.studies.len();
        let mut bad = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        bad.entry(study).or_insert_with(|| {
            tracing::warn!(data = %self.dataset.name, %sample, cause = %fault, "study left out and replaced");
            (sample, fault.to_string())
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a count")]
        let allowed = (total as f64 * self.config.max_bad_fraction).floor() as usize;
        // One bad file must not stop a run on a small data set, unless none is allowed.
        let limit = allowed.max(usize::from(self.config.max_bad_fraction > 0.0));
        if bad.len() <= limit && bad.len() < total {
            return Ok(());
        }
        let mut causes: BTreeMap<String, Vec<SampleRef>> = BTreeMap::new();
        for (sample, cause) in bad.values() {
            causes.entry(cause.clone()).or_default().push(sample.clone());
        }
        let causes = causes.into_iter().collect();
        Err(DataError::TooManyBad { name: self.dataset.name.clone(), bad: bad.len(), total, limit, causes })
    }
}

/// A seed for the device's own generator (dropout), different at every step.
pub fn device_seed(seed: u64, step: u64) -> u64 {
    key(seed, Purpose::Device, 0, step)
}
