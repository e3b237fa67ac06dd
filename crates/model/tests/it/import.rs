//! Checkpoints of other projects: recognised, checked, read and written.
//!
//! The lists in `golden/state_dicts` are those of real models (`scripts/golden/state_dicts.py`); the files made of them here
//! hold zeros that take no room on the disk. What the towers compute of them is compared by `scripts/check_import.py`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use model::alignment::rules::AlignmentRules;
use model::card::Architecture;
use model::weights::stored::{SafetensorsFile, write};
use model::weights::{RawTensor, TensorInfo, Weights, encode};
use model::{ModelError, weights};
use safetensors::Dtype;
use serde_json::json;
use tempfile::TempDir;

use super::support::Golden;

type Infos = BTreeMap<String, TensorInfo>;

/// The file, the kind that it is, tensors that are kept but not modelled, the value of `--to` that brings it back.
const CASES: [(&str, &str, usize, &str); 18] = [
    ("torchvision-resnet50", "resnet", 55, "torchvision"),
    ("timm-resnet50-f16", "resnet", 55, "timm"),
    ("timm-vit-b16-bf16", "vit-timm", 2, "timm"),
    ("timm-deit-b16", "vit-timm", 2, "timm"),
    ("timm-swin-t", "swin-timm", 2, "timm"),
    ("timm-swin-t-old", "swin-old", 15, "original"),
    ("timm-swin-t-features", "swin-timm", 0, "timm"),
    ("hf-swin-t", "swin-hf", 0, "hf"),
    ("hf-dinov2-s14", "dinov2-hf", 1, "hf"),
    ("hf-bert-base", "bert-hf", 11, "hf"),
    ("hf-bert-old-f16", "bert-hf", 3, "original"),
    ("mgca-resnet50", "mgca-resnet", 0, "original"),
    ("mgca-vit-b16", "mgca-vit", 0, "original"),
    ("medclip-resnet50", "medclip-resnet", 0, "original"),
    ("medclip-swin-t", "medclip-swin", 0, "original"),
    ("gloria-resnet50", "gloria", 0, "original"),
    ("biovil-image", "biovil-image", 0, "original"),
    ("convirt-edreismd", "convirt", 0, "original"),
];

fn list(name: &str) -> Infos {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/golden/state_dicts/{name}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut parts = line.split(' ');
        let dtype = match parts.next().unwrap() {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            "I64" => Dtype::I64,
            other => panic!("{other}"),
        };
        let shape = parts.next().unwrap();
        let shape = if shape == "-" { Vec::new() } else { shape.split('x').map(|n| n.parse().unwrap()).collect() };
        (parts.next().unwrap().to_owned(), TensorInfo { dtype, shape })
    };
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn size(info: &TensorInfo) -> usize {
    info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8
}

/// A file of zeros that are not on the disk.
fn hollow(path: &Path, infos: &Infos) {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, info) in infos {
        let end = offset + size(info);
        let dtype = format!("{:?}", info.dtype);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": info.shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + offset) as u64).unwrap();
}

fn open(folder: &TempDir, infos: &Infos) -> Result<Weights, ModelError> {
    let path = folder.path().join("weights.safetensors");
    hollow(&path, infos);
    Weights::open(&path)
}

#[test]
fn checkpoints_of_this_field_are_recognised_and_go_back_under_their_names() {
    let folder = TempDir::new().unwrap();
    for (name, family, kept, back) in CASES {
        let infos = list(name);
        let found = open(&folder, &infos).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.family.name, family, "{name}");
        found.check(&Device::flex()).unwrap_or_else(|error| panic!("{name}: {error}"));
        if kept > 0 || ["hf", "timm"].contains(&back) {
            assert_eq!(found.carried.len(), kept, "{name}: {:?}", found.carried.keys().collect::<Vec<_>>());
        }
        // Of these, MGCA alone aligns words and patches, as its published code does.
        assert_eq!(found.card.alignment, family.starts_with("mgca").then_some(AlignmentRules::PUBLISHED), "{name}");
        let exports = found.export(back.parse().unwrap()).unwrap();
        assert_eq!(exports.len(), 1, "{name}");
        assert_eq!(exports[0].tensors, infos, "{name}");
        // The same through a file of this project.
        let native = found.export("native".parse().unwrap()).unwrap();
        let path = folder.path().join("native.safetensors");
        hollow_with(&path, &native[0].tensors, &native[0].metadata);
        let again = Weights::open(&path).unwrap();
        assert_eq!((again.family.name, &again.card), ("native", &found.card), "{name}");
        again.check(&Device::flex()).unwrap();
        assert_eq!(again.export(back.parse().unwrap()).unwrap()[0].tensors, infos, "{name}");
    }
}

