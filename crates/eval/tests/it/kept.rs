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

#[test]
fn a_fine_tuning_that_was_stopped_while_it_wrote_its_results_writes_them() {
    let place = Workplace::new();
    let child = started(&place, "tuned", &states("own-1-1"));
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
    // As if the report had not been written.
    data::fsx::write_atomic(&place.path("tuned/eval.json"), b"{}").unwrap();
    place.figures(&tune("tuned", &[]));
    assert!(place.path("tuned/report.html").is_file() && place.path("tuned/CARD.md").is_file());
    assert!(!place.path("tuned/repetitions").exists());
}

#[test]
fn the_classifier_of_the_best_repetition_is_trained_again_where_it_is_gone() {
    let place = Workplace::new();
    let mut child = started(&place, "tuned", &states("random-1-0"));
    child.kill().unwrap();
    child.wait().unwrap();
    // One of two repetitions has no classifier any more; asked for alone, it is the best.
    let gone = if place.path("tuned/repetitions/own-1-0").exists() { "1" } else { "0" };
    let scores = place.path(&format!("tuned/repetitions/own-1-{gone}.json"));
    assert!(scores.is_file() && !place.path(&format!("tuned/repetitions/own-1-{gone}")).exists());
    let mut arguments = tune("tuned", &["--seed", gone]);
    let seeds = arguments.iter().position(|argument| *argument == "2").unwrap();
    arguments[seeds] = "1";
    place.figures(&arguments);
    assert!(place.path("tuned/model.safetensors").is_file());
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
    data::fsx::write_atomic(&kept.join("random-1-1.json"), b"{\"validation\": 0.5, \"sco").unwrap();
    assert_eq!(place.figures(&probe(&short)), before);
    assert_eq!([&first, &random].map(|path| modified(path)), times);
    // More seeds and shares are added to what is there.
    place.figures(&probe(&["--epochs", "5", "--seeds", "3", "--fraction", "0.5,1"]));
    assert_eq!([&first, &random].map(|path| modified(path)), times);
    assert!(kept.join("own-0.5-2.json").is_file());
    let message = place.refusal(&probe(&["--epochs", "6"]), 2);
    assert!(message.contains("protocol.probe.max_epochs: 5, now 6") && message.contains("--out"), "{message}");
    let message = place.refusal(&[&probe(&short)[..], &["--test-data", "test.csv"]].concat(), 2);
    assert!(message.contains("test_sha256"), "{message}");
    // A folder of something else is not written to, and another image is other data.
    let elsewhere = [&["linear-probe", "--out", "images"], &QUESTION[..]].concat();
    assert!(place.refusal(&elsewhere, 2).contains("not empty"));
    let image = place.path("images/0-0.png");
    let bytes = std::fs::read(&image).unwrap();
    data::fsx::write_atomic(&image, &[&bytes[..], &[0]].concat()).unwrap();
    assert!(place.refusal(&probe(&short), 2).contains("_sha256"));
}

/// A CSV and a list of the images of `data.csv`, many times over.
fn write_lists(place: &Workplace) {
    let csv = std::fs::read_to_string(place.path("data.csv")).unwrap();
    let paths: Vec<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    let many = std::iter::repeat_n(paths.join("\n"), 20).collect::<Vec<_>>().join("\n");
    data::fsx::write_atomic(&place.path("many.csv"), format!("image_path\n{many}\n").as_bytes()).unwrap();
    data::fsx::write_atomic(&place.path("many.txt"), format!("images/absent.png\n{many}\n").as_bytes()).unwrap();
}

