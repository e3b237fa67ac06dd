//! The commands of `roentgen-data`.

mod prepare;
mod verify;

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use data::error::DataError;
use data::image::encode;
use data::image::sheet::contact_sheet;
use data::record::{Dataset, Split, show_paths};
use data::report::counts::TextCounts;
use data::rng::{Purpose, permutation};
use data::source::pairs_csv::{PairsColumns, PairsConfig, read_counted};
use data::source::phantom::{self, Prevalence};
use data::split::check_leaks;
use data::store::ImageStore;
use data::text::{Tokenizer, TokenizerConfig};
use data::{fsx, image::GrayImage};
use serde_json::{Value, json};

/// How many phantoms are searched for each one that is shown.
const PHANTOMS_PER_PICTURE: u64 = 200;

/// Looks at radiographs and reports before they are used.
#[derive(Debug, Parser)]
#[command(name = "roentgen-data", version)]
pub(crate) struct Cli {
    /// Shows the paths of images in messages. They can hold ids of patients: without it, messages name the manifest and
    /// the row.
    #[arg(long, global = true)]
    show_paths: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a source ready once: small grey images, a CSV of pairs and the hashes of all files.
    Prepare(prepare::PrepareArgs),
    /// Writes a contact sheet: many images of a source in one PNG.
    Show(ShowArgs),
    /// Counts studies, images, patients, sentences, tokens and labels.
    Stats(StatsArgs),
    /// Checks images, hashes, splits and duplicates of a prepared folder or a CSV of pairs.
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Args)]
struct SourceArgs {
    /// `phantom` (generated), `phantom-exclusive` (one finding each), or a CSV with one row per image.
    source: PathBuf,
    /// Seed of the phantoms, or of the choice of images from a CSV.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Column with the path of the image.
    #[arg(long, default_value_t = PairsColumns::default().image)]
    image_column: String,
    /// Column with the report.
    #[arg(long, default_value_t = PairsColumns::default().text)]
    text_column: String,
    /// Column with findings joined by a vertical bar.
    #[arg(long, default_value_t = PairsColumns::default().labels)]
    labels_column: String,
    /// Columns of one finding each with 1, 0, -1 or nothing, instead of a list.
    #[arg(long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Column with the patient.
    #[arg(long, default_value_t = PairsColumns::default().patient)]
    patient_column: String,
    /// Column with the study.
    #[arg(long, default_value_t = PairsColumns::default().study)]
    study_column: String,
    /// Folder that paths are relative to [default: the folder of the CSV].
    #[arg(long)]
    image_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// PNG to write.
    #[arg(long)]
    out: PathBuf,
    /// Number of images.
    #[arg(long, default_value_t = 24)]
    count: usize,
    /// Images side by side.
    #[arg(long, default_value_t = 6)]
    columns: usize,
    /// Side of an image (px).
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u16).range(8..=2048))]
    size: u16,
    /// Only studies with this finding.
    #[arg(long)]
    class: Option<String>,
}

#[derive(Debug, Args)]
struct StatsArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Number of phantoms to count.
    #[arg(long, default_value_t = 2000)]
    count: u64,
    /// `tokenizer.json`, `vocab.txt` or a folder with either [default: the built-in vocabulary].
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl SourceArgs {
    /// The data set and what its reports lack; `phantoms` is how many there are of an endless source.
    fn load(&self, phantoms: u64) -> Result<(Dataset, TextCounts), DataError> {
        let prevalence = match self.source.to_str() {
            Some("phantom") => Prevalence::Natural,
            Some("phantom-exclusive") => Prevalence::Exclusive,
            _ => return read_counted(&self.source, &self.config()),
        };
        let data = phantom::dataset(self.seed, 0..phantoms, prevalence, Split::Train);
        let mut counts = TextCounts::default();
        for study in &data.studies {
            let sentences: Vec<&str> = study.sentences.iter().map(|sentence| sentence.expose().as_str()).collect();
            counts.add(&sentences.join(" "));
        }
        Ok((data, counts))
    }

    fn is_phantom(&self) -> bool {
        [Path::new("phantom"), Path::new("phantom-exclusive")].contains(&self.source.as_path())
    }

    fn config(&self) -> PairsConfig {
        let columns = PairsColumns {
            image: self.image_column.clone(),
            text: self.text_column.clone(),
            labels: self.labels_column.clone(),
            patient: self.patient_column.clone(),
            study: self.study_column.clone(),
            ..PairsColumns::default()
        };
        PairsConfig {
            columns,
            label_columns: self.label_columns.clone(),
            image_root: self.image_root.clone().unwrap_or_default(),
            ..PairsConfig::default()
        }
    }
}

/// Runs a command.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    show_paths(cli.show_paths);
    match &cli.command {
        Command::Prepare(args) => prepare::run(args),
        Command::Show(args) => show(args),
        Command::Stats(args) => stats(args),
        Command::Verify(args) => verify::run(args),
    }
}

