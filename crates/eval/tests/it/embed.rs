//! `roentgen-eval embed`: images, texts and ready tensors through the towers of any file.

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;
use data::image::encode::png;
use data::source::phantom::{PhantomKey, Prevalence};
use data::text::BUILTIN_VOCAB;
use engine::checkpoint::Checkpoint;
use engine::device::DeviceSpec;
use model::text::TextEncoderConfig;
use model::text::bert::{BertConfig, Pooling};
use model::weights::stored::{SafetensorsFile, write};
use model::weights::{RawTensor, TensorInfo, WeightsFile, collect, encode};
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

const SIZE: usize = 32;
const WIDTH: usize = 16;

fn embed(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
    command.current_dir(folder).arg("embed").args(arguments).args(["--ui", "plain"]);
    command
}

fn printed(folder: &Path, arguments: &[&str]) -> Value {
    let output = embed(folder, arguments).arg("--json").assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = embed(folder, arguments).assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

/// A folder of Hugging Face: a tiny BERT with the built-in vocabulary.
fn bert(folder: &Path) {
    data::fsx::create_dir_all(&folder.join("bert")).unwrap();
    let (device, _) = "auto".parse::<DeviceSpec>().unwrap().open().unwrap();
    let config: BertConfig = serde_json::from_value(json!({
        "vocab_size": BUILTIN_VOCAB.lines().count(), "hidden_size": WIDTH, "num_layers": 1, "num_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 24,
    }))
    .unwrap();
    let tensors = collect(&TextEncoderConfig::Bert(config).init(&device));
    let write = |name: &str, bytes: &[u8]| data::fsx::write_atomic(&folder.join("bert").join(name), bytes).unwrap();
    write("model.safetensors", &encode(&tensors, &BTreeMap::new()));
    write("config.json", br#"{"num_attention_heads": 2}"#);
    write("vocab.txt", BUILTIN_VOCAB.as_bytes());
    write("tokenizer_config.json", br#"{"do_lower_case": true, "model_max_length": 10}"#);
}

/// A tiny ResNet under torchvision's names.
fn resnet(folder: &Path) {
    let (device, _) = "auto".parse::<DeviceSpec>().unwrap().open().unwrap();
    let config: model::image::ImageEncoderConfig = serde_json::from_value(json!({
        "kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 4, "in_channels": 1,
    }))
    .unwrap();
    let bytes = encode(&collect(&config.init(&device)), &BTreeMap::new());
    data::fsx::write_atomic(&folder.join("resnet.safetensors"), &bytes).unwrap();
}

fn picture(folder: &Path, name: &str, index: u64) {
    let study = PhantomKey { seed: 3, index, prevalence: Prevalence::Exclusive }.study();
    let path = folder.join(name);
    data::fsx::create_dir_all(path.parent().unwrap()).unwrap();
    data::fsx::write_atomic(&path, &png(&study.render(SIZE)).unwrap()).unwrap();
}

fn read(folder: &Path, name: &str) -> WeightsFile {
    WeightsFile::read(&folder.join(name)).unwrap()
}

#[test]
fn images_of_a_folder_and_of_a_list_in_their_order() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    resnet(place);
    for (index, name) in ["in/b/2.png", "in/a/1.png", "in/c.png"].into_iter().enumerate() {
        picture(place, name, index as u64);
    }
    let told = printed(place, &["--weights", "resnet.safetensors", "--images", "in", "--out", "all.safetensors"]);
    assert_eq!(told["tensors"], json!({"image_features": [3, 32]}), "a ResNet without a stage for them has no regions");
    assert_eq!(told["weights"], "resnet");
    let all = read(place, "all.safetensors");
    let rows = &all.tensors["image_features"].data;
    // Another order, and a picture that is none: its row says so, the others are as they were.
    data::fsx::write_atomic(&place.join("list.txt"), b"in/c.png\nin/torn.png\nin/a/1.png\n").unwrap();
    data::fsx::write_atomic(&place.join("in/torn.png"), b"no picture").unwrap();
    let arguments = ["--weights", "resnet.safetensors", "--images", "list.txt", "--out", "some.safetensors"];
    for batch in ["1", "32"] {
        let told = printed(place, &[&arguments[..], &["--batch-size", batch]].concat());
        assert_eq!(told["unreadable"], json!([2]));
        let some = read(place, "some.safetensors");
        let found = &some.tensors["image_features"].data;
        assert!(found[32..64].iter().all(|value| value.is_nan()), "the second row is missing");
        for (row, want) in [(0, 2), (2, 0)] {
            for (a, b) in found[row * 32..][..32].iter().zip(&rows[want * 32..][..32]) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} and {b}");
            }
        }
    }
}

