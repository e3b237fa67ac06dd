//! Texts without images: phantom reports, or any CSV of reports.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pairs_csv::{parse_findings, parse_flag, parse_split};
use super::phantom::{self, Prevalence};
use super::table::{Listing, Row, Table};
use crate::error::{DataError, Result, RowFaultKind};
use crate::record::{PatientId, Phi, Split};
use crate::report::TextRules;

/// Where texts come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TextsConfig {
    /// Reports of generated studies, without their images.
    Phantom(PhantomTexts),
    /// Reports named by a CSV.
    Reports(ReportTexts),
}

/// Which phantom studies tell and do not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhantomTexts {
    /// Seed of the generator.
    pub seed: u64,
    /// Number of the first study; those before it can be the images.
    pub first: u64,
    /// How many there are.
    pub count: u64,
}

/// A CSV of texts, one a row, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportTexts {
    /// The CSV.
    pub manifest: PathBuf,
    /// Names of its columns.
    #[serde(default)]
    pub columns: TextColumns,
    /// Who says what a text tells of.
    #[serde(default)]
    pub labels: LabelOrigin,
    /// Columns of one class each, with 1, 0, -1 (uncertain) or nothing; they replace the column of lists.
    #[serde(default)]
    pub label_columns: Vec<String>,
    /// What separates the findings in the column of lists.
    #[serde(default = "bar")]
    pub label_separator: String,
    /// Which sentences of a text are used.
    #[serde(default)]
    pub text: TextRules,
}

fn bar() -> String {
    "|".to_owned()
}

/// Names of the columns of a CSV of texts. A column that does not exist is treated as empty, unless it was named
/// differently from the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextColumns {
    /// Columns whose texts follow each other; one of them must exist.
    pub text: Vec<String>,
    /// Findings, joined by a separator, where labels come from columns.
    pub labels: String,
    /// Patient, to count those who are among the images too.
    pub patient: String,
    /// Part of the data: rows of a part that is not `train` are left out.
    pub split: String,
}

impl Default for TextColumns {
    fn default() -> Self {
        let name = str::to_owned;
        let text = ["text", "findings", "impression"].map(name).to_vec();
        Self { text, labels: name("labels"), patient: name("patient_id"), split: name("split") }
    }
}

/// Who says what a text tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelOrigin {
    /// The labeler of this project, sentence by sentence.
    #[default]
    Labeler,
    /// Columns of the CSV: the labels of a row are those of each of its sentences, so that a row is best one sentence.
    Columns,
}

/// One text.
#[derive(Debug, Clone)]
pub struct Report {
    /// The patient.
    pub patient_id: PatientId,
    /// Its sentences that are long enough to learn from.
    pub sentences: Vec<Phi<String>>,
    /// One entry for every class of the texts.
    pub labels: Vec<Option<bool>>,
}

/// Texts of one source.
#[derive(Debug, Clone)]
pub struct Texts {
    /// Short name, for logs and cards.
    pub name: String,
    /// Names of the labels; absent: the labeler says what sentences tell of.
    pub classes: Option<Vec<String>>,
    /// The texts, in the order of the source.
    pub reports: Vec<Report>,
}

impl TextsConfig {
    /// Reads or generates the texts.
    ///
    /// # Errors
    /// A CSV that cannot be read, lacks a column or has rows that are wrong; [`DataError::Empty`] where none has a
    /// text.
    pub fn read(&self) -> Result<Texts> {
        match self {
            Self::Phantom(texts) => Ok(texts.read()),
            Self::Reports(texts) => texts.read(),
        }
    }
}

impl PhantomTexts {
    fn read(&self) -> Texts {
        let range = self.first..self.first + self.count;
        // Labels of the studies are dropped: what a text tells of is to be read from it.
        let studies = phantom::dataset(self.seed, range, Prevalence::Natural, Split::Train).studies;
        let report = |study: crate::record::Study| Report {
            patient_id: study.patient_id,
            sentences: study.sentences,
            labels: Vec::new(),
        };
        Texts { name: "phantom texts".to_owned(), classes: None, reports: studies.into_iter().map(report).collect() }
    }
}

