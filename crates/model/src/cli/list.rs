//! `model list`.

use burn::tensor::Device;
use model::zoo::{PRESETS, multiplications, num_parameters};
use serde_json::{Value, json};

use super::aligned;

/// Tokens of the text whose cost is told.
const TOKENS: usize = 128;

pub(super) fn run(as_json: bool) -> String {
    let device = Device::flex();
    let presets: Vec<(&str, usize, u64, &str, &str)> = PRESETS
        .iter()
        .map(|preset| {
            let model = (preset.model)();
            let costs = multiplications(&model, TOKENS);
            (preset.name, num_parameters(&model, &device), costs, preset.licence, preset.what)
        })
        .collect();
    if as_json {
        let presets: Vec<Value> = presets
            .iter()
            .zip(&PRESETS)
            .map(|((name, parameters, multiplications, licence, what), preset)| {
                let published = preset
                    .published
                    .map(|p| json!({"source": p.source, "revision": p.revision, "file": p.file, "sha256": p.sha256}));
                json!({
                    "name": name,
                    "what": what,
                    "parameters": parameters,
                    "multiplications": multiplications,
                    "bytes": parameters * 4,
                    "licence": licence,
                    "published": published,
                })
            })
            .collect();
        return format!("{:#}\n", Value::Array(presets));
    }
    let head = ["name", "parameters", "GFLOPs", "MiB", "known from"].map(str::to_owned).to_vec();
    let rows = presets.iter().map(|(name, parameters, multiplications, _, what)| {
        let mib = (*parameters * 4) as f64 / f64::from(1 << 20);
        let costs = *multiplications as f64 / 1e9;
        let millions = *parameters as f64 / 1e6;
        vec![
            (*name).to_owned(),
            format!("{millions:.1} M"),
            format!("{costs:.1}"),
            format!("{mib:.0}"),
            (*what).to_owned(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    aligned(&rows) + &format!("\nGFLOPs: multiplications of one image, or of one text of {TOKENS} tokens.\n")
}
