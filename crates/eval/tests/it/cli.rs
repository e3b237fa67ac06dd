//! The program `roentgen-eval` on a CSV of pictures: figures, independence of the batch size, and refusals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use data::image::encode::png;
use data::source::phantom::{CLASSES, PhantomKey, Prevalence};
use data::text::Tokenizer;
use engine::checkpoint::{Architecture, Card, TextCard, save};
use engine::device::DeviceSpec;
use engine::upload::Preprocess;
use model::DualEncoderConfig;
use model::head::classifier::ImageClassifierConfig;
use model::weights::{TensorMap, WeightsFile, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Studies of the CSV: each class is the only finding of every eighth.
pub(super) const STUDIES: u64 = 48;
const SIZE: usize = 32;

/// A folder with a run, a classifier and a CSV of phantoms.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_weights_locked(folder.path());
        write_pairs(folder.path());
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(self.0.path()).timeout(Duration::from_mins(5));
        command.args(arguments).args(["--ui", "plain", "--resamples", "20"]);
        command
    }

    /// What a task prints about the CSV.
    fn printed(&self, task: &str, arguments: &[&str]) -> String {
        let output = self.program(&[task]).args(DATA).args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The figures of a task on the CSV.
    fn figures(&self, task: &str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.printed(task, &[&["--json"], arguments].concat())).unwrap()
    }

    /// Runs the program, which must fail with an exit code; returns its message.
    fn refusal(&self, arguments: &[&str], code: i32) -> String {
        let output = self.program(arguments).assert().code(code).get_output().clone();
        assert!(output.stdout.is_empty(), "{arguments:?} printed something");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
        // Progress may have been printed before.
        let start = text.find("error: ").unwrap_or_else(|| panic!("{arguments:?}: no message in {text}"));
        text[start..].to_owned()
    }
}

/// The CSV with its columns, whose names are not the usual ones.
pub(super) const DATA: [&str; 10] = [
    "--data",
    "pairs.csv",
    "--image-column",
    "file",
    "--text-column",
    "note",
    "--patient-column",
    "person",
    "--label-column",
    CLASSES[0],
];
/// The other columns of labels.
const LABELS: [&str; 4] = ["--label-column", CLASSES[1], "--label-column", CLASSES[4]];

pub(super) fn image_config() -> Value {
    json!({ "kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 4, "in_channels": 1 })
}

/// As [`write_weights`], while nobody else draws.
pub(super) fn write_weights_locked(folder: &Path) {
    let _lock = super::GENERATOR.lock().unwrap();
    write_weights(folder);
}

/// `run/model.safetensors`, two towers, and `classifier.safetensors`, both without training.
fn write_weights(folder: &Path) {
    let (device, _) = "auto".parse::<DeviceSpec>().unwrap().open().unwrap();
    device.seed(11);
    let tokenizer = Tokenizer::builtin().unwrap();
    let config: DualEncoderConfig = serde_json::from_value(json!({
        "image": image_config(),
        "text": {
            "kind": "bert", "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "num_layers": 1, "num_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 32, "dropout": 0.1,
        },
        "projection": { "kind": "mlp" },
        "embed_dim": 8,
    }))
    .unwrap();
    let preprocess =
        Preprocess { image_size: SIZE, source_size: SIZE, mean: vec![0.5], std: vec![0.25], framing: None };
    let mut card = Card::new("convirt", Architecture::DualEncoder(config.clone()), preprocess.clone());
    let tokenizer_sha256 = tokenizer.sha256().to_owned();
    card.text = Some(TextCard { tokenizer_sha256, lowercase: true, max_tokens: 16 });
    data::fsx::create_dir_all(&folder.join("run")).unwrap();
    save(&folder.join("run/model.safetensors"), &config.init(&device), &card).unwrap();

    let config: ImageClassifierConfig =
        serde_json::from_value(json!({ "image": image_config(), "num_classes": 8, "dropout": 0.2 })).unwrap();
    let mut card = Card::new("supervised", Architecture::ImageClassifier(config.clone()), preprocess);
    card.classes = CLASSES.map(str::to_owned).to_vec();
    save(&folder.join("classifier.safetensors"), &config.init(&device), &card).unwrap();
}

/// `pairs.csv` with a picture, a note, a patient, a part and eight labels for each row.
pub(super) fn write_pairs(folder: &Path) {
    let mut csv = format!("file,note,person,split,{}\n", CLASSES.join(","));
    for index in 0..STUDIES {
        let study = PhantomKey { seed: 5, index, prevalence: Prevalence::Exclusive }.study();
        data::fsx::write_atomic(&folder.join(format!("{index}.png")), &png(&study.render(SIZE)).unwrap()).unwrap();
        let note = study.sentences.join(" ");
        assert!(!note.contains('"'));
        // Every class is in every part, which holds a multiple of eight rows.
        let part = ["train", "train", "train", "train", "validate", "test"][usize::try_from(index / 8).unwrap()];
        let labels = study.labels().map(|label| if label { "1" } else { "0" }).join(",");
        writeln!(csv, "{index}.png,\"{note}\",p{index},{part},{labels}").unwrap();
    }
    data::fsx::write_atomic(&folder.join("pairs.csv"), csv.as_bytes()).unwrap();
}

/// All numbers of a tree with their paths; `null` is NaN.
fn numbers(value: &Value, path: &str, out: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| numbers(value, &format!("{path}.{name}"), out)),
        value => out.push((path.to_owned(), value.as_f64().unwrap_or(f64::NAN))),
    }
}

