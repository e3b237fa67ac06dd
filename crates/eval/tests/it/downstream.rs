//! The program `roentgen-eval` with labels: linear probe, fine-tuning, and predictions of the classifier that it writes.
//!
//! A finding is a bright square. It is more frequent in one view, which is brighter as a whole.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use data::image::GrayImage;
use data::image::encode::png;
use data::rng::Stream;
use engine::checkpoint::{Architecture, Card, save};
use engine::device::DeviceSpec;
use engine::upload::Preprocess;
use model::head::classifier::ImageClassifierConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

const SIZE: usize = 32;

pub(crate) struct Workplace(TempDir);

impl Workplace {
    /// `weights.safetensors`, `data.csv` of 40 patients and `test.csv` of 20 others.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_weights(&folder.path().join("weights.safetensors"));
        write_images(folder.path(), "data", 0..40);
        write_images(folder.path(), "test", 40..60);
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(self.0.path()).timeout(Duration::from_mins(5)).args(arguments).args(["--ui", "plain"]);
        command
    }

    /// Standard output and standard error of a command that succeeds.
    pub(crate) fn run(&self, arguments: &[&str]) -> (String, String) {
        let output = self.command(arguments).assert().success().get_output().clone();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) fn figures(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json", "--resamples", "20"]].concat()).0).unwrap()
    }

    /// The message of a command that fails with an exit code.
    pub(crate) fn refusal(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).assert().code(code).get_output().clone();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        text[text.find("error: ").unwrap()..].to_owned()
    }
}

/// A small encoder with random weights, under a classifier of other classes.
fn write_weights(path: &Path) {
    write_weights_of(path, 11);
}

