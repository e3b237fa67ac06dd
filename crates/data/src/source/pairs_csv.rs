//! Any CSV of images with text, labels or both: one row per image, columns by name.
//!
//! Every fault of every row is reported at once. Paths are relative to the folder of the CSV, or to a given root, and
//! cannot leave it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use super::grouping::Picture;
use super::grouping::group;
use super::table::{Listing, Row, Table};
use crate::demographics::{AgeBand, Demographics, Sex};
use crate::error::{DataError, PathFault, Result, RowFault, RowFaultKind};
use crate::fsx::Folder;
use crate::record::{Dataset, Split};
use crate::report::TextRules;
use crate::report::counts::TextCounts;
use crate::split::check_leaks;

/// Names of the columns. A column that does not exist is treated as empty, unless it was named differently from the
/// default: then it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsColumns {
    /// Path of the image; must exist.
    pub image: String,
    /// Report or note.
    pub text: String,
    /// Findings, joined by [`PairsConfig::label_separator`]; those that are not listed are absent. Where every name has
    /// a sign (`+Edema|-Fracture`: present, absent), the others are not labelled.
    pub labels: String,
    /// Patient, for splits.
    pub patient: String,
    /// Study, which several images can share.
    pub study: String,
    /// View (PA, AP, L, ...).
    pub view: String,
    /// What is told of the patient. Evaluations name these columns, recipes do not: nothing is trained on them.
    #[serde(skip)]
    pub demographics: Box<DemographicColumns>,
    /// Part of the data: `train`, `validate` (also `valid`, `val`, `dev`) or `test`.
    pub split: String,
}

impl Default for PairsColumns {
    fn default() -> Self {
        let name = str::to_owned;
        Self {
            image: name("image_path"),
            text: name("text"),
            labels: name("labels"),
            patient: name("patient_id"),
            study: name("study_id"),
            view: name("view"),
            demographics: Box::default(),
            split: name("split"),
        }
    }
}

/// Names of the columns of [`Demographics`]; what they hold and is not understood counts as unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemographicColumns {
    /// Sex, as [`Sex::parse`] reads it.
    pub sex: String,
    /// Age, as [`AgeBand::parse`] reads it.
    pub age: String,
}

impl Default for DemographicColumns {
    fn default() -> Self {
        Self { sex: "sex".to_owned(), age: "age".to_owned() }
    }
}

/// How a CSV is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsConfig {
    /// Names of the columns.
    pub columns: PairsColumns,
    /// Columns of one class each, with 1, 0, -1 (uncertain) or nothing (not labelled). They replace the `labels`
    /// column; both uncertain and empty become "not labelled".
    pub label_columns: Vec<String>,
    /// What separates the findings in the `labels` column.
    pub label_separator: String,
    /// Classes to read from the `labels` column, in this order; findings outside the list are ignored. Empty: all, the
    /// most frequent first.
    pub classes: Vec<String>,
    /// Folder that paths are relative to; empty for the folder of the CSV. Absolute paths are accepted only inside it.
    pub image_root: PathBuf,
    /// Which sentences of a text are used.
    pub text: TextRules,
    /// Whether images of one study (equal study, or else equal patient and text) form one sample. Otherwise each row
    /// is a sample of its own.
    pub group_rows: bool,
}

impl Default for PairsConfig {
    fn default() -> Self {
        Self {
            columns: PairsColumns::default(),
            label_columns: Vec::new(),
            label_separator: "|".to_owned(),
            classes: Vec::new(),
            image_root: PathBuf::new(),
            text: TextRules::default(),
            group_rows: true,
        }
    }
}

/// Positions of the columns in one file.
struct Positions {
    image: usize,
    text: Option<usize>,
    labels: Option<usize>,
    patient: Option<usize>,
    study: Option<usize>,
    view: Option<usize>,
    sex: Option<usize>,
    age: Option<usize>,
    split: Option<usize>,
    label_columns: Vec<usize>,
}

impl Positions {
    fn find(table: &mut Table, config: &PairsConfig) -> Result<Self> {
        let (columns, usual) = (&config.columns, PairsColumns::default());
        let mut optional = |name: &str, usual: &str, option| match table.column(name) {
            None if name != usual => table.require(name, option).map(Some),
            found => Ok(found),
        };
        let text = optional(&columns.text, &usual.text, "columns.text")?;
        let labels = optional(&columns.labels, &usual.labels, "columns.labels")?;
        let patient = optional(&columns.patient, &usual.patient, "columns.patient")?;
        let study = optional(&columns.study, &usual.study, "columns.study")?;
        let view = optional(&columns.view, &usual.view, "columns.view")?;
        let sex = optional(&columns.demographics.sex, &usual.demographics.sex, "columns.sex")?;
        let age = optional(&columns.demographics.age, &usual.demographics.age, "columns.age")?;
        let split = optional(&columns.split, &usual.split, "columns.split")?;
        let image = table.require(&columns.image, "columns.image")?;
        let label_columns =
            config.label_columns.iter().map(|name| table.require(name, "label_columns")).collect::<Result<_>>()?;
        Ok(Self { image, text, labels, patient, study, view, sex, age, split, label_columns })
    }
}