/// Positions of the columns in one file.
struct Positions {
    text: Vec<usize>,
    labels: Option<usize>,
    label_columns: Vec<usize>,
    patient: Option<usize>,
    split: Option<usize>,
}

impl ReportTexts {
    fn positions(&self, table: &mut Table) -> Result<Positions> {
        let (columns, usual) = (&self.columns, TextColumns::default());
        let mut optional = |name: &str, usual: &str, option| match table.column(name) {
            None if name != usual => table.require(name, option).map(Some),
            found => Ok(found),
        };
        let patient = optional(&columns.patient, &usual.patient, "columns.patient")?;
        let split = optional(&columns.split, &usual.split, "columns.split")?;
        let mut text: Vec<usize> = Vec::new();
        for name in &columns.text {
            let usual = columns.text == usual.text;
            text.extend(if usual { table.column(name) } else { Some(table.require(name, "columns.text")?) });
        }
        if text.is_empty() {
            table.require(columns.text.first().map_or("text", String::as_str), "columns.text")?;
        }
        let (mut labels, mut label_columns) = (None, Vec::new());
        if self.labels == LabelOrigin::Columns {
            for name in &self.label_columns {
                label_columns.push(table.require(name, "label_columns")?);
            }
            if label_columns.is_empty() {
                labels = Some(table.require(&columns.labels, "columns.labels")?);
            }
        }
        Ok(Positions { text, labels, label_columns, patient, split })
    }

    fn read(&self) -> Result<Texts> {
        let mut table = Table::read(&self.manifest)?;
        let positions = self.positions(&mut table)?;
        table.identify(|_| Listing::default());
        let rows = std::mem::take(&mut table.rows);
        let classes = self.classes(&rows, &positions);
        let mut reports = Vec::new();
        for row in &rows {
            reports.extend(self.report(&mut table, row, &positions, classes.as_deref().unwrap_or_default()));
        }
        table.check()?;
        let name = self.manifest.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if reports.is_empty() {
            let what = "no row has a text to learn from: name the columns with data.texts.columns.text";
            return Err(DataError::Empty { name, what });
        }
        Ok(Texts { name, classes, reports })
    }

