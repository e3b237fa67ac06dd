//! Runs that are killed, interrupted or started twice end as runs that nobody touched, to the last bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::Bytes;
use data::rng::{Purpose, stream};

use crate::workplace::{CONVIRT, Workplace, lines, names, text};

const STEPS: u64 = 40;
/// Killed processes in the suite; the environment variable asks for more.
const KILLS: &str = "ROENTGEN_KILLS";

/// The settings of a run that is long enough to be hit.
fn settings() -> Vec<String> {
    let set = ["run.save_every=3", "eval.every=10", "data.source.train=64", "objective.topics=3"];
    let mut settings: Vec<String> = set.iter().flat_map(|s| ["--set".to_owned(), (*s).to_owned()]).collect();
    settings.extend(["--steps".to_owned(), STEPS.to_string()]);
    settings
}

fn start(place: &Workplace, out: &str, more: &[&str]) -> Child {
    start_with(place, out, more, "")
}

/// A run of a program in which some failpoints are on.
fn start_with(place: &Workplace, out: &str, more: &[&str], failpoints: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_roentgen-train"))
        .current_dir(place.0.path())
        .env_remove("ROENTGEN_OUT")
        .env("FAILPOINTS", failpoints)
        .args(["tiny.toml", "--out", out, "--ui", "plain"])
        .args(settings())
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Everything that a run must reproduce: the weights it ends with, its last state and its metrics by step.
#[derive(Debug, PartialEq)]
struct Outcome {
    weights: Vec<u8>,
    objective: Vec<u8>,
    optimizer: BTreeMap<String, Vec<u8>>,
    metrics: Vec<String>,
    figures: serde_json::Value,
}

fn outcome(run: &Path) -> Outcome {
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
    let mut figures = crate::workplace::json(&run.join("eval.json"));
    for key in ["timing", "memory"] {
        figures.as_object_mut().unwrap().remove(key);
    }
    Outcome {
        weights: std::fs::read(run.join("model.safetensors")).unwrap(),
        objective: std::fs::read(state.join("model.safetensors")).unwrap(),
        optimizer,
        metrics: metrics.collect(),
        figures,
    }
}

/// A process that is still running once it has saved a state.
fn running_after(place: &Workplace, out: &str, step: u64, failpoints: &str) -> (Child, PathBuf) {
    let mut child = start_with(place, out, &[], failpoints);
    let checkpoints = place.path(out).join("checkpoints");
    while !checkpoints.join(format!("step-{step:08}/manifest.json")).is_file() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
    }
    (child, checkpoints)
}

/// Kills a run after a state; returns the folder of its states and their names.
fn killed_after(place: &Workplace, out: &str, step: u64, failpoints: &str) -> (PathBuf, Vec<String>) {
    let (mut child, checkpoints) = running_after(place, out, step, failpoints);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut states = names(&checkpoints);
    states.retain(|name| name.starts_with("step-"));
    (checkpoints, states)
}

fn straight(place: &Workplace) -> (Outcome, Duration) {
    let clock = Instant::now();
    assert!(start(place, "straight", &[]).wait().unwrap().success());
    (outcome(&place.path("straight")), clock.elapsed())
}

#[test]
fn killed_runs_end_as_straight_ones() {
    let place = Workplace::new(CONVIRT);
    let (expected, duration) = straight(&place);
    let kills: u64 = std::env::var(KILLS).ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let (mut killed, mut round, mut went_on) = (0, 0, 0);
    while killed < kills {
        let out = format!("killed-{round}");
        let mut random = stream(9, Purpose::Control, 0, round);
        // Every second run takes long to save, so that most of its kills hit a save.
        let failpoints = if round % 2 == 1 { "fsx-sync=sleep(20)" } else { "" };
        round += 1;
        // Up to five kills, then the run may end.
        for attempt in 0..=5 {
            let left = newest_state(&place.path(&out));
            let mut child = start_with(&place, &out, &[], failpoints);
            if attempt < 5 {
                std::thread::sleep(duration.mul_f64(random.unit()));
                // Fails where the run has ended by itself.
                let _ = child.kill();
            }
            let status = child.wait().unwrap();
            // Whatever a process of this run got as far as to say: it went on from the newest state that was there.
            let began = lines_so_far(&place.path(&format!("{out}/log.jsonl")))
                .iter()
                .rfind(|line| line["message"] == "training" || line["message"] == "goes on from a saved state")
                .and_then(|line| line["step"].as_u64());
            if let Some(began) = began.filter(|_| status.success()) {
                assert_eq!(Some(began), left, "work was lost");
                went_on += 1;
            }
            // A kill after the figures were written came too late.
            if status.success() || place.path(&format!("{out}/eval.json")).is_file() {
                break;
            }
            assert!(attempt < 5, "the run does not go on: {}", text(&place.path(&format!("{out}/log.jsonl"))));
            killed += 1;
        }
        let actual = outcome(&place.path(&out));
        assert!(actual == expected, "round {round} ended otherwise");
        let checkpoints = names(&place.path(&format!("{out}/checkpoints")));
        assert_eq!(checkpoints, ["best", "latest", "step-00000039", "step-00000040"], "what is kept");
        for folder in [out.clone(), format!("{out}/checkpoints/best")] {
            assert!(names(&place.path(&folder)).iter().all(|name| !name.contains(".tmp-")), "left in {folder}");
        }
    }
    assert!(went_on > 0, "no run went on from a state");
}