/// Reads a CSV; the studies keep the order of the file.
///
/// Rows without a patient belong to a patient of their own (or of their study). Without a split column all studies are
/// in [`Split::Train`].
///
/// # Errors
/// [`DataError::Io`] where the file cannot be read, [`DataError::Column`] where a column is missing,
/// [`DataError::Rows`] with all faults of the rows, [`DataError::Empty`] where there is no row, [`DataError::Leak`] where
/// the split column puts a patient into two splits, [`DataError::Setting`] where a given class never occurs.
pub fn read(file: &Path, config: &PairsConfig) -> Result<Dataset> {
    Ok(read_counted(file, config)?.0)
}

/// As [`read`], with counts of what the reports lack.
///
/// # Errors
/// As [`read`].
pub fn read_counted(file: &Path, config: &PairsConfig) -> Result<(Dataset, TextCounts)> {
    dataset(Table::read(file)?, config, Absent::IsFault)
}

/// As [`read`] of bytes that are, or would be, those of `file`; images need not exist.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Path, bytes: Vec<u8>, config: &PairsConfig) -> Result<Dataset> {
    Ok(dataset(Table::parse(file, bytes)?, config, Absent::IsListed)?.0)
}

/// As [`read`], but images need not exist: whoever decodes them counts those that do not.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_listed(file: &Path, config: &PairsConfig) -> Result<Dataset> {
    Ok(dataset(Table::read(file)?, config, Absent::IsListed)?.0)
}

/// The rows of a CSV, image files that do not exist included, and what is wrong with other rows.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Column`] and [`DataError::Empty`] as [`read`].
pub(crate) fn survey(file: &Path, config: &PairsConfig) -> Result<(Vec<Picture>, Vec<RowFault>)> {
    let mut table = Table::read(file)?;
    let positions = Positions::find(&mut table, config)?;
    let pictures = read_rows(&mut table, &positions, config, Absent::IsListed)?;
    let faults = table.take_faults();
    if pictures.is_empty() && faults.is_empty() {
        return Err(no_rows(file_name(file)));
    }
    Ok((pictures, faults))
}

/// What becomes of an image file that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    IsFault,
    IsListed,
}

