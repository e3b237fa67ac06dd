//! The runs of a table, trained by the program `train` where they are missing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use data::error::DataError;
use data::fsx;
use engine::config;
use engine::progress::Ui;

use super::{PROBES, Row};
use crate::downstream::kept::made_otherwise;
use crate::error::{EvalError, Result};
use crate::tasks::Tools;

/// Name of the program that trains.
pub(super) const PROGRAM: &str = "roentgen-train";
/// How long a run may take to end by itself after a signal, before it is asked to.
const COURTESY: Duration = Duration::from_secs(1);
/// How long it may take to save its state.
const PATIENCE: Duration = Duration::from_mins(1);

/// A run of a row.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) folder: PathBuf,
    /// Where the probes on it are kept.
    pub(super) probes: PathBuf,
    /// What `train` is given.
    arguments: Vec<String>,
}

impl Run {
    pub(super) fn new(row: &Row, seed: u64, set: &[String], out: &Path) -> Self {
        let folder = format!("{}-{seed}", row.folder());
        let mut arguments = vec![row.recipe.clone(), "--seed".to_owned(), seed.to_string()];
        arguments.extend(set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        let probes = out.join(PROBES).join(&folder);
        Self { name: row.name.clone(), seed, folder: out.join(folder), probes, arguments }
    }

    fn is_finished(&self) -> bool {
        self.folder.join("eval.json").is_file()
    }
}

/// The program that trains.
#[derive(Debug, Clone)]
pub struct Trainer {
    /// Where it lies.
    pub program: PathBuf,
    /// Its `--device`.
    pub device: String,
    /// Its style of progress.
    pub ui: Ui,
}

impl Trainer {
    fn command(&self, run: &Run) -> Command {
        let mut command = Command::new(&self.program);
        // A variable that names a folder for one run must not name it for all.
        command.args(&run.arguments).args(["--device", &self.device]).env_remove("ROENTGEN_OUT").stdin(Stdio::null());
        command
    }

    fn failed(&self, source: std::io::Error) -> EvalError {
        if source.kind() != std::io::ErrorKind::NotFound {
            return DataError::Io { action: "start", path: self.program.clone(), source }.into();
        }
        let what = format!(
            "this program trains the runs of a table, and it is not there: build it (cargo build --release -p train) or name \
             another with --train; it is called {PROGRAM}"
        );
        EvalError::Unfit { data: self.program.display().to_string(), what }
    }

    /// Makes sure that a run can be trained, and that one which is finished was made with the same settings.
    ///
    /// # Errors
    /// If not, with what `train` says.
    pub(super) fn check(&self, run: &Run) -> Result<()> {
        let output = self.command(run).arg("--print-config").output().map_err(|source| self.failed(source))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
            return Err(ended(run, output.status, &said));
        }
        if !run.is_finished() {
            return Ok(());
        }
        let old = fsx::read_capped(&run.folder.join("config.toml"), 1 << 20)?;
        let new = String::from_utf8_lossy(&output.stdout).parse::<toml::Table>().unwrap_or_default();
        let mut changed =
            config::differences(&String::from_utf8_lossy(&old), &new).map_err(engine::EngineError::from)?;
        changed.retain(|(key, _)| !config::FREE.contains(&key.as_str()));
        if changed.is_empty() {
            return Ok(());
        }
        let what = made_otherwise(&changed, "give the old ones, delete the run, or take another --out");
        Err(EvalError::Unfit { data: run.folder.display().to_string(), what })
    }

    /// Trains a run that is not finished, from where it was stopped. `place` is its number and that of all runs.
    ///
    /// # Errors
    /// If the program fails, or a signal asks this one to end.
    pub(super) fn train(&self, run: &Run, place: (usize, usize), tools: &Tools) -> Result<()> {
        if run.is_finished() {
            return Ok(());
        }
        tracing::info!(run = place.0, of = place.1, method = %run.name, seed = run.seed, "training");
        let mut command = self.command(run);
        command.arg("--out").arg(&run.folder).args(["--ui", &self.ui.to_string()]).stdout(Stdio::null());
        let mut child = command.spawn().map_err(|source| self.failed(source))?;
        // When a signal came, and whether it was passed on.
        let mut asked: Option<(u8, Instant, bool)> = None;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => sleep(Duration::from_millis(20)),
                Err(source) => return Err(self.failed(source)),
            }
            match (&mut asked, tools.interrupts.signal()) {
                (None, Some(signal)) => asked = Some((signal, Instant::now(), false)),
                // A terminal sends its signal to both programs; a second one would end the run before its state is saved. What
                // does not end by itself is asked, and then goes on later from the state before.
                (Some((_, since, passed)), _) if !*passed && since.elapsed() > COURTESY => {
                    *passed = true;
                    pass_on(&child);
                }
                (Some((_, since, _)), _) if since.elapsed() > PATIENCE => {
                    let _ = child.kill();
                }
                _ => {}
            }
        };
        if let Some((signal, ..)) = asked {
            return Err(EvalError::Interrupted { signal });
        }
        match status.success() {
            true if run.is_finished() => Ok(()),
            true => Err(ended(run, status, "it wrote no figures: is it the program that trains?")),
            // It has said why.
            false => Err(ended(run, status, "its message is above")),
        }
    }
}

/// Asks a run to save its state and end.
fn pass_on(child: &Child) {
    if cfg!(unix) {
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    }
}

fn ended(run: &Run, status: ExitStatus, said: &str) -> EvalError {
    let how = status.code().map_or_else(|| "was killed".to_owned(), |code| format!("ended with code {code}"));
    let what = format!("training {} with seed {} {how}: {said}", run.name, run.seed);
    EvalError::Unfit { data: run.folder.display().to_string(), what }
}
