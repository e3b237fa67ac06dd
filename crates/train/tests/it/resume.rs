//! Runs that are killed, interrupted or started twice end as runs that nobody touched, to the last bit.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use data::rng::{Purpose, stream};

use crate::runs::{killed_after, outcome, running_after, settings, start, start_with, straight};
use crate::workplace::{CONVIRT, Workplace, lines, names, text};

/// Killed processes in the suite; the environment variable asks for more.
const KILLS: &str = "ROENTGEN_KILLS";

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

#[test]
fn a_torn_state_is_passed_over() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    let (checkpoints, states) = killed_after(&place, "torn", 6, &[], "");
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
    let (checkpoints, states) = killed_after(&place, "torn", 6, &[], "");
    for state in states {
        data::fsx::write_atomic(&checkpoints.join(state).join("train.json"), b"{").unwrap();
    }
    let (mut child, _) = running_after(&place, "torn", 3, &[], "");
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
    let (mut child, _) = running_after(&place, "run", 3, &[], "");
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
    killed_after(&place, "run", 3, &[], "");
    let more = ["--set", "optim.lr=0.01", "--force-resume"];
    assert!(start(&place, "run", &more).wait().unwrap().success());
    assert!(text(&place.path("run/config.toml")).contains("lr = 0.01"));
    let first = &lines(&place.path("run/metrics.jsonl"))[0];
    assert!((first["train/lr"].as_f64().unwrap() - 1e-3).abs() < 1e-9, "the first updates were not made again");
}
