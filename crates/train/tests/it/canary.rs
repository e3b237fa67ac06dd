//! Nothing that identifies a patient leaves the data: ids, texts and image paths carry markers, every command runs, also
//! on broken input and with all messages on, and no output or file holds a marker.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use data::image::encode;
use data::source::phantom::{PhantomKey, Prevalence};

use crate::sources::mimic;
use crate::workplace::{CONVIRT, Workplace, sibling};

/// In every patient id, study id, sentence and image name of the data.
const MARKER: &str = "canary";

/// A CSV of pairs whose every field but label, view and split holds a marker.
fn plant(folder: &Path) {
    let mut csv = "image_path,text,labels,patient_id,study_id,view,split\n".to_owned();
    for (index, split) in (0..40_u64).zip(["train", "train", "train", "validate", "test"].into_iter().cycle()) {
        let picture = PhantomKey { seed: 5, index, prevalence: Prevalence::Natural }.study().render(32);
        let name = format!("images/{MARKER}-{index}.png");
        let path = folder.join(&name);
        data::fsx::create_dir_all(path.parent().unwrap()).unwrap();
        data::fsx::write_atomic(&path, &encode::png(&picture).unwrap()).unwrap();
        let label = if index % 2 == 0 { "edema" } else { "normal" };
        writeln!(
            csv,
            "{name},\"The {MARKER}{index} heart is large. No {MARKER} effusion is seen.\",{label},{MARKER}-p{index},\
             {MARKER}-s{index},PA,{split}"
        )
        .unwrap();
    }
    data::fsx::write_atomic(&folder.join("pairs.csv"), csv.as_bytes()).unwrap();
}

/// A copy of the pairs in which one thing is wrong.
fn spoil(folder: &Path, name: &str, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(folder.join("pairs.csv")).unwrap();
    data::fsx::write_atomic(&folder.join(name), change(&text).as_bytes()).unwrap();
}

/// All files under a folder that hold the marker, in their name or in their bytes.
fn holders(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let named = path.file_name().unwrap().to_string_lossy().contains(MARKER);
        if path.is_dir() {
            holders(&path, found);
            found.extend(named.then_some(path));
        } else if named || String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(MARKER) {
            found.push(path);
        }
    }
}

