//! The errors of this crate: what failed, where, why and what to do next.
//!
//! No message holds a patient, a study, a report or the path of an image. A sample is named by the manifest that lists
//! it, by its row there and by a salted hash of its study ([`SampleRef`]).

mod image;
mod row;
mod rule;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::image::{ImageFault, PathFault};
use self::row::RowList;
pub use self::row::{RowFault, RowFaultKind};
pub use self::rule::RuleFault;
use crate::phi::SampleRef;
use crate::prompt::PromptError;

/// Result of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// How many faults of one kind are printed; the rest is counted.
pub const MAX_PRINTED_FAULTS: usize = 20;

/// How alike a column has to be to be proposed for one that is missing (Jaro-Winkler).
const LIKENESS: f64 = 0.8;

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
    #[error("{manifest}, {sample}: {fault}")]
    Sample {
        /// Name of the data set.
        manifest: String,
        /// The sample.
        sample: SampleRef,
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
        "{}: no column \"{column}\"; {}",
        file.display(), Header { names: found, option, wanted: column }
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
    /// A file of the labeler's rules cannot be understood.
    #[error("{}, line {line}: {fault}", file.display())]
    Rules {
        /// The file; one in the folder `builtin` is a part of the program.
        file: PathBuf,
        /// The line (1 = first), 0 where the whole file is meant.
        line: usize,
        /// Why.
        fault: RuleFault,
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
        "{name}: {patients} patients are in more than one split ({}): figures on such data mean nothing. Split by \
         patient, or leave the split column out and let this project split",
        list(samples)
    )]
    Leak {
        /// The data set.
        name: String,
        /// How many patients.
        patients: usize,
        /// Studies that show the leak, one pair for each patient (at most [`MAX_PRINTED_FAULTS`]).
        samples: Vec<SampleRef>,
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
        /// Each cause with the studies that it struck.
        causes: Vec<(String, Vec<SampleRef>)>,
    },
    /// A class has too few images to select from.
    #[error(
        "{name}: {found} images have \"{class}\" and nothing else, {wanted} are asked for: ask for fewer with --count, or \
         leave the class out"
    )]
    TooFew {
        /// The manifest.
        name: String,
        /// The class.
        class: String,
        /// Its images.
        found: usize,
        /// Images asked for.
        wanted: usize,
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
    /// A prompt set could not be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

impl DataError {
    /// The exit code of a program that ends with this error: 2 for a wrong setting, 3 for rejected data, 4 where storage
    /// failed, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { source, .. } if is_storage(source) => 4,
            Self::Setting { .. } | Self::TooFew { .. } | Self::Column { .. } | Self::Rules { .. } | Self::Prompt(_) => {
                2
            }
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

/// Whether the disk refused, rather than a path being wrong.
fn is_storage(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    /// Of a disk that is broken; the standard library has no name for it.
    const EIO: i32 = 5;
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
        || (cfg!(unix) && error.raw_os_error() == Some(EIO))
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

struct CauseList<'a>(&'a [(String, Vec<SampleRef>)]);

impl fmt::Display for CauseList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Causes:")?;
        for (cause, samples) in self.0 {
            write!(f, "\n  {} x {cause} ({})", samples.len(), list(samples))?;
        }
        f.write_str("\n ")
    }
}

/// The columns of a header, the option that names one of them and the name that it lacks, for messages.
struct Header<'a> {
    names: &'a [String],
    option: &'a str,
    wanted: &'a str,
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, option, wanted } = self;
        if names.is_empty() {
            return f.write_str("the file is empty");
        }
        if names.iter().any(|name| is_data(name)) {
            return f.write_str("the first line does not look like names with commas between: is the header missing?");
        }
        let shown: Vec<String> = names.iter().take(MAX_PRINTED_FAULTS).map(|name| format!("{name:?}")).collect();
        let more = if names.len() > shown.len() { ", ..." } else { "" };
        let near = |name: &&String| strsim::jaro_winkler(&name.to_lowercase(), &wanted.to_lowercase());
        let nearest = names.iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|name| near(name) > LIKENESS);
        let nearest = nearest.map_or_else(String::new, |name| format!("; {name:?} is the nearest"));
        write!(f, "the header has {}{more}{nearest}. Name the right one with {option}", shown.join(", "))
    }
}

/// Whether a field of a first line is rather a value than the name of a column: then the line may be of a patient, and
/// it must not be shown.
fn is_data(field: &str) -> bool {
    let is_file = Path::new(field).extension().is_some();
    field.len() > 64
        || is_file
        || field.starts_with(|c: char| c.is_ascii_digit())
        || field.contains(|c: char| c.is_control() || matches!(c, '/' | '\\' | ';' | ':' | '\u{fffd}'))
}

fn list(samples: &[SampleRef]) -> String {
    let shown: Vec<String> = samples.iter().take(MAX_PRINTED_FAULTS).map(ToString::to_string).collect();
    if samples.len() > shown.len() { format!("{}; ...", shown.join("; ")) } else { shown.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_faults_is_cut_and_counted() {
        let faults: Vec<RowFault> = (1..=25).map(|row| RowFault::new(row, "text", RowFaultKind::Empty)).collect();
        let text = DataError::Rows { file: "pairs.csv".into(), faults }.to_string();
        assert!(text.starts_with("pairs.csv: 25 faults\n  row 1, column \"text\": the field is empty: fill"), "{text}");
        assert!(text.contains("row 20, ") && !text.contains("row 21, ") && text.ends_with("\n  and 5 more"), "{text}");
    }

    #[test]
    fn a_first_line_of_values_is_not_shown() {
        let message = |fields: &[&str]| {
            let found = fields.iter().map(|&field| field.to_owned()).collect();
            DataError::Column { file: "a.csv".into(), column: "text".into(), found, option: "columns.text" }.to_string()
        };
        let named = message(&["path", "Enlarged Cardiomediastinum", "label_2"]);
        assert!(named.ends_with("Cardiomediastinum\", \"label_2\". Name the right one with columns.text"), "{named}");
        for value in ["a.png", "p10/p10000032", "50414267", "Findings: clear", "secret\u{1b}", &"x".repeat(65)] {
            let text = message(&["secret", value]);
            assert!(text.ends_with("is the header missing?") && !text.contains("secret"), "{text}");
        }
        assert!(message(&[]).ends_with("the file is empty"));
    }

    #[test]
    fn every_cause_is_listed_with_its_rows() {
        let rows = |rows: &[usize]| rows.iter().map(|&row| SampleRef { row, study: None, path: None }).collect();
        let causes =
            vec![(ImageFault::Truncated.to_string(), rows(&[3, 9])), (ImageFault::Format.to_string(), rows(&[4]))];
        let text = DataError::TooManyBad { name: "set".into(), bad: 3, total: 10, limit: 1, causes }.to_string();
        assert!(text.contains("2 x the image file is truncated: copy or download it again (row 3; row 9)"), "{text}");
        assert!(text.contains("1 x the image is neither PNG nor JPEG: ") && text.contains("(row 4)"), "{text}");
    }
}
