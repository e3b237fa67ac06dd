//! `--dry-run`: what a run would be, how long one update takes, and what its memory is for.

use std::fmt::Write as _;

use burn::tensor::Device;
use data::record::Dataset;
use engine::clock::{Stopwatch, peak_memory_bytes, resident_memory_bytes};
use serde::Serialize;
use serde_json::json;

use crate::batches::PREFETCH_BYTES;
use crate::error::TrainError;
use crate::recipe::{Recipe, Resolved};
use crate::run::{self, Tried};

/// Memory of the second update by what it is for, when most of it is in use (bytes).
///
/// Parameters, the state of the optimizer, images and the batch are computed from their sizes. What the passes use is counted
/// where it is asked for ([`engine::memory`]), the program and the data are resident memory, and what the allocator has of the
/// system is its own figure. No part is what the others leave of the peak that the system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The program before it reads data: code, threads, tokenizer.
    pub program: u64,
    /// Studies, their reports and tokens; the images that are kept; a batch.
    pub data: u64,
    /// Parameters.
    pub parameters: u64,
    /// Two moments of each parameter that is trained.
    pub optimizer: u64,
    /// What the forward pass leaves for the way back, with the batch on the device.
    pub activations: u64,
    /// What the way back adds: gradients of parameters and of activations, less the activations that are gone by then.
    pub gradients: u64,
    /// Buffers that threads keep from update to update, and what the forward pass holds for a moment beyond the parts above.
    pub work: u64,
    /// Freed memory that the allocator keeps for what comes, and what it rounds up.
    pub spare: u64,
}

impl Memory {
    /// The parts of two updates. `program` is resident memory before the data were read.
    fn new(program: u64, resident: u64, tried: &Tried) -> Self {
        let [first, second] = tried.passes;
        let optimizer = 2 * bytes(tried.trained);
        let passing = second.forward_peak.saturating_sub(second.forward);
        let gradients = second.backward_peak.saturating_sub(second.forward);
        // The first update leaves the moments and the buffers of the threads.
        let kept = first.after.saturating_sub(first.before).saturating_sub(optimizer);
        Self {
            program,
            data: resident.saturating_sub(program) + tried.data.iter().map(|&part| part as u64).sum::<u64>(),
            parameters: bytes(tried.parameters),
            optimizer,
            activations: second.forward.saturating_sub(second.before),
            gradients,
            work: kept + passing.saturating_sub(gradients),
            spare: tried.allocator.saturating_sub(second.forward_peak.max(second.backward_peak)),
        }
    }

    /// All parts together.
    pub fn sum(&self) -> u64 {
        let Self { program, data, parameters, optimizer, activations, gradients, work, spare } = *self;
        program + data + parameters + optimizer + activations + gradients + work + spare
    }
}

/// Memory of numbers in single precision.
fn bytes(numbers: usize) -> u64 {
    (numbers * size_of::<f32>()) as u64
}

/// Memory that a run comes to take beyond that of its first updates while it trains (bytes): images, batches that wait, and
/// the weights and moments of a state that is written. What the allocator keeps grows beside it.
fn later(recipe: &Recipe, tried: &Tried) -> [u64; 3] {
    let [cached, batch] = tried.data;
    let data = &recipe.data;
    // Each worker makes one batch more than there is room for.
    let waiting = if data.num_workers == 0 { 0 } else { PREFETCH_BYTES + data.num_workers * batch };
    [tried.cache.saturating_sub(cached) as u64, waiting as u64, 3 * bytes(tried.trained)]
}

