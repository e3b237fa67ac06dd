//! `model convert`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use data::fsx;
use data::text::BUILTIN_VOCAB;
use model::weights::{CARD_FILE, Export, Target, Weights};
use serde_json::{Value, json};

use super::inspect::carried;
use super::{CliError, aligned};

/// Files of a tokenizer and of preprocessing, which go along into a folder.
const BESIDE: [&str; 6] = [
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "1_Pooling/config.json",
];
/// Largest of them (bytes).
const MAX_BESIDE_BYTES: u64 = 32 << 20;

pub(super) fn run(
    input: &Path,
    output: &Path,
    to: Target,
    image_size: Option<usize>,
    as_json: bool,
) -> Result<String, CliError> {
    let mut weights = Weights::open(input)?;
    if let Some(size) = image_size {
        weights = weights.at_image_size(size)?;
    }
    let device = Device::flex();
    weights.check(&device)?;
    let exports = weights.export(to)?;
    let one_file = output.extension().is_some_and(|end| end == "safetensors");
    if one_file && exports.len() > 1 {
        let why = "these are two towers with a file each: name a folder, or convert to a kind that holds both";
        return Err(CliError::Output { output: output.to_owned(), why });
    }
    let mut written = Vec::new();
    for export in &exports {
        let file = match (one_file, exports.len()) {
            (true, _) => output.to_owned(),
            (false, 1) => output.join("model.safetensors"),
            (false, _) => output.join(tower(export)).join("model.safetensors"),
        };
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fsx::create_dir_all(folder)?;
        }
        fsx::write_atomic_with(&file, |out| export.write(out))?;
        written.push(file.clone());
        if !one_file {
            written.extend(write_beside(&weights, export, &file)?);
        }
    }
    Ok(if as_json {
        json_of(&weights, &exports, &written, &device)
    } else {
        text_of(&weights, &exports, &written, &device)
    })
}

fn tower(export: &Export<'_>) -> &'static str {
    if export.family.name == "bert-hf" { "text_encoder" } else { "image_encoder" }
}

/// Configuration, card and tokenizer beside a file.
fn write_beside(weights: &Weights, export: &Export<'_>, file: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut written = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| -> Result<(), CliError> {
        let path = file.with_file_name(name);
        if let Some(folder) = path.parent() {
            fsx::create_dir_all(folder)?;
        }
        fsx::write_atomic(&path, bytes)?;
        written.push(path);
        Ok(())
    };
    if let Some(config) = &export.config {
        write("config.json", format!("{config:#}\n").as_bytes())?;
    }
    if let Ok(card) = toml::to_string(&weights.card) {
        write(CARD_FILE, card.as_bytes())?;
    }
    // The vocabulary of this project lies beside no run, since every program has it.
    let told = weights.card.text.as_ref().map(|text| text.tokenizer_sha256.as_str());
    if export.family.covers_text() && told == Some(fsx::sha256_hex(BUILTIN_VOCAB.as_bytes()).as_str()) {
        write("vocab.txt", BUILTIN_VOCAB.as_bytes())?;
    }
    for name in BESIDE {
        let path = weights.source.folder.join(name);
        if path.is_file() {
            write(name, &fsx::read_capped(&path, MAX_BESIDE_BYTES)?)?;
        }
    }
    Ok(written)
}

fn json_of(weights: &Weights, exports: &[Export<'_>], written: &[PathBuf], device: &Device) -> String {
    let of = |export: &Export<'_>| json!({"kind": export.family.name, "tensors": export.tensors.len(), "left_out": export.left_out});
    let value = json!({
        "from": weights.family.name,
        "carried": carried(weights),
        "transposed": weights.transposed(device).len(),
        "exports": exports.iter().map(of).collect::<Vec<Value>>(),
        "written": written,
    });
    format!("{value:#}\n")
}

fn text_of(weights: &Weights, exports: &[Export<'_>], written: &[PathBuf], device: &Device) -> String {
    let mut rows = vec![vec!["from".to_owned(), format!("{} ({})", weights.family.what, weights.family.name)]];
    for (what, count) in carried(weights) {
        rows.push(vec!["kept".to_owned(), format!("{count} x {what}, not modelled")]);
    }
    let transposed = weights.transposed(device).len();
    rows.push(vec![
        "transposed".to_owned(),
        format!("{transposed} matrices of linear layers, here alone: files keep theirs"),
    ]);
    for export in exports {
        rows.push(vec![
            "to".to_owned(),
            format!("{} ({}), {} tensors", export.family.what, export.family.name, export.tensors.len()),
        ]);
        if !export.left_out.is_empty() {
            let some: Vec<&str> = export.left_out.iter().take(3).map(String::as_str).collect();
            let more = if export.left_out.len() > 3 { ", ..." } else { "" };
            let why = format!("{} tensors that it has no place for: {}{more}", export.left_out.len(), some.join(", "));
            rows.push(vec!["left out".to_owned(), why]);
        }
    }
    rows.extend(written.iter().map(|path| vec!["wrote".to_owned(), path.display().to_string()]));
    aligned(&rows)
}
