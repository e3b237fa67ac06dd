//! Retrieval by category with queries of one's own: sentences or images of a file, candidates of a labelled CSV.
//!
//! # Source
//! Zhang et al. 2022, section 4.3 (`CheXpert` 8x200): image queries are compared by what the image encoder gives, so that
//! encoders without a text tower can be scored; text queries in the joint space. A hit is a candidate that is positive for
//! the query's category. A query that is one of the candidates, by its path, does not find itself.

use std::path::PathBuf;

use data::record::{Dataset, ImageSource};
use data::source::queries::{Asked, Queries};
use engine::checkpoint::Checkpoint;
use serde_json::{Map, Value, json};

use super::precision_only;
use crate::embed::{TextTower, embed_images};
use crate::error::{EvalError, Result};
use crate::metric::{Clusters, QueryResult};
use crate::ranking::{Embeddings, retrieve};
use crate::tasks::{Opened, Tools};

/// Precision at each `k` of the tools, by direction: `text_to_image` of sentences, `image_to_image` of images, with
/// `per_category`. The mean is that over queries, which is that over categories where these have equally many.
///
/// # Errors
/// Two files of one kind, a category without a positive candidate, unreadable images, and sentences for weights without a
/// text tower.
pub fn by_queries(
    checkpoint: &Checkpoint,
    files: &[Queries],
    candidates: &Dataset,
    tools: &Tools,
) -> Result<Map<String, Value>> {
    let kinds = files.iter().map(|queries| direction(&queries.asked));
    if let Some(twice) = kinds.clone().enumerate().find(|(place, kind)| kinds.clone().take(*place).any(|k| k == *kind))
    {
        let what = format!("a second file of queries {}: give one file of sentences and one of images", twice.1);
        return Err(EvalError::Unfit { data: files[twice.0].name.clone(), what });
    }
    let columns: Vec<Vec<usize>> = files.iter().map(|queries| columns(queries, candidates)).collect::<Result<_>>()?;
    let preprocess = &checkpoint.card.preprocess;
    let opened = tools.open(candidates, preprocess)?;
    let mut figures = Map::new();
    for (queries, columns) in files.iter().zip(&columns) {
        let place = Place { checkpoint, opened: &opened, tools };
        let (found, clusters) = match &queries.asked {
            Asked::Texts(texts) => {
                let texts: Vec<&str> = texts.iter().map(|text| text.expose().as_str()).collect();
                (place.by_texts(&texts, columns)?, Clusters::singletons(texts.len()))
            }
            Asked::Images(images) => {
                let patients: Vec<&str> =
                    images.studies.iter().map(|study| study.patient_id.expose().as_str()).collect();
                (place.by_images(images, columns)?, Clusters::from_keys(&patients))
            }
        };
        let all: Vec<usize> = (0..found.len()).collect();
        let of = |rows: &[usize]| {
            let results: Vec<QueryResult> = rows.iter().map(|&row| found[row].clone()).collect();
            let clusters = Clusters::from_keys(&rows.iter().map(|&row| clusters.of(row)).collect::<Vec<_>>());
            Ok::<_, EvalError>(json!(precision_only(&results, &tools.ks, &clusters, &tools.bootstrap)?))
        };
        let mut direction_figures = of(&all)?;
        let mut per_category = Map::new();
        for (class, name) in candidates.classes.iter().enumerate() {
            let rows: Vec<usize> = all.iter().copied().filter(|&row| columns[row] == class).collect();
            if !rows.is_empty() {
                per_category.insert(name.clone(), of(&rows)?);
            }
        }
        direction_figures["per_category"] = Value::Object(per_category);
        figures.insert(direction(&queries.asked).to_owned(), direction_figures);
    }
    Ok(figures)
}

fn direction(asked: &Asked) -> &'static str {
    match asked {
        Asked::Texts(_) => "text_to_image",
        Asked::Images(_) => "image_to_image",
    }
}

/// The label column of each query's category; case does not count.
fn columns(queries: &Queries, candidates: &Dataset) -> Result<Vec<usize>> {
    let unfit = |what| EvalError::Unfit { data: queries.name.clone(), what };
    let column = |category: &String| {
        let found = candidates.classes.iter().position(|class| class.trim().eq_ignore_ascii_case(category));
        let column = found.ok_or_else(|| {
            let labels = candidates.classes.join(", ");
            unfit(format!("the category \"{category}\" is no label of the candidates, which have {labels}"))
        })?;
        if candidates.studies.iter().any(|study| study.labels[column] == Some(true)) {
            return Ok(column);
        }
        Err(unfit(format!("no candidate is positive for the category \"{category}\": leave its queries out")))
    };
    queries.categories.iter().map(column).collect()
}

/// Where queries are asked.
struct Place<'a> {
    checkpoint: &'a Checkpoint,
    opened: &'a Opened<'a>,
    tools: &'a Tools,
}

impl Place<'_> {
    fn by_texts(&self, texts: &[&str], columns: &[usize]) -> Result<Vec<QueryResult>> {
        let (tools, opened) = (self.tools, self.opened);
        let model = self.checkpoint.dual_encoder(&tools.device)?;
        let (tokenizer, card) = self.checkpoint.tokenizer()?;
        let text =
            TextTower { model: &model, tokenizer: &tokenizer, max_tokens: card.max_tokens, device: &tools.device };
        let asked = text.embed(texts)?;
        let preprocess = &self.checkpoint.card.preprocess;
        let label = format!("embed {}", opened.dataset.name);
        let embeds = tools
            .progress(&label, opened.images.len(), |tick| embed_images(&model, opened, preprocess, tools, tick))?;
        self.find(&asked, &embeds.embeds, columns, |_, _| false)
    }

    fn by_images(&self, queries: &Dataset, columns: &[usize]) -> Result<Vec<QueryResult>> {
        let (tools, preprocess) = (self.tools, &self.checkpoint.card.preprocess);
        let encoder = self.checkpoint.image_encoder(&tools.device)?;
        let asked = tools.open(queries, preprocess)?.features(&encoder, preprocess, tools)?;
        let candidates = self.opened.features(&encoder, preprocess, tools)?;
        let [own, others] = [queries, self.opened.dataset].map(real_paths);
        let itself = |q: usize, c: usize| own[q].is_some() && own[q] == others[self.opened.images[c].0];
        self.find(&asked, &candidates, columns, itself)
    }

    fn find(
        &self,
        queries: &Embeddings,
        candidates: &Embeddings,
        columns: &[usize],
        itself: impl Fn(usize, usize) -> bool + Sync,
    ) -> Result<Vec<QueryResult>> {
        let (studies, images) = (&self.opened.dataset.studies, &self.opened.images);
        let hit = |q: usize, c: usize| studies[images[c].0].labels[columns[q]] == Some(true);
        let max_k = self.tools.max_k();
        Ok(retrieve(queries, candidates, max_k, hit, itself)?)
    }
}

/// Where the one image of each study lies, links resolved; nothing for a phantom.
fn real_paths(part: &Dataset) -> Vec<Option<PathBuf>> {
    let of = |image: Option<&ImageSource>| match image {
        Some(ImageSource::File(path)) => path.expose().canonicalize().ok(),
        _ => None,
    };
    part.studies.iter().map(|study| of(study.images.first())).collect()
}
