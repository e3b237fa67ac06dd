//! `roentgen-data`: looks at data sources.

mod cli;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use data::error::DataError;

fn main() -> ExitCode {
    // Warnings alone: results are printed.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    let Err(error) = cli::run(&cli::Cli::parse()) else { return ExitCode::SUCCESS };
    // Somebody who reads only the first lines of the output closes the pipe: that is no failure.
    let closed = error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
    if closed {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    error.downcast_ref::<DataError>().map_or(ExitCode::FAILURE, |known| ExitCode::from(known.exit_code()))
}