/// The same by a seed.
pub(crate) fn write_weights_of(path: &Path, seed: u64) {
    let _lock = super::GENERATOR.lock().unwrap();
    let (device, _) = "auto".parse::<DeviceSpec>().unwrap().open().unwrap();
    device.seed(seed);
    let image = json!({ "kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 4, "in_channels": 1 });
    let config: ImageClassifierConfig =
        serde_json::from_value(json!({ "image": image, "num_classes": 3, "dropout": 0.0 })).unwrap();
    let preprocess =
        Preprocess { image_size: SIZE, source_size: SIZE, mean: vec![0.5], std: vec![0.25], framing: None };
    let mut card = Card::new("supervised", Architecture::ImageClassifier(config.clone()), preprocess);
    card.classes = ["x", "y", "z"].map(str::to_owned).to_vec();
    save(path, &config.init(&device), &card).unwrap();
}

/// Two images for each patient, in two views, and a CSV of them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "grey values")]
fn write_images(folder: &Path, name: &str, patients: std::ops::Range<usize>) {
    let mut csv = "image_path,labels,patient_id,view,sex,age\n".to_owned();
    data::fsx::create_dir_all(&folder.join("images")).unwrap();
    for patient in patients {
        for image in 0..2 {
            let mut random = Stream::new((2 * patient + image) as u64);
            let lying = random.chance(0.5);
            let square = random.chance(if lying { 0.7 } else { 0.3 });
            let mut pixels: Vec<u8> =
                (0..SIZE * SIZE).map(|_| (if lying { 90.0 } else { 60.0 } + 10.0 * random.normal()) as u8).collect();
            let (top, left) = (random.below(SIZE - 12), random.below(SIZE - 12));
            for y in (top..top + 12).filter(|_| square) {
                pixels[y * SIZE + left..y * SIZE + left + 12].fill(200);
            }
            let file = format!("images/{patient}-{image}.png");
            let picture = png(&GrayImage { width: SIZE, height: SIZE, pixels }).unwrap();
            data::fsx::write_atomic(&folder.join(&file), &picture).unwrap();
            let labels = if square { "Mass|Square" } else { "No Finding" };
            let (view, sex) = (if lying { "AP" } else { "PA" }, if patient % 2 == 0 { "F" } else { "M" });
            writeln!(csv, "{file},{labels},p{patient},{view},{sex},{}", 20 + patient).unwrap();
        }
    }
    data::fsx::write_atomic(&folder.join(format!("{name}.csv")), csv.as_bytes()).unwrap();
}

/// The contract's arguments: the weights first.
pub(crate) const QUESTION: [&str; 14] = [
    "--weights",
    "weights.safetensors",
    "--data",
    "data.csv",
    "--image-column",
    "image_path",
    "--label-column",
    "labels",
    "--separator",
    "|",
    "--classes",
    "Square",
    "--negative",
    "No Finding",
];

fn at<'a>(figures: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(figures, |value, key| &value[key])
}

/// The value under a path, which lies in its interval.
fn value(figures: &Value, path: &str) -> f64 {
    let get = |key: &str| at(figures, path)[key].as_f64().unwrap_or_else(|| panic!("{path}.{key} in {figures:#}"));
    assert!(get("low") <= get("high"), "{path}: {figures:#}");
    get("value")
}

/// Pairs counted one by one.
fn auroc(items: &[(f64, bool)]) -> f64 {
    let of = |class: bool| items.iter().filter(move |item| item.1 == class).map(|item| item.0);
    let mut points = 0.0;
    for (p, n) in of(true).flat_map(|p| of(false).map(move |n| (p, n))) {
        points += match p.total_cmp(&n) {
            Ordering::Greater => 1.0,
            Ordering::Equal => 0.5,
            Ordering::Less => 0.0,
        };
    }
    points / (of(true).count() * of(false).count()) as f64
}

#[test]
fn a_linear_probe_is_compared_with_random_weights() {
    let place = Workplace::new();
    let task = ["linear-probe", "--test-data", "test.csv", "--stratify", "view", "--seeds", "2", "--epochs", "20"];
    let of = |more: &[&str]| place.figures(&[&task, &QUESTION[..], more].concat());
    let figures = of(&["--fraction", "0.8", "--batch-size", "1"]);
    for name in ["auroc", "auroc_stratified"] {
        for part in ["macro", "per_class.Square"] {
            let [found, random] =
                ["test", "test.random_init"].map(|of| value(&figures, &format!("{of}.{name}.{part}")));
            assert!((0.0..=1.0).contains(&found) && (0.0..=1.0).contains(&random));
            if name == "auroc_stratified" {
                let difference = value(&figures, &format!("test.paired_difference.{part}"));
                assert!((difference - (found - random)).abs() < 1e-12, "{figures:#}");
                assert!(difference.abs() > 0.0, "the random encoder is the one of the weights: {figures:#}");
            }
        }
    }
    // A single class is its own mean.
    assert_eq!(at(&figures, "test.auroc.macro"), at(&figures, "test.auroc.per_class.Square"));
    assert_eq!(at(&figures, "test.auroc.per_class").as_object().unwrap().len(), 1);
    assert_eq!(figures["data"]["test"]["images"], 40);
    // Of the encoder alone: what its probabilities are worth, and on whom.
    for name in ["auprc", "brier", "ece"] {
        assert!(
            (0.0..=1.0).contains(&value(&figures, &format!("test.{name}.per_class.Square"))),
            "{name}: {figures:#}"
        );
    }
    let random = at(&figures, "test.random_init").as_object().unwrap();
    assert_eq!(random.keys().collect::<Vec<_>>(), ["auroc", "auroc_stratified"]);
    let point = at(&figures, "test.operating_point.Square");
    assert_eq!(point["thresholds"].as_array().unwrap().len(), 2);
    for name in ["f1", "sensitivity", "specificity"] {
        assert!((0.0..=1.0).contains(&value(&figures, &format!("test.operating_point.Square.{name}"))));
    }
    // Twice the 40 images, once for each seed.
    let bins = at(&figures, "test.reliability.Square").as_array().unwrap();
    assert_eq!(bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum::<u64>(), 80);
    // Patients 40 to 59 are 60 to 79 years old: one band is no subgroup.
    let subgroups = at(&figures, "test.subgroups").as_object().unwrap();
    assert_eq!(subgroups.keys().collect::<Vec<_>>(), ["view", "sex"]);
    for sex in ["female", "male"] {
        assert_eq!(subgroups["sex"][sex]["patients"], 10);
        value(&figures, &format!("test.subgroups.sex.{sex}.macro"));
    }
    // Neither the size of batches nor a second call changes anything, another seed does.
    let again = of(&["--fraction", "0.8", "--batch-size", "7"]);
    for path in ["test.auroc.macro", "test.random_init.auroc_stratified.macro", "test.paired_difference.macro"] {
        assert!((value(&again, path) - value(&figures, path)).abs() < 1e-6, "{path}");
    }
    let other = of(&["--fraction", "0.8", "--seed", "5"]);
    assert_ne!(at(&other, "test.auroc"), at(&figures, "test.auroc"));
}

#[test]
fn a_test_part_is_split_off_and_said() {
    let place = Workplace::new();
    let (table, log) = place.run(&[&["linear-probe", "--epochs", "2", "--resamples", "20"], &QUESTION[..]].concat());
    for text in ["test.auroc.macro", "test.random_init.auroc.macro", "Tested on patients that were split off"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    for text in ["test.operating_point.Square.thresholds", "test.subgroups.sex.female.macro", "test.ece.macro"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    for text in ["reliability", "test.ece.per_class", "test.subgroups.sex.female.per_class"] {
        assert!(!table.contains(&format!("{text}.")), "{text}: {table}");
    }
    assert!(log.contains("tested on patients that were split off; no patient is in two parts"), "{log}");
}

#[test]
fn fine_tuning_learns_and_its_classifier_predicts() {
    let place = Workplace::new();
    let task = ["fine-tune", "--test-data", "test.csv", "--stratify", "view", "--out", "tuned"];
    let protocol = ["--head-steps", "4", "--epochs", "12", "--lr", "1e-2", "--train-batch", "16"];
    let figures = place.figures(&[&task, &QUESTION[..], &protocol].concat());
    // Fresh weights know nothing of squares; 12 epochs of 4 steps are enough to find most.
    assert!(value(&figures, "test.auroc.macro") > 0.8, "{figures:#}");
    let kept: Value = serde_json::from_slice(&std::fs::read(place.path("tuned/eval.json")).unwrap()).unwrap();
    assert_eq!(kept, figures);
    // For people: a card and a report, which name no patient and show no image.
    let [card, report] = ["CARD.md", "report.html"].map(|name| {
        std::fs::read_to_string(place.path("tuned").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    let shown = format!("{:.3}", value(&figures, "test.auroc.macro"));
    assert!(card.contains("For research only") && card.contains(&shown), "{card}");
    for id in ["scores", "calibration", "subgroups", "data", "model"] {
        assert!(report.contains(&format!("<section id=\"{id}\">")), "no {id}");
    }
    assert!(report.contains(&shown) && !report.contains("data:image/png") && !report.contains("images/"));

    // One image that is none, one that is missing.
    let mut csv = std::fs::read_to_string(place.path("test.csv")).unwrap();
    csv.push_str("images/broken.png,,,,,\nimages/absent.png,,,,,\n");
    data::fsx::write_atomic(&place.path("all.csv"), csv.as_bytes()).unwrap();
    data::fsx::write_atomic(&place.path("images/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let predict = ["predict", "--weights", "tuned", "--images", "all.csv", "--out", "predictions.csv"];
    let (said, _) = place.run(&[&predict[..], &["--batch-size", "7"]].concat());
    assert!(said.contains("42 images, 2 of them unreadable"), "{said}");
    let written = std::fs::read_to_string(place.path("predictions.csv")).unwrap();
    let rows: Vec<Vec<&str>> = written.lines().map(|line| line.splitn(3, ',').collect()).collect();
    assert_eq!(rows[0], ["image_path", "Square", "error"]);
    assert_eq!(rows[41][..2], ["images/broken.png", ""]);
    assert!(rows[41][2].contains("truncated") || rows[41][2].contains("corrupt"), "{written}");
    assert!(rows[42][2].contains("cannot be read"), "{written}");

    // The predictions have the AUROC that was printed, within each view too.
    let test: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let items: Vec<(f64, bool, &str)> = test[..40]
        .iter()
        .zip(&rows[1..])
        .map(|(row, predicted)| {
            assert_eq!((row[0], predicted[2]), (predicted[0], ""));
            let probability: f64 = predicted[1].parse().unwrap();
            assert!((0.0..=1.0).contains(&probability));
            (probability, row[1].contains("Square"), row[3])
        })
        .collect();
    let within = |views: &[&str]| {
        auroc(&items.iter().filter(|item| views.contains(&item.2)).map(|item| (item.0, item.1)).collect::<Vec<_>>())
    };
    // Six decimals can tie what logits part.
    assert!((within(&["AP", "PA"]) - value(&figures, "test.auroc.macro")).abs() < 5e-3);
    let stratified = f64::midpoint(within(&["AP"]), within(&["PA"]));
    assert!((stratified - value(&figures, "test.auroc_stratified.per_class.Square")).abs() < 5e-3);

    // A folder is listed by itself.
    let folder = ["predict", "--weights", "tuned", "--images", "images", "--out", "folder.csv", "--json"];
    let told: Value = serde_json::from_str(&place.run(&folder).0).unwrap();
    assert_eq!(told, json!({ "images": 121, "unreadable": 1, "file": "folder.csv" }));
    let message = place.refusal(&[&["fine-tune", "--out", "tuned"], &QUESTION[..]].concat(), 2);
    assert!(message.contains("never overwritten"), "{message}");
}

#[test]
fn what_cannot_be_asked_is_named() {
    let place = Workplace::new();
    let probe = |more: &[&str], code| {
        place.refusal(
            &[&["linear-probe", "--weights", "weights.safetensors", "--data", "data.csv"], more].concat(),
            code,
        )
    };
    let message = probe(&["--label-column", "finding"], 2);
    assert!(message.contains("no column \"finding\""), "{message}");
    let message = probe(&["--classes", "Square,Circle"], 2);
    assert!(message.contains("no row has the label \"Circle\" of --classes"), "{message}");
    let message = probe(&["--classes", "Square", "--fraction", "2"], 2);
    assert!(message.contains("--fraction = 2"), "{message}");
    let message = probe(&["--classes", "Square", "--lr", "0"], 2);
    assert!(message.contains("--lr = 0"), "{message}");
    let message = probe(&["--classes", "Square", "--epochs", "0"], 2);
    assert!(message.contains("--epochs = 0"), "{message}");
    let message = probe(&["--classes", "Square", "--stratify", "ward"], 2);
    assert!(message.contains("no column \"ward\""), "{message}");
    let tune = |more: &[&str]| place.refusal(&[&["fine-tune"], &QUESTION[..], more].concat(), 2);
    for (option, value) in [("--epochs", "0"), ("--train-batch", "0"), ("--head-lr", "-1"), ("--flip", "2")] {
        let message = tune(&[&format!("{option}={value}")]);
        assert!(message.contains(&format!("= {value}")), "{option}: {message}");
    }
    std::fs::remove_file(place.path("images/3-1.png")).unwrap();
    let message = probe(&["--classes", "Square"], 3);
    assert!(message.contains("row 8") && !message.contains("3-1"), "{message}");
    let message = place.refusal(
        &[
            "predict",
            "--weights",
            "weights.safetensors",
            "--images",
            "data.csv",
            "--out",
            "o.csv",
            "--image-column",
            "file",
        ],
        2,
    );
    assert!(message.contains("no column \"file\"") && message.contains("--image-column"), "{message}");
    assert!(!place.path("o.csv").exists());
}

/// Probabilities of predictions by image, of as many classes as the header has.
fn predicted(place: &Workplace, weights: &str) -> Vec<(String, Vec<f64>)> {
    place.run(&["predict", "--weights", weights, "--images", "test.csv", "--out", "p.csv"]);
    let written = std::fs::read_to_string(place.path("p.csv")).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let values = fields[1..fields.len() - 1].iter().map(|value| value.parse().unwrap()).collect();
        (fields[0].to_owned(), values)
    };
    written.lines().skip(1).map(row).collect()
}

/// Image, labels and patient of the rows of `test.csv`.
fn test_rows(place: &Workplace) -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(place.path("test.csv")).unwrap();
    let row = |line: &str| [0, 1, 2].map(|field| line.split(',').nth(field).unwrap().to_owned());
    text.lines().skip(1).map(row).collect()
}

const ONE_OF: [&str; 8] = [
    "--weights",
    "weights.safetensors",
    "--data",
    "data.csv",
    "--test-data",
    "test.csv",
    "--multiclass",
    "--classes=Square,No Finding",
];

#[test]
fn a_probe_of_exclusive_classes_has_shares_protocols_and_baselines() {
    let place = Workplace::new();
    write_weights_of(&place.path("other.safetensors"), 12);
    let options = ["--fraction", "0.5,1", "--protocol", "mgca", "--seeds", "2", "--epochs", "8"];
    let baseline = ["--baseline", "other.safetensors"];
    let figures = place.figures(&[&["linear-probe"], &ONE_OF[..], &options, &baseline].concat());
    let shares: Vec<&String> = figures["test"].as_object().unwrap().keys().collect();
    assert_eq!(shares, ["fraction_0.5", "fraction_1"]);
    // A dot is part of the name of a share.
    for share in figures["test"].as_object().unwrap().values() {
        for (name, difference) in [("random_init", "paired_difference"), ("baseline", "baseline_difference")] {
            for (path, of_difference) in [("accuracy", "accuracy"), ("auroc.macro", "macro")] {
                let gap = value(share, path) - value(share, &format!("{name}.{path}"));
                let printed = value(share, &format!("{difference}.{of_difference}"));
                assert!((gap - printed).abs() < 1e-12, "{name} {path}: {share:#}");
            }
        }
        assert_eq!(at(share, "accuracy.chance"), 0.5);
        // Of two classes one is as probable as the other is not.
        let [square, other] = ["Square", "No Finding"].map(|class| value(share, &format!("auroc.per_class.{class}")));
        assert!((square - other).abs() < 1e-9);
    }
    assert_ne!(figures["test"]["fraction_0.5"]["auroc"], figures["test"]["fraction_1"]["auroc"]);
    // The whole share alone is the same, and options go before the protocol.
    let whole = place.figures(&[&["linear-probe"], &ONE_OF[..], &options[2..], &baseline].concat());
    assert_eq!(whole["test"], figures["test"]["fraction_1"]);
    let other = place.figures(&[&["linear-probe"], &ONE_OF[..], &options[2..], &["--lr", "0.1"]].concat());
    assert_ne!(other["test"]["auroc"], whole["test"]["auroc"]);
}

#[test]
fn a_classifier_of_exclusive_classes_predicts_probabilities_that_sum_to_one() {
    let place = Workplace::new();
    let options = ["--protocol", "convirt", "--seeds", "1", "--head-steps", "2", "--epochs", "3", "--out", "tuned"];
    let training = ["--lr", "1e-2", "--train-batch", "16", "--baseline", "random"];
    let figures = place.figures(&[&["fine-tune"], &ONE_OF[..], &options, &training].concat());
    let accuracy = value(&figures, "test.accuracy");
    let random = value(&figures, "test.random_init.accuracy");
    assert!((value(&figures, "test.paired_difference.accuracy") - (accuracy - random)).abs() < 1e-12);
    let rows = predicted(&place, "tuned");
    let right = rows.iter().zip(test_rows(&place)).filter(|((_, found), [_, labels, _])| {
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 2e-6, "{found:?}");
        (found[0] > found[1]) == labels.contains("Square")
    });
    assert!((right.count() as f64 / rows.len() as f64 - accuracy).abs() < 1e-12);
}

#[test]
fn studies_are_scored_by_the_mean_of_their_images() {
    let place = Workplace::new();
    let options = ["--test-data", "test.csv", "--head-steps", "2", "--epochs", "2", "--lr", "1e-2", "--out", "tuned"];
    let study = ["--study-level", "--study-column", "patient_id"];
    let figures = place.figures(&[&["fine-tune"], &QUESTION[..], &options, &study].concat());
    let mut studies: BTreeMap<String, (f64, bool)> = BTreeMap::new();
    for ((_, found), [_, labels, patient]) in predicted(&place, "tuned").iter().zip(test_rows(&place)) {
        let (sum, positive) = studies.entry(patient).or_default();
        *sum += found[0];
        *positive |= labels.contains("Square");
    }
    assert_eq!(studies.len(), 20);
    let expected = auroc(&studies.values().copied().collect::<Vec<_>>());
    // Six decimals can tie what probabilities part.
    assert!((value(&figures, "test.auroc.macro") - expected).abs() < 2e-2, "{figures:#}");
    let message = place.refusal(&[&["fine-tune", "--study-level"], &QUESTION[..]].concat(), 2);
    assert!(message.contains("name the column with --study-column"), "{message}");
}

#[test]
fn what_cannot_be_asked_of_exclusive_classes_is_named() {
    let place = Workplace::new();
    let probe = |more: &[&str]| place.refusal(&[&["linear-probe"], &ONE_OF[..6], more].concat(), 2);
    let message = probe(&["--multiclass", "--classes", "Square"]);
    assert!(message.contains("--multiclass needs two classes at least"), "{message}");
    let message = probe(&["--multiclass", "--negative", "No Finding"]);
    assert!(message.contains("--negative") && message.contains("cannot be used with"), "{message}");
    let message = probe(&["--classes", "Square", "--fraction", "1,1"]);
    assert!(message.contains("--fraction = 1: name each share once"), "{message}");
    let message = place.refusal(&[&["linear-probe", "--baseline", "nothing"], &ONE_OF[..]].concat(), 1);
    assert!(message.contains("nothing: no checkpoint here"), "{message}");
}

#[test]
fn an_ensemble_is_the_mean_of_its_members() {
    let place = Workplace::new();
    let tune = |seed: &str| {
        let options = ["--test-data", "test.csv", "--head-steps", "20", "--epochs", "2", "--seed", seed, "--out", seed];
        place.figures(&[&["fine-tune"], &QUESTION[..], &options].concat())
    };
    tune("1");
    tune("2");
    let data = [&["--data", "test.csv"], &QUESTION[8..]].concat();
    let weights = ["--weights", "1", "--weights", "2"];
    let figures = place.figures(&[&["ensemble"], &weights[..], &data].concat());
    let labels: Vec<bool> = test_rows(&place).iter().map(|row| row[1].contains("Square")).collect();
    let members = ["1", "2"].map(|weights| predicted(&place, weights));
    let score = |of: &dyn Fn(usize) -> f64| auroc(&(0..40).map(|image| (of(image), labels[image])).collect::<Vec<_>>());
    let mean = score(&|image| members[0][image].1[0] + members[1][image].1[0]);
    assert!((value(&figures, "ensemble.macro_auroc") - mean).abs() < 2e-2, "{figures:#}");
    let found = ["1", "2"].map(|member| value(&figures, &format!("members.{member}.macro_auroc")));
    for (member, found) in members.iter().zip(found) {
        assert!((score(&|image| member[image].1[0]) - found).abs() < 2e-2, "{figures:#}");
    }
    let best = found[0].max(found[1]);
    assert!(
        (value(&figures, "difference.macro_auroc") - (value(&figures, "ensemble.macro_auroc") - best)).abs() < 1e-12
    );
    assert!((found[usize::from(figures["best_member"] == 2)] - best).abs() < 1e-15);
    let message = place.refusal(&[&["ensemble", "--weights", "1"], &data[..]].concat(), 2);
    assert!(message.contains("give --weights twice at least"), "{message}");
    let mixed = ["ensemble", "--weights", "1", "--weights", "weights.safetensors"];
    let message = place.refusal(&[&mixed, &data[..]].concat(), 2);
    assert!(message.contains("a member has the classes x, y, z, the first one Square"), "{message}");
}
