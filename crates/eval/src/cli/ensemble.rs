//! The command line of `ensemble`.

use std::path::PathBuf;

use clap::Args;
use data::prompt::PromptSet;
use engine::checkpoint::Checkpoint;
use serde_json::Value;

use super::compute::{Compute, Keep};
use super::dataset::{DataArgs, LabelArgs};
use crate::ensemble::ensemble;
use crate::error::Result;
use crate::metric::Bootstrap;
use crate::tasks::Tools;
use crate::zero_shot::task::ZeroShotTask;
use crate::zero_shot::{NumPrompts, Rule, Sampling};

/// Averages several checkpoints: classifiers by their probabilities, pairs of towers by their zero-shot scores.
#[derive(Debug, Args)]
pub(super) struct EnsembleArgs {
    /// A run folder or a weights file, twice or more; each with its own preprocessing and tokenizer.
    #[arg(long, required = true)]
    weights: Vec<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    labels: LabelArgs,
    /// Prompts of zero-shot members, as of zero-shot.
    #[arg(long, default_value = "phantom")]
    prompts: PathBuf,
    /// How the sentences of a class become one score, as of zero-shot. Scores of members are averaged as the rule gives them:
    /// those of `pair` are probabilities, those of `z-score` have equal spread.
    #[arg(long, value_enum, default_value_t)]
    rule: Rule,
    /// T of the rule.
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Resamples of an interval.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    compute: Compute,
}

impl EnsembleArgs {
    pub(super) fn run(&self) -> Result<String> {
        let bootstrap = Bootstrap { resamples: self.resamples, ..Bootstrap::default() };
        let tools = self.keep.tools(Tools { bootstrap, ..self.compute.tools()? });
        let members = self.weights.iter().map(|weights| Ok(Checkpoint::read(weights)?)).collect::<Result<Vec<_>>>()?;
        let zero_shot = ZeroShotTask {
            set: PromptSet::open(&self.prompts)?,
            rule: self.rule,
            sampling: Sampling { num_prompts: NumPrompts::All, seed: 0, samplings: 1 },
            temperature: self.temperature,
            stratify: self.labels.stratify(),
            show_text: false,
        };
        let dataset = self.data.labelled(&self.labels)?;
        let figures = Value::Object(ensemble(&members, &zero_shot, &dataset, &tools)?);
        Ok(if self.json { format!("{figures:#}\n") } else { format!("{}\n", crate::show::table(&figures)) })
    }
}
