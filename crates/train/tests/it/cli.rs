//! The program `roentgen-train`: what a run writes, what it repeats, and how it refuses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use data::source::phantom::CLASSES;
use engine::checkpoint::{Architecture, Checkpoint};
use engine::device::compiled;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::device;

/// A run of seconds. It is a recipe of its own, complete but for the objective, so that tuning those of the project
/// changes no test.
const TINY: &str = r#"
[run]
seed = 1
steps = 3
log_every = 1

[data]
image_size = 32
source_size = 32
mean = [0.5]
std = [0.25]
batch_size = 8
sentences_per_study = 1
max_tokens = 16
num_workers = 1
cache_mib = 8
max_bad_fraction = 0.0

[data.source]
kind = "phantom"
seed = 7
train = 32
validate = 32
test = 64
candidates_per_class = 2
queries_per_class = 1
probe = 24

[data.augment]
crop_area = [0.6, 1.0]
crop_ratio = [0.75, 1.3333]
flip = 0.5
rotate_degrees = 20.0
translate = 0.1
scale = [0.95, 1.05]
brightness = [0.6, 1.4]
contrast = [0.6, 1.4]
blur_sigma = [0.1, 3.0]

[model]
embed_dim = 8

[model.image]
kind = "resnet"
block = "basic"
stages = [1, 1, 1, 1]
width = 4
in_channels = 1

[model.text]
kind = "bert"
hidden_size = 16
num_layers = 1
num_heads = 2
intermediate_size = 32
max_position_embeddings = 32
dropout = 0.1

[model.projection]
kind = "mlp"

[optim]
kind = "adam"
lr = 1e-3

[optim.schedule]
kind = "constant"

[eval]
every = 2
max_studies = 16
batch_size = 32
ks = [5, 10]
resamples = 20

[eval.probe]
lr = 1e-2
batch_size = 8
max_epochs = 3
"#;
const CONVIRT: &str = "[objective]\nkind = \"convirt\"\n";
const SUPERVISED: &str = "[objective]\nkind = \"supervised\"\ndropout = 0.2\n";

/// A folder with the tiny recipe.
struct Workplace(TempDir);

impl Workplace {
    fn new(objective: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{TINY}\n{objective}");
        data::fsx::write_atomic(&folder.path().join("tiny.toml"), text.as_bytes()).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn entries(&self) -> Vec<String> {
        names(self.0.path())
    }

    /// The program in this folder.
    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-train"));
        command.current_dir(self.0.path()).env_remove("ROENTGEN_OUT").timeout(Duration::from_mins(5));
        command.args(arguments).args(["--ui", "plain"]);
        command
    }

    /// Trains the tiny recipe into a folder; returns what was printed.
    fn train(&self, out: &str, arguments: &[&str]) -> String {
        let output = self.program(&["tiny.toml", "--out", out]).args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program, which must fail with an exit code; returns its message.
    fn refusal(&self, arguments: &[&str], code: i32) -> String {
        let output = self.program(arguments).assert().code(code).get_output().clone();
        assert!(output.stdout.is_empty(), "{arguments:?} printed something");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("error: ") && !text.contains("panicked"), "{arguments:?}: {text}");
        text
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    text(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that there is a figure under a dotted path, inside its interval and with its chance.
fn assert_figure(figures: &Value, path: &str) {
    let figure = path.split('.').fold(figures, |value, name| &value[name]);
    let keys: Vec<&String> = figure.as_object().unwrap_or_else(|| panic!("no {path} in {figures:#}")).keys().collect();
    assert_eq!(keys, ["value", "low", "high", "chance"], "{path}");
    let get = |key: &str| figure[key].as_f64().unwrap_or_else(|| panic!("{path}.{key} is no number: {figure}"));
    let (value, low, high, chance) = (get("value"), get("low"), get("high"), get("chance"));
    assert!((0.0..=1.0).contains(&value) && (0.0..=1.0).contains(&chance), "{path}: {figure}");
    assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0, "{path}: {figure}");
}

fn assert_costs(figures: &Value) {
    for (section, key) in [("timing", "seconds"), ("timing", "images_per_second")] {
        assert!(figures[section][key].as_f64().unwrap() > 0.0, "{section}.{key}: {figures:#}");
    }
    if cfg!(target_os = "linux") {
        assert!(figures["memory"]["peak_bytes"].as_u64().unwrap() > 1 << 20, "{figures:#}");
    }
}

#[test]
fn a_run_writes_its_folder_and_is_never_overwritten() {
    let place = Workplace::new(CONVIRT);
    let printed = place.train("run", &["--json"]);
    let run = place.path("run");
    let expected = [
        "checkpoints",
        "config.toml",
        "env.json",
        "eval.json",
        "log.jsonl",
        "metrics.jsonl",
        "model.safetensors",
        "tb",
    ];
    assert_eq!(names(&run), expected);
    assert_eq!(place.entries(), ["run", "tiny.toml"]);

    let figures = json(&run.join("eval.json"));
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), figures);
    for path in ["zero_shot.macro_auroc", "linear_probe.macro_auroc", "linear_probe_random.macro_auroc"] {
        assert_figure(&figures, path);
    }
    let per_class = figures["zero_shot"]["per_class"].as_object().unwrap();
    assert_eq!(per_class.keys().collect::<Vec<_>>(), CLASSES);
    for class in ["cardiomegaly", "pleural_effusion", "support_device"] {
        assert_figure(&figures, &format!("zero_shot.per_class.{class}.auroc"));
    }
    for direction in ["text_to_image", "image_to_image"] {
        for k in [5, 10] {
            let path = format!("retrieval.{direction}.precision_at_{k}");
            assert_figure(&figures, &path);
            let chance = figures["retrieval"][direction][format!("precision_at_{k}")]["chance"].as_f64().unwrap();
            assert!((chance - 0.125).abs() < 1e-9, "{path}: {chance}");
        }
    }
    assert_costs(&figures);