/// Asserts that there is a figure under a dotted path, inside its interval and with its chance.
fn assert_figure(figures: &Value, path: &str) {
    let figure = path.split('.').fold(figures, |value, name| &value[name]);
    let keys: Vec<&String> = figure.as_object().unwrap_or_else(|| panic!("no {path} in {figures:#}")).keys().collect();
    assert_eq!(keys, ["value", "low", "high", "chance"], "{path}");
    let get = |key: &str| figure[key].as_f64().unwrap_or_else(|| panic!("{path}.{key} is no number: {figure}"));
    assert!(get("low") <= get("high") && get("value").is_finite() && get("chance") > 0.0, "{path}: {figure}");
}

/// Asserts that figures do not depend on how many images are encoded at once.
fn assert_same_for_all_batch_sizes(place: &Workplace, task: &str, arguments: &[&str]) -> Value {
    let of = |size: &str| place.figures(task, &[arguments, &["--batch-size", size]].concat());
    let found = [of("1"), of("7")];
    let [one, seven] = found.each_ref().map(|figures| {
        let mut all = Vec::new();
        numbers(figures, task, &mut all);
        all
    });
    assert_eq!(one.len(), seven.len());
    for ((path, one), (other, seven)) in one.iter().zip(&seven) {
        assert_eq!(path, other);
        assert!((one - seven).abs() <= 1e-6 || (one.is_nan() && seven.is_nan()), "{path}: {one} or {seven}");
    }
    let [figures, _] = found;
    figures
}

#[test]
fn zero_shot_scores_every_labelled_class_with_prompts() {
    let place = Workplace::new();
    let arguments = [&["--weights", "run"], LABELS.as_slice()].concat();
    let figures = assert_same_for_all_batch_sizes(&place, "zero-shot", &arguments);
    assert_figure(&figures, "zero_shot.macro_auroc");
    let per_class = figures["zero_shot"]["per_class"].as_object().unwrap();
    assert_eq!(per_class.keys().collect::<Vec<_>>(), [CLASSES[0], CLASSES[1], CLASSES[4]]);
    for class in per_class.keys() {
        assert_figure(&figures, &format!("zero_shot.per_class.{class}.auroc"));
    }
    // A run folder and its file are the same weights, and the table holds the same figures.
    let file = [&["--weights", "run/model.safetensors"], LABELS.as_slice()].concat();
    assert_eq!(place.figures("zero-shot", &file), figures);
    let table = place.printed("zero-shot", &file);
    assert!(table.contains("zero_shot.macro_auroc") && table.contains("chance"), "{table}");
}

#[test]
fn own_prompts_name_own_classes() {
    let place = Workplace::new();
    let prompts = format!("[[class]]\nname = \"{}\"\npositive = [\"a\"]\nnegative = [\"b\"]\n", CLASSES[4]);
    data::fsx::write_atomic(&place.path("prompts.toml"), prompts.as_bytes()).unwrap();
    let arguments = [&["--weights", "run", "--prompts", "prompts.toml"], LABELS.as_slice()].concat();
    let figures = place.figures("zero-shot", &arguments);
    assert_eq!(figures["zero_shot"]["per_class"].as_object().unwrap().keys().collect::<Vec<_>>(), [CLASSES[4]]);
}

