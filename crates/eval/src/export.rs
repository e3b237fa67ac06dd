//! Encoders under the names of torchvision and Hugging Face, for programs outside this project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use data::batch::TextBatch;
use data::fsx;
use engine::checkpoint::{Architecture, Checkpoint};
use engine::upload::texts;
use model::text::TextEncoderConfig;
use model::weights::{HostTensor, TensorMap, encode};
use serde_json::json;

use crate::error::Result;

/// Files that an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported(pub Vec<PathBuf>);

/// Writes `image_encoder.safetensors` (torchvision names), `text_encoder/` (a Hugging Face folder) where there is a text
/// tower, and `check.safetensors`: inputs with the features that they must give elsewhere.
///
/// # Errors
/// If the checkpoint does not fit its card or a file cannot be written.
pub fn export(checkpoint: &Checkpoint, out: &Path, device: &Device) -> Result<Exported> {
    let none = BTreeMap::new();
    let tower = |prefix: &str| -> TensorMap {
        let strip = |(name, tensor): (&String, &HostTensor)| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.clone()))
        };
        checkpoint.tensors().iter().filter_map(strip).collect()
    };
    fsx::create_dir_all(out)?;
    let mut written = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = out.join(name);
        fsx::write_atomic(&path, bytes)?;
        written.push(path);
        Ok(())
    };
    write("image_encoder.safetensors", &encode(&tower("image_encoder."), &none))?;
    let mut check = image_check(checkpoint, device)?;
    if let Architecture::DualEncoder(config) = &checkpoint.card.model {
        let TextEncoderConfig::Bert(bert) = &config.text;
        fsx::create_dir_all(&out.join("text_encoder"))?;
        write("text_encoder/model.safetensors", &encode(&tower("text_encoder."), &none))?;
        let config = json!({
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "vocab_size": bert.vocab_size,
            "hidden_size": bert.hidden_size,
            "num_hidden_layers": bert.num_layers,
            "num_attention_heads": bert.num_heads,
            "intermediate_size": bert.intermediate_size,
            "max_position_embeddings": bert.max_position_embeddings,
            "type_vocab_size": bert.type_vocab_size,
            "hidden_dropout_prob": bert.dropout,
            "attention_probs_dropout_prob": bert.dropout,
        });
        write("text_encoder/config.json", format!("{config:#}\n").as_bytes())?;
        let (tokenizer, _) = checkpoint.tokenizer()?;
        match tokenizer.file() {
            None => write("text_encoder/vocab.txt", data::text::BUILTIN_VOCAB.as_bytes())?,
            Some(file) => {
                let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                write(&format!("text_encoder/{name}"), &fsx::read_capped(file, 32 << 20)?)?;
            }
        }
        check.extend(text_check(checkpoint, bert.vocab_size, device)?);
    }
    write("check.safetensors", &encode(&check, &none))?;
    Ok(Exported(written))
}

fn host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    let shape = tensor.dims().to_vec();
    HostTensor { shape, data: tensor.into_data().iter::<f32>().collect() }
}

/// Two images of waves and their features.
fn image_check(checkpoint: &Checkpoint, device: &Device) -> Result<TensorMap> {
    let preprocess = &checkpoint.card.preprocess;
    let (size, channels) = (preprocess.image_size, preprocess.mean.len());
    let values: Vec<f32> = (0..2 * channels * size * size).map(|i| (i as f32 * 0.37).sin()).collect();
    let images = Tensor::<4>::from_data(TensorData::new(values, [2, channels, size, size]), device);
    let features = checkpoint.image_encoder(device)?.forward(images.clone()).global;
    Ok(TensorMap::from([("images".to_owned(), host(images)), ("image_features".to_owned(), host(features))]))
}

/// Two texts of different length and their features.
#[expect(clippy::cast_possible_truncation, reason = "vocabularies are small")]
fn text_check(checkpoint: &Checkpoint, vocab_size: usize, device: &Device) -> Result<TensorMap> {
    let ids = |n: u32| (0..n).map(|i| (7 * i + n) % vocab_size as u32).collect::<Vec<u32>>();
    let batch = TextBatch::from_ids(&[ids(9), ids(5)], 0);
    let features = checkpoint.dual_encoder(device)?.encode_text(texts(&batch, device)).features;
    let floats = |values: &[u32]| HostTensor {
        shape: vec![batch.len, batch.tokens],
        data: values.iter().map(|&v| v as f32).collect(),
    };
    Ok(TensorMap::from([
        ("input_ids".to_owned(), floats(&batch.input_ids)),
        ("attention_mask".to_owned(), floats(&batch.attention_mask)),
        ("text_features".to_owned(), host(features)),
    ]))
}