/// Reads the data, makes two updates without keeping anything, and says what it saw.
///
/// # Errors
/// Everything that the run itself would fail with before its first update.
pub fn dry_run(resolved: &Resolved, device: &(Device, String), as_json: bool) -> Result<String, TrainError> {
    let program = resident_memory_bytes();
    let recipe = &resolved.recipe;
    let parts = recipe.data.source.parts()?;
    let mut text = String::new();
    let mut counts = Vec::new();
    for (name, part) in [("train", &parts.train), ("validate", &parts.validate), ("test", &parts.test)] {
        let (studies, images, sentences) = sizes(part);
        counts.push((name, json!({ "studies": studies, "images": images, "sentences": sentences })));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12}{studies:>8} studies {images:>8} images {sentences:>8} sentences");
    }
    if let Some(texts) = &recipe.data.texts {
        let texts = texts.read()?;
        let (reports, sentences) =
            (texts.reports.len(), texts.reports.iter().map(|report| report.sentences.len()).sum::<usize>());
        counts.push(("texts", json!({ "reports": reports, "sentences": sentences })));
        let _ = writeln!(text, "texts       {reports:>8} reports {sentences:>25} sentences");
    }
    let clock = Stopwatch::start();
    let tried = run::try_updates(resolved, &parts, &device.0)?;
    let peak = peak_memory_bytes();
    let (parameters, seconds) = (tried.parameters, tried.seconds);
    let rate = recipe.data.batch_size as f64 / seconds;
    let whole = seconds * recipe.run.steps as f64;
    // Other devices have memory of their own, which is counted nowhere.
    let memory = match (program, tried.resident, device.1.as_str()) {
        (Some(program), Some(resident), "cpu" | "cpu-plain" | "ndarray") => {
            Some(Memory::new(program, resident, &tried))
        }
        _ => None,
    };
    if as_json {
        let mut figures = json!({
            "data": counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<serde_json::Map<_, _>>(),
            "parameters": parameters,
            "trained_parameters": tried.trained,
            "device": device.1,
            "update_seconds": seconds,
            "images_per_second": rate,
            "run_seconds": whole,
            "peak_memory_bytes": peak,
            "checked_seconds": clock.seconds(),
        });
        if let Some(memory) = memory {
            figures["memory_bytes"] = json!(memory);
            figures["memory_bytes"]["sum"] = json!(memory.sum());
            let [images, batches, state] = later(recipe, &tried);
            figures["run_adds_bytes"] = json!({ "images": images, "batches": batches, "state": state });
        }
        return Ok(format!("{figures:#}\n"));
    }
    let _ = writeln!(text, "parameters  {parameters:>8}");
    let _ = writeln!(text, "device      {:>8}", device.1);
    let _ = writeln!(text, "update      {seconds:>8.3} s ({rate:.1} images/s)");
    let _ = writeln!(text, "whole run   {:>8.1} min", whole / 60.0);
    text += &match &memory {
        Some(memory) => table(memory, peak, recipe, &tried),
        None => lines(&[
            ("parameters", bytes(parameters), String::new()),
            ("gradients", bytes(tried.trained), String::new()),
            ("optimizer", 2 * bytes(tried.trained), String::new()),
        ]),
    };
    if let Some(peak) = peak {
        let _ = writeln!(text, "peak memory {:>8.2} GiB", peak as f64 / f64::from(1 << 30));
    }
    let _ = writeln!(text, "checked in  {:>8.1} s", clock.seconds());
    Ok(text)
}

/// Studies, images and sentences of a part.
fn sizes(part: &Dataset) -> (usize, usize, usize) {
    let images = part.studies.iter().map(|study| study.images.len()).sum();
    let sentences = part.studies.iter().map(|study| study.sentences.len()).sum();
    (part.studies.len(), images, sentences)
}

/// The parts with what they hold, their sum beside the measured peak, and what a run adds.
fn table(memory: &Memory, peak: Option<u64>, recipe: &Recipe, tried: &Tried) -> String {
    let [cached, batch] = tried.data.map(|part| part as u64);
    let of_parameters = mib(bytes(tried.trained));
    let share =
        |peak: u64| format!("{:.0} % of the peak that the system tells", 100.0 * memory.sum() as f64 / peak as f64);
    let [images, waiting, state] = later(recipe, tried);
    lines(&[
        ("program", memory.program, "before it reads data".to_owned()),
        ("data", memory.data, format!("of it {} images that are kept, {} a batch", mib(cached), mib(batch))),
        ("parameters", memory.parameters, String::new()),
        ("optimizer", memory.optimizer, "two moments of each trained parameter".to_owned()),
        ("activations", memory.activations, "after the forward pass".to_owned()),
        ("gradients", memory.gradients, format!("while activations go; {of_parameters} of the parameters at the end")),
        ("work", memory.work, "buffers of the threads, values in passing".to_owned()),
        ("spare", memory.spare, "freed, and kept by the allocator".to_owned()),
        ("sum", memory.sum(), peak.map_or_else(String::new, share)),
        (
            "a run adds",
            images + waiting + state,
            format!(
                "{} images, {} batches that wait, {} a state; spare grows too",
                mib(images),
                mib(waiting),
                mib(state)
            ),
        ),
    ])
}

fn lines(rows: &[(&str, u64, String)]) -> String {
    let mut text = "memory\n".to_owned();
    for (name, bytes, what) in rows {
        let line = format!("  {name:<12}{:>8} MiB  {what}", mib(*bytes));
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number of bytes in MiB.
fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
