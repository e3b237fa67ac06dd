//! A folder with a small recipe in which `roentgen-train` runs, and what the program writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

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
pub(crate) const CONVIRT: &str = "[objective]\nkind = \"convirt\"\n";
pub(crate) const MGCA: &str = r#"
[objective]
kind = "mgca"
flavour = "reference"

[model.alignment]
hidden_size = 8
num_prototypes = 6
"#;
/// What else the tiny recipe needs for MGCA.
pub(crate) const ALIGNED: [&str; 4] = ["--set", "model.image.local_stage=2", "--set", "data.text=report"];
pub(crate) const SUPERVISED: &str = "[objective]\nkind = \"supervised\"\ndropout = 0.2\n";

/// A folder with the tiny recipe.
pub(crate) struct Workplace(pub(crate) TempDir);

impl Workplace {
    pub(crate) fn new(objective: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{TINY}\n{objective}");
        data::fsx::write_atomic(&folder.path().join("tiny.toml"), text.as_bytes()).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        names(self.0.path())
    }

    /// The program in this folder.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-train"));
        command.current_dir(self.0.path()).env_remove("ROENTGEN_OUT").timeout(Duration::from_mins(5));
        command.args(arguments).args(["--ui", "plain"]);
        command
    }

    /// Trains the tiny recipe into a folder; returns what was printed.
    pub(crate) fn train(&self, out: &str, arguments: &[&str]) -> String {
        let output = self.program(&["tiny.toml", "--out", out]).args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program, which must fail with an exit code; returns its message.
    pub(crate) fn refusal(&self, arguments: &[&str], code: i32) -> String {
        let output = self.program(arguments).assert().code(code).get_output().clone();
        assert!(output.stdout.is_empty(), "{arguments:?} printed something");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("error: ") && !text.contains("panicked"), "{arguments:?}: {text}");
        text
    }
}

/// Another program of the workspace, `None` (with a line that says so) where only this one was built.
pub(crate) fn sibling(name: &str) -> Option<PathBuf> {
    let file = format!("roentgen-{name}{}", std::env::consts::EXE_SUFFIX);
    let path = Path::new(env!("CARGO_BIN_EXE_roentgen-train")).with_file_name(file);
    if !path.is_file() {
        println!("skipped: cargo test --workspace builds roentgen-{name}, which this test runs");
        return None;
    }
    Some(path)
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    text(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that there is a figure under a dotted path, inside its interval and with its chance.
pub(crate) fn assert_figure(figures: &Value, path: &str) {
    let figure = path.split('.').fold(figures, |value, name| &value[name]);
    let keys: Vec<&String> = figure.as_object().unwrap_or_else(|| panic!("no {path} in {figures:#}")).keys().collect();
    assert_eq!(keys, ["value", "low", "high", "chance"], "{path}");
    let get = |key: &str| figure[key].as_f64().unwrap_or_else(|| panic!("{path}.{key} is no number: {figure}"));
    let (value, low, high, chance) = (get("value"), get("low"), get("high"), get("chance"));
    assert!((0.0..=1.0).contains(&value) && (0.0..=1.0).contains(&chance), "{path}: {figure}");
    assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0, "{path}: {figure}");
}

pub(crate) fn assert_costs(figures: &Value) {
    for (section, key) in [("timing", "seconds"), ("timing", "images_per_second")] {
        assert!(figures[section][key].as_f64().unwrap() > 0.0, "{section}.{key}: {figures:#}");
    }
    if cfg!(target_os = "linux") {
        assert!(figures["memory"]["peak_bytes"].as_u64().unwrap() > 1 << 20, "{figures:#}");
    }
}
