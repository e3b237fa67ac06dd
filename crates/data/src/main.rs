//! `roentgen-data`: looks at data sources.

mod cli;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use data::error::DataError;

fn main() -> ExitCode {
    data::phi::hide_panics();
    let cli = cli::Cli::parse();
    // Results are printed, so that warnings alone are told unasked.
    let level = match cli.verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    let Err(error) = cli::run(&cli) else { return ExitCode::SUCCESS };
    // Somebody who reads only the first lines of the output closes the pipe: that is no failure.
    let closed = error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
    if closed {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    error.downcast_ref::<DataError>().map_or(ExitCode::FAILURE, |known| ExitCode::from(known.exit_code()))
}
