//! `model inspect`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use data::fsx;
use model::card::Architecture;
use model::image::ImageEncoderConfig;
use model::text::TextEncoderConfig;
use model::weights::stored::dtype_name;
use model::weights::{Source, TensorInfo, Weights};
use model::zoo::num_parameters;
use serde_json::{Map, Value, json};

use super::{CliError, aligned};

pub(super) fn run(file: &Path, tensors: bool, load: bool, as_json: bool) -> Result<String, CliError> {
    match Weights::open(file) {
        Ok(weights) => {
            let clock = Instant::now();
            let tried = if load { loaded(&weights) } else { weights.check(&Device::flex()) };
            let seconds = (load && tried.is_ok()).then(|| clock.elapsed().as_secs_f64());
            let fits = tried.err().map(|error| error.to_string());
            let sha256 = fsx::sha256_file(&weights.source.path)?;
            Ok(if as_json {
                json_of(&weights, &sha256, fits.as_deref(), seconds)
            } else {
                text_of(&weights, &sha256, fits.as_deref(), seconds, tensors)
            })
        }
        Err(error) => {
            // A file that is of no known kind can still be listed.
            let Ok(source) = Source::open(file) else { return Err(error.into()) };
            let listing = if as_json {
                format!(
                    "{:#}\n",
                    json!({"format": source.format, "tensors": listed(&source.tensors), "problem": error.to_string()})
                )
            } else {
                format!(
                    "{} file, {} tensors\n{}\n{error}\n",
                    source.format,
                    source.tensors.len(),
                    table(&source.tensors)
                )
            };
            Ok(listing)
        }
    }
}

/// Loads the network and lets it go.
fn loaded(weights: &Weights) -> model::Result<()> {
    let device = Device::flex();
    match &weights.card.model {
        Architecture::DualEncoder(config) => weights.load(config.init(&device), "").map(drop),
        Architecture::ImageClassifier(config) => weights.load(config.init(&device), "").map(drop),
        Architecture::ImageEncoder(config) => weights.load(config.init(&device), "image_encoder.").map(drop),
        Architecture::TextEncoder(config) => weights.load(config.init(&device), "text_encoder.").map(drop),
    }
}

/// Tensors of a type, how many and how large.
fn by_dtype(tensors: &BTreeMap<String, TensorInfo>) -> BTreeMap<String, (usize, usize)> {
    let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for info in tensors.values() {
        let sum = sums.entry(dtype_name(info.dtype)).or_default();
        sum.0 += 1;
        sum.1 += info.shape.iter().product::<usize>();
    }
    sums
}

fn table(tensors: &BTreeMap<String, TensorInfo>) -> String {
    let row =
        |(name, info): (&String, &TensorInfo)| vec![name.clone(), dtype_name(info.dtype), format!("{:?}", info.shape)];
    aligned(&tensors.iter().map(row).collect::<Vec<_>>())
}

fn listed(tensors: &BTreeMap<String, TensorInfo>) -> Value {
    let entry = |(name, info): (&String, &TensorInfo)| {
        (name.clone(), json!({"dtype": dtype_name(info.dtype), "shape": info.shape}))
    };
    Value::Object(tensors.iter().map(entry).collect::<Map<_, _>>())
}

/// Tensors that are kept but not modelled, by what they are.
pub(super) fn carried(weights: &Weights) -> BTreeMap<&'static str, usize> {
    weights.carried.values().fold(BTreeMap::new(), |mut sums, carried| {
        *sums.entry(carried.what).or_default() += 1;
        sums
    })
}

fn json_of(weights: &Weights, sha256: &str, problem: Option<&str>, seconds: Option<f64>) -> String {
    let value = json!({
        "kind": weights.family.name,
        "what": weights.family.what,
        "format": weights.source.format,
        "sha256": sha256,
        "parameters": num_parameters(&weights.card.model, &Device::flex()),
        "card": weights.card,
        "carried": carried(weights),
        "transposed": weights.transposed(&Device::flex()),
        "tensors": listed(&weights.source.tensors),
        "loaded_seconds": seconds,
        "problem": problem,
    });
    format!("{value:#}\n")
}

fn text_of(weights: &Weights, sha256: &str, problem: Option<&str>, seconds: Option<f64>, tensors: bool) -> String {
    let model = &weights.card.model;
    let mut text = format!("{} ({}), {} file\n", weights.family.what, weights.family.name, weights.source.format);
    let mut rows = Vec::new();
    let mut row = |what: &str, value: String| rows.push(vec![format!("  {what}"), value]);
    if let Some(image) = model.image() {
        row("image tower", image_tower(image));
    }
    if let Some(TextEncoderConfig::Bert(bert)) = model.text() {
        let size = (bert.num_layers, bert.hidden_size, bert.num_heads, bert.vocab_size);
        row("text tower", format!("BERT, {} layers, width {}, {} heads, {} tokens", size.0, size.1, size.2, size.3));
    }
    if let Architecture::DualEncoder(config) = model {
        row("joint space", format!("{} wide", config.embed_dim));
    }
    row("parameters", num_parameters(model, &Device::flex()).to_string());
    for (dtype, (count, numbers)) in by_dtype(&weights.source.tensors) {
        row("numbers", format!("{numbers} of {dtype} in {count} tensors"));
    }
    row("transposed", format!("{} matrices of linear layers", weights.transposed(&Device::flex()).len()));
    for (what, count) in carried(weights) {
        row("kept", format!("{count} x {what}, not modelled"));
    }
    let preprocess = &weights.card.preprocess;
    if model.image().is_some() {
        row(
            "images",
            format!("{} px, mean {:?}, deviation {:?}", preprocess.image_size, preprocess.mean, preprocess.std),
        );
    }
    row("sha256", sha256.to_owned());
    if let Some(seconds) = seconds {
        row("loaded", format!("in {seconds:.2} s, all numbers finite"));
    }
    text += &aligned(&rows);
    if let Some(problem) = problem {
        text += &["it cannot be used: ", problem, "\n"].concat();
    }
    if tensors {
        text += "\n";
        text += &table(&weights.source.tensors);
    }
    text
}

fn image_tower(image: &ImageEncoderConfig) -> String {
    match image {
        ImageEncoderConfig::Resnet(config) => {
            format!(
                "ResNet, {:?} of {:?}, width {}, {} channels in",
                config.block, config.stages, config.width, config.in_channels
            )
        }
        ImageEncoderConfig::Vit(config) => format!(
            "ViT, {} layers, width {}, {} heads, patches of {} in {} px",
            config.num_layers, config.hidden_size, config.num_heads, config.patch_size, config.image_size
        ),
        ImageEncoderConfig::Swin(config) => format!(
            "Swin, {:?} blocks, width {}, {:?} heads, windows of {} in {} px",
            config.stages, config.width, config.heads, config.window_size, config.image_size
        ),
    }
}
