//! Encoders under the names of torchvision, timm and Hugging Face, for programs outside this project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use data::batch::TextBatch;
use data::fsx;
use engine::checkpoint::{Checkpoint, save_card};
use engine::upload::texts;
use model::image::ImageEncoderConfig;
use model::text::TextEncoderConfig;
use model::weights::{CARD_FILE, Export, HostTensor, Target, TensorMap, encode};

use crate::error::Result;

/// Files that an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported(pub Vec<PathBuf>);

/// Writes `image_encoder.safetensors` (names of torchvision, of timm for transformers) and `text_encoder/` (a Hugging Face
/// folder), as far as there are such towers, `card.toml`, and `check.safetensors`: inputs with the features that they must
/// give elsewhere.
///
/// # Errors
/// If the checkpoint does not fit its card or a file cannot be written.
pub fn export(checkpoint: &Checkpoint, out: &Path, device: &Device) -> Result<Exported> {
    fsx::create_dir_all(out)?;
    let mut written = Vec::new();
    let mut check = TensorMap::new();
    let write_tower = |export: &Export<'_>, path: PathBuf| -> Result<PathBuf> {
        fsx::write_atomic_with(&path, |file| export.write(file))?;
        Ok(path)
    };
    if let Some(image) = checkpoint.card.model.image() {
        let target = if matches!(image, ImageEncoderConfig::Resnet(_)) { Target::Torchvision } else { Target::Timm };
        for export in checkpoint.weights.export(target)? {
            written.push(write_tower(&export, out.join("image_encoder.safetensors"))?);
        }
        check.extend(image_check(checkpoint, device)?);
    }
    if let Some(TextEncoderConfig::Bert(bert)) = checkpoint.card.model.text() {
        let folder = out.join("text_encoder");
        fsx::create_dir_all(&folder)?;
        let exports = checkpoint.weights.export(Target::Hf)?;
        for export in exports.iter().filter(|export| export.family.name == "bert-hf") {
            written.push(write_tower(export, folder.join("model.safetensors"))?);
            let config = format!("{:#}\n", export.config.clone().unwrap_or_default());
            written.push(write(&folder.join("config.json"), config.as_bytes())?);
        }
        let (tokenizer, _) = checkpoint.tokenizer()?;
        written.push(match tokenizer.file() {
            None => write(&folder.join("vocab.txt"), data::text::BUILTIN_VOCAB.as_bytes())?,
            Some(file) => {
                let name = file.file_name().map(PathBuf::from).unwrap_or_default();
                write(&folder.join(name), &fsx::read_capped(file, 32 << 20)?)?
            }
        });
        save_card(&folder.join(CARD_FILE), &checkpoint.card)?;
        check.extend(text_check(checkpoint, bert.vocab_size, device)?);
    }
    save_card(&out.join(CARD_FILE), &checkpoint.card)?;
    written.push(out.join(CARD_FILE));
    written.push(write(&out.join("check.safetensors"), &encode(&check, &BTreeMap::new()))?);
    Ok(Exported(written))
}

fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    fsx::write_atomic(path, bytes)?;
    Ok(path.to_owned())
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
    let features = checkpoint.text_encoder(device)?.forward(texts(&batch, device), None).global;
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