fn file_name(file: &Path) -> String {
    file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn no_rows(name: String) -> DataError {
    DataError::Empty { name, what: "the manifest has no rows: name one row per image" }
}

/// The data set of a manifest's rows, and what their reports lack.
fn dataset(mut table: Table, config: &PairsConfig, absent: Absent) -> Result<(Dataset, TextCounts)> {
    let name = file_name(&table.file);
    let positions = Positions::find(&mut table, config)?;
    let mut pictures = read_rows(&mut table, &positions, config, absent)?;
    table.check()?;
    if pictures.is_empty() {
        return Err(no_rows(name));
    }
    let classes = if config.label_columns.is_empty() {
        list_classes(&mut pictures, &config.classes)?
    } else {
        config.label_columns.clone()
    };
    let mut counts = TextCounts { fields_not_utf8: table.legacy, ..TextCounts::default() };
    let studies = group(pictures, &classes, config, &mut counts, &mut |row, column, why| {
        let position = table.header.iter().position(|name| name == column);
        table.fault(row, position.unwrap_or(usize::MAX), why);
    });
    table.check()?;
    let data = Dataset { name, classes, studies };
    check_leaks(&data)?;
    Ok((data, counts))
}

fn read_rows(table: &mut Table, positions: &Positions, config: &PairsConfig, absent: Absent) -> Result<Vec<Picture>> {
    let beside = table.file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let root = if config.image_root.as_os_str().is_empty() { beside } else { config.image_root.clone() };
    let missing = |source| DataError::Io { action: "read the image root", path: root.clone(), source };
    std::fs::metadata(&root).map_err(missing)?;
    let mut folder = Folder::new(&root)?;
    table.identify(|row| {
        let study = positions.study.map(|study| row.fields[study].trim().to_owned());
        Listing { study, path: Some(row.fields[positions.image].trim()) }
    });
    let mut pictures = Vec::with_capacity(table.rows.len());
    for row in std::mem::take(&mut table.rows) {
        let path = match locate(&mut folder, &root, &row.fields[positions.image], config) {
            Ok((_, is_file)) if absent == Absent::IsFault && !is_file => {
                table.fault(row.number, positions.image, RowFaultKind::NoFile);
                continue;
            }
            Ok((path, _)) => path,
            Err(why) => {
                table.fault(row.number, positions.image, why);
                continue;
            }
        };
        pictures.push(picture(table, positions, config, &row, path));
    }
    let mut listed: HashMap<&Path, usize> = HashMap::with_capacity(pictures.len());
    for picture in &pictures {
        if let Some(earlier) = listed.insert(&picture.path, picture.row) {
            table.fault(picture.row, positions.image, RowFaultKind::Repeated(earlier));
        }
    }
    Ok(pictures)
}

/// The path of an image and whether there is a file.
fn locate(
    folder: &mut Folder,
    root: &Path,
    field: &str,
    config: &PairsConfig,
) -> Result<(PathBuf, bool), RowFaultKind> {
    let field = field.trim();
    let inside = Path::new(field).strip_prefix(root).ok().filter(|_| !config.image_root.as_os_str().is_empty());
    let relative = match inside.filter(|_| Path::new(field).is_absolute()) {
        Some(relative) => relative.to_str().ok_or(PathFault::Character)?,
        None => field,
    };
    Ok(folder.file(relative)?)
}

/// The fields of one row; what is wrong is noted in the table.
fn picture(table: &mut Table, positions: &Positions, config: &PairsConfig, row: &Row, path: PathBuf) -> Picture {
    let field = |position: Option<usize>| position.map_or("", |i| row.fields[i].trim());
    let mut split = Split::Train;
    if let Some(position) = positions.split {
        match parse_split(field(Some(position))) {
            Some(parsed) => split = parsed,
            None => table.fault(row.number, position, RowFaultKind::Split),
        }
    }
    let flags = positions.label_columns.iter().map(|&position| {
        parse_flag(field(Some(position))).unwrap_or_else(|| {
            table.fault(row.number, position, RowFaultKind::Label);
            None
        })
    });
    let flags: Vec<Option<bool>> = flags.collect();
    let list = if positions.label_columns.is_empty() { field(positions.labels) } else { "" };
    let names = list.split(config.label_separator.as_str()).map(str::trim).filter(|name| !name.is_empty());
    let (findings, signed) = parse_findings(&names.collect::<Vec<_>>());
    Picture {
        path,
        row: row.number,
        text: field(positions.text).to_owned(),
        patient: field(positions.patient).to_owned(),
        study: field(positions.study).to_owned(),
        view: field(positions.view).to_owned(),
        demographics: Demographics { sex: Sex::parse(field(positions.sex)), age: AgeBand::parse(field(positions.age)) },
        findings,
        signed,
        labels: flags,
        split,
    }
}

/// The names of a list and whether each is present; whether all of them carry a sign (`+Edema|-Fracture`).
pub(super) fn parse_findings(names: &[&str]) -> (Vec<(String, bool)>, bool) {
    let signed: Option<Vec<_>> = names.iter().map(|name| signed_name(name)).collect();
    match signed {
        Some(found) if !found.is_empty() => {
            (found.into_iter().map(|(name, present)| (name.to_owned(), present)).collect(), true)
        }
        _ => (names.iter().map(|&name| (name.to_owned(), true)).collect(), false),
    }
}

/// A name and its sign, `None` where it has none.
pub(crate) fn signed_name(name: &str) -> Option<(&str, bool)> {
    let (rest, present) = match name.strip_prefix('+') {
        Some(rest) => (rest, true),
        None => (name.strip_prefix('-')?, false),
    };
    (!rest.trim().is_empty()).then(|| (rest.trim(), present))
}

pub(super) fn parse_split(field: &str) -> Option<Split> {
    match field.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "validate" | "validation" | "valid" | "val" | "dev" => Some(Split::Validate),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// A label of CheXpert's kind: `Some(None)` for uncertain or blank, `None` for anything else.
#[expect(clippy::option_option, reason = "the outer one is an error, the inner one a missing label")]
pub(super) fn parse_flag(field: &str) -> Option<Option<bool>> {
    match field {
        "" | "-1" | "-1.0" => Some(None),
        "0" | "0.0" => Some(Some(false)),
        "1" | "1.0" => Some(Some(true)),
        _ => None,
    }
}

/// Fills the labels of every picture from its list of findings; returns the classes.
///
/// A list that is empty says nothing about any class; a list with a finding says no to all others, unless its names have
/// signs: then it says yes or no to these and nothing about others.
fn list_classes(pictures: &mut [Picture], given: &[String]) -> Result<Vec<String>> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (finding, present) in pictures.iter().flat_map(|p| &p.findings) {
        *counts.entry(finding).or_default() += usize::from(*present);
    }
    if let Some(absent) = given.iter().find(|class| !counts.contains_key(class.as_str())) {
        let why = "no row has this label; mind spelling and capitals";
        return Err(DataError::Setting { key: "classes", value: absent.clone(), why });
    }
    let mut classes: Vec<String> = given.to_vec();
    if given.is_empty() {
        let mut ordered: Vec<(&str, usize)> = counts.into_iter().collect();
        // Names break ties, so that the order does not depend on the hash table.
        ordered.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        classes = ordered.into_iter().map(|(name, _)| name.to_owned()).collect();
    }
    for picture in pictures {
        let other = (!picture.findings.is_empty() && !picture.signed).then_some(false);
        let label = |class| picture.findings.iter().find(|(name, _)| name == class).map(|&(_, present)| present);
        picture.labels = classes.iter().map(|class| label(class).or(other)).collect();
    }
    Ok(classes)
}
