//! `model list`.

use burn::tensor::Device;
use model::zoo::{PRESETS, Preset, Published, multiplications, num_parameters};
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
                let published = preset.published.map(|p| {
                    let files = p.files.iter().map(|f| json!({"name": f.name, "sha256": f.sha256}));
                    let files: Vec<Value> = files.collect();
                    json!({"source": p.source, "revision": p.revision, "licence": p.licence, "files": files})
                });
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
    let costs = format!("\nGFLOPs: multiplications of one image, or of one text of {TOKENS} tokens.\n");
    aligned(&rows) + &costs + &published()
}

/// Weights that `fetch` knows: source, revision, licence and the SHA-256 of each file.
fn published() -> String {
    let entry = |preset: &Preset| {
        let published = preset.published?;
        let rows: Vec<_> = published.files.iter().map(|f| vec![format!("  {}", f.name), f.sha256.to_owned()]).collect();
        let Published { source, licence, revision, .. } = published;
        Some(format!("{}: {source}, {licence}, revision {revision}\n{}", preset.name, aligned(&rows)))
    };
    let entries: String = PRESETS.iter().filter_map(entry).collect();
    format!("\nPublished weights (`roentgen-model fetch NAME --out FOLDER`):\n{entries}")
}
