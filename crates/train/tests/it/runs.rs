//! Processes of runs that are long enough to be hit, and what they end with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::Bytes;
use serde_json::Value;

use crate::workplace::{Workplace, json, lines, names, text};

pub(crate) const STEPS: u64 = 40;

/// The settings of a run that is long enough to be hit.
pub(crate) fn settings() -> Vec<String> {
    let set = ["run.save_every=3", "eval.every=10", "data.source.train=64", "objective.topics=3"];
    settings_of(&set)
}

fn settings_of(set: &[&str]) -> Vec<String> {
    let mut settings: Vec<String> = set.iter().flat_map(|s| ["--set".to_owned(), (*s).to_owned()]).collect();
    settings.extend(["--steps".to_owned(), STEPS.to_string()]);
    settings
}

pub(crate) fn start(place: &Workplace, out: &str, more: &[&str]) -> Child {
    start_with(place, out, more, "")
}

/// A run of a program in which some failpoints are on.
pub(crate) fn start_with(place: &Workplace, out: &str, more: &[&str], failpoints: &str) -> Child {
    // Labels take the part of topics in MedCLIP.
    let has_topics = !text(&place.path("tiny.toml")).contains("kind = \"medclip\"");
    let settings = if has_topics {
        settings()
    } else {
        settings_of(&["run.save_every=3", "eval.every=10", "data.source.train=64"])
    };
    Command::new(env!("CARGO_BIN_EXE_roentgen-train"))
        .current_dir(place.0.path())
        .env_remove("ROENTGEN_OUT")
        .env("FAILPOINTS", failpoints)
        .args(["tiny.toml", "--out", out, "--ui", "plain"])
        .args(settings)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Everything that a run must reproduce: the weights it ends with, its last state and its metrics by step.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) weights: Vec<u8>,
    pub(crate) objective: Vec<u8>,
    /// Where training stood, without what the run depends on.
    pub(crate) train: Value,
    pub(crate) optimizer: BTreeMap<String, Vec<u8>>,
    pub(crate) metrics: Vec<String>,
    pub(crate) figures: Value,
}

pub(crate) fn outcome(run: &Path) -> Outcome {
    let state = run.join(format!("checkpoints/step-{STEPS:08}"));
    let record = std::fs::read(state.join("optim.bpk")).unwrap();
    let reader = burn_pack::Reader::from_bytes(Bytes::from_bytes_vec(record)).unwrap();
    let optimizer = reader
        .tensor_names()
        .into_iter()
        .map(|name| (name.to_owned(), reader.tensor_data(name).unwrap()))
        .collect::<BTreeMap<_, _>>();
    assert!(optimizer.len() > 20, "moments of few parameters: {}", optimizer.len());
    // Rates are measured and differ from run to run.
    let metrics = lines(&run.join("metrics.jsonl")).into_iter().map(|mut line| {
        let line = line.as_object_mut().unwrap();
        line.retain(|key, _| !key.ends_with("images_per_second") && !key.ends_with("data_wait"));
        serde_json::to_string(line).unwrap()
    });
    let mut figures = json(&run.join("eval.json"));
    for key in ["timing", "memory"] {
        figures.as_object_mut().unwrap().remove(key);
    }
    let mut train = json(&state.join("train.json"));
    train.as_object_mut().unwrap().remove("origin").unwrap();
    Outcome {
        weights: std::fs::read(run.join("model.safetensors")).unwrap(),
        objective: std::fs::read(state.join("model.safetensors")).unwrap(),
        train,
        optimizer,
        metrics: metrics.collect(),
        figures,
    }
}

/// A process that is still running once it has saved a state.
pub(crate) fn running_after(
    place: &Workplace,
    out: &str,
    step: u64,
    more: &[&str],
    failpoints: &str,
) -> (Child, PathBuf) {
    let mut child = start_with(place, out, more, failpoints);
    let checkpoints = place.path(out).join("checkpoints");
    while !checkpoints.join(format!("step-{step:08}/manifest.json")).is_file() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
    }
    (child, checkpoints)
}

/// Kills a run after a state; returns the folder of its states and their names.
pub(crate) fn killed_after(
    place: &Workplace,
    out: &str,
    step: u64,
    more: &[&str],
    failpoints: &str,
) -> (PathBuf, Vec<String>) {
    let (mut child, checkpoints) = running_after(place, out, step, more, failpoints);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut states = names(&checkpoints);
    states.retain(|name| name.starts_with("step-"));
    (checkpoints, states)
}

pub(crate) fn straight(place: &Workplace) -> (Outcome, Duration) {
    let clock = Instant::now();
    assert!(start(place, "straight", &[]).wait().unwrap().success());
    (outcome(&place.path("straight")), clock.elapsed())
}
