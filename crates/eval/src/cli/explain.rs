//! The command line of `explain`.

use std::path::PathBuf;

use clap::Args;
use data::error::DataError;
use data::image::decode::decode_file;
use engine::checkpoint::Checkpoint;
use engine::device::DeviceSpec;
use engine::run_dir::RunDir;
use engine::table::{Align, Table, number};
use serde_json::Value;

use crate::error::{EvalError, Result};
use crate::explain::record::{Shown, explain_to};
use crate::explain::{ExplainOptions, Explainer, SentenceVector};

/// Largest file of a text (bytes).
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Shows where in an image a model finds a sentence and, where it was trained to align them, each of its words.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A run folder or a model.safetensors with two towers.
    #[arg(long)]
    weights: PathBuf,
    /// A PNG or JPEG file.
    #[arg(long)]
    image: PathBuf,
    /// The sentence. Other users of the machine may see command lines: keep reports in a file.
    #[arg(long, required_unless_present = "text_file", conflicts_with = "text_file")]
    text: Option<String>,
    /// A file with the sentence.
    #[arg(long)]
    text_file: Option<PathBuf>,
    /// New folder for the heat maps over the image, sentence.png, word-01.png and so on, a sheet of all words, words.png, and
    /// the values of every map, weights.json.
    #[arg(long)]
    out: PathBuf,
    /// Temperature of attention by cosines; default: as in training.
    #[arg(long)]
    temperature: Option<f64>,
    /// What the sentence is compared as; default: words where they were aligned with patches, else report.
    #[arg(long, value_enum)]
    sentence_as: Option<SentenceVector>,
    /// Leaves the maps of words out.
    #[arg(long)]
    sentence_only: bool,
    /// Writes the sentence and its words into files, names of files and the output.
    #[arg(long)]
    show_text: bool,
    /// auto, cpu, cuda[:n], wgpu[:n], vulkan[:n] or ndarray, among those compiled in.
    #[arg(long, default_value = "auto", env = "ROENTGEN_DEVICE")]
    device: String,
    /// Prints the content of weights.json instead of a table.
    #[arg(long)]
    json: bool,
}

impl ExplainArgs {
    pub(super) fn run(&self) -> Result<String> {
        let (device, _) = self.device.parse::<DeviceSpec>()?.open()?;
        let text = self.read_text()?;
        let image = decode_file(&self.image).map_err(DataError::from)?;
        let options = ExplainOptions { temperature: self.temperature, sentence: self.sentence_as };
        let explainer = Explainer::new(Checkpoint::read(&self.weights)?, options, &device)?;
        let out = RunDir::create(&self.out)?;
        let shown = Shown { sentence_only: self.sentence_only, text: self.show_text };
        let record = explain_to(out.path(), &explainer, &image, &text, shown)?;
        Ok(if self.json { format!("{record:#}\n") } else { table(&record) })
    }

    fn read_text(&self) -> Result<String> {
        let Some(path) = &self.text_file else { return Ok(self.text.clone().unwrap_or_default()) };
        let bytes = data::fsx::read_capped(path, MAX_TEXT_BYTES)?;
        String::from_utf8(bytes).map_err(|_| EvalError::Unfit {
            data: path.display().to_string(),
            what: "it must be text in UTF-8".to_owned(),
        })
    }
}

/// The highest cell of every map.
fn table(record: &Value) -> String {
    let shows_text = record["sentence"]["text"].is_string();
    let mut columns = vec![
        ("file", Align::Left),
        ("highest", Align::Right),
        ("row", Align::Right),
        ("column", Align::Right),
        ("x", Align::Right),
        ("y", Align::Right),
    ];
    if shows_text {
        columns.push(("text", Align::Left));
    }
    let mut table = Table::new(&columns);
    let words = record["words"].as_array().into_iter().flatten();
    for map in std::iter::once(&record["sentence"]).chain(words) {
        let highest = &map["highest"];
        let pixel = |axis: &str| format!("{:.0}", highest["pixel"][axis].as_f64().unwrap_or(f64::NAN));
        let mut cells = vec![
            map["file"].as_str().unwrap_or_default().to_owned(),
            number(highest["value"].as_f64().unwrap_or(f64::NAN)),
            highest["row"].to_string(),
            highest["column"].to_string(),
            pixel("x"),
            pixel("y"),
        ];
        if shows_text {
            cells.push(map["text"].as_str().unwrap_or_default().to_owned());
        }
        table.row(cells);
    }
    let (rows, columns) = (&record["grid"]["rows"], &record["grid"]["columns"]);
    format!("{table}\nThe grid has {rows} rows and {columns} columns; x and y are pixels of the image.\n")
}
