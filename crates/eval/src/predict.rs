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
use crate::tasks::Tools;

/// Name of the column that says why an image has no probabilities.
pub const REASON: &str = "error";

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
/// [`Tools::batch_size`] images are in memory.
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
    let failed = |error: csv::Error| written_to(out, error);
    let mut table = csv::Writer::from_writer(Vec::new());
    let header = std::iter::once(column).chain(classes.iter().map(String::as_str)).chain([REASON]);
    table.write_record(header).map_err(failed)?;
    let mut unreadable = 0;
    tools.progress("predict", listed.len(), |tick| {
        for (chunk, first) in listed.chunks(tools.batch_size.max(1)).zip((0..).step_by(tools.batch_size.max(1))) {
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
            let mut rows = probabilities.chunks_exact(classes.len().max(1));
            for (image, plane) in chunk.iter().zip(&planes) {
                let mut fields = vec![image.name.expose().clone()];
                match plane {
                    Ok(_) => fields.extend(rows.next().unwrap_or_default().iter().map(|p| format!("{p:.6}"))),
                    Err(_) => fields.extend(classes.iter().map(|_| String::new())),
                }
                fields.push(plane.as_ref().err().cloned().unwrap_or_default());
                table.write_record(&fields).map_err(failed)?;
                unreadable += usize::from(plane.is_err());
            }
            tick(first + chunk.len())?;
        }
        Ok(())
    })?;
    let bytes = table.into_inner().map_err(|error| written_to(out, error.into_error()))?;
    fsx::write_atomic(out, &bytes)?;
    Ok(Predicted { images: listed.len(), unreadable })
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
