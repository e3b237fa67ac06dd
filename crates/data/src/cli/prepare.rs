//! `prepare`: a source made ready once.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use data::error::DataError;
use data::prepare::{KINDS, Request, kind, prepare};
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct PrepareArgs {
    /// Kind of source.
    #[arg(value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)))]
    source: String,
    /// The download: its folder, or the CSV of pairs (or the folder with pairs.csv).
    #[arg(long)]
    root: Option<PathBuf>,
    /// Folder to fill; a folder that a stopped call left is completed.
    #[arg(long)]
    out: PathBuf,
    /// Larger side of the images at most (px).
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(8..=4096))]
    size: u16,
    /// Number of phantoms.
    #[arg(long, default_value_t = 2000)]
    count: u64,
    /// Seed of the phantoms.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PrepareArgs) -> Result<()> {
    let request = Request { root: args.root.clone(), count: args.count, seed: args.seed };
    let bar = indicatif::ProgressBar::new(0);
    let summary = prepare(kind(&args.source)?, &request, &args.out, usize::from(args.size), |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let summary = summary?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        let mut table = json!(summary);
        if summary.skipped.is_empty() {
            table["skipped"] = json!(0);
        }
        super::print(&mut out, &table, "")?;
        if !summary.skipped.is_empty() {
            writeln!(out, "provenance.json names the manifest and row of every image that was skipped")?;
        }
    }
    if summary.images == 0 {
        let what = "no image could be read: see the counts of skipped images by reason";
        return Err(DataError::Empty { name: args.source.clone(), what }.into());
    }
    Ok(())
}
