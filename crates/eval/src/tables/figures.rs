//! Figures of the rows, pooled over their runs, as tables and as JSON.

use std::fmt::{self, Write as _};

use engine::table::{Align, Table, interval, number};
use serde_json::{Map, Value, json};

use super::CHANCE;
use crate::downstream::figures::Scored;
use crate::downstream::judge::Judge;
use crate::error::Result;
use crate::metric::{Bootstrap, Clusters, QueryResult, repeated_precision_interval};
use crate::retrieval::Found;

/// What one row gave, run after run.
#[derive(Debug)]
pub(super) struct Measured {
    name: String,
    /// By share of the labels, then by run.
    scores: Vec<Vec<Scored>>,
    sentences: Option<Repeated>,
    images: Option<Repeated>,
}

/// What the same queries found in several runs.
#[derive(Debug)]
struct Repeated {
    runs: Vec<Vec<QueryResult>>,
    clusters: Clusters,
}

impl Measured {
    pub(super) fn new(name: &str, fractions: usize) -> Self {
        Self { name: name.to_owned(), scores: vec![Vec::new(); fractions], sentences: None, images: None }
    }

    pub(super) fn add_scores(&mut self, scores: Vec<Vec<Scored>>) {
        self.scores.iter_mut().zip(scores).for_each(|(all, new)| all.extend(new));
    }

    pub(super) fn add_sentences(&mut self, found: Found) {
        add(&mut self.sentences, found);
    }

    pub(super) fn add_images(&mut self, found: Found) {
        add(&mut self.images, found);
    }
}

fn add(all: &mut Option<Repeated>, found: Found) {
    let Found { results, clusters } = found;
    all.get_or_insert_with(|| Repeated { runs: Vec::new(), clusters }).runs.push(results);
}

/// What is asked of every row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) fractions: &'a [f64],
    pub(super) ks: &'a [usize],
    pub(super) seeds: &'a [u64],
    pub(super) classes: usize,
}

/// The tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    figures: Value,
    /// Heading and columns of each, with the key of its figures.
    shapes: Vec<(String, &'static str, Vec<String>)>,
}

/// Keys of the figures.
const PROBE: &str = "linear_probe";
const IMAGES: &str = "image_to_image";
const SENTENCES: &str = "text_to_image";

impl Tables {
    /// Pools the runs of every row; the first row holds random weights, to which the others are compared.
    pub(super) fn new(asked: Asked<'_>, rows: &[Measured], judge: &Judge, bootstrap: &Bootstrap) -> Result<Self> {
        let mut probe = Map::new();
        let mut difference = Map::new();
        for row in rows {
            let mut of_row = Map::new();
            let mut to_random = Map::new();
            for ((fraction, scores), random) in asked.fractions.iter().zip(&row.scores).zip(&rows[0].scores) {
                let share = share(*fraction);
                of_row.insert(share.clone(), judge.areas(scores, bootstrap)?["auroc"]["macro"].clone());
                to_random.insert(share, judge.difference(scores, random, bootstrap)?["macro"].clone());
            }
            probe.insert(row.name.clone(), Value::Object(of_row));
            if row.name != rows[0].name {
                difference.insert(row.name.clone(), Value::Object(to_random));
            }
        }
        let precision = |of: fn(&Measured) -> &Option<Repeated>| -> Result<Value> {
            let mut figures = Map::new();
            for row in rows {
                let Some(Repeated { runs, clusters }) = of(row) else { continue };
                let at = |&k: &usize| {
                    Ok((format!("Prec@{k}"), json!(repeated_precision_interval(runs, k, clusters, bootstrap)?)))
                };
                figures.insert(row.name.clone(), Value::Object(asked.ks.iter().map(at).collect::<Result<_>>()?));
            }
            Ok(Value::Object(figures))
        };
        let figures = json!({
            "seeds": asked.seeds,
            PROBE: probe,
            "linear_probe_over_random": difference,
            IMAGES: precision(|row| &row.images)?,
            SENTENCES: precision(|row| &row.sentences)?,
        });
        let shares: Vec<String> = asked.fractions.iter().map(|fraction| share(*fraction)).collect();
        let cuts: Vec<String> = asked.ks.iter().map(|k| format!("Prec@{k}")).collect();
        let seeds = asked.seeds.len();
        let seeds = if seeds == 1 { "one run".to_owned() } else { format!("mean of {seeds} runs") };
        let classes = asked.classes;
        let shapes = vec![
            (format!("Linear probe: macro AUROC of {classes} findings by share of the labels, {seeds}"), PROBE, shares),
            (format!("Image-image retrieval, {seeds}"), IMAGES, cuts.clone()),
            (format!("Text-image retrieval, {seeds}"), SENTENCES, cuts),
        ];
        Ok(Self { figures, shapes })
    }

    /// The figures as JSON.
    pub fn json(&self) -> &Value {
        &self.figures
    }
}

/// A share of the labels as the paper's tables have it.
fn share(fraction: f64) -> String {
    if fraction >= 1.0 { "all".to_owned() } else { format!("{} %", (fraction * 1e6).round() / 1e4) }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (heading, key, names) in &self.shapes {
            let mut columns = vec![("method", Align::Left)];
            columns
                .extend(names.iter().flat_map(|name| [(name.as_str(), Align::Right), ("95 % interval", Align::Left)]));
            let mut table = Table::new(&columns);
            // Sentences find nothing where no method has a text tower.
            let Some(rows) = self.figures[*key].as_object().filter(|rows| !rows.is_empty()) else { continue };
            for (name, row) in rows {
                let cells = names.iter().flat_map(|name| cells(&row[name.as_str()]));
                table.row(std::iter::once(name.clone()).chain(cells));
            }
            // Chance is that of the queries, whoever answers them.
            if let Some(row) = rows.values().next().filter(|_| *key != PROBE) {
                table.rule();
                let chances = names.iter().flat_map(|name| {
                    let chance = row[name.as_str()]["chance"].as_f64();
                    [chance.map_or_else(|| "-".to_owned(), number), String::new()]
                });
                table.row(std::iter::once(CHANCE.to_owned()).chain(chances));
            }
            write!(text, "{}{heading}\n\n{table}", if text.is_empty() { "" } else { "\n" })?;
        }
        f.write_str(&text)
    }
}

/// A figure and its interval as two cells.
fn cells(figure: &Value) -> [String; 2] {
    let get = |key: &str| figure[key].as_f64();
    let range = get("low").zip(get("high"));
    [
        get("value").map_or_else(|| "-".to_owned(), number),
        range.map_or_else(String::new, |(low, high)| interval(low, high)),
    ]
}
