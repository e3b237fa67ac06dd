//! Retrieval: by category (the paper's CheXpert 8x200 protocol) and by pairs; with queries of one's own: [`own`].
//!
//! Zhang et al. 2022, section 4.3: image-image uses encoder outputs, text-image the joint space; a hit is a candidate
//! that is positive for the query's category.

pub mod own;

use data::prompt::Prompts;
use data::record::{Dataset, ImageSource};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::embed::{Embedded, TextTower, mean_rows};
use crate::error::{EvalError, Result};
use crate::metric::retrieval::{median_rank_interval, precision_interval, recall_interval};
use crate::metric::{Bootstrap, Clusters, Interval, QueryResult};
use crate::ranking::{Embeddings, retrieve};

/// Figures of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// (k, precision at k).
    pub precision: Vec<(usize, Interval)>,
    /// (k, recall at k); empty for categories, where it says nothing.
    pub recall: Vec<(usize, Interval)>,
    /// Median rank of the first hit; `None` for categories.
    pub median_rank: Option<Interval>,
    /// Number of queries.
    pub num_queries: usize,
}

impl Serialize for Direction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = Map::new();
        for (k, interval) in &self.precision {
            map.insert(format!("precision_at_{k}"), json!(interval));
        }
        for (k, interval) in &self.recall {
            map.insert(format!("recall_at_{k}"), json!(interval));
        }
        if let Some(rank) = &self.median_rank {
            map.insert("median_rank".to_owned(), json!(rank));
        }
        map.insert("num_queries".to_owned(), json!(self.num_queries));
        Value::Object(map).serialize(serializer)
    }
}

/// Figures of all directions that the data allow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalFigures {
    /// Texts ask for images.
    pub text_to_image: Direction,
    /// Images ask for images.
    pub image_to_image: Direction,
    /// Images ask for texts; only where pairs are retrieved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_to_text: Option<Direction>,
}

impl Embedded<'_> {
    fn patient(&self, row: usize) -> &str {
        self.dataset.studies[self.images[row].0].patient_id.expose()
    }

    pub(crate) fn features(&self) -> Rows<'_> {
        Rows { dataset: self.dataset, images: self.images, vectors: &self.embeddings.features }
    }

    pub(crate) fn embeds(&self) -> Rows<'_> {
        Rows { dataset: self.dataset, images: self.images, vectors: &self.embeddings.embeds }
    }
}

/// Images with their rows in one space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) dataset: &'a Dataset,
    /// (study, image) of each row.
    pub(crate) images: &'a [(usize, usize)],
    pub(crate) vectors: &'a Embeddings,
}

impl Rows<'_> {
    fn positive(&self, row: usize, class: usize) -> bool {
        self.dataset.studies[self.images[row].0].labels.get(class).copied().flatten() == Some(true)
    }

    /// The class of an image that is positive for one alone.
    fn class_of(&self, row: usize) -> Option<usize> {
        let mut classes = (0..self.dataset.classes.len()).filter(|&class| self.positive(row, class));
        classes.next().filter(|_| classes.next().is_none())
    }

    fn image(&self, row: usize) -> &ImageSource {
        let (study, image) = self.images[row];
        &self.dataset.studies[study].images[image]
    }
}

/// What the queries of one direction found, and what is resampled for intervals.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) results: Vec<QueryResult>,
    pub(crate) clusters: Clusters,
}

/// What the query sentences of each class find among candidates in the joint space.
///
/// # Errors
/// If no prompt class is a label of the candidates.
pub(crate) fn sentences_find(
    candidates: Rows<'_>,
    prompts: &Prompts,
    text: TextTower<'_>,
    max_k: usize,
) -> Result<Found> {
    let mut sentences = Vec::new();
    let mut sentence_class = Vec::new();
    for (class, name) in candidates.dataset.classes.iter().enumerate() {
        let found = prompts.class(name).map(|class| class.queries.as_slice()).unwrap_or_default();
        sentences.extend(found.iter().map(String::as_str));
        sentence_class.extend(std::iter::repeat_n(class, found.len()));
    }
    if sentences.is_empty() {
        let what = "no label of the candidates has query sentences; give --prompts with `queries`".to_owned();
        return Err(EvalError::Unfit { data: candidates.dataset.name.clone(), what });
    }
    let hit = |q: usize, c: usize| candidates.positive(c, sentence_class[q]);
    let results = retrieve(&text.embed(&sentences)?, candidates.vectors, max_k, hit, |_, _| false)?;
    Ok(Found { results, clusters: Clusters::singletons(sentences.len()) })
}

