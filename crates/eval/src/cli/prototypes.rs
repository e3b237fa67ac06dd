//! The command line of `prototypes`.

use std::path::PathBuf;

use clap::Args;
use engine::checkpoint::Checkpoint;
use engine::run_dir::RunDir;

use super::compute::Compute;
use super::dataset::DataArgs;
use crate::error::Result;
use crate::prototypes::record::{Shown, write};
use crate::tasks::Towers;

/// Shows what the prototypes of a model stand for: nearest images and reports, how many belong to each, and the label that most
/// of its images share.
#[derive(Debug, Args)]
pub(super) struct PrototypeArgs {
    /// A run folder or a model.safetensors with prototypes, such as the objective mgca trains.
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// New folder for the numbers, prototypes.json, the table, prototypes.txt, and the nearest images, prototypes.png: a row
    /// for each prototype.
    #[arg(long)]
    out: PathBuf,
    /// Nearest images and reports of each prototype.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    top: u16,
    /// Shows this many prototypes, those with most images; default: all.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    count: Option<u16>,
    /// Quotes reports. Without it nothing but rows of the manifest names a study.
    #[arg(long)]
    show_text: bool,
    #[command(flatten)]
    compute: Compute,
    /// Prints the content of prototypes.json instead of the table.
    #[arg(long)]
    json: bool,
}

impl PrototypeArgs {
    pub(super) fn run(&self) -> Result<String> {
        let tools = self.compute.tools()?;
        let checkpoint = Checkpoint::read(&self.weights)?;
        if checkpoint.card.model.alignment().is_none() {
            // Said before anything is read that would be read in vain.
            return Err(crate::prototypes::none_of_them());
        }
        let (tokenizer, text) = checkpoint.tokenizer()?;
        let towers = Towers::new(&checkpoint, &tokenizer, text.max_tokens, &tools)?;
        let (dataset, _) = self.data.dataset()?;
        let out = RunDir::create(&self.out)?;
        let task = towers.prototypes(&dataset, usize::from(self.top))?;
        let shown = Shown { count: self.count.map(usize::from), text: self.show_text };
        let (record, table) =
            write(out.path(), &task.found, task.set(), &task.store, &checkpoint.card.preprocess, shown)?;
        Ok(if self.json { format!("{record:#}\n") } else { table })
    }
}
