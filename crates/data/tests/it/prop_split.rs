//! Properties of splits and subsets by patient.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use data::demographics::Demographics;
use data::record::{Dataset, Phi, Split, Study};
use data::rng::Stream;
use data::split::{SplitConfig, check_leaks, fraction_by_patient, split_by_patient};

use crate::cases::{CASES, check};

/// Studies of some patients, whose numbers repeat.
fn patients(draws: &mut Stream, most: usize) -> Vec<usize> {
    (0..=draws.below(most)).map(|_| draws.below(most)).collect()
}

fn dataset(patients: &[usize]) -> Dataset {
    let study = |(i, patient): (usize, &usize)| Study {
        patient_id: Phi::new(format!("p{patient}")),
        study_id: Phi::new(format!("s{i}")),
        images: Vec::new(),
        sentences: Vec::new(),
        labels: Vec::new(),
        view: String::new(),
        demographics: Demographics::default(),
        split: Split::Train,
        row: i + 1,
    };
    Dataset { name: "set".into(), classes: Vec::new(), studies: patients.iter().enumerate().map(study).collect() }
}

/// The part of each patient; panics where one has two.
fn parts(patients: &[usize], config: &SplitConfig) -> HashMap<usize, Split> {
    let mut data = dataset(patients);
    split_by_patient(&mut data, config).unwrap();
    assert!(check_leaks(&data).is_ok());
    let mut parts = HashMap::new();
    for (&patient, study) in patients.iter().zip(&data.studies) {
        assert_eq!(*parts.entry(patient).or_insert(study.split), study.split);
    }
    parts
}

#[test]
fn a_patient_has_one_part_whoever_else_is_there_and_in_whatever_order() {
    check(21, |draws| {
        let all = patients(draws, 24);
        let config =
            SplitConfig { seed: draws.next_u64(), validate: draws.uniform(0.0, 0.5), test: draws.uniform(0.0, 0.49) };
        let whole = parts(&all, &config);
        let mut fewer: Vec<usize> = all.iter().rev().copied().skip(draws.below(all.len())).collect();
        let turn = draws.below(fewer.len());
        fewer.rotate_left(turn);
        for (patient, part) in parts(&fewer, &config) {
            assert_eq!(whole[&patient], part);
        }
        // A larger share for validation comes out of training alone.
        let more = SplitConfig { validate: config.validate + (1.0 - config.test - config.validate) / 2.0, ..config };
        for (patient, part) in parts(&all, &more) {
            let earlier = whole[&patient];
            assert!(part == earlier || (earlier == Split::Train && part == Split::Validate));
        }
    });
}

#[test]
fn shares_are_those_asked_for() {
    let counts: [AtomicUsize; 3] = Default::default();
    check(22, |draws| {
        let config = SplitConfig { seed: draws.next_u64(), validate: 0.2, test: 0.1 };
        for part in parts(&(0..8).collect::<Vec<_>>(), &config).into_values() {
            counts[part as usize].fetch_add(1, Ordering::Relaxed);
        }
    });
    let total = CASES as f64 * 8.0;
    for (part, share) in [(Split::Train, 0.7), (Split::Validate, 0.2), (Split::Test, 0.1)] {
        let found = counts[part as usize].load(Ordering::Relaxed) as f64 / total;
        // Four standard deviations of the share among 800,000 patients: at most 4 * sqrt(0.7 * 0.3 / 800000) = 0.00205.
        assert!((found - share).abs() < 0.002_05, "{part:?}: {found}");
    }
}

#[test]
fn a_study_moved_to_another_part_is_found() {
    check(23, |draws| {
        let all = patients(draws, 24);
        let mut data = dataset(&all);
        let moved = draws.below(all.len());
        data.studies[moved].split = Split::Test;
        let shared = all.iter().enumerate().any(|(i, &p)| i != moved && p == all[moved]);
        assert_eq!(check_leaks(&data).is_err(), shared);
    });
}

#[test]
fn subsets_hold_whole_patients_as_many_as_asked_for_and_grow() {
    check(24, |draws| {
        let all = patients(draws, 24);
        let data = dataset(&all);
        let (seed, small) = (draws.next_u64(), draws.uniform(0.0, 0.5));
        let large = small + draws.uniform(0.0, 0.5);
        let [few, many] = [small, large].map(|share| fraction_by_patient(&data.studies, share, seed));
        assert!(few.iter().all(|i| many.contains(i)));
        let total = all.iter().collect::<HashSet<_>>().len();
        for (subset, share) in [(&few, small), (&many, large)] {
            let chosen: HashSet<usize> = subset.iter().map(|&i| all[i]).collect();
            assert_eq!(chosen.len(), ((total as f64 * share).round() as usize).max(1));
            assert!(all.iter().enumerate().all(|(i, patient)| chosen.contains(patient) == subset.contains(&i)));
        }
        // In another order the same patients are chosen.
        let reversed: Vec<usize> = all.iter().rev().copied().collect();
        let again = fraction_by_patient(&dataset(&reversed).studies, small, seed);
        let names = |studies: &[usize], of: &[usize]| -> BTreeMap<usize, usize> {
            studies.iter().fold(BTreeMap::new(), |mut counts, &i| {
                *counts.entry(of[i]).or_default() += 1;
                counts
            })
        };
        assert_eq!(names(&few, &all), names(&again, &reversed));
    });
}
