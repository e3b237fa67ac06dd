//! `verify`: is a folder of pairs fit for use?

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use data::error::DataError;
use data::verify::verify;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A prepared folder, a folder with pairs.csv, or a CSV of pairs.
    path: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let bar = indicatif::ProgressBar::new(0);
    let findings = verify(&args.path, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let findings = findings?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&findings.counts)?)?;
    } else {
        super::print(&mut out, &json!(findings.counts), "")?;
    }
    if findings.faults.is_empty() {
        return Ok(());
    }
    // The rows, and the exit code of rejected data.
    Err(DataError::Rows { file: findings.manifest, faults: findings.faults }.into())
}
