//! The command line of `table`.

use std::path::PathBuf;

use clap::Args;
use data::fsx;
use engine::interrupt::Interrupts;

use super::compute::Compute;
use crate::error::Result;
use crate::partial::{in_use, lock};
use crate::tables::{TableRecipe, Trainer};
use crate::tasks::Tools;

/// Makes `ConVIRT`'s tables for several methods: linear probes by share of the labels, images found by image and by sentence.
/// Trains what is missing; started again, it goes on where it was stopped.
#[derive(Debug, Args)]
pub(super) struct TableArgs {
    /// A built-in table (mini: the small recipe of every method on phantoms), or a file such as models/tables/mini.toml.
    #[arg(default_value = "mini")]
    recipe: String,
    /// Folder for the runs, the probes on them and the figures, table.json.
    #[arg(long)]
    out: PathBuf,
    /// The program that trains; default: roentgen-train beside this one.
    #[arg(long)]
    train: Option<PathBuf>,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

impl TableArgs {
    pub(super) fn run(&self) -> Result<String> {
        let recipe = TableRecipe::open(&self.recipe)?;
        let mut trainer = Trainer::beside(self.compute.device(), self.compute.ui())?;
        if let Some(program) = &self.train {
            trainer.program.clone_from(program);
        }
        fsx::create_private_dir(&self.out)?;
        let Some(_lock) = lock(&self.out.join(".lock"))? else { return Err(in_use(&self.out)) };
        let tools = Tools { interrupts: Interrupts::listen(&self.out)?, ..self.compute.tools()? };
        let tables = recipe.run(&self.out, &trainer, &tools)?;
        let json = format!("{:#}\n", tables.json());
        fsx::write_atomic(&self.out.join("table.json"), json.as_bytes())?;
        Ok(if self.json { json } else { tables.to_string() })
    }
}
