//! The command line of `train`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Parser;
use engine::EngineError;
use engine::config::{self, Layer};
use engine::device::DeviceSpec;
use engine::error::RunDirProblem;
use engine::logging::{self, LogFile};
use engine::progress::Ui;
use engine::run_dir::RunDir;
use serde_json::Value;

use crate::ablate;
use crate::comparison;
use crate::dry_run;
use crate::efficiency;
use crate::error::TrainError;
use crate::recipe::{Resolved, resolve};
use crate::resume::{self, Resume};
use crate::run::{RunOptions, run};

/// Trains an image encoder and a text encoder from radiographs and reports, and evaluates them.
#[derive(Debug, Parser)]
#[command(name = "roentgen-train", version, max_term_width = 100)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// A recipe under models/ by its name, or a path to a recipe.toml; default: convirt-phantom, or the configuration of
    /// the run that --resume names.
    recipe: Option<String>,
    /// Sets a value of the recipe, for example --set optim.lr=1e-4; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run folder; default: the next free runs/RECIPE-N.
    #[arg(long, env = "ROENTGEN_OUT")]
    out: Option<PathBuf>,
    /// auto, cpu, cuda[:n], wgpu[:n], vulkan[:n] or ndarray, among those compiled in; cpu-plain is the CPU without fused operations.
    #[arg(long, default_value = "auto", env = "ROENTGEN_DEVICE")]
    device: String,
    /// Optimizer updates, in place of the recipe's run.steps.
    #[arg(long)]
    steps: Option<i64>,
    /// Seed, in place of the recipe's run.seed.
    #[arg(long)]
    seed: Option<i64>,
    /// Shows counts, parameters, one timed update and what its memory is for, and trains nothing.
    #[arg(long)]
    dry_run: bool,
    /// Prints the whole configuration with the origin of each value, and trains nothing.
    #[arg(long)]
    print_config: bool,
    /// Trains once for every choice among the losses of MGCA, in folders below --out, and compares the runs. Finished ones
    /// are kept when it is started again.
    #[arg(long, requires = "out", conflicts_with_all = ["dry_run", "print_config"])]
    ablate: bool,
    /// Trains small recipes of every method on more and more images, in folders below --out, and compares them in a table and
    /// a chart. Finished runs are kept when it is started again, and a stopped one goes on.
    #[arg(long, requires = "out", conflicts_with_all = ["recipe", "ablate", "dry_run", "print_config", "resume"])]
    efficiency: bool,
    /// auto goes on with an unfinished run in --out, never refuses one, and a run folder goes on with that run.
    #[arg(long, default_value = "auto", value_name = "auto|never|RUN")]
    resume: Resume,
    /// Goes on even where settings, data or version changed.
    #[arg(long)]
    force_resume: bool,
    /// Prints the figures as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// auto, plain or bars.
    #[arg(long, default_value = "auto")]
    ui: Ui,
    /// Shows the paths of images in messages. They can hold ids of patients: without it, messages name the manifest and
    /// the row.
    #[arg(long)]
    show_paths: bool,
    /// More messages; twice for all.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    fn overrides(&self) -> Result<Vec<Layer>, TrainError> {
        let mut layers = Vec::new();
        for text in &self.set {
            layers.push(Layer::set(text)?);
        }
        if let Some(steps) = self.steps {
            layers.push(Layer::flag("--steps", &["run", "steps"], steps));
        }
        if let Some(seed) = self.seed {
            layers.push(Layer::flag("--seed", &["run", "seed"], seed));
        }
        Ok(layers)
    }

    /// The recipe, by name or path.
    fn recipe(&self) -> String {
        match (&self.recipe, &self.resume) {
            (Some(recipe), _) => recipe.clone(),
            (None, Resume::Run(run)) => run.join("config.toml").display().to_string(),
            (None, _) => "convirt-phantom".to_owned(),
        }
    }

    /// The run folder, and whether it holds a run to go on with.
    fn run_dir(&self) -> Result<(RunDir, bool), TrainError> {
        if let Resume::Run(path) = &self.resume {
            let run = RunDir::open(path)?;
            if !RunDir::is_unfinished(path) {
                let why = RunDirProblem::Finished;
                return Err(EngineError::RunDir { path: path.clone(), why }.into());
            }
            return Ok((run, true));
        }
        let recipe = self.recipe();
        let name = Path::new(&recipe).file_stem().map(std::ffi::OsStr::to_owned).unwrap_or_default();
        Ok(match &self.out {
            Some(path) if self.resume == Resume::Auto && RunDir::is_unfinished(path) => (RunDir::open(path)?, true),
            Some(path) => (RunDir::create(path)?, false),
            None => (RunDir::create_next(&PathBuf::from("runs").join(name))?, false),
        })
    }
}

