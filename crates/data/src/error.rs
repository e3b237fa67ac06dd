//! The errors of this crate: what failed, where, why and what to do next.
//!
//! No message holds a patient, a study, a report or the path of an image. A sample is named by the manifest that lists
//! it and by its row there.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Result of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// How many faults of one kind are printed; the rest is counted.
pub const MAX_PRINTED_FAULTS: usize = 20;

/// Everything that reading, checking and batching of data can fail with.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or folder that is not patient data could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried ("read", "create folder").
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is larger than what is read into memory.
    #[error("{} holds {bytes} bytes, the limit is {limit}: is it the right file?", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size (bytes).
        bytes: u64,
        /// The largest accepted size (bytes).
        limit: u64,
    },
    /// A path leaves its folder.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// An image could not be decoded.
    #[error(transparent)]
    Image(#[from] ImageFault),
    /// A sample could not be read.
    #[error("{manifest}, row {row}: {fault}")]
    Sample {
        /// Name of the data set.
        manifest: String,
        /// Row of the manifest (1 = first data row) or index of the phantom.
        row: usize,
        /// Why.
        fault: ImageFault,
    },
    /// A tokenizer could not be loaded or used.
    #[error("tokenizer {}: {fault}", path.display())]
    Tokenizer {
        /// The file or folder, `builtin` for the vocabulary of this crate.
        path: PathBuf,
        /// Why.
        fault: TokenizerFault,
    },
    /// A manifest lacks a column.
    #[error(
        "{}: no column \"{column}\"; the header has {}. Name the right one with {option}",
        file.display(), quoted(found)
    )]
    Column {
        /// The manifest.
        file: PathBuf,
        /// The column that was looked for.
        column: String,
        /// The columns that exist.
        found: Vec<String>,
        /// The option that names this column.
        option: &'static str,
    },
    /// Rows of a manifest are wrong; all of them, found in one pass.
    #[error("{}: {}", file.display(), RowList(faults))]
    Rows {
        /// The manifest.
        file: PathBuf,
        /// The faults, in the order of the rows.
        faults: Vec<RowFault>,
    },
    /// There is nothing to read.
    #[error("{name}: {what}")]
    Empty {
        /// The data set or manifest.
        name: String,
        /// What is missing, and what to do.
        what: &'static str,
    },
    /// A patient is in more than one split.
    #[error(
        "{name}: {patients} patients are in more than one split (rows {}): figures on such data mean nothing. Split \
         by patient, or leave the split column out and let this project split",
        list(rows)
    )]
    Leak {
        /// The data set.
        name: String,
        /// How many patients.
        patients: usize,
        /// Rows that show the leak, one pair for each patient (at most [`MAX_PRINTED_FAULTS`]).
        rows: Vec<usize>,
    },
    /// Too many samples could not be read.
    #[error(
        "{name}: {bad} of {total} studies cannot be read, more than the allowed {limit}. {}. Repair the files or raise \
         max_bad_fraction",
        CauseList(causes)
    )]
    TooManyBad {
        /// The data set.
        name: String,
        /// Studies that failed.
        bad: usize,
        /// Studies in use.
        total: usize,
        /// Failures that were allowed.
        limit: usize,
        /// Each cause with the rows that it struck.
        causes: Vec<(String, Vec<usize>)>,
    },
    /// A setting is out of range.
    #[error("{key} = {value}: {why}")]
    Setting {
        /// Name of the setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is accepted.
        why: &'static str,
    },
}

impl DataError {
    /// The exit code of a program that ends with this error: 3 for rejected data, 2 for a wrong setting, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting { .. } | Self::Column { .. } => 2,
            Self::Rows { .. }
            | Self::Leak { .. }
            | Self::TooManyBad { .. }
            | Self::Empty { .. }
            | Self::Sample { .. }
            | Self::Image(_)
            | Self::Path(_) => 3,
            Self::Io { .. } | Self::FileTooLarge { .. } | Self::Tokenizer { .. } => 1,
        }
    }
}

/// Why a path of a manifest is refused. The path itself is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathFault {
    /// Nothing there.
    #[error("the path is empty")]
    Empty,
    /// An absolute path.
    #[error("the path is absolute; paths must be relative to the folder of the manifest or lie in the image root")]
    Absolute,
    /// `..` leads out of the folder.
    #[error("the path leads out of its folder")]
    Escape,
    /// A link leads out of the folder.
    #[error("a symbolic link leads out of the folder; name the folder that it points to as the image root")]
    Link,
    /// A backslash or a NUL.
    #[error("the path holds a backslash or a NUL; write it with forward slashes")]
    Character,
}

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageFault {
    /// The file could not be read.
    #[error("the image file cannot be read ({0})")]
    Read(io::ErrorKind),
    /// The path is refused.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// Larger than the limit.
    #[error("the image file holds {bytes} bytes, the limit is {limit}")]
    FileTooLarge {
        /// Size of the file (bytes).
        bytes: u64,
        /// Limit (bytes).
        limit: u64,
    },
    /// Neither PNG nor JPEG.
    #[error("the image is neither PNG nor JPEG")]
    Format,
    /// Too many pixels or a side of zero.
    #[error("the image is {width} x {height}: each side must be at least 1 and the area at most {limit} pixels")]
    Dimensions {
        /// Columns (px).
        width: u32,
        /// Rows (px).
        height: u32,
        /// Largest area (px).
        limit: u64,
    },
    /// Too long and thin to be a radiograph.
    #[error("the image is {width} x {height}: one side is more than {limit} times the other")]
    Aspect {
        /// Columns (px).
        width: u32,
        /// Rows (px).
        height: u32,
        /// Largest ratio.
        limit: u32,
    },
    /// The file ends before the image does.
    #[error("the image file is truncated")]
    Truncated,
    /// The decoder gave up.
    #[error("the image is corrupt ({0})")]
    Corrupt(String),
    /// The decoder or a transform panicked.
    #[error("the image made the decoder fail in an unforeseen way")]
    Panicked,
}

