//! What an image encoder is worth for a question with labels: linear probes and fine-tuning.
//!
//! # Source
//! Zhang et al. 2022 (`ConVIRT`), section 4.2: 1 %, 10 % or all of the training labels, each the mean of several runs with
//! other samples and seeds; the validation part chooses the epoch, the test part is scored once.

pub mod card;
mod compare;
pub mod criterion;
mod decisions;
pub mod figures;
pub mod fine_tune;
pub mod judge;
pub mod kept;
pub mod labelled;
pub mod probe;
pub mod protocol;
mod subgroups;
mod watch;

use data::error::DataError;
use data::record::Dataset;
use data::split::fraction_by_patient;

use crate::error::{EvalError, Result};

/// How often training is repeated and on how much of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repetitions {
    /// Share of the training patients that is used, above 0 and at most 1; every repetition draws others.
    pub fraction: f64,
    /// First seed; the repetitions have this and the following ones.
    pub seed: u64,
    /// Number of repetitions.
    pub seeds: u64,
}

impl Default for Repetitions {
    fn default() -> Self {
        Self { fraction: 1.0, seed: 0, seeds: 1 }
    }
}

impl Repetitions {
    /// The seeds with the studies, as indices, that each trains on.
    ///
    /// # Errors
    /// A share that makes no sense, no repetition, and a class that the studies of a repetition do not tell apart.
    pub fn draws(&self, train: &Dataset) -> Result<Vec<(u64, Vec<usize>)>> {
        let refuse = |key, value: String, why| Err(DataError::Setting { key, value, why }.into());
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return refuse("--fraction", self.fraction.to_string(), "use a share above 0 and at most 1");
        }
        if self.seeds == 0 {
            return refuse("--seeds", self.seeds.to_string(), "use at least 1");
        }
        let draw = |seed: u64| {
            let chosen = fraction_by_patient(&train.studies, self.fraction, seed);
            check_classes(train, &chosen)?;
            Ok((seed, chosen))
        };
        (self.seed..self.seed.saturating_add(self.seeds)).map(draw).collect()
    }
}

/// Makes sure that some studies have both labels of every class.
fn check_classes(train: &Dataset, studies: &[usize]) -> Result<()> {
    for (class, name) in train.classes.iter().enumerate() {
        for (sought, word) in [(true, "positive"), (false, "negative")] {
            let is_there = |&study: &usize| train.studies[study].labels.get(class) == Some(&Some(sought));
            if !studies.iter().any(is_there) {
                let what = format!(
                    "no {word} image of \"{name}\" is left to train on: use more patients, a larger share of the labels \
                     (--fraction), another seed or other classes"
                );
                return Err(EvalError::Unfit { data: train.name.clone(), what });
            }
        }
    }
    Ok(())
}
