//! `roentgen-eval explain`: its files and numbers, refusals, and that no text leaks.

use std::path::Path;

use assert_cmd::Command;
use data::image::decode::decode_file;
use serde_json::{Value, json};

use super::explain::{SIZE, TEXT, heads, workplace, write_towers};

/// Runs the program; gives its output, whether it succeeded or not.
fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
    command.current_dir(folder).arg("explain").args(arguments).output().unwrap()
}

fn refused_with(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = run(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty() && text.contains("error: ") && !text.contains("fault of the program"), "{text}");
    text
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// Everything that a call printed or wrote, names of files included, in lower case.
fn everything(folder: &Path, output: &std::process::Output) -> String {
    let mut bytes = [output.stdout.as_slice(), &output.stderr].concat();
    for name in names(folder) {
        bytes.extend(std::fs::read(folder.join(&name)).unwrap());
        bytes.extend(name.as_bytes());
    }
    String::from_utf8_lossy(&bytes).to_lowercase()
}

/// Checks a map of the JSON against its own values and gives them.
fn assert_map(map: &Value, side: usize) -> Vec<f64> {
    let values: Vec<f64> = map["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(values.len(), side * side);
    let greatest = values.iter().copied().fold(f64::MIN, f64::max);
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let at = |key: &str| usize::try_from(map["highest"][key].as_u64().unwrap()).unwrap();
    let (row, column) = (at("row"), at("column"));
    assert!(values[row * side + column].total_cmp(&greatest).is_eq());
    assert_eq!(map["highest"]["value"], json!(greatest));
    assert_eq!(map["scale"], json!([least, greatest]));
    // The image is 120 x 90 in a square of 120 with 15 rows above, which the network sees as 64 pixels: the first cell is
    // around the middle of the first.
    let cell = 120.0 / side as f64;
    let first = 120.0 / 64.0 / 2.0;
    let pixel = |axis: &str| map["highest"]["pixel"][axis].as_f64().unwrap();
    assert!((pixel("x") - (column as f64 * cell + first)).abs() < 1e-9);
    assert!((pixel("y") - (row as f64 * cell + first - 15.0)).abs() < 1e-9);
    let left = map["highest"]["box"]["left"].as_f64().unwrap();
    assert!((left - (column as f64 * cell + first - cell / 2.0)).abs() < 1e-9);
    values
}

fn size_of(path: &Path) -> (usize, usize) {
    let image = decode_file(path).unwrap();
    (image.width, image.height)
}

#[test]
fn the_command_writes_maps_and_numbers_and_no_text() {
    let folder = workplace();
    let place = folder.path();
    let arguments = ["--weights", "aligned", "--image", "film.png", "--text", TEXT, "--out", "out"];
    let output = run(place, &arguments);
    assert!(output.status.success(), "{output:?}");
    let out = place.join("out");
    let words: Vec<String> = (1..=6).map(|word| format!("word-{word:02}.png")).collect();
    let mut wanted = words.clone();
    wanted.extend(["sentence.png", "words.png", "weights.json"].map(str::to_owned));
    wanted.sort();
    assert_eq!(names(&out), wanted);
    for name in words.iter().map(String::as_str).chain(["sentence.png"]) {
        assert_eq!(size_of(&out.join(name)), (SIZE, SIZE), "{name}");
    }
    assert_eq!(size_of(&out.join("words.png")), (6 * (SIZE + 2) + 2, SIZE + 4));
    let record: Value = serde_json::from_slice(&std::fs::read(out.join("weights.json")).unwrap()).unwrap();
    assert_eq!(record["grid"], json!({"rows": 8, "columns": 8}));
    assert_eq!(record["method"], "local_heads");
    assert_eq!(record["attention"], json!({"kind": "similarity", "temperature": 0.07}));
    assert_map(&record["sentence"], 8);
    for (word, file) in record["words"].as_array().unwrap().iter().zip(&words) {
        assert_eq!(word["file"], json!(file));
        assert!((assert_map(word, 8).iter().sum::<f64>() - 1.0).abs() < 1e-5);
    }
    // Neither the words nor the name of the image.
    let told = everything(&out, &output);
    for word in ["hemi", "elevation", "large", "effusion", "film"] {
        assert!(!told.contains(word), "\"{word}\" is told");
    }
    // Asked for, the words are there, in names too; a text from a file is the same text.
    data::fsx::write_atomic(&place.join("text.txt"), TEXT.as_bytes()).unwrap();
    let arguments = ["--weights", "aligned", "--image", "film.png", "--text-file", "text.txt", "--out", "shown"];
    let output = run(place, &[&arguments[..], &["--show-text", "--json"]].concat());
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["sentence"]["text"], TEXT);
    assert_eq!(shown["words"][5]["text"], "effusion");
    assert_eq!(shown["words"][5]["values"], record["words"][5]["values"]);
    assert!(place.join("shown/word-06-effusion.png").is_file());
    // Nothing is overwritten.
    assert!(refused_with(place, &arguments, 2).contains("shown"), "the folder is taken");
}

#[test]
fn towers_without_alignment_show_the_sentence_alone() {
    let folder = workplace();
    let place = folder.path();
    for (weights, more, method) in
        [("plain", &[][..], "class_activation"), ("aligned", &["--sentence-only"], "local_heads")]
    {
        let arguments = ["--weights", weights, "--image", "film.png", "--text", TEXT, "--out", weights, "--json"];
        let out = format!("out-{weights}");
        let mut arguments = [&arguments[..], more].concat();
        arguments[7] = &out;
        let output = run(place, &arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(names(&place.join(&out)), ["sentence.png", "weights.json"]);
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&record["method"], &record["words"]), (&json!(method), &json!(null)));
        assert_map(&record["sentence"], if weights == "plain" { 2 } else { 8 });
    }
}

