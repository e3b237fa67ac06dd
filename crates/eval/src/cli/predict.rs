//! The command line of `predict`.

use std::path::PathBuf;

use clap::Args;
use engine::checkpoint::Checkpoint;
use serde_json::json;

use super::compute::Compute;
use crate::error::Result;
use crate::predict::{list, predict};

/// Writes the probability of every class for every image.
#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    /// A run folder or a weights file with a classifier, such as fine-tune writes.
    #[arg(long)]
    weights: PathBuf,
    /// A folder of PNG and JPEG files, or a CSV that names images relative to its folder.
    #[arg(long)]
    images: PathBuf,
    /// Column of the CSV with the image path.
    #[arg(long, default_value = "image_path")]
    image_column: String,
    /// CSV to write: the image as it was named, a column for every class, and why an image could not be read. Such a row has
    /// no probabilities and does not end the run. A command that was stopped goes on from the folder OUT.partial.
    #[arg(long)]
    out: PathBuf,
    /// Prints JSON instead of a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

impl PredictArgs {
    pub(super) fn run(&self) -> Result<String> {
        let tools = self.compute.tools()?;
        let checkpoint = Checkpoint::read(&self.weights)?;
        let listed = list(&self.images, &self.image_column)?;
        let done = predict(&checkpoint, &listed, &self.image_column, &self.out, &tools)?;
        if self.json {
            let told = json!({ "images": done.images, "unreadable": done.unreadable, "file": self.out });
            return Ok(format!("{told:#}\n"));
        }
        let out = self.out.display();
        Ok(format!("{} images, {} of them unreadable, in {out}\n", done.images, done.unreadable))
    }
}
