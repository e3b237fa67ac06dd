//! What the checkpoint of a run says about its data: asked once, shown by every section.

use std::path::Path;

use data::image::transform::resize_larger_side;
use data::image::{GrayImage, Plane};
use data::prompt::{BUILTIN_SETS, ClassPrompts, PromptSet};
use data::record::Dataset;
use data::source::parts::{Categories, Parts, SourceConfig};
use engine::checkpoint::{Architecture, Checkpoint};

use super::record::RunRecord;
use super::{ReportData, ReportOptions};
use crate::embed::framed;
use crate::error::{EvalError, Result};
use crate::explain::{ExplainOptions, Explainer, Grid};
use crate::linear_probe::{ProbeConfig, probe_scores};
use crate::metric::Clusters;
use crate::pointing::{self, Case};
use crate::ranking::{Embeddings, rank};
use crate::tasks::{Featured, ProbeParts, Tools, Towers, columns_of};
use crate::zero_shot::differences;
use crate::zero_shot::matching::{self, compared};

/// Training studies whose labels the probe of a report sees at most, spread evenly: a report takes seconds.
const PROBED: usize = 2048;
/// Test studies that are looked at, spread evenly.
const TESTED: usize = 4096;
/// Images that a query shows.
const SHOWN: usize = 6;
/// Queries and heat maps at most.
const QUERIES: usize = 12;
/// Larger side of a small picture (px).
const THUMBNAIL: usize = 96;

/// What a subject is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// What every section shows.
    Everything,
    /// Scores of the tasks alone.
    Scores,
}

/// Scores of one task on the test images.
#[derive(Debug)]
pub(super) struct Scored {
    /// How the task is called.
    pub(super) task: &'static str,
    pub(super) classes: Vec<String>,
    /// `[K][N]`.
    pub(super) labels: Vec<Vec<Option<bool>>>,
    /// `[K][N]`: probabilities where `are_probabilities`, else anything that grows with them.
    pub(super) scores: Vec<Vec<f32>>,
    /// Whether the scores are meant as probabilities.
    pub(super) are_probabilities: bool,
}

/// A query with the images that it finds first.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) class: String,
    pub(super) sentence: String,
    pub(super) found: Vec<Found>,
    /// How many of all candidates are hits: what chance finds.
    pub(super) share: f64,
}

/// An image that a query found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) row: usize,
    pub(super) is_hit: bool,
    pub(super) score: f32,
    pub(super) labels: Vec<String>,
    /// Only where images are shown.
    pub(super) picture: Option<GrayImage>,
}

/// Where a sentence is found in an image.
#[derive(Debug)]
pub(super) struct HeatMap {
    pub(super) class: String,
    pub(super) sentence: String,
    pub(super) row: usize,
    pub(super) grid: Grid,
    /// Left, top, right and bottom of the finding as fractions of the square that the network sees, where they are known.
    pub(super) place: Option<[f32; 4]>,
    /// Only where images are shown.
    pub(super) seen: Option<Plane>,
    pub(super) is_hit: Option<bool>,
}

/// A checkpoint with its data and what it makes of them.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) train: Dataset,
    pub(super) validate: Dataset,
    pub(super) test: Dataset,
    /// Study of each test image.
    pub(super) study_of: Vec<usize>,
    pub(super) clusters: Clusters,
    pub(super) scored: Vec<Scored>,
    pub(super) queries: Vec<Query>,
    pub(super) heat: Vec<HeatMap>,
    /// Vectors of the test images in the joint space, where there is one.
    pub(super) vectors: Option<Embeddings>,
}

impl Subject {
    /// Reads data and checkpoint and runs what is asked for.
    pub(super) fn ask(
        record: &RunRecord,
        folder: &Path,
        ask: Ask,
        options: &ReportOptions,
        tools: &Tools,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::read(folder)?;
        let (parts, probed) = parts_of(record, options, &checkpoint.card.model)?;
        let Parts { train, validate, test, categories } = parts;
        let test = thinned(test, TESTED);
        let mut subject = Self {
            clusters: Clusters::singletons(0),
            study_of: Vec::new(),
            scored: Vec::new(),
            queries: Vec::new(),
            heat: Vec::new(),
            vectors: None,
            train,
            validate,
            test,
        };
        match checkpoint.card.model {
            Architecture::DualEncoder(_) => {
                let categories = categories.as_ref();
                subject.ask_towers(&checkpoint, &probed, (ask, categories), options, tools)?;
                if ask == Ask::Everything {
                    subject.ask_maps(folder, options, tools)?;
                }
            }
            Architecture::ImageClassifier(_) => subject.ask_classifier(&checkpoint, tools)?,
            Architecture::ImageEncoder(_) => subject.ask_probe(&checkpoint, &probed, tools)?,
            Architecture::TextEncoder(_) => {}
        }
        Ok(subject)
    }