/// What image queries with one positive class find among candidates by what the image encoder gives.
///
/// # Errors
/// Rows of another width, or numbers that are not finite.
pub(crate) fn images_find(queries: Rows<'_>, candidates: Rows<'_>, max_k: usize) -> Result<Found> {
    let class_of: Vec<Option<usize>> = (0..queries.images.len()).map(|row| queries.class_of(row)).collect();
    let hit = |q: usize, c: usize| class_of[q].is_some_and(|class| candidates.positive(c, class));
    let own = |q: usize, c: usize| queries.image(q) == candidates.image(c);
    let results = retrieve(queries.vectors, candidates.vectors, max_k, hit, own)?;
    let studies = queries.images.iter().map(|&(study, _)| &queries.dataset.studies[study]);
    let patients: Vec<&str> = studies.map(|study| study.patient_id.expose().as_str()).collect();
    Ok(Found { results, clusters: Clusters::from_keys(&patients) })
}

/// Precision at each `k` by category, of what was found.
///
/// # Errors
/// A cut-off above the one that was asked for.
pub(crate) fn by_category(
    sentences: &Found,
    images: &Found,
    ks: &[usize],
    bootstrap: &Bootstrap,
) -> Result<RetrievalFigures> {
    let figures = |found: &Found| precision_only(&found.results, ks, &found.clusters, bootstrap);
    Ok(RetrievalFigures { text_to_image: figures(sentences)?, image_to_image: figures(images)?, image_to_text: None })
}

fn precision_only(
    results: &[QueryResult],
    ks: &[usize],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Direction> {
    let precision = ks.iter().map(|&k| Ok((k, precision_interval(results, k, clusters, bootstrap)?)));
    Ok(Direction {
        precision: precision.collect::<Result<_>>()?,
        recall: Vec::new(),
        median_rank: None,
        num_queries: results.len(),
    })
}

/// Precision, recall and median rank where every study has a text: a report is the mean of its sentences' embeddings, and
/// whatever shares its text or its patient is a match. An image never finds itself.
///
/// # Errors
/// If no study has a text.
pub fn by_pairs(
    set: Embedded<'_>,
    text: TextTower<'_>,
    ks: &[usize],
    bootstrap: &Bootstrap,
) -> Result<RetrievalFigures> {
    let studies = &set.dataset.studies;
    let with_text: Vec<usize> = (0..studies.len()).filter(|&s| !studies[s].sentences.is_empty()).collect();
    if with_text.is_empty() {
        let what = "no study has text; name the column with --text-column".to_owned();
        return Err(EvalError::Unfit { data: set.dataset.name.clone(), what });
    }
    let mut sentences = Vec::new();
    let mut groups = Vec::new();
    for &study in &with_text {
        groups.push((sentences.len()..sentences.len() + studies[study].sentences.len()).collect::<Vec<_>>());
        sentences.extend(studies[study].sentences.iter().map(|s| s.expose().as_str()));
    }
    let rows = text.embed(&sentences)?;
    let reports: Embeddings = mean_rows(&rows, &groups)?;

    let matches = |a: usize, b: usize| {
        let (a, b) = (&studies[a], &studies[b]);
        a.patient_id == b.patient_id || (!a.sentences.is_empty() && a.sentences == b.sentences)
    };
    let study_of = |row: usize| set.images[row].0;
    let image_patients: Vec<&str> = (0..set.images.len()).map(|row| set.patient(row)).collect();
    let text_patients: Vec<&str> = with_text.iter().map(|&s| studies[s].patient_id.expose().as_str()).collect();
    let max_k = ks.iter().copied().max().unwrap_or(1);
    let embeds = &set.embeddings.embeds;
    let features = &set.embeddings.features;
    let never = |_: usize, _: usize| false;
    let text_to_image = retrieve(&reports, embeds, max_k, |q, c| matches(with_text[q], study_of(c)), never)?;
    let image_to_text = retrieve(embeds, &reports, max_k, |q, c| matches(study_of(q), with_text[c]), never)?;
    let itself = |q: usize, c: usize| q == c;
    let image_to_image = retrieve(features, features, max_k, |q, c| matches(study_of(q), study_of(c)), itself)?;
    let figures = |results: &[QueryResult], patients: &[&str]| -> Result<Direction> {
        let clusters = Clusters::from_keys(patients);
        let recall = ks.iter().map(|&k| Ok((k, recall_interval(results, k, &clusters, bootstrap)?)));
        Ok(Direction {
            recall: recall.collect::<Result<_>>()?,
            median_rank: Some(median_rank_interval(results, &clusters, bootstrap)?),
            ..precision_only(results, ks, &clusters, bootstrap)?
        })
    };
    Ok(RetrievalFigures {
        text_to_image: figures(&text_to_image, &text_patients)?,
        image_to_image: figures(&image_to_image, &image_patients)?,
        image_to_text: Some(figures(&image_to_text, &image_patients)?),
    })
}