#[test]
fn retrieval_goes_in_three_directions() {
    let place = Workplace::new();
    let arguments = ["--weights", "run", "--k", "1,5,10"];
    let figures = assert_same_for_all_batch_sizes(&place, "retrieval", &arguments);
    for direction in ["text_to_image", "image_to_text", "image_to_image"] {
        assert_eq!(figures["retrieval"][direction]["num_queries"], STUDIES);
    }
    for direction in ["text_to_image", "image_to_text"] {
        for k in [1, 5, 10] {
            for metric in ["precision", "recall"] {
                assert_figure(&figures, &format!("retrieval.{direction}.{metric}_at_{k}"));
            }
            // One match among 48: a random order has it in the first k with probability k / 48.
            let chance = figures["retrieval"][direction][format!("recall_at_{k}")]["chance"].as_f64().unwrap();
            assert!((chance - f64::from(k) / 48.0).abs() < 1e-9, "{direction} {k}: {chance}");
        }
        assert_figure(&figures, &format!("retrieval.{direction}.median_rank"));
    }
    // A part has fewer queries.
    let test = place.figures("retrieval", &[arguments.as_slice(), &["--part", "test"]].concat());
    assert_eq!(test["retrieval"]["text_to_image"]["num_queries"], 8);
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let place = Workplace::new();
    let weights = |name: &str, task: &str, code| {
        let arguments = [&[task, "--weights", name], DATA.as_slice()].concat();
        place.refusal(&arguments, code)
    };
    let message = weights("nothing", "zero-shot", 1);
    assert!(message.contains("nothing: no checkpoint here"), "{message}");
    let message = weights("pairs.csv", "zero-shot", 1);
    assert!(message.contains("not a safetensors file"), "{message}");
    let message = weights("classifier.safetensors", "retrieval", 2);
    assert!(message.contains("no text tower"), "{message}");

    let file = WeightsFile::read(&place.path("run/model.safetensors")).unwrap();
    let write = |name: &str, tensors: &TensorMap, metadata: &BTreeMap<String, String>| {
        data::fsx::write_atomic(&place.path(name), &encode(tensors, metadata)).unwrap();
    };
    write("foreign.safetensors", &file.tensors, &BTreeMap::new());
    let message = weights("foreign.safetensors", "retrieval", 1);
    assert!(message.contains("no `roentgen` in its metadata"), "{message}");

    let mut tensors = file.tensors.clone();
    let gone = tensors.remove("text_projection.fc2.weight").unwrap();
    write("torn.safetensors", &tensors, &file.metadata);
    let message = weights("torn.safetensors", "zero-shot", 1);
    assert!(
        message.contains("1 missing, 0 unused") && message.contains("missing text_projection.fc2.weight"),
        "{message}"
    );
    tensors.insert("text_projection.fc3.weight".to_owned(), gone);
    write("renamed.safetensors", &tensors, &file.metadata);
    let message = weights("renamed.safetensors", "retrieval", 1);
    assert!(
        message.contains("1 missing, 1 unused") && message.contains("unused text_projection.fc3.weight"),
        "{message}"
    );
}

#[test]
fn data_that_lack_something_are_named() {
    let place = Workplace::new();
    let common = ["--weights", "run", "--data", "pairs.csv"];
    let refused = |task: &str, more: &[&str], code| place.refusal(&[&[task], &common[..], more].concat(), code);
    // The usual name of the column is not in this file.
    let message = refused("retrieval", &[], 2);
    assert!(message.contains("no column \"image_path\"") && message.contains("\"file\""), "{message}");
    let message = refused("retrieval", &["--image-column", "file"], 2);
    assert!(message.contains("no study has text") && message.contains("--text-column"), "{message}");
    let message = refused("zero-shot", &["--image-column", "file", "--label-column", "nodul"], 2);
    assert!(message.contains("no column \"nodul\""), "{message}");
    let message = refused("zero-shot", &["--image-column", "file", "--device", "gpu"], 1);
    assert!(message.contains("device \"gpu\" is not a device") && message.lines().count() == 1, "{message}");
    std::fs::remove_file(place.path("5.png")).unwrap();
    let message = refused("retrieval", &["--image-column", "file", "--text-column", "note"], 3);
    assert!(message.contains("row 6") && !message.contains("5.png"), "{message}");
}
