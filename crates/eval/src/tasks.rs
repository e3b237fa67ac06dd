//! The tasks, from a checkpoint and data to figures: what the `eval` commands run and what training runs at its end.

use std::path::PathBuf;

use burn::tensor::Device;
use data::prompt::Prompts;
use data::record::Dataset;
use data::rng::{Purpose, key};
use data::source::parts::Categories;
use data::store::ImageStore;
use data::text::Tokenizer;
use engine::checkpoint::Checkpoint;
use engine::interrupt::Interrupts;
use engine::progress::{Progress, Ui};
use engine::upload::Preprocess;
use model::DualEncoder;
use model::head::classifier::ImageClassifier;
use model::image::ImageEncoder;

use crate::classes::{ClassFigures, class_figures};
use crate::embed::{Embedded, ImageEmbeddings, TextTower, Tick, all_images, embed_images, image_features, map_images};
use crate::error::{EvalError, Result};
use crate::linear_probe::{ProbeConfig, ProbeSet, linear_probe};
use crate::metric::Bootstrap;
use crate::prototypes::{Prototypes, none_of_them, prototypes};
use crate::ranking::Embeddings;
use crate::retrieval::{Found, RetrievalFigures, Rows, by_category, by_pairs, images_find, sentences_find};
use crate::zero_shot::zero_shot;

/// What every task needs besides model and data.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The plain device.
    pub device: Device,
    /// Style of progress.
    pub ui: Ui,
    /// Images encoded at once.
    pub batch_size: usize,
    /// Cut-offs of retrieval.
    pub ks: Vec<usize>,
    /// Intervals.
    pub bootstrap: Bootstrap,
    /// Bound on decoded images in memory (bytes).
    pub cache_bytes: usize,
    /// Folder in which rows that networks gave images are kept.
    pub kept_rows: Option<PathBuf>,
    /// Signals that end a task between two batches.
    pub interrupts: Interrupts,
}

/// A data set whose images are decoded on demand.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) store: ImageStore,
    pub(crate) images: Vec<(usize, usize)>,
}

impl Opened<'_> {
    /// Width and rows of what a classifier gives the images.
    pub(crate) fn logits(
        &self,
        model: &ImageClassifier,
        preprocess: &Preprocess,
        tools: &Tools,
        tick: Tick<'_>,
    ) -> Result<(usize, Vec<f32>)> {
        map_images(self, &self.images, (model, "logits"), preprocess, tools, tick, |x| model.forward(x))
    }

    /// The images with what both towers' space has of them.
    pub(crate) fn embedded<'b>(&'b self, embeddings: &'b ImageEmbeddings) -> Embedded<'b> {
        Embedded { dataset: self.dataset, images: &self.images, embeddings }
    }

    /// What an image encoder gives the images.
    pub(crate) fn features(
        &self,
        encoder: &ImageEncoder,
        preprocess: &Preprocess,
        tools: &Tools,
    ) -> Result<Embeddings> {
        let label = format!("features of {}", self.dataset.name);
        let features = |tick: Tick<'_>| image_features(encoder, self, preprocess, tools, tick);
        let (width, rows) = tools.progress(&label, self.images.len(), features)?;
        Ok(Embeddings::new(self.images.len(), width.max(1), rows)?)
    }

    /// The images with their rows in one space.
    pub(crate) fn rows<'b>(&'b self, vectors: &'b Embeddings) -> Rows<'b> {
        Rows { dataset: self.dataset, images: &self.images, vectors }
    }
}

impl Tools {
    /// The largest cut-off.
    pub(crate) fn max_k(&self) -> usize {
        self.ks.iter().copied().max().unwrap_or(1)
    }

    pub(crate) fn open<'a>(&self, dataset: &'a Dataset, preprocess: &Preprocess) -> Result<Opened<'a>> {
        if dataset.studies.is_empty() {
            let what = "this part has no studies: use more data or another split".to_owned();
            return Err(EvalError::Unfit { data: dataset.name.clone(), what });
        }
        self.check_interrupts()?;
        let store = ImageStore::new(dataset, preprocess.source_size, self.cache_bytes);
        let images = all_images(&store, dataset.studies.len());
        Ok(Opened { dataset, store, images })
    }

    fn check_interrupts(&self) -> Result<()> {
        self.interrupts.signal().map_or(Ok(()), |signal| Err(EvalError::Interrupted { signal }))
    }

    pub(crate) fn progress<T>(&self, label: &str, total: usize, body: impl FnOnce(Tick<'_>) -> Result<T>) -> Result<T> {
        let progress = Progress::new(self.ui, label, total as u64);
        let result = body(&|done| {
            progress.set(done as u64, "");
            self.check_interrupts()
        })?;
        progress.finish("");
        Ok(result)
    }
}

/// A dual encoder ready for its tasks.
#[derive(Debug)]
pub struct Towers<'a> {
    /// The model.
    pub model: DualEncoder,
    preprocess: &'a Preprocess,
    tokenizer: &'a Tokenizer,
    max_tokens: usize,
    tools: &'a Tools,
}