    /// The images of the test part by study, with their patients.
    fn place(&mut self, images: &[(usize, usize)]) {
        self.study_of = images.iter().map(|&(study, _)| study).collect();
        let patients: Vec<&str> =
            self.study_of.iter().map(|&study| self.test.studies[study].patient_id.expose().as_str()).collect();
        self.clusters = Clusters::from_keys(&patients);
    }

    fn labels_of(&self, class: usize) -> Vec<Option<bool>> {
        let label = |&study: &usize| self.test.studies[study].labels.get(class).copied().flatten();
        self.study_of.iter().map(label).collect()
    }

    fn ask_towers(
        &mut self,
        checkpoint: &Checkpoint,
        probed: &Dataset,
        (ask, categories): (Ask, Option<&Categories>),
        options: &ReportOptions,
        tools: &Tools,
    ) -> Result<()> {
        let (tokenizer, text) = checkpoint.tokenizer()?;
        let towers = Towers::new(checkpoint, &tokenizer, text.max_tokens, tools)?;
        let test = self.test.clone();
        let opened = tools.open(&test, &checkpoint.card.preprocess)?;
        self.place(&opened.images);
        let embeddings = towers.embed(&opened)?;
        if let Some(set) = prompts_for(&self.test) {
            let classes = compared(&set.prompts, &self.test)?;
            let prompts: Vec<&ClassPrompts> = classes.iter().map(|class| &set.prompts.classes[class.place]).collect();
            self.scored.push(Scored {
                task: "Zero-shot",
                classes: classes.iter().map(|class| class.name.clone()).collect(),
                labels: matching::labels(&self.test, &opened.images, &classes),
                scores: differences(&prompts, &embeddings.embeds, towers.text())?,
                are_probabilities: false,
            });
            if ask == Ask::Everything {
                let images = (&test, &embeddings.embeds, &opened);
                self.queries = queries(&towers, &set, categories, images, options, tools)?;
            }
        }
        self.vectors = Some(embeddings.embeds);
        self.ask_probe(checkpoint, probed, tools)
    }

    /// A linear layer on frozen features, whose outputs are probabilities.
    fn ask_probe(&mut self, checkpoint: &Checkpoint, probed: &Dataset, tools: &Tools) -> Result<()> {
        let both = |part: &Dataset| {
            (0..part.classes.len()).any(|class| {
                let has = |sought| part.studies.iter().any(|study| study.labels.get(class) == Some(&Some(sought)));
                has(true) && has(false)
            })
        };
        if ![probed, &self.validate, &self.test].into_iter().all(both) {
            return Ok(());
        }
        let encoder = checkpoint.image_encoder(&tools.device)?;
        let (validate, test) = (self.validate.clone(), self.test.clone());
        let parts = ProbeParts { train: probed, validate: &validate, test: &test };
        let featured = Featured::new("probe", &encoder, &checkpoint.card.preprocess, parts, tools)?;
        let [train, validate, test] = featured.sets();
        if self.study_of.is_empty() {
            self.place(test.images);
        }
        let config = ProbeConfig { lr: 3e-3, max_epochs: 60, ..ProbeConfig::default() };
        let odds = probe_scores(&train, &validate, &test, &config, &tools.device)?.scores;
        self.scored.push(self.probabilities("Linear probe", self.test.classes.clone(), odds));
        Ok(())
    }

