//! `--efficiency` by the program: its runs, its table and its chart, and that nothing is trained twice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use train::efficiency::{CHART, IMAGES, METHODS};

use crate::workplace::{CONVIRT, Workplace, json, lines, names, text};

/// What makes each run one of a second.
const SET: [&str; 13] = [
    "run.steps=3",
    "run.save_every=1",
    "data.batch_size=8",
    "data.image_size=32",
    "data.source_size=32",
    "data.source.validate=32",
    "data.source.test=64",
    "data.source.candidates_per_class=2",
    "data.source.queries_per_class=1",
    "data.source.probe=24",
    "eval.resamples=20",
    "eval.probe.max_epochs=2",
    "eval.probe.batch_size=8",
];

fn arguments() -> Vec<&'static str> {
    let set = SET.into_iter().flat_map(|set| ["--set", set]);
    ["--efficiency", "--out", "efficiency"].into_iter().chain(set).collect()
}

fn printed(place: &Workplace, more: &[&str]) -> String {
    let output = place.program(&arguments()).args(more).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

fn folders() -> Vec<String> {
    METHODS.iter().flat_map(|method| IMAGES.map(|images| format!("{method}-{images}"))).collect()
}

/// Kills the comparison in its second run, once that has saved a state.
fn killed_in_the_second(place: &Workplace) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_roentgen-train"))
        .current_dir(place.0.path())
        .args(arguments())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = place.path("efficiency").join(&folders()[1]).join("checkpoints/step-00000001/manifest.json");
    while !state.is_file() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// When the figures of a run were written.
fn written(folder: &Path) -> SystemTime {
    std::fs::metadata(folder.join("eval.json")).unwrap().modified().unwrap()
}

#[test]
fn methods_are_compared_by_their_images_and_finished_runs_are_kept() {
    let place = Workplace::new(CONVIRT);
    let out = place.path("efficiency");
    killed_in_the_second(&place);
    let [first, second] = [0, 1].map(|i| out.join(&folders()[i]));
    let before = written(&first);
    let table = printed(&place, &[]);

    let mut expected = folders();
    expected.push(CHART.to_owned());
    expected.sort();
    assert_eq!(names(&out), expected);
    assert!(written(&first) == before, "a finished run was trained again");
    let went_on = |line: &Value| line.to_string().contains("goes on from a saved state");
    assert!(lines(&second.join("log.jsonl")).iter().any(went_on), "the killed run began anew");
    for (method, images) in METHODS.iter().flat_map(|method| IMAGES.map(|images| (method, images))) {
        let start = format!("{method} ");
        let row = |line: &&str| line.starts_with(&start) && line.split_whitespace().nth(1) == Some(&images.to_string());
        let row = table.lines().find(row).unwrap_or_else(|| panic!("{method} {images} is not in\n{table}"));
        assert_eq!(row.matches('[').count(), 2, "{row}");
        let config = text(&out.join(format!("{method}-{images}/config.toml")));
        assert!(config.contains(&format!("train = {images}\n")) && config.contains("probe = 24\n"), "{config}");
    }
    let chart = text(&out.join(CHART));
    let shown = ["Zero-shot classification", "Linear probe", "training images", "random weights", "128", "4096"];
    for name in METHODS.iter().chain(&shown) {
        assert!(chart.contains(name), "{name} is not in the chart");
    }

    let written = || folders().iter().map(|folder| written(&out.join(folder))).collect::<Vec<_>>();
    let before = written();
    assert_eq!(table, printed(&place, &[]));
    let all: Value = serde_json::from_str(&printed(&place, &["--json"])).unwrap();
    assert_eq!(all[METHODS[1]]["512"], json(&out.join(format!("{}-512/eval.json", METHODS[1]))));
    assert_eq!((text(&out.join(CHART)), written()), (chart, before));

    // Runs of other settings have no place in one table.
    let other = [&arguments()[..], &["--steps", "4"]].concat();
    let message = place.refusal(&other, 2);
    assert!(message.contains("run.steps: 3, now 4") && message.contains("--out"), "{message}");
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_written() {
    let place = Workplace::new(CONVIRT);
    let refused = |arguments: &[&str], expected: [&str; 2]| {
        let message = place.refusal(arguments, 2);
        assert!(expected.iter().all(|part| message.contains(part)), "{arguments:?}: {message}");
    };
    let out = ["--efficiency", "--out", "efficiency"];
    refused(&[&["tiny.toml"], &out[..]].concat(), ["--efficiency", "[RECIPE]"]);
    for other in ["--ablate", "--dry-run", "--print-config"] {
        refused(&[&out[..], &[other]].concat(), ["--efficiency", other]);
    }
    refused(&[&out[..], &["--resume", "never"]].concat(), ["--efficiency", "--resume"]);
    refused(&["--efficiency"], ["required", "--out"]);
    // Every method is asked before the first is trained.
    refused(&[&out[..], &["--set", "objective.temprature=1.0"]].concat(), ["objective.temprature", "temperature"]);
    assert_eq!(place.entries(), ["tiny.toml"]);
}