/// As [`hollow`], with metadata.
fn hollow_with(path: &Path, infos: &Infos, metadata: &BTreeMap<String, String>) {
    let mut head = Vec::new();
    let empty = |info: &TensorInfo| TensorInfo { dtype: info.dtype, shape: vec![0] };
    // The header alone comes from the writer: sizes are put right afterwards.
    let none: Infos = infos.iter().map(|(name, info)| (name.clone(), empty(info))).collect();
    write(&mut head, &none, metadata, |name| -> std::io::Result<RawTensor> {
        Ok(RawTensor { dtype: none[name].dtype, shape: vec![0], bytes: Vec::new() })
    })
    .unwrap();
    let header: serde_json::Value = serde_json::from_slice(&head[8..]).unwrap();
    hollow(path, infos);
    let mut offset = 0;
    let mut full = header.as_object().unwrap().clone();
    for (name, info) in infos {
        let end = offset + size(info);
        full[name] = json!({"dtype": format!("{:?}", info.dtype), "shape": info.shape, "data_offsets": [offset, end]});
        offset = end;
    }
    let text = serde_json::Value::Object(full).to_string();
    let mut file = OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    file.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_len((8 + text.len() + offset) as u64).unwrap();
}

#[test]
fn wrappers_and_prefixes_are_seen_through() {
    let folder = TempDir::new().unwrap();
    let plain = list("torchvision-resnet50");
    for prefix in ["module.", "encoder.", "module.backbone."] {
        let infos: Infos = plain.iter().map(|(name, info)| (format!("{prefix}{name}"), info.clone())).collect();
        let found = open(&folder, &infos).unwrap();
        found.check(&Device::flex()).unwrap();
        assert_eq!(found.family.name, "resnet", "{prefix}");
        let back = found.export("original".parse().unwrap()).unwrap();
        // torch's wrapper is no part of a name.
        let kept = prefix.strip_prefix("module.").unwrap_or(prefix);
        let want: Infos = plain.iter().map(|(name, info)| (format!("{kept}{name}"), info.clone())).collect();
        assert_eq!(back[0].tensors, want, "{prefix}");
    }
}

#[test]
fn every_difference_is_an_error_with_the_nearest_names() {
    let folder = TempDir::new().unwrap();
    let good = list("hf-bert-old-f16");
    let refused = |change: &dyn Fn(&mut Infos)| {
        let mut infos = good.clone();
        change(&mut infos);
        match open(&folder, &infos).and_then(|found| found.check(&Device::flex())) {
            Err(error) => error.to_string(),
            Ok(()) => panic!("it was accepted"),
        }
    };
    let rename = |infos: &mut Infos, from: &str, to: &str| {
        let info = infos.remove(from).unwrap();
        infos.insert(to.to_owned(), info);
    };
    let query = "bert.encoder.layer.1.attention.self.query.weight";
    let message = refused(&|infos| rename(infos, query, "bert.encoder.layer.1.attention.self.q.weight"));
    assert!(message.contains("1 missing, 1 unused, 0 of another shape"), "{message}");
    assert!(message.contains("nearest in the file: bert.encoder.layer.1.attention.self.q.weight"), "{message}");
    let message = refused(&|infos| {
        infos.insert("adapter.weight".to_owned(), TensorInfo { dtype: Dtype::F32, shape: vec![1] });
    });
    assert!(message.contains("unused adapter.weight"), "{message}");
    let message = refused(&|infos| infos.get_mut(query).unwrap().shape = vec![768, 767]);
    assert!(message.contains("the model has [768, 768], the file [768, 767]"), "{message}");
    let message = refused(&|infos| infos.get_mut(query).unwrap().dtype = Dtype::F64);
    assert!(message.contains("holds F64 numbers"), "{message}");
    // Both spellings of one tensor.
    let message = refused(&|infos| {
        let info = infos["bert.embeddings.LayerNorm.gamma"].clone();
        infos.insert("bert.embeddings.LayerNorm.weight".to_owned(), info);
    });
    assert!(message.contains("unused bert.embeddings.LayerNorm"), "{message}");
    // Two of query, key and value are none.
    let mut infos = list("hf-swin-t");
    infos.remove("encoder.layers.0.blocks.0.attention.self.key.weight").unwrap();
    let found = open(&folder, &infos).unwrap();
    let message = found.check(&Device::flex()).unwrap_err().to_string();
    assert!(message.contains("encoder.layers.0.blocks.0.attention.self.key.weight"), "{message}");
    let unknown = Infos::from([("x.weight".to_owned(), TensorInfo { dtype: Dtype::F32, shape: vec![2] })]);
    let message = open(&folder, &unknown).unwrap_err().to_string();
    assert!(message.contains("named x.weight") && message.contains("MedCLIP with Swin"), "{message}");
}