    fn ask_classifier(&mut self, checkpoint: &Checkpoint, tools: &Tools) -> Result<()> {
        let model = checkpoint.image_classifier(&tools.device)?;
        let preprocess = &checkpoint.card.preprocess;
        let test = self.test.clone();
        let opened = tools.open(&test, preprocess)?;
        self.place(&opened.images);
        let (width, rows) =
            tools.progress("classify", opened.images.len(), |tick| opened.logits(&model, preprocess, tools, tick))?;
        let kind = checkpoint.card.label_kind;
        let odds = columns_of(width, rows.chunks_exact(width.max(1)).map(|row| kind.log_odds(row)));
        self.scored.push(self.probabilities("Classifier", checkpoint.card.classes.clone(), odds));
        Ok(())
    }

    /// Probabilities from log-odds of classes; one that the data do not name is left out.
    fn probabilities(&self, task: &'static str, classes: Vec<String>, odds: Vec<Vec<f32>>) -> Scored {
        let mut scored =
            Scored { task, classes: Vec::new(), labels: Vec::new(), scores: Vec::new(), are_probabilities: true };
        for (name, odds) in classes.into_iter().zip(odds) {
            if let Some(column) = self.test.classes.iter().position(|class| *class == name) {
                scored.labels.push(self.labels_of(column));
                scored.scores.push(odds.into_iter().map(|odds| 1.0 / (1.0 + (-odds).exp())).collect());
                scored.classes.push(name);
            }
        }
        scored
    }

    /// The map of a sentence for each class: on phantoms with one finding in one place that of its report, with its box.
    fn ask_maps(&mut self, folder: &Path, options: &ReportOptions, tools: &Tools) -> Result<()> {
        let cases = pointing::cases(&self.test);
        let mut chosen: Vec<(String, String, usize, Option<Case>)> = Vec::new();
        for case in cases {
            let class = &self.test.classes[case.class];
            if chosen.iter().all(|(name, ..)| name != class) && chosen.len() < QUERIES {
                chosen.push((class.clone(), case.statement.clone(), case.study, Some(case)));
            }
        }
        if chosen.is_empty() {
            let best = self.queries.iter().filter_map(|query| {
                let row = query.found.iter().find(|found| found.is_hit)?.row;
                let study = self.test.studies.iter().position(|study| study.row == row)?;
                Some((query.class.clone(), query.sentence.clone(), study, None))
            });
            chosen = best.take(QUERIES).collect();
        }
        if chosen.is_empty() {
            return Ok(());
        }
        let explainer = match Explainer::new(Checkpoint::read(folder)?, ExplainOptions::default(), &tools.device) {
            Ok(explainer) => explainer,
            // An encoder without cells has no maps; that is no reason to have no report.
            Err(EvalError::Unfit { .. }) => return Ok(()),
            Err(other) => return Err(other),
        };
        let test = self.test.clone();
        let opened = tools.open(&test, &explainer.preprocess)?;
        self.heat = tools.progress("heat maps", chosen.len(), |tick| {
            let mut maps = Vec::new();
            for (class, sentence, study, case) in chosen {
                let image = opened.store.load(study, 0)?;
                let seen = framed(&image, &explainer.preprocess);
                let cells = explainer.cells(explainer.images(std::slice::from_ref(&seen)))?;
                let grid = explainer.sentence_maps(&cells, &[&sentence])?.swap_remove(0);
                let is_hit = case.as_ref().map(|case| case.is_pointed_at(&grid, &image, &explainer.preprocess));
                // Phantoms are square: what the network sees is the whole picture.
                let place = case.map(|case| case.corners);
                let seen = options.include_images.then_some(seen);
                let row = test.studies[study].row;
                maps.push(HeatMap { class, sentence, row, grid, place, seen, is_hit });
                tick(maps.len())?;
            }
            Ok(maps)
        })?;
        Ok(())
    }
}

/// The parts of a run's data, and the training studies whose labels a probe sees.
fn parts_of(record: &RunRecord, options: &ReportOptions, model: &Architecture) -> Result<(Parts, Dataset)> {
    if let Some(ReportData { parts, unseen }) = &options.data {
        let mut parts = parts.clone();
        if matches!(model, Architecture::ImageClassifier(_)) {
            parts.test.clone_from(unseen);
        }
        let probed = thinned(parts.train.clone(), PROBED);
        return Ok((parts, probed));
    }
    let source = record.source().ok_or_else(|| {
        let what =
            "its configuration names no data: give --data, or --figures-only for what the folder holds".to_owned();
        EvalError::Unfit { data: record.name.clone(), what }
    })?;
    let parts = source.parts()?;
    let probed = match &source {
        SourceConfig::Phantom(source) => source.probed(),
        _ => parts.train.clone(),
    };
    Ok((parts, thinned(probed, PROBED)))
}

