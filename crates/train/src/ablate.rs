//! Which of MGCA's losses does what: one run for every choice among them, and a table.

use std::path::Path;

use engine::config::Layer;
use engine::table::{Align, Table};
use serde_json::{Map, Value};

use crate::comparison::cells;
use crate::error::TrainError;

/// Names of the losses in the paper and the keys of their weights.
const LOSSES: [(&str, &str); 3] =
    [("ITA", "objective.instance_weight"), ("CTA", "objective.token_weight"), ("CPA", "objective.prototype_weight")];

/// What is compared: a heading and where the figure lies.
const FIGURES: [(&str, &str); 3] = [
    ("linear probe AUROC", "/linear_probe/macro_auroc"),
    ("zero-shot AUROC", "/zero_shot/macro_auroc"),
    ("text-image P@10", "/retrieval/text_to_image/precision_at_10"),
];

/// Trains with every choice of at least one loss, in folders of `out` that are named after it, and compares the figures. `train`
/// gets what a choice sets in the recipe and its folder, and returns the figures; of a run that was finished before it
/// returns those.
///
/// # Errors
/// What `train` fails with.
pub fn table(
    out: &Path,
    json: bool,
    train: impl Fn(Vec<Layer>, &Path) -> Result<Value, TrainError>,
) -> Result<String, TrainError> {
    let mut all = Map::new();
    for choice in 1_u32..1 << LOSSES.len() {
        let chosen = |i: usize| choice >> i & 1 == 1;
        let names: Vec<&str> = (0..LOSSES.len()).filter(|i| chosen(*i)).map(|i| LOSSES[i].0).collect();
        let folder = out.join(names.join("-").to_lowercase());
        let off = (0..LOSSES.len()).filter(|i| !chosen(*i)).map(|i| format!("{}=0.0", LOSSES[i].1));
        let figures = train(off.map(|text| Layer::set(&text)).collect::<Result<_, _>>()?, &folder)?;
        all.insert(names.join(" + "), figures);
    }
    if json {
        return Ok(format!("{:#}\n", Value::Object(all)));
    }
    let mut columns = vec![("losses", Align::Left)];
    columns.extend(FIGURES.iter().flat_map(|(heading, _)| [(*heading, Align::Right), ("95 % interval", Align::Left)]));
    let mut table = Table::new(&columns);
    for (names, figures) in &all {
        let cells = FIGURES.iter().flat_map(|(_, at)| cells(figures, at));
        table.row(std::iter::once(names.clone()).chain(cells));
    }
    Ok(format!("{table}\n"))
}
