//! The two bodies of operations on the CPU, and what frozen text layers return kept in several ways: one training each way.

use serde_json::Value;

use crate::workplace::{CONVIRT, Workplace, json, lines, names};

fn losses(place: &Workplace, out: &str) -> Vec<f64> {
    let lines = lines(&place.path(out).join("metrics.jsonl"));
    lines.iter().filter_map(|line| line["train/loss"].as_f64()).collect()
}

fn weights(place: &Workplace, out: &str) -> Vec<u8> {
    std::fs::read(place.path(out).join("model.safetensors")).unwrap()
}

#[test]
fn plain_operations_train_alike_and_are_others() {
    let place = Workplace::new(CONVIRT);
    // Bodies draw dropout from different streams.
    let train = |out: &str, device: &str| place.train(out, &["--device", device, "--set", "model.text.dropout=0"]);
    train("fused", "cpu");
    train("plain", "cpu-plain");
    assert_eq!(json(&place.path("plain").join("env.json"))["device"], Value::from("cpu-plain"));
    let (fused, plain) = (losses(&place, "fused"), losses(&place, "plain"));
    assert_eq!((fused.len(), plain.len()), (3, 3), "{fused:?} {plain:?}");
    for (fused, plain) in fused.iter().zip(&plain) {
        // Three updates of Adam, which divides gradients by their size: differences of the last bit grow.
        assert!((fused - plain).abs() < 1e-3 * plain, "{fused} {plain}");
    }
    assert!(weights(&place, "fused") != weights(&place, "plain"), "the switch turned nothing off");
}

#[test]
fn states_of_frozen_layers_are_the_same_bits_however_they_are_kept() {
    let place = Workplace::new(CONVIRT);
    let train = |out: &str, more: &[&str]| {
        let frozen = ["--set", "model.text.num_layers=2", "--set", "model.frozen_text_layers=1", "--steps", "6"];
        place.train(out, &[&frozen, more].concat())
    };
    train("memory", &[]);
    train("nothing", &["--set", "data.text_cache_mib=0"]);
    train("file", &["--set", "data.text_cache_mib=0", "--set", "data.text_cache=states"]);
    // A second run finds what the first left.
    train("again", &["--set", "data.text_cache_mib=0", "--set", "data.text_cache=states"]);
    let files = names(&place.path("states"));
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(std::fs::metadata(place.path("states").join(&files[0])).unwrap().len() > 1000);
    let kept = weights(&place, "memory");
    for other in ["nothing", "file", "again"] {
        assert!(weights(&place, other) == kept, "{other}");
    }
    // Other frozen weights have a file of their own.
    train("other", &["--set", "run.seed=2", "--set", "data.text_cache=states"]);
    assert_eq!(names(&place.path("states")).len(), 2);
}