/// Kills a command once a file below a folder whose name starts with `name` has some bytes.
fn killed(place: &Workplace, arguments: &[&str], folder: &str, name: &str) -> PathBuf {
    let mut child = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"))
        .current_dir(place.path("."))
        .args(arguments)
        .args(["--ui", "plain"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folder = place.path(folder);
    loop {
        let files = std::fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let begun = |path: &PathBuf| {
            path.file_name().unwrap().to_string_lossy().starts_with(name)
                && path.metadata().is_ok_and(|found| found.len() > 0)
        };
        if let Some(path) = { files }.find(begun) {
            child.kill().unwrap();
            child.wait().unwrap();
            return path;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn predictions_go_on_where_they_were_stopped() {
    let place = Workplace::new();
    write_lists(&place);
    let predict = |out: &'static str| {
        ["predict", "--weights", "weights.safetensors", "--images", "many.csv", "--batch-size", "2", "--out", out]
    };
    place.run(&predict("whole.csv"));
    let rows = killed(&place, &predict("cut.csv"), "cut.csv.partial", "rows.jsonl");
    // The first row is not computed again: it is what the file says. The last one is torn.
    let kept = std::fs::read_to_string(&rows).unwrap();
    let (first, rest) = kept.split_once('\n').unwrap();
    assert_ne!(first, "[\"0.5\",\"0.25\",\"0.125\",\"\"]");
    let changed = format!("[\"0.5\",\"0.25\",\"0.125\",\"\"]\n{rest}[\"0.1");
    data::fsx::write_atomic(&rows, changed.as_bytes()).unwrap();
    let (said, _) = place.run(&predict("cut.csv"));
    assert!(said.contains("1600 images, 0 of them unreadable"), "{said}");
    let [whole, cut] = ["whole.csv", "cut.csv"].map(|name| std::fs::read_to_string(place.path(name)).unwrap());
    let [whole, cut] = [&whole, &cut].map(|text| text.lines().collect::<Vec<_>>());
    assert_eq!(cut[1].split_once(',').unwrap().1, "0.5,0.25,0.125,");
    assert_eq!((&cut[2..], cut[0]), (&whole[2..], whole[0]));
    assert!(!place.path("cut.csv.partial").exists());
    // A folder cannot be written to as a file.
    assert!(place.refusal(&predict("images"), 2).contains("is a folder"));
    // Another image begins anew, and other weights.
    let rows = killed(&place, &predict("cut.csv"), "cut.csv.partial", "rows.jsonl");
    data::fsx::write_atomic(&rows, changed.as_bytes()).unwrap();
    let image = place.path("images/9-1.png");
    let bytes = std::fs::read(&image).unwrap();
    data::fsx::write_atomic(&image, &[&bytes[..], &[0]].concat()).unwrap();
    place.run(&predict("cut.csv"));
    assert!(!std::fs::read_to_string(place.path("cut.csv")).unwrap().contains("0.5,0.25,0.125"));
    let rows = killed(&place, &predict("cut.csv"), "cut.csv.partial", "rows.jsonl");
    data::fsx::write_atomic(&rows, changed.as_bytes()).unwrap();
    super::downstream::write_weights_of(&place.path("weights.safetensors"), 12);
    place.run(&predict("cut.csv"));
    assert!(!std::fs::read_to_string(place.path("cut.csv")).unwrap().contains("0.5,0.25,0.125"));
}

#[test]
fn vectors_go_on_where_they_were_stopped() {
    let place = Workplace::new();
    write_lists(&place);
    let embed = |out: &'static str| {
        [
            "embed",
            "--weights",
            "weights.safetensors",
            "--images",
            "many.txt",
            "--batch-size",
            "2",
            "--json",
            "--out",
            out,
        ]
    };
    let (whole, _) = place.run(&embed("whole.safetensors"));
    killed(&place, &embed("cut.safetensors"), "cut.safetensors.partial", "image_features");
    let (cut, _) = place.run(&embed("cut.safetensors"));
    // The image that is not there is told of, though it was met before the kill.
    assert_eq!(cut, whole);
    assert!(cut.contains("\"unreadable\": [\n    1\n  ]"), "{cut}");
    let [whole, cut] = ["whole.safetensors", "cut.safetensors"].map(|name| std::fs::read(place.path(name)).unwrap());
    assert!(whole == cut, "the vectors differ");
    assert!(!place.path("cut.safetensors.partial").exists());
}

#[test]
fn what_a_network_gave_images_is_kept_for_other_tasks() {
    let place = Workplace::new();
    let probe = |more: &[&'static str]| [&["linear-probe", "--epochs", "3"], &QUESTION[..], more].concat();
    let plain = place.figures(&probe(&[]));
    assert_eq!(place.figures(&probe(&["--keep", "kept"])), plain);
    let files = || -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(place.path("kept")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    // Training, validation and test by the weights and by random ones.
    let all = files();
    assert_eq!(all.len(), 6);
    assert_eq!(place.figures(&probe(&["--keep", "kept", "--lr", "1e-2"])), place.figures(&probe(&["--lr", "1e-2"])));
    // Files that are cut anywhere are made whole again.
    for (path, cut) in all.iter().zip([0, 7, 16, 21, 100, 333]) {
        let bytes = std::fs::read(path).unwrap();
        data::fsx::write_atomic(path, &bytes[..cut.min(bytes.len())]).unwrap();
    }
    assert_eq!(place.figures(&probe(&["--keep", "kept"])), plain);
    assert_eq!(files(), all);
    // They are read indeed: another number gives other figures. A changed image is another image.
    for path in &all {
        let mut bytes = std::fs::read(path).unwrap();
        for number in bytes[16..].chunks_exact_mut(4).step_by(5) {
            number.copy_from_slice(&3.0_f32.to_le_bytes());
        }
        data::fsx::write_atomic(path, &bytes).unwrap();
    }
    assert_ne!(place.figures(&probe(&["--keep", "kept"])), plain);
    let image = place.path("images/0-0.png");
    let bytes = std::fs::read(&image).unwrap();
    data::fsx::write_atomic(&image, &[&bytes[..], &[0]].concat()).unwrap();
    place.figures(&probe(&["--keep", "kept"]));
    assert!(files().len() > all.len());
}
