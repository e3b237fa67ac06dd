//! The command line of `pointing`.

use std::path::{Path, PathBuf};

use clap::Args;
use data::source::parts::PhantomSource;
use engine::checkpoint::Checkpoint;
use serde_json::json;

use super::compute::Compute;
use crate::error::Result;
use crate::explain::{ExplainOptions, Explainer, SentenceVector};
use crate::pointing::pointing;

/// Counts how often the map of a sentence is highest on the finding that the sentence is about, on held-out phantoms with one
/// finding in one place, and how often with the sentence of another finding.
#[derive(Debug, Args)]
pub(super) struct PointingArgs {
    /// A run folder or a model.safetensors with two towers.
    #[arg(long)]
    weights: PathBuf,
    /// Another, whose maps of the same images and sentences are interpolated to the grid of the first.
    #[arg(long)]
    against: Option<PathBuf>,
    /// What the sentence is compared as; default: words where they were aligned with patches, else report.
    #[arg(long, value_enum)]
    sentence_as: Option<SentenceVector>,
    /// Seed of the phantoms, data.source.seed of a recipe.
    #[arg(long, default_value_t = PhantomSource::default().seed)]
    seed: u64,
    #[command(flatten)]
    compute: Compute,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl PointingArgs {
    pub(super) fn run(&self) -> Result<String> {
        let tools = self.compute.tools()?;
        let checkpoint = |weights: &Path, sentence: Option<SentenceVector>| {
            let options = ExplainOptions { sentence, ..ExplainOptions::default() };
            Explainer::new(Checkpoint::read(weights)?, options, &tools.device)
        };
        let explainer = checkpoint(&self.weights, self.sentence_as)?;
        let against = self.against.as_deref().map(|weights| checkpoint(weights, None)).transpose()?;
        let phantoms = PhantomSource { seed: self.seed, ..PhantomSource::default() }.candidates();
        let figures = json!({"pointing": pointing(&explainer, against.as_ref(), &phantoms, &tools)?});
        Ok(if self.json { format!("{figures:#}\n") } else { format!("{}\n", crate::show::table(&figures)) })
    }
}