/// Every so many studies, so that there are `most` at most.
fn thinned(part: Dataset, most: usize) -> Dataset {
    let every = part.studies.len().div_ceil(most).max(1);
    Dataset { studies: part.studies.into_iter().step_by(every).collect(), ..part }
}

/// The first built-in set whose classes the data label.
fn prompts_for(test: &Dataset) -> Option<PromptSet> {
    let open = |name: &&str| PromptSet::open(Path::new(name)).ok();
    BUILTIN_SETS.iter().filter_map(open).find(|set| compared(&set.prompts, test).is_ok())
}

/// The first query of every class that has candidates: those of the categories, else the test images themselves.
fn queries(
    towers: &Towers<'_>,
    set: &PromptSet,
    categories: Option<&Categories>,
    (test, embeds, opened): (&Dataset, &Embeddings, &crate::tasks::Opened<'_>),
    options: &ReportOptions,
    tools: &Tools,
) -> Result<Vec<Query>> {
    let own;
    let (candidates, opened, own_embeds) = match categories {
        Some(categories) => {
            own = tools.open(&categories.candidates, towers.preprocess())?;
            (&categories.candidates, &own, Some(towers.embed(&own)?.embeds))
        }
        None => (test, opened, None),
    };
    let embeds = own_embeds.as_ref().unwrap_or(embeds);
    let classes = compared(&set.prompts, candidates)?;
    let labels = matching::labels(candidates, &opened.images, &classes);
    let mut asked = Vec::new();
    for (k, class) in classes.iter().enumerate().filter(|(_, class)| !class.is_derived()).take(QUERIES) {
        let prompts = &set.prompts.classes[class.place];
        if let Some(sentence) = prompts.queries.first().or_else(|| prompts.positive.first()) {
            asked.push((k, class.name.clone(), sentence.clone()));
        }
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let sentences: Vec<&str> = asked.iter().map(|(_, _, sentence)| sentence.as_str()).collect();
    let ranked = rank(&towers.text().embed(&sentences)?, embeds, SHOWN, |_, _| false)?;
    let query = |((k, class, sentence), best): ((usize, String, String), Vec<crate::ranking::Neighbour>)| {
        let positive = labels[k].iter().filter(|label| **label == Some(true)).count();
        let found = best.into_iter().map(|neighbour| {
            let (study, image) = opened.images[neighbour.index];
            let record = &candidates.studies[study];
            let names =
                classes.iter().zip(&labels).filter(|(c, l)| !c.is_derived() && l[neighbour.index] == Some(true));
            let picture = if options.include_images {
                let whole = opened.store.load(study, image)?;
                Some(resize_larger_side(whole.as_ref().clone(), THUMBNAIL))
            } else {
                None
            };
            Ok(Found {
                row: record.row,
                is_hit: labels[k][neighbour.index] == Some(true),
                score: neighbour.score,
                labels: names.map(|(class, _)| class.name.clone()).collect(),
                picture,
            })
        });
        let share = positive as f64 / opened.images.len().max(1) as f64;
        Ok(Query { class, sentence, found: found.collect::<Result<_>>()?, share })
    };
    asked.into_iter().zip(ranked).map(query).collect()
}

#[cfg(test)]
mod tests {
    use data::record::Split;
    use data::source::parts::PhantomSource;

    use super::*;

    #[test]
    fn thinning_keeps_the_order_and_the_bound() {
        let part = PhantomSource { test: 10, ..PhantomSource::default() }.parts().test;
        let rows = |part: &Dataset| part.studies.iter().map(|study| study.row % (1 << 32)).collect::<Vec<_>>();
        let first = rows(&part)[0];
        assert_eq!(rows(&thinned(part.clone(), 10)).len(), 10);
        assert_eq!(rows(&thinned(part.clone(), 4)), [first, first + 3, first + 6, first + 9]);
        assert!(part.studies.iter().all(|study| study.split == Split::Test));
        assert_eq!(prompts_for(&part).unwrap().name, "phantom");
        assert!(prompts_for(&Dataset { classes: vec!["colour".to_owned()], ..part }).is_none());
    }
}