    let metrics = lines(&run.join("metrics.jsonl"));
    let trained: Vec<&Value> = metrics.iter().filter(|line| line.get("train/loss").is_some()).collect();
    assert_eq!(trained.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    for name in ["loss", "loss/image_to_text", "loss/text_to_image", "accuracy", "lr", "grad_norm", "data_wait"] {
        assert!(trained.iter().all(|line| line[format!("train/{name}")].is_f64()), "{name}: {trained:?}");
    }
    assert_eq!(metrics.iter().filter(|line| line.get("validate/loss").is_some()).count(), 1);
    assert!(!lines(&run.join("log.jsonl")).is_empty());
    assert_eq!(names(&run.join("tb")).len(), 1);
    let environment = json(&run.join("env.json"));
    assert_eq!(environment["device"], device().1);
    assert_eq!(names(&run.join("checkpoints/best")), ["model.safetensors", "optim.bpk", "train.json"]);
    assert_eq!(json(&run.join("checkpoints/best/train.json"))["step"], 2);

    let weights = std::fs::read(run.join("model.safetensors")).unwrap();
    assert_eq!(weights, std::fs::read(run.join("checkpoints/best/model.safetensors")).unwrap());
    let checkpoint = Checkpoint::read(&run).unwrap();
    assert!(matches!(checkpoint.card.model, Architecture::DualEncoder(_)) && checkpoint.card.objective == "convirt");
    checkpoint.dual_encoder(&device().0).unwrap();
    let folder = place.0.path().to_str().unwrap().as_bytes();
    assert!(!weights.windows(folder.len()).any(|part| part == folder), "a path in the weights");

    // The resolved configuration is a recipe that resolves to itself.
    let again = place.program(&["run/config.toml", "--print-config"]).assert().success().get_output().clone();
    let again: toml::Table = toml::from_str(std::str::from_utf8(&again.stdout).unwrap()).unwrap();
    assert_eq!(again, toml::from_str::<toml::Table>(&text(&run.join("config.toml"))).unwrap());

    let message = place.refusal(&["tiny.toml", "--out", "run"], 2);
    assert!(message.contains("finished run") && message.contains("--out"), "{message}");
    assert_eq!(std::fs::read(run.join("model.safetensors")).unwrap(), weights);
    assert_eq!(json(&run.join("eval.json")), figures);
}

#[test]
fn runs_without_a_folder_are_counted() {
    let place = Workplace::new(CONVIRT);
    for _ in 0..2 {
        place.program(&["tiny.toml", "--steps", "1", "--set", "eval.every=0"]).assert().success();
    }
    assert_eq!(names(&place.path("runs")), ["tiny", "tiny-2"]);
    assert!(place.path("runs/tiny-2/eval.json").is_file());
}

#[test]
fn the_seed_and_nothing_else_decides_the_weights() {
    let place = Workplace::new(CONVIRT);
    let weights = |out: &str, arguments: &[&str]| {
        place.train(out, arguments);
        std::fs::read(place.path(out).join("model.safetensors")).unwrap()
    };
    let first = weights("first", &[]);
    // Neither workers nor what is logged or evaluated may change what is learned.
    let second =
        weights("second", &["--set", "data.num_workers=3", "--set", "run.log_every=2", "--set", "eval.ks=[5]"]);
    assert!(first == second, "two runs with one seed differ");
    assert!(first != weights("third", &["--seed", "2"]), "another seed gives the same weights");
    // The negative control: same pictures, reports of others.
    assert!(first != weights("shuffled", &["--set", "data.shuffle_pairs=true"]), "the pairs were not shuffled");
    assert_figure(&json(&place.path("shuffled/eval.json")), "zero_shot.macro_auroc");
}

#[test]
fn the_ceiling_is_a_run_of_its_own() {
    let place = Workplace::new(SUPERVISED);
    let printed = place.train("run", &["--set", "data.micro_batch_size=4"]);
    let figures = json(&place.path("run/eval.json"));
    assert_figure(&figures, "supervised.macro_auroc");
    assert_eq!(figures["supervised"]["per_class"].as_object().unwrap().keys().collect::<Vec<_>>(), CLASSES);
    assert_costs(&figures);
    // Without --json the figures are a table.
    assert!(printed.contains("supervised.macro_auroc") && printed.contains("chance"), "{printed}");
    let card = Checkpoint::read(&place.path("run")).unwrap().card;
    assert_eq!((card.objective.as_str(), card.classes.as_slice()), ("supervised", &CLASSES.map(str::to_owned)[..]));
}

#[test]
fn looking_first_writes_nothing() {
    let place = Workplace::new(CONVIRT);
    let printed = |arguments: &[&str]| {
        let output =
            place.program(&["tiny.toml", "--out", "run"]).args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    };
    let dry = printed(&["--dry-run", "--steps", "7"]);
    for what in ["train", "validate", "test", "parameters", "device", "update", "whole run"] {
        assert!(dry.lines().any(|line| line.starts_with(what)), "no {what} in {dry}");
    }
    assert_eq!(place.entries(), ["tiny.toml"]);
}

#[test]
fn the_configuration_is_printed_with_the_origin_of_every_value() {
    let place = Workplace::new(CONVIRT);
    let child = b"extends = \"convirt-phantom\"\n\n[data]\nimage_size = 64\n";
    data::fsx::write_atomic(&place.path("child.toml"), child).unwrap();
    let arguments =
        ["child.toml", "--print-config", "--steps", "7", "--set", "optim.lr=0.5", "--set", "optim.betas=[0.9, 0.999]"];
    let output = place.program(&arguments).assert().success().get_output().clone();
    let config = String::from_utf8(output.stdout).unwrap();
    let table: toml::Table = toml::from_str(&config).unwrap();
    assert_eq!(table["run"]["steps"].as_integer(), Some(7));
    let line = |key: &str| config.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap().to_owned();
    assert!(line("run.steps").ends_with("# --steps"), "{config}");
    assert!(line("optim.lr").ends_with("# --set optim.lr=0.5"), "{config}");
    assert!(line("data.image_size").ends_with("# child.toml:4"), "{config}");
    assert!(line("objective.temperature").contains("# preset convirt-phantom:"), "{config}");
    assert!(line("optim.eps").ends_with("# default"), "{config}");
    // Single precision is printed as it was written, not as the nearest double.
    assert!(line("optim.betas").starts_with("optim.betas = [0.9, 0.999] "), "{config}");
    assert_eq!(place.entries(), ["child.toml", "tiny.toml"]);
}

#[test]
fn every_recipe_of_the_project_resolves() {
    let place = Workplace::new(CONVIRT);
    for (name, _) in train::recipe::RECIPES {
        place.program(&[name, "--print-config"]).assert().success();
    }
}

#[test]
fn wrong_settings_are_refused_with_what_was_meant() {
    let place = Workplace::new(CONVIRT);
    let set = |text: &str| place.refusal(&["tiny.toml", "--out", "run", "--set", text], 2);
    let cases: [(&str, &[&str]); 8] = [
        ("optim.weight_decai=0", &["unknown key optim.weight_decai", "did you mean optim.weight_decay?"]),
        ("model.image.bloc=basic", &["did you mean model.image.block?"]),
        ("optim.lr", &["--set optim.lr", "equals sign"]),
        ("data.batch_size=two", &["data.batch_size", "--set data.batch_size=two"]),
        ("data.batch_size=1", &["data.batch_size = 1", "at least 2"]),
        ("run.steps=0", &["run.steps = 0"]),
        ("objective.lambda=1.5", &["objective.lambda", "0 to 1"]),
        ("model.text.num_heads=3", &["num_heads", "divide"]),
    ];
    for (setting, parts) in cases {
        let message = set(setting);
        assert!(parts.iter().all(|part| message.contains(part)), "{setting}: {message}");
    }
    let message = place.refusal(&["convirt-fantom"], 2);
    assert!(message.contains("convirt-fantom") && message.contains("convirt-phantom"), "{message}");
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let place = Workplace::new(CONVIRT);
    data::fsx::write_atomic(&place.path("thesis.txt"), b"unique").unwrap();
    let message = place.refusal(&["tiny.toml", "--out", "."], 2);
    assert!(message.contains("not empty"), "{message}");
    assert_eq!(place.entries(), ["thesis.txt", "tiny.toml"]);
}

#[test]
fn a_device_that_cannot_be_used_ends_in_one_sentence() {
    let place = Workplace::new(CONVIRT);
    let missing = ["cuda", "vulkan", "wgpu", "ndarray"].into_iter().find(|name| !compiled().contains(name));
    let cases = [Some(("gpu", "is not a device")), missing.map(|name| (name, "is not compiled in"))];
    for (name, why) in cases.into_iter().flatten() {
        let message = place.refusal(&["tiny.toml", "--out", "run", "--device", name], 1);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains(&format!("device \"{name}\" {why}")), "{message}");
        assert!(compiled().iter().all(|name| message.contains(name)), "{message}");
    }
    assert_eq!(place.entries(), ["tiny.toml"]);
}