#[test]
fn attention_heads_come_from_the_configuration_then_the_table_then_a_question() {
    let folder = TempDir::new().unwrap();
    let heads = |found: &Weights| match &found.card.model {
        Architecture::TextEncoder(model::text::TextEncoderConfig::Bert(bert)) => bert.num_heads,
        other => panic!("{other:?}"),
    };
    let mut infos = list("hf-bert-old-f16");
    assert_eq!(heads(&open(&folder, &infos).unwrap()), 12);
    let config = folder.path().join("config.json");
    let tell = |text: &str| data::fsx::write_atomic(&config, text.as_bytes()).unwrap();
    tell(r#"{"num_attention_heads": 16, "layer_norm_eps": 1e-5}"#);
    assert_eq!(heads(&open(&folder, &infos).unwrap()), 16);
    // No published BERT is 760 wide.
    for info in infos.values_mut() {
        info.shape.iter_mut().filter(|size| **size == 768).for_each(|size| *size = 760);
    }
    assert_eq!(heads_error(&open(&folder, &infos)), "760");
    tell(r#"{"num_attention_heads": 10}"#);
    assert_eq!(heads(&open(&folder, &infos).unwrap()), 10);
    tell(r#"{"num_attention_heads": 10, "hidden_act": "relu"}"#);
    assert!(open(&folder, &infos).unwrap_err().to_string().contains("the activation relu"));
}

/// The width for which an error asks the number of heads.
fn heads_error(result: &Result<Weights, ModelError>) -> &'static str {
    let message = result.as_ref().unwrap_err().to_string();
    assert!(message.contains("heads of a width of 760") && message.contains("num_attention_heads"), "{message}");
    "760"
}

/// A tiny vision transformer with the values of a golden, and a `config.json` for its heads.
fn tiny_vit(folder: &Path) -> PathBuf {
    let path = folder.join("vit.safetensors");
    let tensors = Golden::read("vit").under("param.");
    data::fsx::write_atomic(&path, &encode(&tensors, &BTreeMap::new())).unwrap();
    data::fsx::write_atomic(&folder.join("config.json"), br#"{"num_heads": 4}"#).unwrap();
    path
}

#[test]
fn positions_are_resampled_for_other_images() {
    let folder = TempDir::new().unwrap();
    let found = Weights::open(&tiny_vit(folder.path())).unwrap();
    let Architecture::ImageEncoder(config) = &found.card.model else { panic!("an image encoder") };
    let (was, device) = (config.image_size().unwrap(), Device::flex());
    let found = found.at_image_size(2 * was).unwrap();
    found.check(&device).unwrap();
    let Architecture::ImageEncoder(config) = found.card.model.clone() else { panic!("an image encoder") };
    assert_eq!((config.image_size(), found.card.preprocess.image_size), (Some(2 * was), 2 * was));
    let encoder = found.load(config.init(&device), "image_encoder.").unwrap();
    let tensors = weights::collect(&encoder);
    let before = Golden::read("vit").under("param.");
    let (new, old) = (&tensors["pos_embed"], &before["pos_embed"]);
    assert_eq!(new.shape[1] - 1, 4 * (old.shape[1] - 1));
    assert_eq!(new.data[..old.shape[2]], old.data[..old.shape[2]], "the class token keeps its own");
    assert_eq!(tensors["blocks.0.attn.qkv.weight"], before["blocks.0.attn.qkv.weight"]);
    let found = Weights::open(&folder.path().join("vit.safetensors")).unwrap();
    assert!(found.at_image_size(was + 1).unwrap_err().to_string().contains("multiple of patch_size"));
}

#[test]
fn values_that_are_no_numbers_are_refused_whole() {
    let folder = TempDir::new().unwrap();
    let path = tiny_vit(folder.path());
    let mut tensors = Golden::read("vit").under("param.");
    tensors.get_mut("blocks.0.mlp.fc2.bias").unwrap().data[3] = f32::NAN;
    data::fsx::write_atomic(&path, &encode(&tensors, &BTreeMap::new())).unwrap();
    let found = Weights::open(&path).unwrap();
    let Architecture::ImageEncoder(config) = found.card.model.clone() else { panic!("an image encoder") };
    let error = found.load(config.init(&Device::flex()), "image_encoder.").unwrap_err().to_string();
    assert!(error.contains("blocks.0.mlp.fc2.bias holds NaN or infinity"), "{error}");
}

#[test]
fn what_comes_back_is_byte_for_byte_what_it_was() {
    let folder = TempDir::new().unwrap();
    let path = tiny_vit(folder.path());
    let found = Weights::open(&path).unwrap();
    let native = folder.path().join("native.safetensors");
    data::fsx::write_atomic_with(&native, |out| found.export("native".parse().unwrap()).unwrap()[0].write(out))
        .unwrap();
    let again = Weights::open(&native).unwrap();
    let back = folder.path().join("back.safetensors");
    data::fsx::write_atomic_with(&back, |out| again.export("timm".parse().unwrap()).unwrap()[0].write(out)).unwrap();
    let (first, second) = (SafetensorsFile::open(&path).unwrap(), SafetensorsFile::open(&back).unwrap());
    assert_eq!(first.tensors(), second.tensors());
    for name in first.tensors().keys() {
        assert_eq!(first.read(name).unwrap(), second.read(name).unwrap(), "{name}");
    }
    // A vision transformer has no place in torchvision's networks, and without layer scale none in DINOv2's.
    for target in ["torchvision", "hf", "mgca-vit"] {
        let refused = found.export(target.parse().unwrap());
        assert!(matches!(refused, Err(ModelError::Export { .. })) || target == "mgca-vit", "{target}");
    }
}

#[test]
fn folders_of_hugging_face_are_read_by_name_and_in_parts() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, infos: &Infos| hollow(&folder.path().join(name), infos);
    let infos = list("hf-bert-old-f16");
    let (first, second): (Infos, Infos) = infos.clone().into_iter().partition(|(name, _)| name.contains("layer.1."));
    write("model-1.safetensors", &first);
    write("model-2.safetensors", &second);
    let error = Weights::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds 2 files of weights"), "{error}");
    let index = folder.path().join("model.safetensors.index.json");
    let map: BTreeMap<&String, &str> = infos
        .keys()
        .map(|name| (name, if first.contains_key(name) { "model-1.safetensors" } else { "model-2.safetensors" }))
        .collect();
    data::fsx::write_atomic(&index, json!({"weight_map": map}).to_string().as_bytes()).unwrap();
    Weights::open(folder.path()).unwrap().check(&Device::flex()).unwrap();
    let outside = json!({"weight_map": {"x": "../elsewhere.safetensors"}}).to_string();
    data::fsx::write_atomic(&index, outside.as_bytes()).unwrap();
    let error = Weights::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("do not lie beside it"), "{error}");
    let empty = TempDir::new().unwrap();
    assert!(Weights::open(empty.path()).unwrap_err().to_string().contains("holds no weights"));
}
