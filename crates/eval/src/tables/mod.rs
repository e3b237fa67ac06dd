//! The tables of `ConVIRT`'s paper for several methods at once: linear probes by share of the labels, images found by image
//! and by sentence, each the mean over runs of several seeds, beside random weights.
//!
//! Runs that are missing are trained by the program `roentgen-train`, one process each, which keeps the memory of one run from the
//! next; everything that is finished stays below the folder and is not made again.
//!
//! # Source
//! Zhang et al. 2022, tables 1 (linear classification at 1 %, 10 % and all of the labels) and 2 (precision at 5, 10 and 50).
//! Deviations: generated radiographs, one data set, intervals over resampled patients and queries.

mod figures;
mod runs;

use std::fmt;
use std::path::Path;

use data::error::DataError;
use data::prompt::Prompts;
use data::rng::{Purpose, key};
use data::source::parts::{Categories, PhantomSource};
use engine::checkpoint::{Architecture, Checkpoint};
use engine::config::{self, Layer, Source};
use engine::progress::Ui;
use serde::{Deserialize, Serialize};

pub use figures::Tables;
pub use runs::Trainer;

use self::figures::{Asked, Measured};
use crate::downstream::Repetitions;
use crate::downstream::judge::Judge;
use crate::downstream::kept::IfChanged;
use crate::downstream::labelled::Labelled;
use crate::downstream::probe::{Initial, ProbeTask};
use crate::error::{EvalError, Result};
use crate::linear_probe::ProbeConfig;
use crate::metric::Bootstrap;
use crate::tasks::{Tools, Towers, images_by_category};

/// Tables that are built in, by name.
pub const BUILTIN: [(&str, &str); 1] = [("mini", include_str!("../../../../models/tables/mini.toml"))];

/// Which methods are compared and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRecipe {
    /// Seeds of the runs and of the probes on them.
    pub seeds: Vec<u64>,
    /// Shares of the training patients whose labels a probe sees.
    pub fractions: Vec<f64>,
    /// Cut-offs of retrieval.
    pub ks: Vec<usize>,
    /// Resamples of an interval.
    pub resamples: usize,
    /// Values that are set in the recipe of every row, such as `run.steps=100`.
    #[serde(default)]
    pub set: Vec<String>,
    /// What is probed and searched.
    pub phantoms: PhantomSource,
    /// The probe.
    pub probe: TableProbe,
    /// The methods, in the order of the rows.
    pub rows: Vec<Row>,
}

/// Protocol of the probes; what it does not name is that of [`ProbeConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableProbe {
    /// Learning rates, of which the best on the validation part is tested.
    pub rates: Vec<f64>,
    /// Longest training in epochs.
    pub max_epochs: u64,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name in the tables.
    pub name: String,
    /// A recipe of `train`, by name or path.
    pub recipe: String,
}

/// Name of the row of random weights, those of the first row's architecture.
const RANDOM: &str = "random weights";
/// Name of the row of chance.
const CHANCE: &str = "chance";
/// Folder of the probes.
const PROBES: &str = "probes";

impl Row {
    /// The name as part of that of a folder: letters and digits, the rest as hyphens.
    fn folder(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        self.name
            .chars()
            .map(plain)
            .collect::<String>()
            .split('-')
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    }
}

/// The first value that stands in a list twice.
fn twice<T: PartialEq + fmt::Display>(values: &[T]) -> Option<String> {
    let found = values.iter().enumerate().find(|(place, value)| values[..*place].contains(value));
    found.map(|(_, value)| value.to_string())
}

