//! The commands of `roentgen-data`.

mod label;
mod prepare;
mod select;
mod source;
mod stats;
mod verify;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use data::error::DataError;
use data::image::encode;
use data::image::sheet::contact_sheet;
use data::record::show_paths;
use data::rng::{Purpose, permutation};
use data::store::ImageStore;
use data::{fsx, image::GrayImage};
use serde_json::Value;

use self::source::SourceArgs;

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
    /// More messages than warnings; up to three times.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Labels reports: which findings they affirm, deny or leave open.
    Label(label::LabelArgs),
    /// Makes a source ready once: small grey images, a CSV of pairs and the hashes of all files.
    Prepare(prepare::PrepareArgs),
    /// Selects equally many images of each class that have no other finding (5x200, 8x200).
    Select(select::SelectArgs),
    /// Writes a contact sheet: many images of a source in one PNG.
    Show(ShowArgs),
    /// Counts studies, images, patients, sentences, tokens and labels.
    Stats(stats::StatsArgs),
    /// Checks images, hashes, splits and duplicates of a prepared folder or a CSV of pairs.
    Verify(verify::VerifyArgs),
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

/// Runs a command.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    show_paths(cli.show_paths);
    match &cli.command {
        Command::Label(args) => label::run(args),
        Command::Prepare(args) => prepare::run(args),
        Command::Select(args) => select::run(args),
        Command::Show(args) => show(args),
        Command::Stats(args) => stats::run(args),
        Command::Verify(args) => verify::run(args),
    }
}

fn show(args: &ShowArgs) -> Result<()> {
    let wanted = args.count.max(1);
    let mut data =
        args.source.load(if args.class.is_some() { wanted as u64 * PHANTOMS_PER_PICTURE } else { wanted as u64 })?;
    if let Some(class) = &args.class {
        let Some(position) = data.classes.iter().position(|name| name.eq_ignore_ascii_case(class)) else {
            bail!("{} has no class \"{class}\"; it has {}", data.name, data.classes.join(", "));
        };
        data.studies.retain(|study| study.labels[position] == Some(true));
    }
    if !args.source.is_phantom() {
        let order = permutation(args.source.seed(), Purpose::Image, 0, data.studies.len());
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