#[test]
fn what_cannot_be_explained_is_named() {
    let folder = workplace();
    let place = folder.path();
    super::cli::write_weights_locked(place);
    write_towers(&place.join("lost.safetensors"), Some(&heads(false)), None);
    data::fsx::write_atomic(&place.join("torn.png"), b"no picture").unwrap();
    let refused = |weights: &str, image: &str, text: &str, more: &[&str], code| {
        let arguments = ["--weights", weights, "--image", image, "--text", text, "--out", "out"];
        let message = refused_with(place, &[&arguments[..], more].concat(), code);
        assert!(!place.join("out/weights.json").exists());
        message
    };
    let message = refused("classifier.safetensors", "film.png", TEXT, &[], 2);
    assert!(message.contains("no text tower"), "{message}");
    let message = refused("nothing", "film.png", TEXT, &[], 1);
    assert!(message.contains("no checkpoint here"), "{message}");
    let message = refused("lost.safetensors", "film.png", TEXT, &[], 2);
    assert!(message.contains("does not tell how words and patches were aligned"), "{message}");
    let message = refused("aligned", "gone-secret.png", TEXT, &[], 3);
    assert!(message.contains("cannot be read") && !message.contains("secret"), "{message}");
    let message = refused("aligned", "torn.png", TEXT, &[], 3);
    assert!(message.contains("neither PNG nor JPEG"), "{message}");
    for text in ["", "  \n"] {
        for weights in ["aligned", "plain"] {
            let message = refused(weights, "film.png", text, &[], 2);
            assert!(message.contains("no word of it"), "{message}");
        }
    }
    let message = refused("aligned", "film.png", TEXT, &["--temperature", "0"], 2);
    assert!(message.contains("must be more than 0"), "{message}");
    for weights in ["plain", "learned"] {
        let message = refused(weights, "film.png", TEXT, &["--temperature", "0.1"], 2);
        assert!(message.contains("leave --temperature out"), "{message}");
    }
    let message = refused("plain", "film.png", TEXT, &["--sentence-as", "words"], 2);
    assert!(message.contains("not aligned"), "{message}");
    data::fsx::write_atomic(&place.join("bytes.txt"), &[0xff, 0xfe]).unwrap();
    let arguments = ["--weights", "plain", "--image", "film.png", "--text-file", "bytes.txt", "--out", "out"];
    assert!(refused_with(place, &arguments, 2).contains("UTF-8"));
}