fn show(args: &ShowArgs) -> Result<()> {
    let wanted = args.count.max(1);
    let (mut data, _) =
        args.source.load(if args.class.is_some() { wanted as u64 * PHANTOMS_PER_PICTURE } else { wanted as u64 })?;
    if let Some(class) = &args.class {
        let Some(position) = data.classes.iter().position(|name| name.eq_ignore_ascii_case(class)) else {
            bail!("{} has no class \"{class}\"; it has {}", data.name, data.classes.join(", "));
        };
        data.studies.retain(|study| study.labels[position] == Some(true));
    }
    if !args.source.is_phantom() {
        let order = permutation(args.source.seed, Purpose::Image, 0, data.studies.len());
        data.studies = order.into_iter().map(|i| data.studies[i as usize].clone()).collect();
    }
    data.studies.truncate(wanted);
    if data.studies.is_empty() {
        bail!("{} has no image to show", data.name);
    }
    let size = usize::from(args.size);
    let store = ImageStore::new(&data, size, usize::MAX);
    let bar = indicatif::ProgressBar::new(store.len() as u64);
    store.prefill(|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let images = (0..data.studies.len()).map(|study| Ok(store.load(study, 0)?.as_ref().clone()));
    let images: Vec<GrayImage> = images.collect::<Result<_, DataError>>()?;
    let sheet = contact_sheet(&images, args.columns, size);
    let bytes = encode::png(&sheet).map_err(DataError::from).context("the contact sheet cannot be written")?;
    fsx::write_atomic(&args.out, &bytes)?;
    writeln!(
        std::io::stdout(),
        "{}: {} images of {}, {} x {} pixels",
        args.out.display(),
        images.len(),
        data.name,
        sheet.width,
        sheet.height
    )?;
    Ok(())
}

fn stats(args: &StatsArgs) -> Result<()> {
    let (data, texts) = args.source.load(args.count)?;
    let path = args.tokenizer.clone().unwrap_or_default();
    let tokenizer = Tokenizer::load(&TokenizerConfig { path, ..TokenizerConfig::default() })?;
    let counted = count(&data, &texts, &tokenizer)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&counted)?)?;
    } else {
        print(&mut out, &counted, "")?;
    }
    Ok(())
}

/// What `stats` prints, in its order.
fn count(data: &Dataset, texts: &TextCounts, tokenizer: &Tokenizer) -> Result<Value> {
    let lengths: Vec<usize> = data
        .studies
        .iter()
        .flat_map(|study| &study.sentences)
        .map(|sentence| Ok(tokenizer.encode(sentence.expose(), usize::MAX)?.input_ids.len()))
        .collect::<Result<_, DataError>>()?;
    let patients: HashSet<&String> = data.studies.iter().map(|study| study.patient_id.expose()).collect();
    let of_split = |split| data.studies.iter().filter(|study| study.split == split).count();
    let mut labels = serde_json::Map::new();
    for (k, class) in data.classes.iter().enumerate() {
        let of = |value| data.studies.iter().filter(|study| study.labels[k] == value).count();
        let counts = json!({"positive": of(Some(true)), "negative": of(Some(false)), "unlabelled": of(None)});
        labels.insert(class.clone(), counts);
    }
    let total: usize = lengths.iter().sum();
    Ok(json!({
        "source": data.name,
        "studies": data.studies.len(),
        "images": data.studies.iter().map(|study| study.images.len()).sum::<usize>(),
        "patients": patients.len(),
        "patients_in_one_split": check_leaks(data).is_ok(),
        "splits": {
            "train": of_split(Split::Train),
            "validate": of_split(Split::Validate),
            "test": of_split(Split::Test),
        },
        "sentences": lengths.len(),
        "studies_without_sentence": data.studies.iter().filter(|study| study.sentences.is_empty()).count(),
        "reports": texts,
        "tokens_per_sentence": {
            "mean": total as f64 / lengths.len().max(1) as f64,
            "longest": lengths.iter().max().copied().unwrap_or(0),
        },
        "labels": labels,
    }))
}

/// Prints an object as indented lines.
fn print(out: &mut impl Write, value: &Value, indent: &str) -> std::io::Result<()> {
    let Value::Object(fields) = value else { return Ok(()) };
    let is_row = |value: &Value| value.as_object().is_some_and(|o| o.values().all(|v| !v.is_object()));
    for (name, value) in fields {
        let name = if indent.is_empty() { name.replace('_', " ") } else { name.clone() };
        match value {
            Value::Object(parts) if is_row(value) => {
                let parts: Vec<String> = parts.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect();
                writeln!(out, "{indent}{name:<26} {}", parts.join(", "))?;
            }
            Value::Object(_) => {
                writeln!(out, "{indent}{name}")?;
                print(out, value, "  ")?;
            }
            other => writeln!(out, "{indent}{name:<26} {}", plain(other))?,
        }
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        Value::Bool(flag) => (if *flag { "yes" } else { "no" }).to_owned(),
        other => other.to_string(),
    }
}
