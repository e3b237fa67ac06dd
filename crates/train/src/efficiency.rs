//! How much each method makes of few images: one run for every method and size of the training set, a table and a chart.
//!
//! Networks, updates, validation, test and the labels of the probe are the same for all sizes; the images and reports that
//! are trained on alone become fewer, and each is seen the more often.

use std::path::Path;

use engine::config::Layer;
use engine::table::{Align, Table, number};
use eval::plot::{LineChart, Panel, Point, Reference, Series};
use serde_json::{Map, Value};

use crate::comparison::{cells, figure};
use crate::error::TrainError;

/// The recipes that are compared: small ones with the same networks and updates.
pub const METHODS: [&str; 3] = ["convirt-mini", "mgca-mini", "medclip-mini"];

/// Sizes of the training set.
pub const IMAGES: [u64; 6] = [128, 256, 512, 1024, 2048, 4096];

/// The picture below the folder of the comparison.
pub const CHART: &str = "efficiency.svg";

/// A figure that is drawn.
struct Drawn {
    title: &'static str,
    heading: &'static str,
    /// JSON pointer of the figure.
    at: &'static str,
    /// Name, figure and key of what it is measured against.
    against: (&'static str, &'static str, &'static str),
}

const DRAWN: [Drawn; 2] = [
    Drawn {
        title: "Zero-shot classification",
        heading: "zero-shot AUROC",
        at: "/zero_shot/macro_auroc",
        against: ("chance", "/zero_shot/macro_auroc", "chance"),
    },
    Drawn {
        title: "Linear probe",
        heading: "linear probe AUROC",
        at: "/linear_probe/macro_auroc",
        against: ("random weights", "/linear_probe_random/macro_auroc", "value"),
    },
];

/// A run of the comparison.
struct Run {
    method: &'static str,
    images: u64,
    figures: Value,
}

/// Trains every method on every size, in folders of `out` that are named after both, compares the figures and draws them.
/// `train` gets the recipe, what the size sets in it and the folder, and returns the figures; of a run that was finished
/// before it returns those.
///
/// # Errors
/// What `train` fails with; a chart that cannot be written.
pub fn compare(
    out: &Path,
    json: bool,
    train: impl Fn(&str, Vec<Layer>, &Path) -> Result<Value, TrainError>,
) -> Result<String, TrainError> {
    let mut runs = Vec::new();
    for method in METHODS {
        for images in IMAGES {
            let size = Layer::set(&format!("data.source.train={images}"))?;
            let figures = train(method, vec![size], &out.join(format!("{method}-{images}")))?;
            runs.push(Run { method, images, figures });
        }
    }
    let path = out.join(CHART);
    data::fsx::write_atomic(&path, chart(&runs).svg()?.as_bytes())?;
    if json {
        return Ok(format!("{:#}\n", as_json(&runs)));
    }
    Ok(format!("{}\n{}\n", table(&runs), path.display()))
}

/// Figures by method and number of images.
fn as_json(runs: &[Run]) -> Value {
    let mut all = Map::new();
    for run in runs {
        let method = all.entry(run.method).or_insert_with(|| Value::Object(Map::new()));
        if let Some(method) = method.as_object_mut() {
            method.insert(run.images.to_string(), run.figures.clone());
        }
    }
    Value::Object(all)
}

fn table(runs: &[Run]) -> Table {
    let mut columns = vec![("method", Align::Left), ("images", Align::Right)];
    columns.extend(DRAWN.iter().flat_map(|drawn| [(drawn.heading, Align::Right), ("95 % interval", Align::Left)]));
    let mut table = Table::new(&columns);
    for (i, run) in runs.iter().enumerate() {
        if i > 0 && runs[i - 1].method != run.method {
            table.rule();
        }
        let figures = DRAWN.iter().flat_map(|drawn| cells(&run.figures, drawn.at));
        table.row([run.method.to_owned(), run.images.to_string()].into_iter().chain(figures));
    }
    table.rule();
    let against = DRAWN.iter().flat_map(|drawn| {
        let value = reference(runs, drawn).map_or_else(|| "-".to_owned(), number);
        [value, drawn.against.0.to_owned()]
    });
    table.row(["to compare with".to_owned(), String::new()].into_iter().chain(against));
    table
}

/// The mean of what runs are measured against; the labels and the first weights of all of them are alike.
fn reference(runs: &[Run], drawn: &Drawn) -> Option<f64> {
    let (_, at, key) = drawn.against;
    let values: Vec<f64> = runs.iter().filter_map(|run| figure(&run.figures, at, key)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn chart(runs: &[Run]) -> LineChart {
    let panels = DRAWN.iter().map(|drawn| Panel {
        title: drawn.title.to_owned(),
        y_title: "macro AUROC (band: 95 %)".to_owned(),
        series: METHODS.iter().map(|method| series(runs, drawn, method)).collect(),
        reference: reference(runs, drawn).map(|value| Reference { name: drawn.against.0.to_owned(), value }),
    });
    LineChart { x_title: "training images".to_owned(), panels: panels.collect() }
}

/// The figures of a method that are defined.
fn series(runs: &[Run], drawn: &Drawn, method: &str) -> Series {
    let points = runs.iter().filter(|run| run.method == method).filter_map(|run| {
        let get = |key: &str| figure(&run.figures, drawn.at, key);
        Some(Point { x: run.images as f64, value: get("value")?, low: get("low")?, high: get("high")? })
    });
    Series { name: method.to_owned(), points: points.collect() }
}
