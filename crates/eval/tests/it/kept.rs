//! Probes and fine-tunings that were stopped, by the program: they go on, and end as if nothing had happened.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::downstream::{QUESTION, Workplace};

const TUNE: [&str; 14] = [
    "fine-tune",
    "--head-steps",
    "4",
    "--epochs",
    "6",
    "--lr",
    "1e-2",
    "--train-batch",
    "16",
    "--seeds",
    "2",
    "--baseline",
    "random",
    "--out",
];

/// The arguments of a fine-tuning into a folder.
fn tune<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&TUNE[..], &[out], &QUESTION[..], more].concat()
}

/// A fine-tuning under way, once a file of it is there.
fn started(place: &Workplace, out: &str, file: &Path) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"))
        .current_dir(place.path("."))
        .args(tune(out, &["--json", "--resamples", "20", "--ui", "plain"]))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = place.path(out).join(file);
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(child.try_wait().unwrap().is_none(), "it ended before {}", file.display());
    }
    child
}

fn bytes(place: &Workplace, out: &str, name: &str) -> Vec<u8> {
    std::fs::read(place.path(out).join(name)).unwrap()
}

/// The folder of a repetition.
fn states(of: &str) -> PathBuf {
    PathBuf::from("repetitions").join(of).join("states/latest")
}

#[test]
fn a_fine_tuning_that_was_killed_ends_as_one_that_was_left_alone() {
    let place = Workplace::new();
    let whole = place.figures(&tune("whole", &[]));
    for (out, file) in [
        // In its first repetition, in its second, and in the first one from random weights.
        ("first", states("own-1-0")),
        ("second", states("own-1-1")),
        ("random", states("random-1-0")),
    ] {
        let mut child = started(&place, out, &file);
        child.kill().unwrap();
        child.wait().unwrap();
        let (text, log) = place.run(&tune(out, &["--json", "--resamples", "20", "-v"]));
        assert!(log.contains("goes on from a saved state"), "{out}: {log}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), whole, "{out}");
        assert!(bytes(&place, out, "model.safetensors") == bytes(&place, "whole", "model.safetensors"), "{out}");
        assert!(!place.path(out).join("repetitions").exists(), "{out}: what is of no use is left");
    }
}

#[test]
#[cfg(unix)]
fn a_signal_saves_the_state_and_other_settings_do_not_go_on_from_it() {
    let place = Workplace::new();
    let child = started(&place, "tuned", &states("own-1-0"));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the same command goes on from there"), "{said}");
    let message = place.refusal(&tune("tuned", &["--dropout", "0.5"]), 2);
    assert!(message.contains("protocol.fine_tune.dropout: 0.2, now 0.5"), "{message}");
    let (_, log) = place.run(&tune("tuned", &["-v"]));
    assert!(log.contains("goes on from a saved state"), "{log}");
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn repetitions_of_a_probe_are_fitted_once() {
    let place = Workplace::new();
    let probe = |more: &[&'static str]| [&["linear-probe", "--out", "probe"], &QUESTION[..], more].concat();
    let short = ["--epochs", "5", "--seeds", "2"];
    let before = place.figures(&probe(&short));
    let kept = place.path("probe/repetitions");
    let [first, other, random] = ["own-1-0.json", "own-1-1.json", "random-1-0.json"].map(|name| kept.join(name));
    let written: Value = serde_json::from_slice(&std::fs::read(place.path("probe/eval.json")).unwrap()).unwrap();
    assert_eq!(written, before);
    // Scores name nobody.
    let text = std::fs::read_to_string(&first).unwrap();
    assert!(!text.contains("images/") && !text.contains("\"p"), "{text}");
    let times = [&first, &random].map(|path| modified(path));
    // One is gone, one is torn.
    std::fs::remove_file(&other).unwrap();
    std::fs::write(kept.join("random-1-1.json"), b"{\"validation\": 0.5, \"sco").unwrap();
    assert_eq!(place.figures(&probe(&short)), before);
    assert_eq!([&first, &random].map(|path| modified(path)), times);
    // More seeds and shares are added to what is there.
    place.figures(&probe(&["--epochs", "5", "--seeds", "3", "--fraction", "0.5,1"]));
    assert_eq!([&first, &random].map(|path| modified(path)), times);
    assert!(kept.join("own-0.5-2.json").is_file());
    let message = place.refusal(&probe(&["--epochs", "6"]), 2);
    assert!(message.contains("protocol.probe.max_epochs: 5, now 6") && message.contains("folder"), "{message}");
    let message = place.refusal(&[&probe(&short)[..], &["--test-data", "test.csv"]].concat(), 2);
    assert!(message.contains("test_sha256"), "{message}");
}
