//! `roentgen-eval`: see [`eval::cli`].

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use eval::cli::{Cli, main as run};

/// Freed memory goes back to the same size classes, which tensors of a training step ask for again and again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    model::ops::keep_memory();
    data::phi::hide_panics();
    match run(&Cli::parse()) {
        // A closed pipe (`| head`) is no failure.
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
