//! The command line of `report`.

use std::path::PathBuf;

use clap::Args;
use data::fsx;
use engine::error::EngineError;

use super::compute::Compute;
use super::dataset::DataArgs;
use crate::error::Result;
use crate::report::{ReportData, ReportOptions, compare_report, run_report};

/// Writes what a run is and what it can do as one HTML file, without any network; several runs are compared.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct ReportArgs {
    /// Folders of runs, or of what fine-tune wrote.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// File to write; default: report.html in the folder of the run, comparison.html in that of the first of several.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Shows images. Without it nothing but rows of the data names a study.
    #[arg(long)]
    include_images: bool,
    /// Quotes sentences.
    #[arg(long)]
    include_texts: bool,
    /// Only what the folder holds: loads no weights and reads no image.
    #[arg(long)]
    figures_only: bool,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    compute: Compute,
    /// Prints JSON instead of a line.
    #[arg(long)]
    json: bool,
}

impl ReportArgs {
    pub(super) fn run(&self) -> Result<String> {
        let tools = self.compute.tools()?;
        let options = ReportOptions {
            include_images: self.include_images,
            include_texts: self.include_texts,
            figures_only: self.figures_only,
            data: self.data.named()?.map(|(unseen, parts)| ReportData { parts, unseen }),
        };
        let (html, name) = match &self.runs[..] {
            [run] => (run_report(run, &options, &tools)?, "report.html"),
            runs => (compare_report(runs, &options, &tools)?, "comparison.html"),
        };
        let out = self.out.clone().unwrap_or_else(|| self.runs[0].join(name));
        fsx::write_atomic(&out, html.as_bytes()).map_err(EngineError::from)?;
        Ok(if self.json {
            format!("{:#}\n", serde_json::json!({ "file": out, "bytes": html.len() }))
        } else {
            format!("{} ({} KiB)\n", out.display(), html.len().div_ceil(1024))
        })
    }
}