/// Step of the newest state in a run folder.
fn newest_state(run: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(run.join("checkpoints")).ok()?;
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max()
}

/// The lines of a log that was cut off anywhere, or never begun.
fn lines_so_far(log: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Which part of a state is spoiled, and how: the negative controls.
#[test]
fn every_part_of_a_state_is_needed() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    // The whole run under another seed, and one that saw other studies, differ in what is compared.
    for (out, more) in [("seed", ["--seed", "2"]), ("data", ["--set", "data.source.seed=8"])] {
        assert!(start(&place, out, &more).wait().unwrap().success());
        let other = outcome(&place.path(out));
        assert!(other.weights != expected.weights && other.optimizer != expected.optimizer, "{out}");
    }
    // A run that goes on with an objective or an optimizer of another step ends otherwise.
    for file in ["model.safetensors", "optim.bpk"] {
        let out = format!("spoiled-{}", &file[..5]);
        let (checkpoints, states) = killed_after(&place, &out, 6, "");
        let [old, new] = [&states[0], &states[1]].map(|name| checkpoints.join(name));
        data::fsx::write_atomic(&new.join(file), &std::fs::read(old.join(file)).unwrap()).unwrap();
        // With its manifest the spoiled state is believed.
        let mut manifest = crate::workplace::json(&new.join("manifest.json"));
        let entry = crate::workplace::json(&old.join("manifest.json"))["files"][file].clone();
        manifest["files"][file] = entry;
        data::fsx::write_atomic(&new.join("manifest.json"), manifest.to_string().as_bytes()).unwrap();
        assert!(start(&place, &out, &[]).wait().unwrap().success());
        let spoiled = outcome(&place.path(&out));
        assert!(spoiled.objective != expected.objective, "{file} is not used");
        assert!(spoiled.optimizer != expected.optimizer, "{file} is not used");
    }
}

/// Without one of them a run that was killed ends otherwise than one that was not: a suite that did not see this would
/// see nothing.
#[test]
fn seeds_of_steps_and_the_position_in_the_data_are_needed() {
    let place = Workplace::new(CONVIRT);
    for point in ["fit-seed", "fit-position"] {
        let failpoints = format!("{point}=return");
        let (straight, killed) = (format!("{point}-straight"), format!("{point}-killed"));
        assert!(start_with(&place, &straight, &[], &failpoints).wait().unwrap().success());
        killed_after(&place, &killed, 6, &failpoints);
        assert!(start_with(&place, &killed, &[], &failpoints).wait().unwrap().success());
        let [straight, killed] = [&straight, &killed].map(|out| outcome(&place.path(out)));
        assert!(straight.objective != killed.objective && straight.metrics != killed.metrics, "{point} is not needed");
    }
}

#[test]
fn a_torn_state_is_passed_over() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    let (checkpoints, states) = killed_after(&place, "torn", 6, "");
    let newest = checkpoints.join(states.last().unwrap());
    let bytes = std::fs::read(newest.join("optim.bpk")).unwrap();
    data::fsx::write_atomic(&newest.join("optim.bpk"), &bytes[..bytes.len() / 2]).unwrap();
    data::fsx::create_private_dir(&checkpoints.join(".step-00000009.tmp-1")).unwrap();
    assert!(start(&place, "torn", &[]).wait().unwrap().success());
    assert!(outcome(&place.path("torn")) == expected);
    assert!(text(&place.path("torn/log.jsonl")).contains("passed over"));
    assert!(text(&place.path("torn/log.jsonl")).contains("goes on from a saved state"));
    assert_eq!(names(&checkpoints), ["best", "latest", "step-00000039", "step-00000040"]);
}