impl ImageFault {
    /// One word for counts by reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read(io::ErrorKind::NotFound) => "missing",
            Self::Read(_) => "unreadable",
            Self::Path(_) => "path",
            Self::FileTooLarge { .. } => "file_too_large",
            Self::Format => "format",
            Self::Dimensions { .. } => "dimensions",
            Self::Aspect { .. } => "aspect",
            Self::Truncated => "truncated",
            Self::Corrupt(_) => "corrupt",
            Self::Panicked => "panicked",
        }
    }
}

/// Why a tokenizer is refused.
#[derive(Debug, Error)]
pub enum TokenizerFault {
    /// The folder holds neither file.
    #[error("neither tokenizer.json nor vocab.txt is there")]
    Missing,
    /// The model of `tokenizer.json` is not known here.
    #[error("the model type must be WordPiece or BPE")]
    Model,
    /// A special token is missing.
    #[error("the vocabulary lacks {0}")]
    Special(&'static str),
    /// A token occurs twice.
    #[error("line {0} repeats an earlier token")]
    Repeated(usize),
    /// The padding or another special token has an id that no token of the vocabulary reaches.
    #[error("a special token has id {0}, the largest id of the vocabulary is below {1}")]
    Id(u32, usize),
    /// The largest id asks for a table of too many rows.
    #[error("the largest id makes a vocabulary of {0} tokens, the limit is {1}")]
    TooMany(usize, usize),
    /// The length leaves no room for text.
    #[error("max_length = {0} leaves no room for text beside the {1} special tokens")]
    Length(usize, usize),
    /// The library refused the file or the text.
    #[error("{0}")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The library panicked.
    #[error("the file made the tokenizer library fail in an unforeseen way")]
    Panicked,
}

/// One fault of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Row (1 = first data row, 0 = the header).
    pub row: usize,
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
    /// A required field is empty.
    #[error("the field is empty")]
    Empty,
    /// The field is larger than the limit.
    #[error("the field holds {0} bytes, the limit is {1}")]
    TooLong(usize, usize),
    /// The field holds a NUL.
    #[error("the field holds a NUL")]
    Nul,
    /// The path is refused.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// The image does not exist.
    #[error("the image file does not exist")]
    NoFile,
    /// The image is listed before.
    #[error("the image is listed in row {0} already")]
    Repeated(usize),
    /// A label is not one of the accepted values.
    #[error("the label must be 1, 0, -1 or blank")]
    Label,
    /// A label is neither of two values.
    #[error("the label must be 1 or 0")]
    Binary,
    /// The label and the name of the folder disagree.
    #[error("the label contradicts the name of the folder")]
    PathLabel,
    /// A path is not as the publisher of the data writes it.
    #[error("the path does not name {0}: is it the list of the download?")]
    Layout(&'static str),
    /// The header names a column twice.
    #[error("the column is listed twice")]
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
    #[error("the study is listed in row {0} already")]
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
    #[error("the {0} differs from row {1}, which is the same study")]
    Disagrees(&'static str, usize),
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            0 if self.column.is_empty() => f.write_str("file")?,
            0 => f.write_str("header")?,
            row => write!(f, "row {row}")?,
        }
        if !self.column.is_empty() {
            write!(f, ", column \"{}\"", self.column)?;
        }
        write!(f, ": {}", self.why)
    }
}

struct RowList<'a>(&'a [RowFault]);

impl fmt::Display for RowList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults", self.0.len())?;
        for fault in self.0.iter().take(MAX_PRINTED_FAULTS) {
            write!(f, "\n  {fault}")?;
        }
        match self.0.len().saturating_sub(MAX_PRINTED_FAULTS) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

struct CauseList<'a>(&'a [(String, Vec<usize>)]);

impl fmt::Display for CauseList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Causes:")?;
        for (cause, rows) in self.0 {
            write!(f, "\n  {} x {cause} (rows {})", rows.len(), list(rows))?;
        }
        f.write_str("\n ")
    }
}

fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_PRINTED_FAULTS).map(|n| format!("\"{n}\"")).collect();
    if names.len() > shown.len() { format!("{}, ...", shown.join(", ")) } else { shown.join(", ") }
}

fn list(rows: &[usize]) -> String {
    let shown: Vec<String> = rows.iter().take(MAX_PRINTED_FAULTS).map(ToString::to_string).collect();
    if rows.len() > shown.len() { format!("{}, ...", shown.join(", ")) } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_faults_is_cut_and_counted() {
        let faults: Vec<RowFault> =
            (1..=25).map(|row| RowFault { row, column: "text".into(), why: RowFaultKind::Empty }).collect();
        let text = DataError::Rows { file: "pairs.csv".into(), faults }.to_string();
        assert!(text.starts_with("pairs.csv: 25 faults\n  row 1, column \"text\": the field is empty\n"), "{text}");
        assert!(text.ends_with("row 20, column \"text\": the field is empty\n  and 5 more"), "{text}");
    }

    #[test]
    fn every_cause_is_listed_with_its_rows() {
        let causes = vec![(ImageFault::Truncated.to_string(), vec![3, 9]), (ImageFault::Format.to_string(), vec![4])];
        let text = DataError::TooManyBad { name: "set".into(), bad: 3, total: 10, limit: 1, causes }.to_string();
        assert!(text.contains("2 x the image file is truncated (rows 3, 9)"), "{text}");
        assert!(text.contains("1 x the image is neither PNG nor JPEG (rows 4)"), "{text}");
    }
}
