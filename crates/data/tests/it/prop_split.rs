//! Properties of splits and subsets by patient.

use std::collections::HashMap;

use data::record::{Dataset, Phi, Split, Study};
use data::split::{SplitConfig, check_leaks, fraction_by_patient, split_by_patient};
use proptest::prelude::*;

fn dataset(patients: &[u8]) -> Dataset {
    let study = |(i, patient): (usize, &u8)| Study {
        patient_id: Phi::new(format!("p{patient}")),
        study_id: Phi::new(format!("s{i}")),
        images: Vec::new(),
        sentences: Vec::new(),
        labels: Vec::new(),
        view: String::new(),
        split: Split::Train,
        row: i + 1,
    };
    Dataset { name: "set".into(), classes: Vec::new(), studies: patients.iter().enumerate().map(study).collect() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_split_leaks(patients in prop::collection::vec(any::<u8>(), 0..200), seed: u64, validate in 0.0..0.5, test in 0.0..0.49) {
        let mut data = dataset(&patients);
        let config = SplitConfig { seed, validate, test };
        split_by_patient(&mut data, &config).unwrap();
        prop_assert!(check_leaks(&data).is_ok());
        // A patient's part does not depend on who else is there, nor on the order.
        let parts: HashMap<u8, Split> = patients.iter().copied().zip(data.studies.iter().map(|s| s.split)).collect();
        let mut reversed = dataset(&patients.iter().rev().copied().skip(3).collect::<Vec<_>>());
        split_by_patient(&mut reversed, &config).unwrap();
        for (patient, study) in patients.iter().rev().skip(3).zip(&reversed.studies) {
            prop_assert_eq!(parts[patient], study.split);
        }
    }

    #[test]
    fn subsets_hold_whole_patients_and_grow(patients in prop::collection::vec(any::<u8>(), 1..200), seed: u64, small in 0.0..0.5, more in 0.0..0.5) {
        let data = dataset(&patients);
        let few = fraction_by_patient(&data.studies, small, seed);
        let many = fraction_by_patient(&data.studies, small + more, seed);
        prop_assert!(!few.is_empty() && few.iter().all(|i| many.contains(i)));
        let chosen: Vec<u8> = few.iter().map(|&i| patients[i]).collect();
        for (i, patient) in patients.iter().enumerate() {
            prop_assert_eq!(chosen.contains(patient), few.contains(&i));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_study_moved_to_another_part_is_found(patients in prop::collection::vec(0_u8..24, 2..30), at: prop::sample::Index) {
        let mut data = dataset(&patients);
        let moved = at.index(patients.len());
        data.studies[moved].split = Split::Test;
        let shared = patients.iter().enumerate().any(|(i, &p)| i != moved && p == patients[moved]);
        prop_assert_eq!(check_leaks(&data).is_err(), shared);
    }
}
