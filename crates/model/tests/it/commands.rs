//! The program `roentgen-model`, as a user runs it.

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;
use model::weights::stored::SafetensorsFile;
use model::weights::{TensorMap, encode};
use serde_json::Value;
use tempfile::TempDir;

use super::support::Golden;

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-model"));
    command.current_dir(folder).args(arguments);
    command
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = program(folder, arguments).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = program(folder, arguments).assert().code(code).get_output().clone();
    assert!(output.stdout.is_empty(), "{arguments:?} printed something");
    String::from_utf8(output.stderr).unwrap()
}

/// A tiny BERT with its pooler, and a `config.json` for its heads.
fn bert(folder: &Path) -> TensorMap {
    let tensors = Golden::read("bert").under("param.");
    data::fsx::write_atomic(&folder.join("model.safetensors"), &encode(&tensors, &BTreeMap::new())).unwrap();
    let config = br#"{"num_attention_heads": 4, "model_type": "bert"}"#;
    data::fsx::write_atomic(&folder.join("config.json"), config).unwrap();
    tensors
}

#[test]
fn list_tells_sizes_and_costs() {
    let folder = TempDir::new().unwrap();
    let text = printed(folder.path(), &["list"]);
    let row = text.lines().find(|line| line.starts_with("resnet50")).unwrap();
    assert!(row.contains("23.5 M") && row.contains("4.1") && row.contains("90"), "{row}");
    let all: Value = serde_json::from_str(&printed(folder.path(), &["list", "--json"])).unwrap();
    let vit = all.as_array().unwrap().iter().find(|preset| preset["name"] == "vit-base-16").unwrap();
    assert_eq!(vit["parameters"], 85_798_656);
    assert_eq!(vit["licence"], "Apache-2.0");
}

#[test]
fn inspect_says_what_a_file_is() {
    let folder = TempDir::new().unwrap();
    let tensors = bert(folder.path());
    for path in [".", "model.safetensors"] {
        let text = printed(folder.path(), &["inspect", path]);
        assert!(text.starts_with("BERT of Hugging Face (bert-hf), safetensors file"), "{text}");
        assert!(text.contains("BERT, 2 layers, width 32, 4 heads, 50 tokens"), "{text}");
        assert!(text.contains("2 x pooler, not modelled"), "{text}");
    }
    let json: Value = serde_json::from_str(&printed(folder.path(), &["inspect", ".", "--json"])).unwrap();
    assert_eq!(json["kind"], "bert-hf");
    assert_eq!(json["tensors"].as_object().unwrap().len(), tensors.len());
    assert_eq!(json["transposed"].as_array().unwrap().len(), 12, "six matrices in each of two layers");
    assert_eq!(json["problem"], Value::Null);
    let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(json["sha256"], data::fsx::sha256_hex(&bytes));
    // What cannot be used is still described, with the reason.
    let mut short = tensors;
    short.remove("encoder.layer.1.output.dense.bias").unwrap();
    data::fsx::write_atomic(&folder.path().join("model.safetensors"), &encode(&short, &BTreeMap::new())).unwrap();
    let text = printed(folder.path(), &["inspect", "."]);
    assert!(text.contains("it cannot be used") && text.contains("missing encoder.layer.1.output.dense.bias"), "{text}");
}

#[test]
fn convert_goes_there_and_back() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    bert(place);
    let text = printed(place, &["convert", ".", "native.safetensors", "--to", "native"]);
    assert!(text.contains("kept        2 x pooler, not modelled"), "{text}");
    printed(place, &["convert", "native.safetensors", "back", "--to", "hf"]);
    let open = |name: &str| SafetensorsFile::open(&place.join(name)).unwrap();
    let (first, second) = (open("model.safetensors"), open("back/model.safetensors"));
    assert_eq!(first.tensors(), second.tensors());
    for name in first.tensors().keys() {
        assert_eq!(first.read(name).unwrap(), second.read(name).unwrap(), "{name}");
    }
    let config: Value = serde_json::from_slice(&std::fs::read(place.join("back/config.json")).unwrap()).unwrap();
    assert_eq!(config["num_attention_heads"], 4);
    let card = std::fs::read_to_string(place.join("back/card.toml")).unwrap();
    assert!(card.contains("imported = \"bert-hf\"") && card.contains("num_heads = 4"), "{card}");
    // A file that lost its card has it beside.
    data::fsx::write_atomic(&place.join("config.json"), b"{}").unwrap();
    let text = printed(place, &["inspect", "back"]);
    assert!(text.contains("4 heads"), "{text}");
    let json: Value =
        serde_json::from_str(&printed(place, &["convert", "back", "again", "--to", "native", "--json"])).unwrap();
    assert_eq!((json["from"].as_str(), json["carried"]["pooler"].as_u64()), (Some("bert-hf"), Some(2)));
}

#[test]
fn what_cannot_be_converted_is_said() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    bert(place);
    let text = refused(place, &["convert", ".", "out.safetensors", "--to", "timm"], 1);
    assert!(text.contains("cannot be written for timm: it has no names for a BERT"), "{text}");
    let text = refused(place, &["convert", ".", "out", "--to", "keras"], 2);
    assert!(text.contains("use torchvision, timm, hf, original or one of"), "{text}");
    let text = refused(place, &["inspect", "nothing.safetensors"], 1);
    assert!(text.contains("nothing.safetensors"), "{text}");
    data::fsx::write_atomic(&place.join("model.safetensors"), b"not weights at all, but some text").unwrap();
    let text = refused(place, &["convert", ".", "out", "--to", "native"], 1);
    assert!(text.contains("is it another format?"), "{text}");
    assert!(!place.join("out").exists() && !place.join("out.safetensors").exists(), "nothing is written");
}
