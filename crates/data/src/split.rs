//! Splits by patient, and the check that no patient is on both sides.
//!
//! A patient's part is a function of the seed and of their name alone: it does not change when other patients come or
//! go, and a larger validation share takes patients from training without touching the test part.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{DataError, MAX_PRINTED_FAULTS, Result};
use crate::record::{Dataset, Split, Study};
use crate::rng::{Purpose, key, stream};

/// Shares of the patients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitConfig {
    /// Seed of the split; not the seed of the run, so that runs share a split.
    pub seed: u64,
    /// Share of the patients for validation.
    pub validate: f64,
    /// Share of the patients for the test.
    pub test: f64,
}

impl Default for SplitConfig {
    /// 80 % to train, 10 % to validate, 10 % to test.
    fn default() -> Self {
        Self { seed: 0, validate: 0.1, test: 0.1 }
    }
}

/// A number of a patient that is the same on every machine and says nothing about their name.
fn fingerprint(study: &Study) -> u64 {
    let digest = Sha256::digest(study.patient_id.expose().as_bytes());
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Assigns every study the part of its patient.
///
/// Shares are probabilities: the parts of a small data set differ from them by chance.
///
/// # Errors
/// [`DataError::Setting`] where the shares are negative or leave nothing to train on.
pub fn split_by_patient(dataset: &mut Dataset, config: &SplitConfig) -> Result<()> {
    let held_out = config.test + config.validate;
    if !(config.test >= 0.0 && config.validate >= 0.0 && held_out < 1.0) {
        let value = format!("{} + {}", config.validate, config.test);
        return Err(DataError::Setting { key: "split", value, why: "the two shares must be >= 0 and sum to below 1" });
    }
    for study in &mut dataset.studies {
        let place = stream(config.seed, Purpose::Split, 0, fingerprint(study)).unit();
        study.split = if place < config.test {
            Split::Test
        } else if place < held_out {
            Split::Validate
        } else {
            Split::Train
        };
    }
    Ok(())
}

/// Makes sure that every patient is in one split only.
///
/// # Errors
/// [`DataError::Leak`] counts the patients that are not, and names two rows of each of the first ones.
pub fn check_leaks(dataset: &Dataset) -> Result<()> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    // By the place of the patient's first study: rows of two manifests can have the same number.
    let mut leaks: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, study) in dataset.studies.iter().enumerate() {
        let earlier = *first.entry(study.patient_id.expose()).or_insert(i);
        if dataset.studies[earlier].split != study.split {
            leaks.entry(earlier).or_insert(i);
        }
    }
    if leaks.is_empty() {
        return Ok(());
    }
    let shown = leaks.iter().take(MAX_PRINTED_FAULTS / 2).flat_map(|(&a, &b)| [a, b]);
    let samples = shown.map(|i| dataset.studies[i].sample(Some(0))).collect();
    Err(DataError::Leak { name: dataset.name.clone(), patients: leaks.len(), samples })
}

/// The studies of a share of the patients, as indices in order: few-label subsets that never split a patient.
///
/// The number of patients is the share, rounded, and at least one; a smaller share is a subset of a larger one with the
/// same seed. The draw is independent of [`split_by_patient`].
pub fn fraction_by_patient(studies: &[Study], fraction: f64, seed: u64) -> Vec<usize> {
    let mut patients: Vec<(u64, u64)> =
        studies.iter().map(fingerprint).map(|patient| (key(seed, Purpose::Split, 1, patient), patient)).collect();
    patients.sort_unstable();
    patients.dedup();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    let count = ((patients.len() as f64 * fraction.clamp(0.0, 1.0)).round() as usize).max(1);
    let Some(&last) = patients.get(count.min(patients.len()).wrapping_sub(1)) else { return Vec::new() };
    let chosen = |study: &Study| {
        let patient = fingerprint(study);
        (key(seed, Purpose::Split, 1, patient), patient) <= last
    };
    (0..studies.len()).filter(|&i| chosen(&studies[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demographics::Demographics;
    use crate::record::Phi;

    fn study(patient: usize, row: usize) -> Study {
        Study {
            patient_id: Phi::new(format!("p{patient}")),
            study_id: Phi::new(format!("s{row}")),
            images: Vec::new(),
            sentences: Vec::new(),
            labels: Vec::new(),
            view: String::new(),
            demographics: Demographics::default(),
            split: Split::Train,
            row,
        }
    }

    fn dataset(patients: usize) -> Dataset {
        let studies = (0..2 * patients).map(|i| study(i % patients, i + 1)).collect();
        Dataset { name: "set".into(), classes: Vec::new(), studies }
    }

    #[test]
    fn shares_are_met_and_no_patient_leaks() {
        let mut data = dataset(2000);
        split_by_patient(&mut data, &SplitConfig { seed: 4, validate: 0.2, test: 0.1 }).unwrap();
        check_leaks(&data).unwrap();
        let share = |split| data.split(split).len() as f64 / 4000.0;
        // Four standard deviations of a share of 2000 patients are at most 4 * sqrt(0.2 * 0.8 / 2000) = 0.036.
        assert!((share(Split::Test) - 0.1).abs() < 0.036 && (share(Split::Validate) - 0.2).abs() < 0.036);
    }

    #[test]
    fn a_planted_leak_is_found_and_named_by_rows() {
        let mut data = dataset(30);
        split_by_patient(&mut data, &SplitConfig::default()).unwrap();
        data.studies[35].split = if data.studies[35].split == Split::Train { Split::Test } else { Split::Train };
        let text = check_leaks(&data).unwrap_err().to_string();
        // Index 35 is row 36; its patient's other study is index 5, row 6.
        let [a, b] = ["s6", "s36"].map(|id| Phi::new(id.to_owned()));
        let named = format!("1 patients are in more than one split (row 6, study {a:?}; row 36, study {b:?})");
        assert!(text.contains(&named), "{text}");
        assert!(!text.contains("p5"), "{text}");
    }

    #[test]
    fn subsets_are_nested_and_never_split_a_patient() {
        let data = dataset(100);
        let one = fraction_by_patient(&data.studies, 0.01, 9);
        let ten = fraction_by_patient(&data.studies, 0.1, 9);
        assert_eq!((one.len(), ten.len()), (2, 20));
        assert!(one.iter().all(|i| ten.contains(i)));
        assert!(ten.iter().all(|&i| ten.contains(&((i + 100) % 200))));
        assert_eq!(fraction_by_patient(&data.studies, 1.0, 9).len(), 200);
        assert_eq!(fraction_by_patient(&[], 0.5, 9), Vec::<usize>::new());
    }

    #[test]
    fn shares_that_leave_nothing_are_refused() {
        for (validate, test) in [(0.5, 0.5), (-0.1, 0.1), (f64::NAN, 0.1)] {
            let config = SplitConfig { seed: 0, validate, test };
            assert!(matches!(split_by_patient(&mut dataset(3), &config), Err(DataError::Setting { .. })));
        }
    }
}
