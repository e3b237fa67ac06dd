//! Topics against numpy: `scripts/golden/topics.py`; and what they find in the phantoms.

use data::report::topics::Topics;
use data::report::words::Denials;
use data::source::phantom::{CLASSES, PhantomKey, Prevalence};
use data::text::Tokenizer;
use serde_json::Value;

use crate::support::golden_path;

fn denials() -> Denials {
    Denials::new(&Tokenizer::builtin().unwrap()).unwrap()
}

#[test]
fn topics_are_those_of_numpy() {
    let golden: Value = serde_json::from_slice(&std::fs::read(golden_path("topics.json")).unwrap()).unwrap();
    let reports: Vec<Vec<Vec<u32>>> = serde_json::from_value(golden["reports"].clone()).unwrap();
    let expected: Vec<Vec<f32>> = serde_json::from_value(golden["topics"].clone()).unwrap();
    let topics = Topics::learn(&reports, denials(), expected[0].len());
    for (report, expected) in reports.iter().zip(&expected) {
        for (actual, expected) in topics.of(report).iter().zip(expected) {
            // Doubles on both sides; the eigenvalues are 0.02 apart at least, so that the vectors agree to 1e-12.
            assert!((actual - expected).abs() < 1e-5, "{actual} {expected}");
        }
    }
}

/// Share of the pairs of a positive and a negative in which the positive scores more.
fn auroc(scores: &[f32], labels: &[bool]) -> f64 {
    let of = |side: bool| scores.iter().zip(labels).filter(move |(_, label)| **label == side).map(|(score, _)| *score);
    let pairs: Vec<bool> = of(true).flat_map(|p| of(false).map(move |n| p > n)).collect();
    pairs.iter().filter(|right| **right).count() as f64 / pairs.len() as f64
}

#[test]
fn topics_of_phantoms_tell_what_was_found_though_no_label_is_used() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let studies: Vec<_> =
        (0..1500).map(|index| PhantomKey { seed: 3, index, prevalence: Prevalence::Natural }.study()).collect();
    let ids = |study: &data::source::phantom::PhantomStudy| -> Vec<Vec<u32>> {
        study.sentences.iter().map(|sentence| tokenizer.pieces(sentence).unwrap()).collect()
    };
    let reports: Vec<Vec<Vec<u32>>> = studies.iter().map(ids).collect();
    let topics = Topics::learn(&reports, denials(), 16);
    let values: Vec<Vec<f32>> = reports.iter().map(|report| topics.of(report)).collect();
    for (class, name) in CLASSES.iter().enumerate() {
        let labels: Vec<bool> = studies.iter().map(|study| study.labels()[class]).collect();
        // The direction between the means of both sides, a linear reading that needs no fitting.
        let mean = |side: bool, topic: usize| {
            let of = values.iter().zip(&labels).filter(|(_, label)| **label == side);
            let (sum, count) = of.fold((0.0, 0.0), |(sum, count), (value, _)| (sum + value[topic], count + 1.0));
            sum / count
        };
        let direction: Vec<f32> = (0..16).map(|topic| mean(true, topic) - mean(false, topic)).collect();
        let scores: Vec<f32> =
            values.iter().map(|value| value.iter().zip(&direction).map(|(v, d)| v * d).sum()).collect();
        let area = auroc(&scores, &labels);
        assert!(area > 0.97, "{name}: {area}");
    }
}
