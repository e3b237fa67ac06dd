//! Runs that go wrong say so, and end where nothing good can come of them.

use std::fmt::Write as _;

use data::image::encode;
use data::source::phantom::{PhantomKey, Prevalence};

use crate::workplace::{CONVIRT, Workplace, lines, text};

/// A CSV of forty pairs that are all the same.
fn same_pairs(place: &Workplace) {
    let picture = PhantomKey { seed: 1, index: 1, prevalence: Prevalence::Natural }.study().render(32);
    let mut csv = "image_path,text,labels,patient_id,study_id,view,split\n".to_owned();
    for (index, split) in (0..40).zip(["train", "train", "train", "validate", "test"].into_iter().cycle()) {
        data::fsx::write_atomic(&place.path(&format!("{index}.png")), &encode::png(&picture).unwrap()).unwrap();
        writeln!(csv, "{index}.png,The heart is of normal size.,edema,p{index},s{index},PA,{split}").unwrap();
    }
    data::fsx::write_atomic(&place.path("pairs.csv"), csv.as_bytes()).unwrap();
}

const PAIRS: &str = "data.source={kind = \"pairs\", manifest = \"pairs.csv\"}";

#[test]
fn an_unreadable_image_is_told_by_its_row_and_by_its_path_only_if_asked() {
    let place = Workplace::new(CONVIRT);
    same_pairs(&place);
    data::fsx::write_atomic(&place.path("2.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let arguments = ["tiny.toml", "--resume", "never", "--set", PAIRS];
    let refused = |out: &str, more: &[&str]| {
        let refused = place.program(&arguments).args(["--out", out]).args(more).assert().code(3);
        String::from_utf8_lossy(&refused.get_output().stderr).into_owned()
    };
    let hidden = refused("hidden", &[]);
    let message = &hidden[hidden.find("error: ").unwrap()..];
    assert!(message.contains("pairs.csv") && message.contains("row 3, study #"), "{message}");
    assert!(message.contains("truncated") && message.contains("Repair the files"), "{message}");
    assert!(!hidden.contains("2.png") && !text(&place.path("hidden/log.jsonl")).contains("2.png"), "{hidden}");
    let shown = refused("shown", &["--show-paths"]);
    assert!(shown.contains("2.png"), "{shown}");
}

#[test]
fn a_decoder_that_panics_costs_its_sample_and_no_more() {
    let place = Workplace::new(CONVIRT);
    let run = |out: &str, failpoints: &str, code: i32| {
        let mut program = place.program(&["tiny.toml", "--out", out, "--set", "data.max_bad_fraction=0.05"]);
        let output = program.env("FAILPOINTS", failpoints).assert().code(code).get_output().clone();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    run("once", "image-read=1*panic(canary)->off", 0);
    let log = text(&place.path("once/log.jsonl"));
    assert_eq!(log.matches("study left out and replaced").count(), 1, "{log}");
    assert!(log.contains("the image made the decoder fail in an unforeseen way"), "{log}");
    assert_eq!(lines(&place.path("once/metrics.jsonl")).iter().filter(|l| l["train/loss"].is_number()).count(), 3);
    let message = run("always", "image-read=panic(canary)", 3);
    assert!(message.contains("2 of 32 studies cannot be read") && message.contains("unforeseen way"), "{message}");
    // What a panic says may quote its input.
    assert!(!message.contains("canary"), "{message}");
}

#[test]
fn embeddings_that_are_all_one_are_told_of_within_fifty_updates() {
    let place = Workplace::new(CONVIRT);
    same_pairs(&place);
    // Without augmentation every study is the same.
    let same = "data.augment={crop_area = [1.0, 1.0], crop_ratio = [1.0, 1.0], flip = 0.0, rotate_degrees = 0.0, \
                translate = 0.0, scale = [1.0, 1.0], brightness = [1.0, 1.0], contrast = [1.0, 1.0], \
                blur_sigma = [0.0, 0.0]}";
    let dropout = "model.text.dropout=0.0";
    place.train("run", &["--set", PAIRS, "--set", same, "--set", dropout, "--steps", "25"]);
    let log = text(&place.path("run/log.jsonl"));
    for figure in ["image_similarity", "text_similarity"] {
        assert!(log.contains(&format!("\"figure\":\"{figure}\"")), "{figure}: {log}");
    }
    assert_eq!(log.matches("all embeddings are nearly one").count(), 2, "each is told once");
}

#[test]
fn a_temperature_at_its_bound_is_told_of() {
    let place = Workplace::new(CONVIRT);
    let settings = ["objective.learn_temperature=true", "objective.temperature=0.01", "optim.lr=1e-12"];
    let mut arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    arguments.extend(["--steps", "21"]);
    place.train("cold", &arguments);
    assert!(text(&place.path("cold/log.jsonl")).contains("the temperature is at its lower bound"));
    // One that is learned is in the metrics.
    place.train("learned", &["--set", settings[0], "--steps", "3"]);
    assert!(!text(&place.path("learned/log.jsonl")).contains("lower bound"));
    let metrics = lines(&place.path("learned/metrics.jsonl"));
    let temperatures: Vec<f64> = metrics.iter().filter_map(|line| line["train/temperature"].as_f64()).collect();
    assert!(temperatures.len() == 3 && (temperatures[0] - 0.1).abs() < 1e-6, "{temperatures:?}");
    assert_ne!(temperatures[0].to_bits(), temperatures[2].to_bits());
}

#[test]
fn the_third_loss_in_a_row_that_is_no_number_ends_the_run() {
    let place = Workplace::new(CONVIRT);
    // Single precision has no such temperature: similarities become infinite and the loss NaN.
    let settings = ["tiny.toml", "--out", "run", "--set", "objective.temperature=1e-60", "--steps", "9"];
    let refused = place.program(&settings).assert().code(1);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(message.contains("error: loss is NaN at step 2 (3 updates were skipped"), "{message}");
    let log = text(&place.path("run/log.jsonl"));
    assert_eq!(log.matches("not a number: the update is skipped").count(), 3, "{log}");
}