#[test]
fn no_command_lets_a_marker_out() {
    let (Some(_), Some(_)) = (sibling("eval"), sibling("data")) else { return };
    let place = Workplace::new(CONVIRT);
    let folder = place.0.path();
    plant(folder);
    spoil(folder, "no_image.csv", |text| text.replacen("-7.png", "-7.gone", 1));
    spoil(folder, "leak.csv", |text| text.replacen(&format!("{MARKER}-p0"), &format!("{MARKER}-p4"), 1));
    spoil(folder, "fields.csv", |text| text.replacen(",PA,train", ",PA", 1));
    spoil(folder, "split.csv", |text| text.replacen(",PA,train", &format!(",PA,{MARKER}"), 1));
    spoil(folder, "outside.csv", |text| text.replacen("images/", "../images/", 1));
    let broken = folder.join(format!("images/{MARKER}-broken.png"));
    data::fsx::write_atomic(&broken, b"\x89PNG\r\n\x1a\n").unwrap();
    spoil(folder, "broken.csv", |text| text.replacen("-1.png", "-broken.png", 1));

    let mut printed = String::new();
    let mut run = |program: &str, arguments: &[&str]| -> bool {
        let mut command = Command::new(sibling(program).unwrap());
        let output = command.current_dir(folder).env_remove("ROENTGEN_OUT").args(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("panicked"), "{program} {arguments:?}: {text}");
        if text.contains(MARKER) {
            writeln!(printed, "{program} {arguments:?}:\n{text}").unwrap();
        }
        output.status.success()
    };
    let source = |name: &str| format!("data.source={{kind = \"pairs\", manifest = \"{name}\"}}");
    let train =
        |name: &str| ["tiny.toml", "--set"].map(str::to_owned).into_iter().chain([source(name)]).collect::<Vec<_>>();
    for name in ["pairs", "no_image", "leak", "fields", "split", "outside", "broken"] {
        let whole = name == "pairs";
        let csv = format!("{name}.csv");
        let out = format!("runs/{name}");
        let mut arguments = train(&csv);
        arguments.extend(["--out", &out, "-v", "-v", "--ui", "plain"].map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(run("train", &arguments), whole, "train {name}");
        run("train", &[&arguments[..3], &["--dry-run", "-v", "-v"]].concat());
        run("train", &[&arguments[..3], &["--print-config", "-v", "-v"]].concat());
        run("data", &["stats", &csv, "-vvv"]);
        run("data", &["show", &csv, "--out", &format!("{name}.png"), "-vvv"]);
        assert_eq!(run("data", &["verify", &csv, "-vvv"]), whole, "verify {name}");
        run("data", &["verify", &csv, "--json", "-vvv"]);
        for task in ["zero-shot", "retrieval", "linear-probe"] {
            run("eval", &[task, "--weights", "runs/pairs", "--data", &csv, "--resamples", "20", "-vv"]);
            run("eval", &[task, "--weights", "runs/pairs", "--data", &csv, "--resamples", "20", "-vv", "--json"]);
        }
        let tuned = format!("runs/tuned-{name}");
        let brief = ["--head-steps", "1", "--epochs", "1", "--resamples", "20", "-vv", "--out", &tuned];
        run("eval", &[&["fine-tune", "--weights", "runs/pairs", "--data", &csv], &brief[..]].concat());
        run("eval", &["predict", "--weights", "runs/tuned-pairs", "--images", &csv, "--out", "predicted.csv", "-vv"]);
        // What is prepared is data again and holds texts and ids, but no image name.
        let prepared = format!("prepared/{name}");
        run("data", &["prepare", "pairs", "--root", &csv, "--out", &prepared, "--size", "32", "-vvv"]);
    }
    assert!(folder.join("runs/pairs/eval.json").is_file(), "the whole data were refused");
    assert!(folder.join("runs/tuned-pairs/eval.json").is_file() && folder.join("predicted.csv").is_file());

    // A run that ends in numbers that are none names its batches, and one that is gone on with its data.
    let pairs = train("pairs.csv");
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let cold = ["--set", "objective.temperature=1e-60", "--out", "runs/cold", "-v", "-v", "--ui", "plain"];
    assert!(!run("train", &[&pairs[..], &cold].concat()));
    assert!(!run("train", &["--resume", "runs/cold", "-v", "-v", "--ui", "plain"]));
    assert!(run("eval", &["export", "--weights", "runs/pairs", "--out", "exported", "-vv"]));
    mimic(&folder.join("mimic"), MARKER);
    let download = "data.source={kind = \"mimic-cxr\", root = \"mimic\"}";
    assert!(run("train", &["tiny.toml", "--set", download, "--out", "runs/mimic", "-v", "-v", "--ui", "plain"]));
    for arguments in [&["stats", "mimic-cxr"][..], &["show", "mimic-cxr", "--out", "mimic.png"]] {
        assert!(run("data", &[arguments, &["--root", "mimic", "-vvv"]].concat()), "{arguments:?}");
    }
    assert!(run(
        "data",
        &["prepare", "mimic-cxr", "--root", "mimic", "--out", "prepared/mimic", "--size", "32", "-vvv"]
    ));
    assert_eq!(printed, "", "printed");

    let mut found = Vec::new();
    holders(folder, &mut found);
    let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
    let mut leaked: Vec<String> = found.iter().map(relative).collect();
    // The data themselves, and the tables of prepared data.
    leaked.retain(|path| {
        let table = Path::new(path).extension().is_some_and(|e| e == "csv");
        let data = path.starts_with("images/")
            || path.starts_with("mimic/")
            || (table && (!path.contains('/') || path.starts_with("prepared/")));
        !data
    });
    assert_eq!(leaked, Vec::<String>::new(), "files");
    assert!(!found.is_empty(), "the markers were not looked for");
}
