//! The command line of `zero-shot`.

use std::path::{Path, PathBuf};

use clap::Args;
use data::prompt::PromptSet;
use engine::checkpoint::Checkpoint;
use serde_json::Value;

use super::Common;
use super::dataset::LabelArgs;
use crate::error::Result;
use crate::zero_shot::task::{Against, ZeroShotTask};
use crate::zero_shot::{NumPrompts, Rule, Sampling, told};

/// Classifies images by prompts, without having seen a label.
#[derive(Debug, Args)]
pub(super) struct ZeroShotArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    labels: LabelArgs,
    /// A built-in set (phantom, chexpert, rsna, covid or gloria), or a TOML or JSON file of classes and their sentences or
    /// parts: see datasets/prompts/README.md.
    #[arg(long, default_value = "phantom")]
    prompts: PathBuf,
    /// How the sentences of a class become one score.
    #[arg(long, value_enum, default_value_t)]
    rule: Rule,
    /// Sentences drawn of every list of a class, or all.
    #[arg(long, default_value = "all")]
    num_prompts: NumPrompts,
    /// Draws of sentences (MedCLIP: 5, of 10 each). A figure is the mean over them; its interval is that of this mean over
    /// resampled patients.
    #[arg(long, default_value_t = 1)]
    samplings: u64,
    /// Seed of the draws, and of random weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// T of the rule, by which cosines are divided. It orders no two images of a class differently.
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Another run folder or weights file, or the word random for the same architecture with random weights: also prints its
    /// figures and the paired difference.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Prints the sentences that were used.
    #[arg(long)]
    show_text: bool,
}

impl ZeroShotArgs {
    pub(super) fn run(&self) -> Result<String> {
        let tools = self.common.tools(&[])?;
        let checkpoint = self.common.dual_encoder()?;
        let against = self.against.as_deref().map(against).transpose()?;
        let task = ZeroShotTask {
            set: PromptSet::open(&self.prompts)?,
            rule: self.rule,
            sampling: Sampling { num_prompts: self.num_prompts, seed: self.seed, samplings: self.samplings },
            temperature: self.temperature,
            stratify: self.labels.stratify(),
            show_text: self.show_text,
        };
        let dataset = self.common.data.labelled(&self.labels)?;
        let mut figures = Value::Object(task.run(&checkpoint, against.as_ref(), &dataset, &tools)?);
        if self.common.json {
            return Ok(format!("{figures:#}\n"));
        }
        let settings = figures["settings"].take();
        if let Some(figures) = figures.as_object_mut() {
            figures.remove("settings");
        }
        Ok(format!("{}\n{}", crate::show::table(&figures), told(&settings)))
    }
}

/// The other model, which must have both towers and its tokenizer: refused before any image is read.
fn against(weights: &Path) -> Result<Against> {
    if weights == Path::new("random") {
        return Ok(Against::Random);
    }
    let checkpoint = Checkpoint::read(weights)?;
    checkpoint.dual_config()?;
    checkpoint.tokenizer()?;
    Ok(Against::Checkpoint(Box::new(checkpoint)))
}
