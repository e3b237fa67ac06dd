//! `roentgen-train`: see [`train::cli`].

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use model::ops::Counted;
use train::cli::{Args, main as run};

/// Freed memory goes back to the same size classes, which tensors of a training step ask for again and again. `--dry-run`
/// counts it.
#[global_allocator]
static ALLOCATOR: Counted<mimalloc::MiMalloc> = Counted(mimalloc::MiMalloc);

fn main() -> ExitCode {
    model::ops::keep_memory();
    data::phi::hide_panics();
    // Tests build this program with failpoints, which they switch by the environment.
    let _failpoints = fail::has_failpoints().then(fail::FailScenario::setup);
    match run(&Args::parse()) {
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
