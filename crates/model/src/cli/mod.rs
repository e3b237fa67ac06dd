//! The command line of `model`.

mod convert;
mod fetch;
mod hub;
mod inspect;
mod list;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use data::error::DataError;
use model::ModelError;
use model::weights::Target;
use model::zoo::Published;

use self::hub::HubError;

/// Architectures, and files of weights of any known kind.
#[derive(Debug, Parser)]
#[command(name = "roentgen-model", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists architectures with their sizes and costs.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Downloads published weights (in programs with the feature `hub`), checks every file and writes them to a new folder.
    Fetch {
        /// A name that `list` shows with a source.
        #[arg(value_parser = fetch::published)]
        name: Published,
        /// The folder to write, which must be new or empty.
        #[arg(long)]
        out: PathBuf,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says what a file is. Reads headers alone; the hash is taken of the bytes as they pass.
    Inspect {
        /// A file of weights, a run folder or a folder of Hugging Face.
        file: PathBuf,
        /// Lists every tensor.
        #[arg(long)]
        tensors: bool,
        /// Loads the network as well: finds NaN and infinity, and says how long it takes.
        #[arg(long)]
        load: bool,
        /// Prints JSON, every tensor included.
        #[arg(long)]
        json: bool,
    },
    /// Writes weights under the names of another project; what goes back where it came from is byte for byte what it was.
    Convert {
        /// A file of weights, a run folder or a folder of Hugging Face.
        input: PathBuf,
        /// What to write: a file that ends in .safetensors, else a folder, which gets configuration and tokenizer too.
        output: PathBuf,
        /// torchvision, timm, hf, native, original (the names it came with), or a kind as `inspect` names it.
        #[arg(long, value_parser = target)]
        to: Target,
        /// Resamples learned positions for images of this side (px).
        #[arg(long)]
        image_size: Option<usize>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

fn target(name: &str) -> Result<Target, String> {
    name.parse()
}

/// What the commands can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Reading or writing files.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An output that does not suit what is written.
    #[error("{output}: {why}")]
    Output { output: PathBuf, why: &'static str },
    /// A card that cannot be written as TOML.
    #[error("the card of the weights cannot be written: {0}")]
    Card(#[from] toml::ser::Error),
    /// Downloads.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A published file with other content.
    #[error(
        "{file} of {repository} has SHA-256 {found}, expected {expected}: nothing was written, and the copy in the cache is \
         gone; try again, and if the hash stays wrong do not use the file, for it is not the one that was published"
    )]
    Hash { repository: &'static str, file: &'static str, expected: &'static str, found: String },
}

impl CliError {
    /// 2 for wrong arguments, 4 for storage and files that are not the published ones, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Data(error) => error.exit_code(),
            Self::Hub(error) => error.exit_code(),
            Self::Output { .. } => 2,
            Self::Hash { .. } => 4,
            Self::Model(_) | Self::Card(_) => 1,
        }
    }
}

/// Runs the command; the text is for standard output.
pub(crate) fn main(cli: &Cli) -> Result<String, CliError> {
    match &cli.command {
        Command::List { json } => Ok(list::run(*json)),
        Command::Fetch { name, out, json } => fetch::run(name, out, *json),
        Command::Inspect { file, tensors, load, json } => inspect::run(file, *tensors, *load, *json),
        Command::Convert { input, output, to, image_size, json } => {
            convert::run(input, output, *to, *image_size, *json)
        }
    }
}

/// Columns side by side: the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| -> String {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
            let last = i + 1 == columns;
            if i == 0 || last { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