/// States that are all torn count for nothing, and new ones are not taken for older than they.
#[test]
fn a_run_whose_states_are_all_torn_begins_again() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    let (checkpoints, states) = killed_after(&place, "torn", 6, "");
    for state in states {
        data::fsx::write_atomic(&checkpoints.join(state).join("train.json"), b"{").unwrap();
    }
    let (mut child, _) = running_after(&place, "torn", 3, "");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(start(&place, "torn", &[]).wait().unwrap().success());
    assert!(outcome(&place.path("torn")) == expected);
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_run_at_once() {
    let place = Workplace::new(CONVIRT);
    // A save takes half a minute.
    let (mut child, _) = {
        let mut child = start_with(&place, "run", &["--set", "run.save_every=0"], "fsx-sync=sleep(6000)");
        let metrics = place.path("run/metrics.jsonl");
        while !std::fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 2) {
            std::thread::sleep(Duration::from_millis(1));
            assert!(child.try_wait().unwrap().is_none(), "the run ended before the signal");
        }
        (child, metrics)
    };
    let clock = Instant::now();
    for pause in [300, 0] {
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(pause));
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(clock.elapsed() < Duration::from_secs(5), "{:?}", clock.elapsed());
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_the_exit_code_names_it() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // No interval: what is there afterwards was saved for the signal.
        let more = ["--set", "run.save_every=0"];
        let mut child = start(&place, signal, &more);
        let metrics = place.path(signal).join("metrics.jsonl");
        while !std::fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 5) {
            std::thread::sleep(Duration::from_millis(1));
            assert!(child.try_wait().unwrap().is_none(), "the run ended before the signal");
        }
        let kill = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(names(&place.path(&format!("{signal}/checkpoints"))).iter().any(|name| name.starts_with("step-")));
        assert!(start(&place, signal, &more).wait().unwrap().success());
        assert!(outcome(&place.path(signal)) == expected, "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_during_evaluation_ends_it_and_the_run_goes_on_there() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    let slow = ["--set", "data.source.test=4000", "--set", "eval.batch_size=4"];
    let mut child = start(&place, "late", &slow);
    while !place.path("late/model.safetensors").is_file() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(child.try_wait().unwrap().is_none(), "the run ended before the signal");
    }
    let clock = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(clock.elapsed() < Duration::from_secs(10), "one signal must do");
    assert!(!place.path("late/eval.json").exists());
    assert!(start(&place, "late", &slow).wait().unwrap().success());
    let actual = outcome(&place.path("late"));
    assert!(actual.weights == expected.weights && actual.metrics == expected.metrics);
}

#[test]
fn best_weights_that_cannot_be_written_end_the_run_and_nothing_is_lost() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    let mut child = start_with(&place, "full", &[], "fsx-broken=30*off->return");
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(start(&place, "full", &[]).wait().unwrap().success());
    assert!(outcome(&place.path("full")) == expected);
}

#[test]
fn a_disk_that_stays_full_ends_the_run_with_what_was_saved_before() {
    let place = Workplace::new(CONVIRT);
    // Without a validation nothing but states is written on the way.
    let more = ["--set", "eval.every=0"];
    // The first writes work, then none does: three states are tried in vain.
    let mut child = start_with(&place, "full", &more, "fsx-write=30*off->return");
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let saved = names(&place.path("full/checkpoints"));
    assert!(saved.iter().any(|name| name.starts_with("step-")), "{saved:?}");
    let log = text(&place.path("full/log.jsonl"));
    assert_eq!(log.matches("a state could not be saved; training goes on").count(), 2, "{log}");
    // With room again the run goes on from there.
    assert!(start(&place, "full", &more).wait().unwrap().success());
    assert!(start(&place, "straight", &more).wait().unwrap().success());
    assert!(outcome(&place.path("full")) == outcome(&place.path("straight")));
}

#[test]
fn two_processes_and_changed_settings_are_refused() {
    let place = Workplace::new(CONVIRT);
    let (mut child, _) = running_after(&place, "run", 3, "");
    let settings = settings();
    let with = |more: &[&'static str]| -> Vec<String> {
        ["tiny.toml", "--out", "run"].iter().chain(more).map(|s| (*s).to_owned()).chain(settings.clone()).collect()
    };
    let refusal = |more: &[&'static str]| {
        let arguments = with(more);
        place.refusal(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2)
    };
    let second = refusal(&[]);
    assert!(second.contains("is in use by process") && second.contains(&child.id().to_string()), "{second}");
    child.kill().unwrap();
    child.wait().unwrap();

    assert!(refusal(&["--resume", "never"]).contains("--resume auto"));
    let changed = refusal(&["--set", "optim.lr=0.5", "--set", "run.log_every=7"]);
    assert!(changed.contains("optim.lr: 0.001, now 0.5") && !changed.contains("log_every"), "{changed}");
    let data = refusal(&["--set", "data.source.seed=9"]);
    assert!(data.contains("data.source.seed: 7, now 9"), "{data}");

    // The folder alone says what to do; what is free may differ.
    let arguments = ["--resume", "run", "--set", "run.log_every=2", "--set", "eval.resamples=10"];
    place.program(&arguments).assert().success();
    assert!(place.path("run/eval.json").is_file());
    assert!(place.refusal(&["--resume", "run"], 2).contains("holds a finished run"));
    assert!(place.refusal(&["--resume", "nowhere"], 2).contains("is not a run folder"));
}

#[test]
fn a_forced_run_goes_on_under_other_settings() {
    let place = Workplace::new(CONVIRT);
    killed_after(&place, "run", 3, "");
    let more = ["--set", "optim.lr=0.01", "--force-resume"];
    assert!(start(&place, "run", &more).wait().unwrap().success());
    assert!(text(&place.path("run/config.toml")).contains("lr = 0.01"));
    let first = &lines(&place.path("run/metrics.jsonl"))[0];
    assert!((first["train/lr"].as_f64().unwrap() - 1e-3).abs() < 1e-9, "the first updates were not made again");
}
