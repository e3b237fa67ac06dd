//! Probabilities of a classifier for images without labels.

use std::path::Path;

use data::demographics::Demographics;
use data::error::DataError;
use data::fsx;
use data::image::Plane;
use data::record::{Dataset, ImageSource, Phi, Split, Study};
use data::source::image_list::{self, Listed};
use data::store::ImageStore;
use engine::checkpoint::Checkpoint;
use model::card::Preprocess;
use rayon::prelude::*;

use crate::embed::seen;
use crate::error::{EvalError, Result};
use crate::partial::Partial;
use crate::tasks::Tools;

/// Name of the column that says why an image has no probabilities.
pub const REASON: &str = "error";

/// The rows of a command that is under way, one JSON array a line.
const ROWS: &str = "rows.jsonl";
/// Bound on them (bytes).
const MAX_ROWS_BYTES: u64 = 1 << 32;

/// What a call of [`predict`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predicted {
    /// Rows written.
    pub images: usize,
    /// Rows without probabilities.
    pub unreadable: usize,
}

/// The images of a folder, or those that `column` of a CSV names.
///
/// # Errors
/// As [`image_list::folder`] and [`image_list::csv`].
pub fn list(images: &Path, column: &str) -> Result<Vec<Listed>> {
    Ok(if images.is_dir() { image_list::folder(images)? } else { image_list::csv(images, column)? })
}

/// Writes a CSV with one row for each image, in their order: the image as the list names it (under `column`), the
/// probability of every class, and the reason where an image cannot be used, with blanks for its probabilities. At most
/// [`Tools::batch_size`] images are in memory. A call that was stopped goes on from the folder `OUT.partial`.
///
/// # Errors
/// A checkpoint without a classifier, a score that is no number, a file that cannot be written.
pub fn predict(
    checkpoint: &Checkpoint,
    listed: &[Listed],
    column: &str,
    out: &Path,
    tools: &Tools,
) -> Result<Predicted> {
    let model = checkpoint.image_classifier(&tools.device)?;
    let preprocess = &checkpoint.card.preprocess;
    let (classes, size) = (&checkpoint.card.classes, preprocess.image_size);
    let partial = Partial::open(out, &digest(checkpoint, listed, column)?)?;
    let path = partial.folder().join(ROWS);
    let mut rows = rows_of(&path, classes.len())?;
    rows.truncate(listed.len());
    let mut journal = fsx::LineLog::open(&path)?;
    tools.progress("predict", listed.len(), |tick| {
        for chunk in listed[rows.len()..].chunks(tools.batch_size.max(1)) {
            let planes = decode(chunk, preprocess);
            let sound: Vec<&Plane> = planes.iter().filter_map(|plane| plane.as_ref().ok()).collect();
            let pixels: Vec<f32> = sound.iter().flat_map(|plane| plane.data.iter().copied()).collect();
            let mut probabilities = Vec::new();
            if !sound.is_empty() {
                let logits = model.forward(preprocess.images(&pixels, sound.len(), size, &tools.device));
                let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
                let rows = logits.chunks_exact(classes.len().max(1));
                probabilities = rows.flat_map(|row| checkpoint.card.label_kind.probabilities(row)).collect();
            }
            let mut found = probabilities.chunks_exact(classes.len().max(1));
            for plane in &planes {
                let mut row: Vec<String> = match plane {
                    Ok(_) => found.next().unwrap_or_default().iter().map(|p| format!("{p:.6}")).collect(),
                    Err(_) => vec![String::new(); classes.len()],
                };
                row.push(plane.as_ref().err().cloned().unwrap_or_default());
                journal.line(&serde_json::to_string(&row).map_err(|error| written_to(&path, error))?)?;
                rows.push(row);
            }
            tick(rows.len())?;
        }
        Ok(())
    })?;
    let failed = |error: csv::Error| written_to(out, error);
    let mut table = csv::Writer::from_writer(Vec::new());
    let header = std::iter::once(column).chain(classes.iter().map(String::as_str)).chain([REASON]);
    table.write_record(header).map_err(failed)?;
    for (image, row) in listed.iter().zip(&rows) {
        let fields = std::iter::once(image.name.expose()).chain(row);
        table.write_record(fields).map_err(failed)?;
    }
    let bytes = table.into_inner().map_err(|error| written_to(out, error.into_error()))?;
    fsx::write_atomic(out, &bytes)?;
    partial.finish()?;
    let unreadable = rows.iter().filter(|row| row.last().is_some_and(|reason| !reason.is_empty())).count();
    Ok(Predicted { images: listed.len(), unreadable })
}

/// What the rows depend on.
fn digest(checkpoint: &Checkpoint, listed: &[Listed], column: &str) -> Result<String> {
    let weights = fsx::sha256_file(&checkpoint.weights.source.path)?;
    let (version, images) = (env!("CARGO_PKG_VERSION"), image_list::fingerprint(listed));
    Ok(fsx::sha256_hex(format!("{version} {weights} {column} {:?} {images}", checkpoint.card).as_bytes()))
}

/// The rows of a command that was stopped, in the order of the images: probabilities as text, and the reason. One that was torn
/// is made again.
fn rows_of(path: &Path, classes: usize) -> Result<Vec<Vec<String>>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fsx::read_capped(path, MAX_ROWS_BYTES)?;
    let row = |line: &str| serde_json::from_str::<Vec<String>>(line).ok().filter(|row| row.len() == classes + 1);
    Ok(String::from_utf8_lossy(&text).lines().filter_map(row).collect())
}

fn written_to(out: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EvalError {
    DataError::Io { action: "write", path: out.to_path_buf(), source: std::io::Error::other(error) }.into()
}

/// The images as a model sees them; what is wrong with each that cannot be read.
pub(crate) fn decode(chunk: &[Listed], preprocess: &Preprocess) -> Vec<Result<Plane, String>> {
    let study = |image: &Listed| Study {
        patient_id: Phi::new(String::new()),
        study_id: Phi::new(String::new()),
        images: image.path.iter().map(|path| ImageSource::File(path.clone())).collect(),
        sentences: Vec::new(),
        labels: Vec::new(),
        view: String::new(),
        demographics: Demographics::default(),
        split: Split::Test,
        row: image.row,
    };
    let dataset = Dataset { studies: chunk.iter().map(study).collect(), ..Dataset::default() };
    let store = ImageStore::new(&dataset, preprocess.source_size, 0);
    let load = |(place, image): (usize, &Listed)| match &image.path {
        Err(fault) => Err(fault.to_string()),
        Ok(_) => seen(&store, place, 0, preprocess).map_err(|error| match error {
            DataError::Sample { fault, .. } => fault.to_string(),
            other => other.to_string(),
        }),
    };
    chunk.par_iter().enumerate().map(load).collect()
}
