//! Going on with a run that stopped: which folder, and whether it is still the same run.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use engine::EngineError;
use engine::config;
use engine::device::compiled;
use engine::run_dir::{Environment, RunDir};
use engine::state::Origin;
use serde::Serialize;

use crate::error::TrainError;
use crate::recipe::Recipe;

/// What to do with a run that stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resume {
    /// Goes on with an unfinished run in `--out`.
    #[default]
    Auto,
    /// Refuses a folder that holds a run.
    Never,
    /// Goes on with the run in a folder.
    Run(PathBuf),
}

impl FromStr for Resume {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            "never" => Self::Never,
            path => Self::Run(PathBuf::from(path)),
        })
    }
}

/// Compares the configuration that a run was started with to the one it is to go on with.
///
/// # Errors
/// [`EngineError::Changed`] with a line for each difference that matters.
pub fn compare(run: &RunDir, recipe: &Recipe, device: &str) -> Result<(), TrainError> {
    let environment = environment(recipe, device)?;
    let read = |path: PathBuf| data::fsx::read_capped(&path, 1 << 20);
    let old = String::from_utf8_lossy(&read(run.config())?).into_owned();
    let mut changed = differences(&old, recipe)?;
    if !recipe.optim.schedule.looks_ahead() {
        // More or fewer updates, all of them the same.
        changed.retain(|(key, _)| key != "run.steps");
    }
    let mut difference: Vec<String> = changed.into_iter().map(|(_, line)| format!("  {line}")).collect();
    // A run that stopped before it wrote its environment has saved nothing that could differ.
    if let Ok(bytes) = read(run.environment())
        && let Ok(old) = serde_json::from_slice::<Environment>(&bytes)
    {
        for (what, old, new) in
            [("version", &old.version, &environment.version), ("version of Burn", &old.burn, &environment.burn)]
        {
            if old != new {
                difference.push(format!("  {what}: {old}, now {new}"));
            }
        }
    }
    refuse(run, difference)
}

/// Compares what the saved state of a run was made from with what it is to go on with: files, which a configuration names
/// and does not hold.
///
/// # Errors
/// [`EngineError::Changed`].
pub fn compare_origin(run: &RunDir, old: &Origin, new: &Origin) -> Result<(), TrainError> {
    let mut difference = Vec::new();
    if old.data_sha256 != new.data_sha256 {
        difference.push("  the studies to train on are others".to_owned());
    }
    if old.tokenizer_sha256 != new.tokenizer_sha256 {
        difference.push("  the tokenizer is another".to_owned());
    }
    refuse(run, difference)
}

/// What a run of this program depends on besides its configuration.
///
/// # Errors
/// If the configuration cannot be written as text.
pub fn environment(recipe: &Recipe, device: &str) -> Result<Environment, TrainError> {
    Ok(Environment::new(device, &compiled(), &config::sha256(recipe)?))
}

/// SHA-256 of the values that decide what is learned, for the card of the weights: runs that must end alike have the same.
///
/// # Errors
/// If the configuration cannot be written as text.
pub fn learned_sha256(recipe: &Recipe) -> Result<String, TrainError> {
    // Phantoms that are held out are for the figures alone.
    let counts = |key: &str| !config::FREE.contains(&key) && key != "data.source.test";
    let lines = config::flat(recipe)?.into_iter().filter(|(key, _)| counts(key));
    let text: Vec<String> = lines.map(|(key, value)| format!("{key} = {value}\n")).collect();
    Ok(data::fsx::sha256_hex(text.concat().as_bytes()))
}

/// An error where there are differences.
fn refuse(run: &RunDir, difference: Vec<String>) -> Result<(), TrainError> {
    if difference.is_empty() {
        return Ok(());
    }
    Err(EngineError::Changed { path: run.path().to_owned(), difference }.into())
}

/// Lines of the keys that decide what is learned and have other values now.
fn differences<T: Serialize>(old: &str, new: &T) -> Result<Vec<(String, String)>, TrainError> {
    let mut all = config::differences(old, new)?;
    all.retain(|(key, _)| !config::FREE.contains(&key.as_str()));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learned_must_not_change_and_the_rest_may() {
        let old = "[run]\nsteps = 5\nlog_every = 1\n[optim]\nlr = 1e-3\n[eval]\nks = [5]";
        let lines = |new: &str| -> Vec<String> {
            let new: toml::Table = new.parse().unwrap();
            differences(old, &new).unwrap().into_iter().map(|(_, line)| line).collect()
        };
        let same = "[run]\nsteps = 5\nlog_every = 7\n[optim]\nlr = 0.001\n[eval]\nks = [5, 10]";
        assert_eq!(lines(same), Vec::<String>::new());
        let new = "[run]\nsteps = 6\n[optim]\nlr = 1e-3\nkind = \"adam\"";
        assert_eq!(lines(new), ["optim.kind: absent, now \"adam\"", "run.steps: 5, now 6"]);
    }

    #[test]
    fn the_argument_is_a_word_or_a_folder() {
        let parse = |text: &str| text.parse::<Resume>().unwrap_or_default();
        assert_eq!(parse("never"), Resume::Never);
        assert_eq!(parse("runs/a"), Resume::Run(PathBuf::from("runs/a")));
    }
}
