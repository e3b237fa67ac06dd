//! Labels of whole CSV files, row by row in bounded memory.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::score::{Counts, Part, Score, StatusScore};
use super::{Labeler, ReportLabels, Status};
use crate::error::{DataError, Result};
use crate::fsx;
use crate::source::records::Records;

/// The column with the verdict on a concept.
const STATUS: &str = "status";

/// Which columns of a CSV of reports are read.
#[derive(Debug, Clone)]
pub struct ReportColumns {
    /// The columns with text, in order; each is a section or a whole report.
    pub texts: Vec<String>,
    /// The column that names a row, `None` for `report_id` where it exists and else the number of the row.
    pub id: Option<String>,
}

/// A row of a CSV of reports with its labels.
#[derive(Debug)]
pub struct LabelledRow<'a> {
    /// The row (1 = first data row).
    pub number: usize,
    /// What names it in the table of labels.
    pub id: &'a str,
    /// The text that was labelled: that of all columns.
    pub text: &'a str,
    /// Its labels, with ranges of bytes of `text`.
    pub labels: &'a ReportLabels,
    /// Bytes of the file that were read so far.
    pub bytes: u64,
}

/// Labels every row of a CSV, in order; writes a table of `id` and one column for each finding to `out`, and compares
/// with the columns of the findings in the CSV itself where `part` asks for a score.
///
/// # Errors
/// [`DataError::Column`] where a column is missing, [`DataError::Rows`] where rows cannot be read, [`DataError::Io`].
/// An older file of the name `out` then stays as it was.
pub fn label_reports(
    labeler: &Labeler,
    file: &Path,
    columns: &ReportColumns,
    out: Option<&Path>,
    part: Option<Part>,
    mut each: impl FnMut(&LabelledRow<'_>) -> io::Result<()>,
) -> Result<Score> {
    let mut reports = Reports::open(labeler, file, columns, part)?;
    let Some(out) = out else {
        reports.run(labeler, None, &mut each)?;
        return Ok(reports.score);
    };
    atomically(out, |writer| reports.run(labeler, Some(writer), &mut each))?;
    Ok(reports.score)
}

/// Lets `body` write a file: it is there whole, or an older one stays.
fn atomically(out: &Path, body: impl FnOnce(&mut csv::Writer<&mut dyn io::Write>) -> Result<()>) -> Result<()> {
    let mut failure = None;
    let written = fsx::write_atomic_with(out, |file| {
        let mut writer = csv::Writer::from_writer(file);
        match body(&mut writer) {
            Ok(()) => writer.flush(),
            Err(error) => {
                failure = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    });
    // What stopped the writing says more than that it stopped.
    failure.map_or(written, Err)
}

struct Reports {
    records: Records,
    texts: Vec<usize>,
    id: Option<usize>,
    gold: Vec<Option<usize>>,
    part: Part,
    score: Score,
}

impl Reports {
    fn open(labeler: &Labeler, file: &Path, columns: &ReportColumns, part: Option<Part>) -> Result<Self> {
        let mut records = Records::open(file)?;
        let texts = columns.texts.iter().map(|name| records.require(name, "--columns")).collect::<Result<Vec<_>>>()?;
        let id = match &columns.id {
            Some(name) => Some(records.require(name, "--id")?),
            None => records.column("report_id"),
        };
        let mut gold = vec![None; labeler.findings().len()];
        if part.is_some() {
            gold = labeler.findings().iter().map(|name| records.column(name)).collect();
            if gold.iter().all(Option::is_none) {
                return Err(DataError::Column {
                    file: file.to_path_buf(),
                    column: labeler.findings().join("\" or \""),
                    found: records.header().to_vec(),
                    option: "--findings",
                });
            }
        }
        let names = labeler.findings().iter().zip(&gold).filter(|(_, gold)| gold.is_some());
        let score = Score { findings: names.map(|(name, _)| (name.clone(), Counts::default())).collect(), rows: 0 };
        Ok(Self { records, texts, id, gold, part: part.unwrap_or(Part::All), score })
    }

    fn run(
        &mut self,
        labeler: &Labeler,
        mut out: Option<&mut csv::Writer<&mut dyn io::Write>>,
        each: &mut impl FnMut(&LabelledRow<'_>) -> io::Result<()>,
    ) -> Result<()> {
        if let Some(out) = &mut out {
            let id = self.id.map_or("row", |id| self.records.header()[id].as_str());
            out.write_record([id].into_iter().chain(labeler.findings().iter().map(String::as_str)))
                .map_err(cannot_write)?;
        }
        while let Some((number, row)) = self.records.next_row()? {
            let (text, parts) = joined(self.texts.iter().map(|&column| row[column].as_str()));
            let labels = labeler.sections(&text, &parts);
            let id = self.id.map_or_else(|| number.to_string(), |id| row[id].clone());
            if let Some(out) = &mut out {
                let values = labels.statuses.iter().map(|status| value(*status));
                out.write_record([id.as_str()].into_iter().chain(values)).map_err(cannot_write)?;
            }
            let bytes = self.records.bytes;
            each(&LabelledRow { number, id: &id, text: &text, labels: &labels, bytes }).map_err(failed_to_print)?;
            if self.part.holds(&id) {
                self.count(&row, &labels);
            }
        }
        self.records.check()
    }

    fn count(&mut self, row: &[String], labels: &ReportLabels) {
        self.score.rows += 1;
        let compared = self.gold.iter().zip(&labels.statuses).filter_map(|(gold, status)| Some(((*gold)?, status)));
        for ((gold, status), (_, counts)) in compared.zip(&mut self.score.findings) {
            counts.add(is_one(&row[gold]), *status == Some(Status::Positive));
        }
    }
}

/// Which columns of a CSV of sentences are read.
#[derive(Debug, Clone)]
pub struct SentenceColumns {
    /// The sentence.
    pub text: String,
    /// The concept that the verdict is about.
    pub concept: String,
    /// What rows of one part share ([`Part::holds`]), such as the report of a sentence.
    pub group: String,
}

/// Judges the concept of every row of a CSV, in order; writes the table with the column `status` (`Affirmed`,
/// `Negated`, `Possible`, or empty where the sentence lacks the concept) to `out`, in the place of a column of that
/// name, with which it compares where `part` asks for a score.
///
/// # Errors
/// As [`label_reports`].
pub fn label_sentences(
    labeler: &Labeler,
    file: &Path,
    columns: &SentenceColumns,
    out: Option<&Path>,
    part: Option<Part>,
    mut each: impl FnMut(usize, u64),
) -> Result<StatusScore> {
    let mut records = Records::open(file)?;
    let text = records.require(&columns.text, "--text")?;
    let concept = records.require(&columns.concept, "--concept")?;
    let gold = records.column(STATUS);
    if part.is_some() {
        records.require(STATUS, "the file itself: a score compares with this column")?;
    }
    let group = match part {
        Some(Part::Dev | Part::Test) => Some(records.require(&columns.group, "--id")?),
        _ => None,
    };
    let kept: Vec<usize> = (0..records.header().len()).filter(|&i| Some(i) != gold).collect();
    let mut score = StatusScore::default();
    let mut body = |mut out: Option<&mut csv::Writer<&mut dyn io::Write>>| -> Result<()> {
        if let Some(out) = &mut out {
            let names = kept.iter().map(|&i| records.header()[i].as_str());
            out.write_record(names.chain([STATUS])).map_err(cannot_write)?;
        }
        while let Some((number, row)) = records.next_row()? {
            let status = labeler.concept(&row[text], &row[concept]);
            if let Some(out) = &mut out {
                let fields = kept.iter().map(|&i| row[i].as_str());
                out.write_record(fields.chain([verdict(status)])).map_err(cannot_write)?;
            }
            each(number, records.bytes);
            if let (Some(part), Some(gold)) = (part, gold)
                && group.is_none_or(|group| part.holds(&row[group]))
            {
                score.add(&row[gold], status);
            }
        }
        records.check()
    };
    match out {
        Some(out) => atomically(out, |writer| body(Some(writer)))?,
        None => body(None)?,
    }
    Ok(score)
}

fn column(status: Option<Status>) -> usize {
    match status {
        Some(Status::Positive) => 0,
        Some(Status::Negative) => 1,
        Some(Status::Uncertain) => 2,
        None => 3,
    }
}

/// The name of a status in a table of sentences.
pub(super) fn verdict(status: Option<Status>) -> &'static str {
    ["Affirmed", "Negated", "Possible", ""][column(status)]
}

fn value(status: Option<Status>) -> &'static str {
    ["1", "0", "-1", ""][column(status)]
}

fn is_one(field: &str) -> bool {
    matches!(field.trim(), "1" | "1.0")
}

/// Several texts as one, with the bytes of each.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> (String, Vec<Range<usize>>) {
    let (mut whole, mut parts) = (String::new(), Vec::new());
    for text in texts {
        if !whole.is_empty() {
            whole.push_str("\n\n");
        }
        parts.push(whole.len()..whole.len() + text.len());
        whole.push_str(text);
    }
    (whole, parts)
}

fn cannot_write(error: csv::Error) -> DataError {
    let source = match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        _ => io::ErrorKind::InvalidData.into(),
    };
    DataError::Io { action: "write", path: "the table of labels".into(), source }
}

fn failed_to_print(source: io::Error) -> DataError {
    DataError::Io { action: "write to", path: "the standard output".into(), source }
}
