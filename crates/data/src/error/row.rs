//! What is wrong with the rows of a manifest.

use std::fmt;

use thiserror::Error;

use super::{ImageFault, MAX_PRINTED_FAULTS, PathFault};
use crate::phi::SampleRef;

/// One fault of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The sample; its row is 0 for the header.
    pub sample: SampleRef,
    /// Name of the column, empty where the whole row is meant.
    pub column: String,
    /// What is wrong.
    pub why: RowFaultKind,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowFaultKind {
    /// The row has another number of fields than the header.
    #[error("{0} fields, the header has {1}: a comma or a quote too many or too few?")]
    Fields(usize, usize),
    /// A quoted field never ends: all that follows would be taken for a part of it.
    #[error("a quote is opened and never closed: close it, and write a quote within a field twice")]
    OpenQuote,
    /// Text goes on behind the end of a quoted field: another row may be lost in it.
    #[error("text follows a closing quote: put the whole field in quotes, and write a quote within it twice")]
    StrayQuote,
    /// A required field is empty.
    #[error("the field is empty: fill it, or leave the row out")]
    Empty,
    /// The field is larger than the limit.
    #[error("the field holds {0} bytes, the limit is {1}: is a quote missing before it?")]
    TooLong(usize, usize),
    /// The field holds a NUL.
    #[error("the field holds a NUL: write the file as UTF-8 text")]
    Nul,
    /// The path is refused.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// The image does not exist.
    #[error("the image file does not exist: paths are relative to the folder of the manifest, or to the image root")]
    NoFile,
    /// The image is listed before.
    #[error("the image is listed in row {0} already: keep one of the rows")]
    Repeated(usize),
    /// A label is not one of the accepted values.
    #[error("the label must be 1, 0, -1 or blank")]
    Label,
    /// A label is neither of two values.
    #[error("the label must be 1 or 0")]
    Binary,
    /// The label and the name of the folder disagree.
    #[error("the label contradicts the name of the folder: download the list again")]
    PathLabel,
    /// A path is not as the publisher of the data writes it.
    #[error("the path does not name {0}: is it the list of the download?")]
    Layout(&'static str),
    /// The header names a column twice.
    #[error("the column is listed twice: rename or remove one")]
    TwoColumns,
    /// A split has an unknown name.
    #[error("the split must be train, validate or test")]
    Split,
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageFault),
    /// The image is not the one that was prepared.
    #[error("the image differs from the one that was prepared: prepare again")]
    Changed,
    /// The manifest is not the one that was prepared.
    #[error("the manifest differs from the one that was prepared: prepare again")]
    ManifestChanged,
    /// Two images of different splits are equal.
    #[error("the image has the same bytes as that of row {0}, which is in another split: keep one of them")]
    Duplicate(usize),
    /// A patient is in two splits.
    #[error("the patient is in another split in row {0}: split by patient")]
    Leak(usize),
    /// The study is listed before.
    #[error("the study is listed in row {0} already: keep one of the rows")]
    RepeatedStudy(usize),
    /// An id is not a plain number.
    #[error("the id must be a number of 2 to 9 digits, without a prefix")]
    Id,
    /// The name of an image is more than a name.
    #[error("the image's id must consist of letters, digits, \"-\" and \"_\"")]
    ImageId,
    /// Another table lacks what this one lists.
    #[error("not listed in {0}: are both tables of the same release, and whole?")]
    Unlisted(&'static str),
    /// Two tables disagree.
    #[error("the {0} differs from {1}, row {2}: are both tables of the same release?")]
    Differs(&'static str, &'static str, usize),
    /// Rows of one study disagree.
    #[error("the {0} differs from row {1}, which is the same study: correct one of them")]
    Disagrees(&'static str, usize),
}

impl RowFault {
    /// A fault of a row (1 = first data row, 0 = the header) whose study is not known.
    pub(crate) fn new(row: usize, column: &str, why: RowFaultKind) -> Self {
        Self { sample: SampleRef { row, study: None, path: None }, column: column.to_owned(), why }
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sample.row {
            0 if self.why == RowFaultKind::ManifestChanged => f.write_str("file")?,
            0 => f.write_str("header")?,
            _ => write!(f, "{}", self.sample)?,
        }
        if !self.column.is_empty() {
            write!(f, ", column \"{}\"", self.column)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Faults for a message: the first ones, and how many more there are.
pub(super) struct RowList<'a>(pub(super) &'a [RowFault]);

impl fmt::Display for RowList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fault{}", self.0.len(), if self.0.len() == 1 { "" } else { "s" })?;
        for fault in self.0.iter().take(MAX_PRINTED_FAULTS) {
            write!(f, "\n  {fault}")?;
        }
        match self.0.len().saturating_sub(MAX_PRINTED_FAULTS) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