impl TableRecipe {
    /// A built-in table by its name, or a file.
    ///
    /// # Errors
    /// No such table, an unknown or wrong key, and lists that are empty.
    pub fn open(name: &str) -> Result<Self> {
        let layer = match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((known, text)) => Layer::text(Source::Preset((*known).to_owned()), text),
            None if Path::new(name).is_file() => Layer::file(Path::new(name)),
            None => {
                let known: Vec<&str> = BUILTIN.iter().map(|(known, _)| *known).collect();
                let what = format!("there is no such table: name a file, or one of {}", known.join(", "));
                return Err(EvalError::Unfit { data: name.to_owned(), what });
            }
        };
        let recipe: Self = layer.and_then(|layer| config::load(&[layer])).map_err(engine::EngineError::from)?;
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> Result<()> {
        let refuse =
            |key: &'static str, value: String, why: &'static str| Err(DataError::Setting { key, value, why }.into());
        let source = &self.phantoms;
        let counts = [
            ("phantoms.train", source.train),
            ("phantoms.validate", source.validate),
            ("phantoms.test", source.test),
            ("phantoms.candidates_per_class", source.candidates_per_class),
            ("phantoms.queries_per_class", source.queries_per_class),
            ("probe.max_epochs", self.probe.max_epochs),
            ("probe.rates", self.probe.rates.len() as u64),
            ("seeds", self.seeds.len() as u64),
            ("fractions", self.fractions.len() as u64),
            ("ks", self.ks.len() as u64),
            ("rows", self.rows.len() as u64),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(key, "nothing".to_owned(), "use at least one");
        }
        let is_rate = |rate: &&f64| **rate > 0.0 && rate.is_finite();
        if let Some(rate) = self.probe.rates.iter().find(|rate| !is_rate(rate)) {
            return refuse("probe.rates", rate.to_string(), "a learning rate is above 0");
        }
        if let Some(share) = self.fractions.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
            return refuse("fractions", share.to_string(), "use shares above 0 and at most 1");
        }
        if self.ks.contains(&0) {
            return refuse("ks", "0".to_owned(), "use cut-offs of at least 1");
        }
        let twice = [
            ("seeds", twice(&self.seeds)),
            ("fractions", twice(&self.fractions)),
            ("ks", twice(&self.ks)),
            ("rows", twice(&self.rows.iter().map(Row::folder).collect::<Vec<_>>())),
        ];
        if let Some((key, Some(value))) = twice.into_iter().find(|(_, value)| value.is_some()) {
            return refuse(key, value, "name each once");
        }
        for row in &self.rows {
            if row.folder().is_empty() || [RANDOM, CHANCE, PROBES].contains(&row.name.as_str()) {
                return refuse("rows.name", row.name.clone(), "this program uses that name: take another");
            }
            if row.recipe.starts_with('-') {
                return refuse("rows.recipe", row.recipe.clone(), "use the name or the path of a recipe");
            }
        }
        Ok(())
    }

    fn probe(&self, seed: u64) -> ProbeTask {
        let one = |&fraction: &f64| Repetitions { fraction, seed, seeds: 1 };
        ProbeTask {
            repetitions: self.fractions.iter().map(one).collect(),
            rates: self.probe.rates.clone(),
            protocol: ProbeConfig { max_epochs: self.probe.max_epochs, ..ProbeConfig::default() },
            stratify: None,
        }
    }

    /// Trains what is missing below `out` and measures all rows.
    ///
    /// # Errors
    /// A recipe that `train` refuses, a run that was made with other settings, what probes and retrieval fail with.
    pub fn run(&self, out: &Path, trainer: &Trainer, tools: &Tools) -> Result<Tables> {
        let bootstrap = Bootstrap { resamples: self.resamples, ..Bootstrap::default() };
        let tools = &Tools { bootstrap, ks: self.ks.clone(), ..tools.clone() };
        let runs: Vec<runs::Run> = self
            .rows
            .iter()
            .flat_map(|row| self.seeds.iter().map(move |&seed| runs::Run::new(row, seed, &self.set, out)))
            .collect();
        // What cannot be trained or probed is to be said before the first run and not after hours.
        let labelled = Labelled::phantoms(&self.phantoms);
        for &seed in &self.seeds {
            self.probe(seed).repetitions.iter().try_for_each(|r| r.draws(&labelled.train).map(|_| ()))?;
        }
        let judge = Judge::new(&labelled, None)?;
        for run in &runs {
            trainer.check(run)?;
        }
        for (run, number) in runs.iter().zip(1..) {
            trainer.train(run, (number, runs.len()), tools)?;
        }
        let categories = Categories { candidates: self.phantoms.candidates(), queries: self.phantoms.queries() };
        let place = Place { recipe: self, labelled: &labelled, categories: &categories, tools };
        let mut random = Measured::new(RANDOM, self.fractions.len());
        let mut measured = Vec::new();
        for (row, runs) in self.rows.iter().zip(runs.chunks(self.seeds.len())) {
            let mut all = Measured::new(&row.name, self.fractions.len());
            for run in runs {
                tracing::info!(method = %row.name, seed = run.seed, "measured");
                let checkpoint = Checkpoint::read(&run.folder)?;
                place.measure(&checkpoint, run, Initial::Checkpoint, &mut all)?;
                if measured.is_empty() {
                    place.measure(&checkpoint, run, Initial::Random, &mut random)?;
                }
            }
            measured.push(all);
        }
        measured.insert(0, random);
        let asked = Asked {
            fractions: &self.fractions,
            ks: &self.ks,
            seeds: &self.seeds,
            classes: labelled.test.classes.len(),
        };
        Tables::new(asked, &measured, &judge, &tools.bootstrap)
    }
}