#[test]
fn texts_are_pooled_as_asked() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    bert(place);
    let texts =
        "No pleural effusion.\n\nThe heart is enlarged and there is edema of both lungs, with a catheter in place.\n";
    data::fsx::write_atomic(&place.join("texts.txt"), texts.as_bytes()).unwrap();
    let features = |pooling: Option<&str>| {
        let mut arguments = vec!["--weights", "bert", "--texts", "texts.txt", "--out", "out.safetensors"];
        arguments.extend(pooling.iter().flat_map(|name| ["--pooling", name]));
        let told = printed(place, &arguments);
        // An empty line is a text without words; ten tokens are what the tokenizer's configuration allows.
        assert_eq!(told["tensors"], json!({"text_features": [3, WIDTH], "text_hidden": [3, 10, WIDTH]}));
        let file = read(place, "out.safetensors");
        (file.tensors["text_features"].data.clone(), file.tensors["text_hidden"].data.clone())
    };
    let (max, hidden) = features(None);
    assert_eq!(features(Some("max")).0, max);
    let long = &hidden[2 * 10 * WIDTH..];
    for unit in 0..WIDTH {
        let values: Vec<f32> = (0..10).map(|token| long[token * WIDTH + unit]).collect();
        let most = values.iter().copied().fold(f32::MIN, f32::max);
        assert!((max[2 * WIDTH + unit] - most).abs() < 1e-6, "the maximum over ten tokens");
        let mean = values.iter().sum::<f32>() / 10.0;
        assert!((features_of(place, "mean")[2 * WIDTH + unit] - mean).abs() < 1e-5, "their mean");
        assert!((features_of(place, "cls")[2 * WIDTH + unit] - values[0]).abs() < 1e-6, "the first of them");
        if unit == 1 {
            break;
        }
    }
    let checkpoint = Checkpoint::read(&place.join("bert")).unwrap().with_pooling(Pooling::Cls);
    assert!(
        matches!(checkpoint.card.model.text(), Some(TextEncoderConfig::Bert(bert)) if bert.pooling == Pooling::Cls)
    );
}

#[test]
fn a_vocabulary_of_another_model_is_refused() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    bert(place);
    let longer = format!("{BUILTIN_VOCAB}zzyzx\n");
    data::fsx::write_atomic(&place.join("bert/vocab.txt"), longer.as_bytes()).unwrap();
    data::fsx::write_atomic(&place.join("texts.txt"), b"Zzyzx.\n").unwrap();
    let message = refused(place, &["--weights", "bert", "--texts", "texts.txt", "--out", "out.safetensors"], 2);
    let known = BUILTIN_VOCAB.lines().count();
    assert!(message.contains(&format!("knows {known} tokens and the tokenizer beside it has")), "{message}");
}

fn features_of(place: &Path, pooling: &str) -> Vec<f32> {
    let arguments = ["--weights", "bert", "--texts", "texts.txt", "--pooling", pooling, "--out", "other.safetensors"];
    printed(place, &arguments);
    read(place, "other.safetensors").tensors["text_features"].data.clone()
}

/// Writes tensors of zeros and ones for `--tensors`.
fn ready(path: &Path, entries: &[(&str, Dtype, &[usize])]) {
    let infos: BTreeMap<String, TensorInfo> = entries
        .iter()
        .map(|(name, dtype, shape)| ((*name).to_owned(), TensorInfo { dtype: *dtype, shape: shape.to_vec() }))
        .collect();
    let mut bytes = Vec::new();
    write(&mut bytes, &infos, &BTreeMap::new(), |name| -> std::io::Result<RawTensor> {
        let TensorInfo { dtype, shape } = infos[name].clone();
        let count: usize = shape.iter().product();
        let value = i64::from(name == "attention_mask");
        let bytes = match dtype {
            Dtype::I64 => value.to_le_bytes().repeat(count),
            _ => 0.5_f32.to_le_bytes().repeat(count),
        };
        Ok(RawTensor { dtype, shape, bytes })
    })
    .unwrap();
    data::fsx::write_atomic(path, &bytes).unwrap();
}

#[test]
fn ready_tensors_go_through_the_towers_that_are_there() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    bert(place);
    resnet(place);
    let file = place.join("in.safetensors");
    let run = |weights: &str| {
        ["--weights", weights, "--tensors", "in.safetensors", "--out", "out.safetensors"].map(str::to_owned)
    };
    let told = |weights: &str| printed(place, &run(weights).each_ref().map(String::as_str));
    let error = |weights: &str| refused(place, &run(weights).each_ref().map(String::as_str), 2);
    ready(&file, &[("images", Dtype::F32, &[2, 1, 64, 64])]);
    assert_eq!(told("resnet.safetensors")["tensors"], json!({"image_features": [2, 32]}));
    assert!(SafetensorsFile::open(&place.join("out.safetensors")).is_ok());
    assert!(error("bert").contains("no image tower"));
    let texts: [(&str, Dtype, &[usize]); 2] =
        [("input_ids", Dtype::I64, &[3, 7]), ("attention_mask", Dtype::I64, &[3, 7])];
    ready(&file, &texts);
    assert_eq!(told("bert")["tensors"], json!({"text_features": [3, WIDTH], "text_hidden": [3, 7, WIDTH]}));
    assert!(error("resnet.safetensors").contains("no text tower"));
    ready(&file, &texts[..1]);
    assert!(error("bert").contains("must both be there"));
    ready(&file, &[("input_ids", Dtype::I64, &[3, 25]), ("attention_mask", Dtype::I64, &[3, 25])]);
    assert!(error("bert").contains("rows of 1 to 24"));
    ready(&file, &[("images", Dtype::F32, &[2, 3, 64, 64])]);
    assert!(error("resnet.safetensors").contains("the encoder takes [N, 1, 64, 64]"));
    ready(&file, &[("images", Dtype::F32, &[2, 1, 64, 32])]);
    assert!(error("resnet.safetensors").contains("with H = W"));
    ready(&file, &[("other", Dtype::F32, &[1])]);
    assert!(error("bert").contains("neither `images` nor `input_ids`"));
    let nothing = refused(place, &["--weights", "bert", "--out", "out.safetensors"], 2);
    assert!(nothing.contains("name images, texts or tensors"), "{nothing}");
}
