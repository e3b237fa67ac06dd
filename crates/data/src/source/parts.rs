//! Which source a recipe names, and its parts: what is trained on, validated on and tested on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mimic::MimicSource;
use super::mura::MuraSource;
use super::pairs_csv::{self, PairsConfig};
use super::phantom::{self, Prevalence};
use crate::error::Result;
use crate::record::{Dataset, Split};
use crate::split::{SplitConfig, check_leaks, split_by_patient};

/// A data source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SourceConfig {
    /// Generated radiographs.
    Phantom(PhantomSource),
    /// Images and texts named by a CSV.
    Pairs(PairsSource),
    /// MIMIC-CXR-JPG with its reports.
    #[serde(rename = "mimic-cxr")]
    Mimic(MimicSource),
    /// MURA v1.1: bones, labelled by study, without text.
    Mura(MuraSource),
}

/// Sizes of the phantom sets; every set has studies of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomSource {
    /// Seed of the generator, apart from the seed of the run.
    pub seed: u64,
    /// Studies to train on.
    pub train: u64,
    /// Studies of the validation loss and of the probe's early stop.
    pub validate: u64,
    /// Held-out studies at natural prevalence: zero-shot and probe are tested on them.
    pub test: u64,
    /// Held-out studies per category with exactly one finding: candidates of retrieval.
    pub candidates_per_class: u64,
    /// Further studies per category whose images are queries.
    pub queries_per_class: u64,
    /// Studies whose labels the probe sees: the first of the training set, and those that would follow where it has fewer, so
    /// that its size changes what is learned from and not what is probed with.
    pub probe: u64,
}

impl Default for PhantomSource {
    /// The sizes of the default recipe.
    fn default() -> Self {
        Self {
            seed: 7,
            train: 12288,
            validate: 384,
            test: 512,
            candidates_per_class: 64,
            queries_per_class: 10,
            probe: 2048,
        }
    }
}

/// A CSV of pairs and how it is split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairsSource {
    /// The CSV; image paths in it are relative to its folder.
    pub manifest: PathBuf,
    /// How it is read.
    #[serde(default)]
    pub csv: PairsConfig,
    /// How patients are split; without effect where a split column names more than one part.
    #[serde(default)]
    pub split: SplitConfig,
}

/// The parts of a data set.
#[derive(Debug, Clone)]
pub struct Parts {
    /// To train on.
    pub train: Dataset,
    /// To validate on.
    pub validate: Dataset,
    /// To test on.
    pub test: Dataset,
    /// Retrieval by category; only phantoms have it.
    pub categories: Option<Categories>,
}

/// Retrieval by category.
#[derive(Debug, Clone)]
pub struct Categories {
    /// What is searched.
    pub candidates: Dataset,
    /// Image queries.
    pub queries: Dataset,
}

/// Where each phantom set begins: far apart, so that no sizes make them meet.
mod first {
    pub(super) const TRAIN: u64 = 0;
    pub(super) const VALIDATE: u64 = 1 << 32;
    pub(super) const TEST: u64 = 2 << 32;
    pub(super) const CANDIDATES: u64 = 3 << 32;
    pub(super) const QUERIES: u64 = 4 << 32;
}

impl Parts {
    /// The studies of a data set, each in the part that its split names.
    pub(super) fn of(all: Dataset) -> Self {
        let empty = Dataset { name: all.name, classes: all.classes, studies: Vec::new() };
        let mut parts = Self { train: empty.clone(), validate: empty.clone(), test: empty, categories: None };
        for study in all.studies {
            let part = match study.split {
                Split::Train => &mut parts.train,
                Split::Validate => &mut parts.validate,
                Split::Test => &mut parts.test,
            };
            part.studies.push(study);
        }
        parts
    }
}

impl SourceConfig {
    /// Reads or generates the parts; images are decoded later.
    ///
    /// # Errors
    /// A manifest that cannot be used, a patient in two parts.
    pub fn parts(&self) -> Result<Parts> {
        match self {
            Self::Phantom(source) => Ok(source.parts()),
            Self::Pairs(source) => source.parts(),
            Self::Mimic(source) => source.parts(),
            Self::Mura(source) => source.parts(),
        }
    }
}

impl PhantomSource {
    /// The parts.
    pub fn parts(&self) -> Parts {
        Parts {
            train: self.natural(first::TRAIN, self.train, Split::Train),
            validate: self.natural(first::VALIDATE, self.validate, Split::Validate),
            test: self.natural(first::TEST, self.test, Split::Test),
            categories: Some(Categories { candidates: self.candidates(), queries: self.queries() }),
        }
    }

    /// The studies whose labels the probe sees.
    pub fn probed(&self) -> Dataset {
        self.natural(first::TRAIN, self.probe, Split::Train)
    }

    /// Held-out studies with one finding each.
    pub fn candidates(&self) -> Dataset {
        self.exclusive(first::CANDIDATES, self.candidates_per_class)
    }

    /// Further studies with one finding each, whose images are queries.
    pub fn queries(&self) -> Dataset {
        self.exclusive(first::QUERIES, self.queries_per_class)
    }

    fn natural(&self, start: u64, count: u64, split: Split) -> Dataset {
        phantom::dataset(self.seed, start..start + count, Prevalence::Natural, split)
    }

    fn exclusive(&self, start: u64, per_class: u64) -> Dataset {
        let count = per_class * phantom::CLASSES.len() as u64;
        phantom::dataset(self.seed, start..start + count, Prevalence::Exclusive, Split::Test)
    }
}

impl PairsSource {
    /// The parts.
    ///
    /// # Errors
    /// As [`pairs_csv::read`], and where a patient is in two parts.
    pub fn parts(&self) -> Result<Parts> {
        let mut all = pairs_csv::read(&self.manifest, &self.csv)?;
        if all.studies.iter().all(|study| study.split == Split::Train) {
            split_by_patient(&mut all, &self.split)?;
        }
        check_leaks(&all)?;
        Ok(Parts::of(all))
    }
}
