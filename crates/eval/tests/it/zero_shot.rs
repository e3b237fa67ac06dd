//! Rules of zero-shot classification: scores by torch, and what holds for all vectors.

use clap::ValueEnum as _;
use eval::ranking::Embeddings;
use eval::zero_shot::Rule;
use eval::zero_shot::rule::{Scores, Sides, Targets, z_scores};
use proptest::prelude::*;
use serde_json::Value;

fn values(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(single).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the golden holds values of single precision")]
fn single(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

/// Scores of images under a rule, from vectors of any length.
fn scores(rule: Rule, temperature: f64, images: &Embeddings, sentences: &[f32], classes: &[Sides]) -> Scores {
    let width = images.dim();
    let rows = sentences.len() / width;
    let unit = Embeddings::new(rows, width, sentences.to_vec()).unwrap();
    let vectors = if rule.takes_raw_vectors() { sentences } else { unit.data() };
    let mut scores = Targets::new(rule, temperature, width, vectors, classes).unwrap().scores(images).unwrap();
    rule.finish(&mut scores);
    scores
}

#[test]
fn every_rule_scores_as_torch_does() {
    // Cosines of eight dimensions in single precision are within 7e-7 of the reference, which is in double precision: a dozen
    // roundings of 6e-8. A temperature enlarges that by its inverse, which is taken back here; standardising at most thrice.
    // The golden's wrong variants miss by a thousand times as much.
    const TOLERANCE: f64 = 2e-6;
    let golden: Value = serde_json::from_str(include_str!("golden/zero_shot.json")).unwrap();
    let width = usize::try_from(golden["width"].as_u64().unwrap()).unwrap();
    let images = values(&golden["images"]);
    let images = Embeddings::new(images.len() / width, width, images).unwrap();
    let sentences = values(&golden["sentences"]);
    let rows = |list: &Value| {
        let row = |row: &Value| usize::try_from(row.as_u64().unwrap()).unwrap();
        list.as_array().unwrap().iter().map(row).collect()
    };
    let sides = |class: &Value| Sides { positive: rows(&class["positive"]), negative: rows(&class["negative"]) };
    let classes: Vec<Sides> = golden["classes"].as_array().unwrap().iter().map(sides).collect();
    let mut seen = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let rule = Rule::from_str(case["rule"].as_str().unwrap(), false).unwrap();
        let temperature = case["temperature"].as_f64().unwrap();
        let found = scores(rule, temperature, &images, &sentences, &classes);
        for (found, wanted) in found.iter().zip(case["scores"].as_array().unwrap()) {
            let wanted: Vec<f64> = wanted.as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(wanted) {
                let error = (found - wanted).abs() * temperature;
                assert!(error < TOLERANCE, "{rule:?} at {temperature}: {found} for {wanted}");
            }
        }
        seen.push(rule);
    }
    assert!(Rule::value_variants().iter().all(|rule| seen.contains(rule)), "the golden has every rule");
}

fn vectors(rows: usize, width: usize) -> impl Strategy<Value = Vec<f32>> {
    // Away from zero, where a direction is a matter of rounding.
    prop::collection::vec(prop_oneof![0.1_f32..2.0, -2.0_f32..-0.1], rows * width)
}

fn any_rule() -> impl Strategy<Value = Rule> {
    prop::sample::select(Rule::value_variants().to_vec())
}

proptest! {
    #[test]
    fn the_order_of_sentences_does_not_matter(
        rule in any_rule(),
        images in vectors(7, 5),
        sentences in vectors(6, 5),
        order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let images = Embeddings::new(7, 5, images).unwrap();
        let class = |positive: Vec<usize>| [Sides { positive, negative: vec![4, 5] }];
        let found = scores(rule, 0.5, &images, &sentences, &class(order));
        let wanted = scores(rule, 0.5, &images, &sentences, &class(vec![0, 1, 2, 3]));
        // Sums in another order differ by their rounding, which standardising enlarges where scores hardly differ.
        let spread = wanted[0].iter().fold(0.0_f64, |most, score| most.max((score - wanted[0][0]).abs()));
        prop_assume!(rule != Rule::MeanEmbedding && rule != Rule::MeanRawEmbedding || spread > 1e-3);
        for (found, wanted) in found[0].iter().zip(&wanted[0]) {
            prop_assert!((found - wanted).abs() < 1e-3, "{:?}: {} and {}", rule, found, wanted);
        }
    }

    #[test]
    fn one_sentence_is_its_cosine(images in vectors(6, 4), sentence in vectors(1, 4)) {
        let images = Embeddings::new(6, 4, images).unwrap();
        let unit = Embeddings::new(1, 4, sentence.clone()).unwrap();
        let class = [Sides { positive: vec![0], negative: Vec::new() }];
        for rule in [Rule::MeanEmbedding, Rule::MeanRawEmbedding, Rule::MeanLogit, Rule::MaxLogit, Rule::Difference] {
            let found = scores(rule, 1.0, &images, &sentence, &class);
            for (image, score) in found[0].iter().enumerate() {
                let cosine = f64::from(images.cosine(image, &unit, 0));
                prop_assert!((score - cosine).abs() < 1e-6, "{:?}: {} and {}", rule, score, cosine);
            }
        }
    }

    #[test]
    fn standardised_scores_know_no_shift_and_no_scale(
        scores in prop::collection::vec(-1.0_f64..1.0, 2..40),
        shift in -5.0_f64..5.0,
        scale in 0.1_f64..10.0,
    ) {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        prop_assume!(scores.iter().any(|score| (score - mean).abs() > 1e-3));
        let standardised = |scores: Vec<f64>| {
            let mut scores = scores;
            z_scores(&mut scores);
            scores
        };
        let found = standardised(scores.iter().map(|score| shift + scale * score).collect());
        let wanted = standardised(scores);
        let (count, sum) = (wanted.len() as f64, wanted.iter().sum::<f64>());
        prop_assert!((wanted.iter().map(|z| z * z).sum::<f64>() / count - 1.0).abs() < 1e-9 && sum.abs() < 1e-6);
        for (found, wanted) in found.iter().zip(wanted) {
            prop_assert!((found - wanted).abs() < 1e-6, "{} and {}", found, wanted);
        }
    }
}