impl<'a> Towers<'a> {
    /// Loads the two towers of a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint has no text tower or does not fit its card.
    pub fn new(
        checkpoint: &'a Checkpoint,
        tokenizer: &'a Tokenizer,
        max_tokens: usize,
        tools: &'a Tools,
    ) -> Result<Self> {
        let model = checkpoint.dual_encoder(&tools.device)?;
        Ok(Self { model, preprocess: &checkpoint.card.preprocess, tokenizer, max_tokens, tools })
    }

    /// The same architecture with random weights.
    ///
    /// # Errors
    /// If the checkpoint has no text tower.
    pub(crate) fn random(
        checkpoint: &'a Checkpoint,
        tokenizer: &'a Tokenizer,
        max_tokens: usize,
        tools: &'a Tools,
        seed: u64,
    ) -> Result<Self> {
        tools.device.seed(key(seed, Purpose::Init, 1, 0));
        let model = checkpoint.dual_config()?.init(&tools.device);
        Ok(Self { model, preprocess: &checkpoint.card.preprocess, tokenizer, max_tokens, tools })
    }

    /// What encodes its texts.
    pub(crate) fn text(&self) -> TextTower<'_> {
        let (model, tokenizer) = (&self.model, self.tokenizer);
        TextTower { model, tokenizer, max_tokens: self.max_tokens, device: &self.tools.device }
    }

    /// How it sees images.
    pub(crate) fn preprocess(&self) -> &Preprocess {
        self.preprocess
    }

    pub(crate) fn embed(&self, opened: &Opened<'_>) -> Result<ImageEmbeddings> {
        let tools = self.tools;
        tools.progress(&format!("embed {}", opened.dataset.name), opened.images.len(), |tick| {
            embed_images(&self.model, opened, self.preprocess, tools, tick)
        })
    }

    /// Zero-shot classification of a data set.
    ///
    /// # Errors
    /// Unreadable images, or no class with both prompts and labels.
    pub fn zero_shot(&self, dataset: &Dataset, prompts: &Prompts) -> Result<ClassFigures> {
        let opened = self.tools.open(dataset, self.preprocess)?;
        let embeddings = self.embed(&opened)?;
        let set = Embedded { dataset, images: &opened.images, embeddings: &embeddings };
        zero_shot(prompts, set, self.text(), &self.tools.bootstrap)
    }

    /// Retrieval by category.
    ///
    /// # Errors
    /// Unreadable images, or no query sentence for any label.
    pub fn retrieval_by_category(&self, categories: &Categories, prompts: &Prompts) -> Result<RetrievalFigures> {
        let (sentences, images) = self.found_by_category(categories, prompts)?;
        by_category(&sentences, &images, &self.tools.ks, &self.tools.bootstrap)
    }

    /// What the sentences and the images of the categories find.
    pub(crate) fn found_by_category(&self, categories: &Categories, prompts: &Prompts) -> Result<(Found, Found)> {
        let candidates = self.tools.open(&categories.candidates, self.preprocess)?;
        let queries = self.tools.open(&categories.queries, self.preprocess)?;
        let (candidate_embeds, query_embeds) = (self.embed(&candidates)?, self.embed(&queries)?);
        let candidates = candidates.embedded(&candidate_embeds);
        let max_k = self.tools.max_k();
        let sentences = sentences_find(candidates.embeds(), prompts, self.text(), max_k)?;
        let images = images_find(queries.embedded(&query_embeds).features(), candidates.features(), max_k)?;
        Ok((sentences, images))
    }

    /// Retrieval of pairs.
    ///
    /// # Errors
    /// Unreadable images, or no text.
    pub fn retrieval_by_pairs(&self, dataset: &Dataset) -> Result<RetrievalFigures> {
        let opened = self.tools.open(dataset, self.preprocess)?;
        let embeddings = self.embed(&opened)?;
        let set = Embedded { dataset, images: &opened.images, embeddings: &embeddings };
        by_pairs(set, self.text(), &self.tools.ks, &self.tools.bootstrap)
    }
}

/// What the images of the categories find by an image encoder, which needs no text tower.
pub(crate) fn images_by_category(
    encoder: &ImageEncoder,
    preprocess: &Preprocess,
    categories: &Categories,
    tools: &Tools,
) -> Result<Found> {
    let queries = tools.open(&categories.queries, preprocess)?;
    let candidates = tools.open(&categories.candidates, preprocess)?;
    let [asked, found] = [&queries, &candidates].map(|opened| opened.features(encoder, preprocess, tools));
    let (asked, found) = (asked?, found?);
    images_find(queries.rows(&asked), candidates.rows(&found), tools.max_k())
}

/// The prototypes of a model with the images that they were compared with.
#[derive(Debug)]
pub struct PrototypeTask<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// Its images, decoded on demand.
    pub store: ImageStore,
    /// (study, image) of each row.
    pub images: Vec<(usize, usize)>,
    /// The rows.
    pub embeddings: ImageEmbeddings,
    /// What was found.
    pub found: Prototypes,
}

impl PrototypeTask<'_> {
    /// The images with their embeddings.
    pub fn set(&self) -> Embedded<'_> {
        Embedded { dataset: self.dataset, images: &self.images, embeddings: &self.embeddings }
    }
}

