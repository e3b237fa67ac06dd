//! `--dry-run`: what a run would be, and how long one update takes.

use std::fmt::Write as _;

use burn::tensor::Device;
use engine::clock::{Stopwatch, peak_memory_bytes};

use crate::error::TrainError;
use crate::recipe::Resolved;
use crate::run;

/// Reads the data, makes two updates without keeping anything, and says what it saw.
///
/// # Errors
/// Everything that the run itself would fail with before its first update.
pub fn dry_run(resolved: &Resolved, device: &(Device, String)) -> Result<String, TrainError> {
    let recipe = &resolved.recipe;
    let parts = recipe.data.source.parts()?;
    let mut text = String::new();
    for (name, part) in [("train", &parts.train), ("validate", &parts.validate), ("test", &parts.test)] {
        let images: usize = part.studies.iter().map(|study| study.images.len()).sum();
        let sentences: usize = part.studies.iter().map(|study| study.sentences.len()).sum();
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{name:<12}{:>8} studies {images:>8} images {sentences:>8} sentences", part.studies.len());
    }
    if let Some(texts) = &recipe.data.texts {
        let texts = texts.read()?;
        let sentences: usize = texts.reports.iter().map(|report| report.sentences.len()).sum();
        let _ = writeln!(text, "texts       {:>8} reports {sentences:>25} sentences", texts.reports.len());
    }
    let clock = Stopwatch::start();
    let (parameters, seconds) = run::time_updates(resolved, &parts, &device.0)?;
    let _ = writeln!(text, "parameters  {parameters:>8}");
    let _ = writeln!(text, "device      {:>8}", device.1);
    let _ = writeln!(text, "update      {seconds:>8.3} s ({:.1} images/s)", recipe.data.batch_size as f64 / seconds);
    let _ = writeln!(text, "whole run   {:>8.1} min", seconds * recipe.run.steps as f64 / 60.0);
    if let Some(bytes) = peak_memory_bytes() {
        let _ = writeln!(text, "peak memory {:>8.2} GiB", bytes as f64 / f64::from(1 << 30));
    }
    let _ = writeln!(text, "checked in  {:>8.1} s", clock.seconds());
    Ok(text)
}
