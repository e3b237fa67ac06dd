//! What comparisons of several runs share: figures of runs that were finished before, and cells of a table.

use std::path::Path;

use data::error::DataError;
use engine::table::{interval, number};
use serde_json::Value;

use crate::error::TrainError;

/// The figures of a run that was finished before.
///
/// # Errors
/// Figures that cannot be read.
pub(crate) fn finished(folder: &Path) -> Result<Option<Value>, TrainError> {
    let path = folder.join("eval.json");
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = data::fsx::read_capped(&path, 16 << 20)?;
    let figures = serde_json::from_slice(&bytes).map_err(|error| DataError::Io {
        action: "read the figures of",
        path,
        source: error.into(),
    })?;
    Ok(Some(figures))
}

/// A number of a figure, by the JSON pointer of the figure; `None` where it is not defined.
pub(crate) fn figure(figures: &Value, at: &str, key: &str) -> Option<f64> {
    figures.pointer(at)?.get(key)?.as_f64()
}

/// A figure and its interval as two cells.
pub(crate) fn cells(figures: &Value, at: &str) -> [String; 2] {
    let value = figure(figures, at, "value").map_or_else(|| "-".to_owned(), number);
    let range = figure(figures, at, "low").zip(figure(figures, at, "high"));
    [value, range.map_or_else(String::new, |(low, high)| interval(low, high))]
}
