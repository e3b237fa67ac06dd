//! The command line of `eval`.

mod compute;
mod dataset;
mod downstream;
mod embed;
mod ensemble;
mod explain;
mod pointing;
mod predict;
mod prototypes;
mod report;
mod retrieval;
mod table;
mod zero_shot;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dataset::DataArgs;
use engine::checkpoint::Checkpoint;
use engine::device::DeviceSpec;
use engine::interrupt::Interrupts;
use engine::logging;
use engine::progress::Ui;

use crate::error::Result;
use crate::export::export;
use crate::metric::Bootstrap;
use crate::tasks::Tools;

/// Evaluates a checkpoint.
#[derive(Debug, Parser)]
#[command(name = "roentgen-eval", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    task: Task,
    /// Shows the paths of images in messages. They can hold ids of patients: without it, messages name the manifest and
    /// the row.
    #[arg(long, global = true)]
    show_paths: bool,
    /// More messages; twice for all.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Task {
    ZeroShot(zero_shot::ZeroShotArgs),
    Retrieval(retrieval::RetrievalArgs),
    LinearProbe(downstream::ProbeArgs),
    FineTune(downstream::FineTuneArgs),
    Ensemble(ensemble::EnsembleArgs),
    Predict(predict::PredictArgs),
    Explain(explain::ExplainArgs),
    Pointing(pointing::PointingArgs),
    Prototypes(prototypes::PrototypeArgs),
    Report(report::ReportArgs),
    Table(table::TableArgs),
    /// Writes what the towers make of images, texts or ready tensors.
    Embed(embed::EmbedArgs),
    /// Writes the encoders under the names that torchvision and transformers load.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// A run folder or a model.safetensors.
    #[arg(long)]
    weights: PathBuf,
    /// Folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Prints JSON instead of lines.
    #[arg(long)]
    json: bool,
    /// auto, cpu, cuda[:n], wgpu[:n], vulkan[:n] or ndarray, among those compiled in; cpu-plain is the CPU without fused operations.
    #[arg(long, default_value = "auto", env = "ROENTGEN_DEVICE")]
    device: String,
}

#[derive(Debug, Args)]
struct Common {
    /// A run folder or a model.safetensors.
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Images encoded at once; changes speed and memory, not figures.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Resamples of an interval.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// auto, cpu, cuda[:n], wgpu[:n], vulkan[:n] or ndarray, among those compiled in; cpu-plain is the CPU without fused operations.
    #[arg(long, default_value = "auto", env = "ROENTGEN_DEVICE")]
    device: String,
    #[command(flatten)]
    keep: compute::Keep,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// auto, plain or bars.
    #[arg(long, default_value = "auto")]
    ui: Ui,
}

impl Common {
    /// The weights, which must have both towers: refused before any data are read.
    fn dual_encoder(&self) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::read(&self.weights)?;
        checkpoint.dual_config()?;
        Ok(checkpoint)
    }

    fn tools(&self, ks: &[usize]) -> Result<Tools> {
        let (device, _) = self.device.parse::<DeviceSpec>()?.open()?;
        Ok(self.keep.tools(Tools {
            device,
            ui: self.ui,
            batch_size: self.batch_size.max(1),
            ks: ks.to_vec(),
            bootstrap: Bootstrap { resamples: self.resamples, ..Bootstrap::default() },
            cache_bytes: 0,
            kept_rows: None,
            // Nothing is written before the end: a signal may end the program as it is.
            interrupts: Interrupts::default(),
        }))
    }
}

/// Runs the command; the text is for standard output.
///
/// # Errors
/// See [`crate::EvalError`]; its exit code is the program's.
pub fn main(cli: &Cli) -> Result<String> {
    logging::init(cli.verbose);
    data::record::show_paths(cli.show_paths);
    match &cli.task {
        Task::Retrieval(args) => args.run(),
        Task::ZeroShot(args) => args.run(),
        Task::Embed(args) => embed::run(args),
        Task::Export(args) => run_export(args),
        Task::LinearProbe(args) => args.run(),
        Task::FineTune(args) => args.run(),
        Task::Ensemble(args) => args.run(),
        Task::Predict(args) => args.run(),
        Task::Explain(args) => args.run(),
        Task::Pointing(args) => args.run(),
        Task::Prototypes(args) => args.run(),
        Task::Report(args) => args.run(),
        Task::Table(args) => args.run(),
    }
}

fn run_export(args: &ExportArgs) -> Result<String> {
    let (device, _) = args.device.parse::<DeviceSpec>()?.open()?;
    let written = export(&Checkpoint::read(&args.weights)?, &args.out, &device)?;
    if args.json {
        return Ok(format!("{:#}\n", serde_json::json!({ "files": written.0 })));
    }
    let lines: Vec<String> = written.0.iter().map(|path| path.display().to_string()).collect();
    Ok(lines.join("\n") + "\n")
}