    /// The classes that the rows name, in the order of their names where they are read from lists.
    fn classes(&self, rows: &[Row], positions: &Positions) -> Option<Vec<String>> {
        if self.labels == LabelOrigin::Labeler {
            return None;
        }
        let Some(list) = positions.labels else { return Some(self.label_columns.clone()) };
        let names = rows.iter().flat_map(|row| self.findings(&row.fields[list]).0);
        let mut names: Vec<String> = names.map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    /// The findings of a list, and whether it says nothing of others.
    fn findings(&self, list: &str) -> (Vec<(String, bool)>, bool) {
        let names = list.split(self.label_separator.as_str()).map(str::trim).filter(|name| !name.is_empty());
        let (found, signed) = parse_findings(&names.collect::<Vec<_>>());
        let open = signed || found.is_empty();
        (found, open)
    }

    /// The text of a row, `None` where it has none that counts; what is wrong is noted in the table.
    fn report(&self, table: &mut Table, row: &Row, positions: &Positions, classes: &[String]) -> Option<Report> {
        let field = |position: usize| row.fields[position].trim();
        if let Some(position) = positions.split {
            match parse_split(field(position)) {
                Some(Split::Train) => {}
                Some(_) => return None,
                None if field(position).is_empty() => {}
                None => table.fault(row.number, position, RowFaultKind::Split),
            }
        }
        let labels = if let Some(list) = positions.labels {
            let (found, open) = self.findings(field(list));
            let said = |class: &String| found.iter().find(|(name, _)| name == class).map(|&(_, present)| present);
            classes.iter().map(|class| said(class).or((!open).then_some(false))).collect()
        } else {
            let mut flag = |&position: &usize| {
                parse_flag(field(position)).unwrap_or_else(|| {
                    table.fault(row.number, position, RowFaultKind::Label);
                    None
                })
            };
            positions.label_columns.iter().map(&mut flag).collect()
        };
        let texts = positions.text.iter().map(|&position| field(position)).filter(|text| !text.is_empty());
        let sentences: Vec<Phi<String>> =
            texts.flat_map(|text| self.text.sentences(text)).map(|sentence| Phi::new(sentence.to_owned())).collect();
        let patient = positions.patient.map(field).filter(|patient| !patient.is_empty());
        // A text without a patient is of one of its own, who has no images.
        let patient_id = Phi::new(patient.map_or_else(|| format!("text row {}", row.number), str::to_owned));
        (!sentences.is_empty()).then_some(Report { patient_id, sentences, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx;

    /// Reads a CSV with settings given as TOML.
    fn read(csv: &str, settings: &str) -> Result<Texts> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports.csv");
        fsx::write_atomic(&path, csv.as_bytes()).unwrap();
        let mut table: toml::Table = settings.parse().unwrap();
        table.insert("kind".to_owned(), "reports".into());
        table.insert("manifest".to_owned(), path.to_str().unwrap().into());
        let config: TextsConfig = table.try_into().unwrap();
        config.read()
    }

    fn sentences(report: &Report) -> Vec<&str> {
        report.sentences.iter().map(|sentence| sentence.expose().as_str()).collect()
    }

    #[test]
    fn findings_and_impression_follow_each_other_and_blank_rows_are_left_out() {
        let csv = "report_id,findings,impression,Effusion\n\
                   a,The heart is large. Lungs are clear.,Large heart only.,0\nb,,,1\nc,,No acute disease.,0\n";
        let texts = read(csv, "").unwrap();
        assert!(texts.classes.is_none() && texts.reports.len() == 2);
        assert_eq!(sentences(&texts.reports[0]), ["The heart is large.", "Lungs are clear.", "Large heart only."]);
        assert_eq!(texts.reports[1].patient_id.expose(), "text row 3");
        let some = read(csv, "[columns]\ntext = ['impression']").unwrap();
        assert_eq!(sentences(&some.reports[0]), ["Large heart only."]);
    }

    #[test]
    fn labels_come_from_columns_or_a_list_where_that_is_asked_for() {
        let csv = "text,labels,Edema,normal,patient_id,split\nOne of three words.,Edema|Mass,1,0,p,train\n\
                   Two of three words.,,-1,,q,\nThree of three words.,normal,0,1,r,test\n";
        let columns = read(csv, "labels = 'columns'\nlabel_columns = ['Edema', 'normal']").unwrap();
        let labels: Vec<_> = columns.reports.iter().map(|report| report.labels.clone()).collect();
        assert_eq!(labels, [vec![Some(true), Some(false)], vec![None, None]]);
        assert_eq!(columns.reports[1].patient_id.expose(), "q");
        let list = read(csv, "labels = 'columns'").unwrap();
        assert_eq!(list.classes.unwrap(), ["Edema", "Mass", "normal"]);
        let labels: Vec<_> = list.reports.iter().map(|report| report.labels.clone()).collect();
        assert_eq!(labels, [vec![Some(true), Some(true), Some(false)], vec![None; 3]]);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_text() {
        let message = |csv: &str, settings: &str| read(csv, settings).unwrap_err().to_string();
        assert!(message("image\nx\n", "").contains("no column \"text\""));
        assert!(message("text\nOne of three.\n", "[columns]\npatient = 'who'").contains("no column \"who\""));
        assert!(message("text\nOne of three.\n", "labels = 'columns'").contains("no column \"labels\""));
        assert!(message("text\n\"\"\n", "").contains("no row has a text"));
        let wrong = message("text,Edema\nSecret words here.,maybe\n", "labels = 'columns'\nlabel_columns = ['Edema']");
        assert!(wrong.contains("row 1") && !wrong.contains("Secret"), "{wrong}");
    }

    #[test]
    fn phantom_texts_are_those_of_their_studies() {
        let config = TextsConfig::Phantom(PhantomTexts { seed: 7, first: 5, count: 3 });
        let texts = config.read().unwrap();
        let studies = phantom::dataset(7, 0..9, Prevalence::Natural, Split::Train).studies;
        assert_eq!(texts.reports.len(), 3);
        for (report, study) in texts.reports.iter().zip(&studies[5..]) {
            assert_eq!(report.patient_id.expose(), study.patient_id.expose());
            assert_eq!(sentences(report).len(), study.sentences.len());
            assert!(report.labels.is_empty());
        }
    }
}