impl Towers<'_> {
    /// The prototypes of the model on a data set, with the `top` nearest images and reports of each.
    ///
    /// # Errors
    /// Unreadable images, or a model without prototypes.
    pub fn prototypes<'a>(&self, dataset: &'a Dataset, top: usize) -> Result<PrototypeTask<'a>> {
        let alignment = self.model.alignment.as_ref().ok_or_else(none_of_them)?;
        let centres = alignment.prototypes.val();
        let [rows, dim] = centres.dims();
        let centres = Embeddings::new(rows, dim, centres.into_data().iter::<f32>().collect())?;
        let opened = self.tools.open(dataset, self.preprocess)?;
        let embeddings = self.embed(&opened)?;
        let set = Embedded { dataset, images: &opened.images, embeddings: &embeddings };
        let found = prototypes(&centres, set, self.text(), top)?;
        let Opened { dataset, store, images } = opened;
        Ok(PrototypeTask { dataset, store, images, embeddings, found })
    }
}

/// The three parts of a probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeParts<'a> {
    /// Labels to fit.
    pub train: &'a Dataset,
    /// Labels that choose learning rate and epoch.
    pub validate: &'a Dataset,
    /// Labels that are scored.
    pub test: &'a Dataset,
}

/// The parts of a probe, opened: their images with their features.
#[derive(Debug)]
pub(crate) struct Featured<'a> {
    parts: Vec<(Opened<'a>, usize, Vec<f32>)>,
}

impl<'a> Featured<'a> {
    /// Features of all images of training, validation and test; `label` names the work in the progress display.
    pub(crate) fn new(
        label: &str,
        encoder: &ImageEncoder,
        preprocess: &Preprocess,
        parts: ProbeParts<'a>,
        tools: &Tools,
    ) -> Result<Self> {
        let opened = [parts.train, parts.validate, parts.test].map(|part| tools.open(part, preprocess));
        let opened = opened.into_iter().collect::<Result<Vec<_>>>()?;
        let total = opened.iter().map(|part| part.images.len()).sum();
        let parts = tools.progress(label, total, |tick| {
            let mut before = 0;
            let mut featured = Vec::new();
            for part in opened {
                let shifted = |done: usize| tick(before + done);
                let (width, rows) = image_features(encoder, &part, preprocess, tools, &shifted)?;
                before += part.images.len();
                featured.push((part, width, rows));
            }
            Ok(featured)
        })?;
        Ok(Self { parts })
    }

    /// Training, validation and test.
    pub(crate) fn sets(&self) -> [ProbeSet<'_>; 3] {
        [0, 1, 2].map(|i| {
            let (part, width, rows) = &self.parts[i];
            ProbeSet { dataset: part.dataset, images: &part.images, features: rows, width: *width }
        })
    }
}

/// A linear probe of an image encoder; `label` names it in the progress display.
///
/// # Errors
/// Unreadable images, or no class with both labels in the validation part.
pub fn probe(
    label: &str,
    encoder: &ImageEncoder,
    preprocess: &Preprocess,
    parts: ProbeParts<'_>,
    config: &ProbeConfig,
    tools: &Tools,
) -> Result<ClassFigures> {
    let featured = Featured::new(label, encoder, preprocess, parts, tools)?;
    let [train, validate, test] = featured.sets();
    linear_probe(&train, &validate, &test, config, &tools.bootstrap, &tools.device)
}

/// AUROC of a classifier on a data set that labels its classes.
///
/// # Errors
/// Unreadable images, weights that do not fit, or a class without a label column.
pub fn classify(checkpoint: &Checkpoint, dataset: &Dataset, tools: &Tools) -> Result<ClassFigures> {
    let model = checkpoint.image_classifier(&tools.device)?;
    let preprocess = &checkpoint.card.preprocess;
    let opened = tools.open(dataset, preprocess)?;
    let (width, rows) = tools.progress(&format!("classify {}", dataset.name), opened.images.len(), |tick| {
        opened.logits(&model, preprocess, tools, tick)
    })?;
    let mut columns = Vec::new();
    for class in &checkpoint.card.classes {
        let Some(column) = dataset.classes.iter().position(|name| name == class) else {
            let what = format!("it has no label \"{class}\", which the classifier was trained on");
            return Err(EvalError::Unfit { data: dataset.name.clone(), what });
        };
        columns.push((class.clone(), column));
    }
    let kind = checkpoint.card.label_kind;
    let scores = columns_of(width, rows.chunks_exact(width.max(1)).map(|row| kind.log_odds(row)));
    class_figures(dataset, &opened.images, &columns, &scores, &tools.bootstrap)
}

/// Rows of scores, one for each image, as columns, one for each class.
#[expect(clippy::cast_possible_truncation, reason = "scores come from f32")]
pub(crate) fn columns_of(width: usize, rows: impl Iterator<Item = Vec<f64>>) -> Vec<Vec<f32>> {
    let mut columns = vec![Vec::new(); width];
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value as f32));
    }
    columns
}