/// What the rows are measured on.
struct Place<'a> {
    recipe: &'a TableRecipe,
    labelled: &'a Labelled,
    categories: &'a Categories,
    tools: &'a Tools,
}

impl Place<'_> {
    /// Adds what one run gives, or random weights of its architecture.
    fn measure(
        &self,
        checkpoint: &Checkpoint,
        run: &runs::Run,
        initial: Initial,
        measured: &mut Measured,
    ) -> Result<()> {
        let task = self.recipe.probe(run.seed);
        let kept = task.keep_in(&run.probes, (checkpoint, self.labelled), IfChanged::BeginAnew)?;
        let scores = task.scores(checkpoint, initial, self.labelled, Some(&kept), self.tools)?;
        measured.add_scores(scores);
        let device = &self.tools.device;
        if !matches!(checkpoint.card.model, Architecture::DualEncoder(_)) {
            let encoder = if initial == Initial::Random {
                device.seed(key(run.seed, Purpose::Init, 1, 0));
                checkpoint.image_config()?.init(device)
            } else {
                checkpoint.image_encoder(device)?
            };
            let preprocess = &checkpoint.card.preprocess;
            measured.add_images(images_by_category(&encoder, preprocess, self.categories, self.tools)?);
            return Ok(());
        }
        let (tokenizer, text) = checkpoint.tokenizer()?;
        let towers = match initial {
            Initial::Random => Towers::random(checkpoint, &tokenizer, text.max_tokens, self.tools, run.seed)?,
            Initial::Checkpoint | Initial::Baseline => {
                Towers::new(checkpoint, &tokenizer, text.max_tokens, self.tools)?
            }
        };
        let (sentences, images) = towers.found_by_category(self.categories, &Prompts::phantom())?;
        measured.add_images(images);
        measured.add_sentences(sentences);
        Ok(())
    }
}

impl Trainer {
    /// The program beside this one.
    ///
    /// # Errors
    /// If it cannot be told where this one lies.
    pub fn beside(device: &str, ui: Ui) -> Result<Self> {
        let failed = |source| DataError::Io { action: "find the folder of", path: "this program".into(), source };
        let program = std::env::current_exe().map_err(failed)?.with_file_name(runs::PROGRAM);
        Ok(Self { program: program.with_extension(std::env::consts::EXE_EXTENSION), device: device.to_owned(), ui })
    }
}