/// Runs the command; the text is for standard output.
///
/// # Errors
/// See [`TrainError`]; its exit code is the program's.
pub fn main(args: &Args) -> Result<String, TrainError> {
    let log = logging::init(args.verbose);
    data::record::show_paths(args.show_paths);
    if let Resume::Run(path) = &args.resume {
        // Before its configuration is looked for, so that a wrong folder is named as one.
        RunDir::open(path)?;
    }
    if let Some(out) = args.out.as_ref().filter(|_| args.efficiency) {
        for method in efficiency::METHODS {
            // What cannot be set is to be said before the first run and not after hours.
            resolve(method.recipe, &args.overrides()?)?;
        }
        let device = args.device.parse::<DeviceSpec>()?.open()?;
        return efficiency::compare(out, args.json, |recipe, set, path| {
            figures(args, recipe, set, path, &device, &log)
        });
    }
    let resolved: Resolved = resolve(&args.recipe(), &args.overrides()?)?;
    if args.print_config {
        return Ok(resolved.layered.annotate(&resolved.recipe)?);
    }
    let device = args.device.parse::<DeviceSpec>()?.open()?;
    if args.dry_run {
        return dry_run::dry_run(&resolved, &device, args.json);
    }
    if let Some(out) = args.out.as_ref().filter(|_| args.ablate) {
        return ablate::table(out, args.json, |losses, path| {
            figures(args, &args.recipe(), losses, path, &device, &log)
        });
    }
    let (run_dir, goes_on) = args.run_dir()?;
    let path = run_dir.path().to_owned();
    let figures = train(args, &args.recipe(), &resolved, &device, (run_dir, goes_on), &log)?;
    if args.json {
        return Ok(format!("{figures:#}\n"));
    }
    let hash = config::sha256(&resolved.recipe)?;
    Ok(format!("{}\n{}\nconfiguration {}\n", eval::show::table(&figures), path.display(), &hash[..12]))
}

/// The figures of one run among several that are compared: those of a finished one, else by training, from where it stopped.
/// `set` goes on top of what was set on the command line.
fn figures(
    args: &Args,
    recipe: &str,
    set: Vec<Layer>,
    path: &Path,
    device: &(Device, String),
    log: &LogFile,
) -> Result<Value, TrainError> {
    let overrides: Vec<Layer> = args.overrides()?.into_iter().chain(set).collect();
    let resolved = resolve(recipe, &overrides)?;
    if let Some(figures) = comparison::finished(path)? {
        if !args.force_resume {
            resume::compare(&RunDir::open(path)?, &resolved.recipe, &device.1)?;
        }
        return Ok(figures);
    }
    let unfinished = RunDir::is_unfinished(path);
    let run_dir = if unfinished { RunDir::open(path)? } else { RunDir::create(path)? };
    train(args, recipe, &resolved, device, (run_dir, unfinished), log)
}

/// Trains and evaluates in a folder; its figures.
fn train(
    args: &Args,
    recipe: &str,
    resolved: &Resolved,
    device: &(Device, String),
    (run_dir, goes_on): (RunDir, bool),
    log: &LogFile,
) -> Result<Value, TrainError> {
    let _lock = run_dir.lock()?;
    if goes_on && !args.force_resume {
        resume::compare(&run_dir, &resolved.recipe, &device.1)?;
    }
    // Before any other file: a folder with a configuration is a run to go on with, whenever it is killed.
    run_dir.write_config(&config::to_toml(&resolved.recipe)?)?;
    log.attach(&run_dir.log())?;
    tracing::info!(recipe, run = %run_dir.path().display(), device = %device.1, "run");
    let options = RunOptions { run: run_dir, ui: args.ui, device: device.clone(), goes_on, force: args.force_resume };
    run(resolved, &options)
}
