//! `select`: equally many images of each class, each with that finding alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use data::source::select::{SelectConfig, select, write};
use serde_json::{Map, Value, json};

#[derive(Debug, Args)]
pub(super) struct SelectArgs {
    /// CSV with one row per image, such as CheXpert's train.csv.
    source: PathBuf,
    /// CSV to write: the rows as they are, with a column `category`; for --data and --queries of `roentgen-eval`.
    #[arg(long)]
    out: PathBuf,
    /// Classes, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion"
    )]
    classes: Vec<String>,
    /// Images of each class.
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Columns of one label each, with 1, 0, -1 (uncertain: such images are left out) or blank (absent), separated by
    /// commas; all of them count [default: lists in a column `labels`, else the 14 observations of CheXpert].
    #[arg(long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// What separates the names of a list.
    #[arg(long, default_value = "|")]
    separator: String,
    /// Column with the path of the image [default: `image_path`, else `Path`].
    #[arg(long)]
    image_column: Option<String>,
    /// Column with the patient [default: `patient_id`, else the folder `patient...` of the path].
    #[arg(long)]
    patient_column: Option<String>,
    /// Rows that have a value in a column alone, such as Frontal/Lateral=Frontal; may be repeated.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = pair)]
    only: Vec<(String, String)>,
    /// A CSV whose patients and images are left out, such as the candidates when queries are selected; may be repeated.
    #[arg(long, value_name = "CSV")]
    exclude: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (column, value) = text.split_once('=').ok_or("write COLUMN=VALUE")?;
    Ok((column.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn run(args: &SelectArgs) -> Result<()> {
    let config = SelectConfig {
        classes: args.classes.iter().map(|class| class.trim().to_owned()).collect(),
        count: args.count,
        seed: args.seed,
        label_columns: args.label_columns.iter().map(|name| name.trim().to_owned()).collect(),
        label_separator: args.separator.clone(),
        image_column: args.image_column.clone(),
        patient_column: args.patient_column.clone(),
        only: args.only.clone(),
        exclude: args.exclude.clone(),
    };
    let selection = select(&args.source, &config)?;
    write(&args.out, &selection)?;
    let mut counts = Map::new();
    for (class, drawn) in &selection.classes {
        counts.insert(class.clone(), json!(drawn));
    }
    let counts = json!({
        "classes": counts,
        "patients": selection.patients,
        "images_of_shared_patients": selection.shared,
    });
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&counts)?)?;
        return Ok(());
    }
    super::print(&mut out, &Value::clone(&counts), "")?;
    let folder = |file: &Path| file.parent().map(Path::to_path_buf).unwrap_or_default();
    if folder(&args.out) != folder(&args.source) {
        writeln!(out, "Paths are those of the source: name the folder that they are relative to with --image-root.")?;
    }
    Ok(())
}
