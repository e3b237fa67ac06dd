//! Labelled images for probes and fine-tuning: one or two CSV files, parts that share no patient.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use data::error::DataError;
use data::record::{Dataset, Phi, Split, Study};
use data::source::pairs_csv::{self, DemographicColumns, PairsColumns, PairsConfig};
use data::source::parts::PhantomSource;
use data::split::{SplitConfig, check_leaks, split_by_patient};
use model::head::label_kind::LabelKind;
use serde_json::{Value, json};

use crate::error::{EvalError, Result};

/// Where labelled images come from and which question is asked of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelledConfig {
    /// The CSV; absent: the built-in phantoms.
    pub data: Option<PathBuf>,
    /// A CSV that is tested on; absent: a part of the first one.
    pub test_data: Option<PathBuf>,
    /// Column with the image path; absent: the usual name, as for all columns.
    pub image_column: Option<String>,
    /// Columns of one class each, or the column of lists.
    pub label_columns: Vec<String>,
    /// What separates the names of a list.
    pub separator: Option<String>,
    /// Classes of a list; empty: all that occur.
    pub classes: Vec<String>,
    /// Name in a list that an image must carry to be a negative one; absent: every list without the class is negative.
    pub negative: Option<String>,
    /// Column with the patient.
    pub patient_column: Option<String>,
    /// Column with the sex.
    pub sex_column: Option<String>,
    /// Column with the age.
    pub age_column: Option<String>,
    /// Column whose values part the test images into strata.
    pub stratify: Option<String>,
    /// Folder that image paths are relative to; absent: that of the CSV.
    pub image_root: Option<PathBuf>,
    /// How the classes relate; images that are not of exactly one are left out where they exclude each other.
    pub kind: LabelKind,
    /// Whether the test images of a study are scored together.
    pub study_level: bool,
    /// Column with the study.
    pub study_column: Option<String>,
}

/// Labelled images in three parts that share no patient; every study is one image.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// To train on.
    pub train: Dataset,
    /// To choose epoch and learning rate by.
    pub validate: Dataset,
    /// To test on.
    pub test: Dataset,
    /// Where the test part comes from, in words.
    pub tested_on: String,
    /// How the classes relate.
    pub kind: LabelKind,
    /// Images of each study, where they are scored together.
    pub studies: Option<Studies>,
}

/// Images of each study of two parts, as places in the part.
#[derive(Debug, Clone)]
pub struct Studies {
    /// Of the validation part.
    pub validate: Vec<Vec<usize>>,
    /// Of the test part.
    pub test: Vec<Vec<usize>>,
}

impl LabelledConfig {
    /// Reads the parts.
    ///
    /// # Errors
    /// As [`pairs_csv::read`]; settings that contradict each other, a class or a negative that never occurs, a column of
    /// strata, sex or age that says nothing, and a part without images.
    pub fn read(&self) -> Result<Labelled> {
        let Some(file) = &self.data else {
            let mut labelled = Labelled::phantoms(&PhantomSource::default());
            labelled.kind = self.kind;
            for part in [&mut labelled.train, &mut labelled.validate, &mut labelled.test] {
                self.keep_one_of(part)?;
            }
            return Ok(labelled);
        };
        let mut all = self.read_csv(file, "row", None)?;
        let mut labelled = if let Some(file) = &self.test_data {
            let test = self.read_csv(file, "test row", Some(&all.classes))?;
            leave_out_patients_of(&test, &mut all);
            split_missing(&mut all, false)?;
            let mut labelled = parts(&all, format!("the rows of {}", test.name));
            labelled.test = test;
            labelled
        } else {
            let named = all.studies.iter().any(|study| study.split == Split::Test);
            split_missing(&mut all, !named)?;
            let by = if named { "the rows that the split column names" } else { "patients that were split off" };
            parts(&all, by.to_owned())
        };
        check_parts(&labelled)?;
        self.check_columns(&labelled.test)?;
        labelled.kind = self.kind;
        if self.study_level {
            labelled.studies =
                Some(Studies { validate: studies_of(&labelled.validate)?, test: studies_of(&labelled.test)? });
        }
        for part in [&mut labelled.train, &mut labelled.validate, &mut labelled.test] {
            // An image is a sample of its own: the loader need not keep those of one study apart.
            part.studies.iter_mut().for_each(|study| study.study_id = Phi::new(format!("row {}", study.row)));
        }
        tell(&labelled);
        Ok(labelled)
    }

    /// Makes sure that the columns which part the test images say something of them.
    fn check_columns(&self, test: &Dataset) -> Result<()> {
        let any = |is_told: fn(&Study) -> bool| test.studies.iter().any(is_told);
        let named = [
            (&self.stratify, "--stratify", any(|study| !study.view.is_empty())),
            (&self.sex_column, "--sex-column", any(|study| study.demographics.sex.is_some())),
            (&self.age_column, "--age-column", any(|study| study.demographics.age.is_some())),
        ];
        for (column, option, is_told) in named {
            if let Some(column) = column
                && !is_told
            {
                let what = format!("column \"{column}\" says nothing of the test images: name another with {option}");
                return Err(EvalError::Unfit { data: test.name.clone(), what });
            }
        }
        Ok(())
    }

    /// Whether labels stand in one column of lists.
    fn has_lists(&self) -> bool {
        self.separator.is_some() || !self.classes.is_empty() || self.negative.is_some() || self.label_columns.is_empty()
    }

    /// How a CSV is read, with every row an image of its own. `classes` are those of another CSV.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub(crate) fn csv(&self, classes: Option<&[String]>) -> Result<PairsConfig> {
        let lists = self.has_lists();
        if lists && self.label_columns.len() > 1 {
            let (key, value) = ("--label-column", self.label_columns.join(", "));
            let why = "with --separator, --classes or --negative labels are lists in one column";
            return Err(DataError::Setting { key, value, why }.into());
        }
        let usual = PairsColumns::default();
        let or = |given: &Option<String>, usual: String| given.clone().unwrap_or(usual);
        let list_column = self.label_columns.first().filter(|_| lists).cloned();
        let columns = PairsColumns {
            image: or(&self.image_column, usual.image),
            patient: or(&self.patient_column, usual.patient),
            labels: or(&list_column, usual.labels),
            view: or(&self.stratify, usual.view),
            study: or(&self.study_column, usual.study),
            demographics: Box::new(DemographicColumns {
                sex: or(&self.sex_column, usual.demographics.sex),
                age: or(&self.age_column, usual.demographics.age),
            }),
            ..PairsColumns::default()
        };
        let mut wanted = classes.unwrap_or(&self.classes).to_vec();
        if !wanted.is_empty() {
            wanted.extend(self.negative.clone());
        }
        Ok(PairsConfig {
            columns,
            label_columns: if lists { Vec::new() } else { self.label_columns.clone() },
            label_separator: self.separator.clone().unwrap_or_else(|| "|".to_owned()),
            classes: if lists { wanted } else { Vec::new() },
            image_root: self.image_root.clone().unwrap_or_default(),
            group_rows: false,
            ..PairsConfig::default()
        })
    }

    /// The rows of a CSV that have a label; `row` names patients of rows without one. `classes` are those of another CSV.
    fn read_csv(&self, file: &Path, row: &str, classes: Option<&[String]>) -> Result<Dataset> {
        let config = self.csv(classes)?;
        let mut all = pairs_csv::read(file, &config).map_err(|error| self.name_setting(file, error))?;
        self.select(&mut all)?;
        self.keep_one_of(&mut all)?;
        for study in &mut all.studies {
            // Rows of two files with equal numbers are not of one patient.
            if *study.patient_id.expose() == format!("row {}", study.row) {
                study.patient_id = Phi::new(format!("{row} {}", study.row));
            }
        }
        if all.studies.len() > 1 && all.studies.iter().all(|s| *s.patient_id.expose() == format!("{row} {}", s.row)) {
            tracing::warn!(data = %all.name, "no row names a patient: each counts as one of its own (--patient-column)");
        }
        Ok(all)
    }

    /// Leaves out images that are not of exactly one class, or of one that is not known, where classes exclude each other.
    ///
    /// # Errors
    /// If fewer than two classes or no images are left.
    fn keep_one_of(&self, all: &mut Dataset) -> Result<()> {
        if self.kind == LabelKind::Multilabel {
            return Ok(());
        }
        let before = all.studies.len();
        let is_one = |study: &Study| {
            study.labels.iter().all(Option::is_some)
                && study.labels.iter().flatten().filter(|label| **label).count() == 1
        };
        all.studies.retain(is_one);
        if all.classes.len() < 2 || all.studies.is_empty() {
            let what = "--multiclass needs two classes at least, and images that are of exactly one: name them with \
                        --classes or --label-column";
            return Err(EvalError::Unfit { data: all.name.clone(), what: what.to_owned() });
        }
        let left_out = before - all.studies.len();
        if left_out > 0 {
            tracing::warn!(data = %all.name, images = left_out, "left out: of no class, of several, or not known");
        }
        Ok(())
    }

    /// A class that never occurs, under the name of its option and with its file.
    pub(crate) fn name_setting(&self, file: &Path, error: DataError) -> EvalError {
        let DataError::Setting { key: "classes", value, .. } = error else { return error.into() };
        let option = if self.negative.as_ref() == Some(&value) { "--negative" } else { "--classes" };
        let data = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let what = format!("no row has the label \"{value}\" of {option}: mind spelling, capitals and --separator");
        EvalError::Unfit { data, what }
    }

    /// Leaves out rows without a label and, where negatives have a name, rows that carry neither it nor a class.
    ///
    /// # Errors
    /// If none is left, or no row has the name of negatives.
    pub(crate) fn select(&self, all: &mut Dataset) -> Result<()> {
        let before = all.studies.len();
        if let Some(negative) = &self.negative {
            let Some(column) = all.classes.iter().position(|class| class == negative) else {
                let what = format!("no row has the label \"{negative}\" of --negative: mind spelling and capitals");
                return Err(EvalError::Unfit { data: all.name.clone(), what });
            };
            all.studies.retain(|study| study.labels.contains(&Some(true)));
            all.classes.remove(column);
            for study in &mut all.studies {
                study.labels.remove(column);
            }
        }
        all.studies.retain(|study| study.labels.iter().any(Option::is_some));
        if all.classes.is_empty() || all.studies.is_empty() {
            let what = "no row has a label: name the column with --label-column".to_owned();
            return Err(EvalError::Unfit { data: all.name.clone(), what });
        }
        let left_out = before - all.studies.len();
        if left_out > 0 {
            tracing::info!(data = %all.name, rows = left_out, "left out: neither positive nor negative");
        }
        Ok(())
    }
}

impl Labelled {
    /// Generated radiographs.
    pub fn phantoms(source: &PhantomSource) -> Self {
        let parts = source.parts();
        let tested_on = "phantoms that are in no other part".to_owned();
        let (kind, studies) = (LabelKind::default(), None);
        Self { train: parts.train, validate: parts.validate, test: parts.test, tested_on, kind, studies }
    }
}

/// Takes the studies of patients that are tested on, and of a test part of its own, out of what is trained on.
fn leave_out_patients_of(test: &Dataset, all: &mut Dataset) {
    let tested: HashSet<&str> = test.studies.iter().map(|study| study.patient_id.expose().as_str()).collect();
    let is_tested = |study: &Study| tested.contains(study.patient_id.expose().as_str());
    let shared = all.studies.iter().filter(|study| is_tested(study)).count();
    let named = all.studies.iter().filter(|study| !is_tested(study) && study.split == Split::Test).count();
    all.studies.retain(|study| !is_tested(study) && study.split != Split::Test);
    if shared > 0 {
        tracing::warn!(data = %all.name, images = shared, "left out: their patients are in the test data");
    }
    if named > 0 {
        tracing::info!(data = %all.name, images = named, "left out: its own test part, beside --test-data");
    }
}

/// Splits off, by patient, the parts that no split column names: a tenth of the patients each.
fn split_missing(all: &mut Dataset, test: bool) -> Result<()> {
    let usual = SplitConfig::default();
    let has_validation = all.studies.iter().any(|study| study.split == Split::Validate);
    let share = |missing: bool, share: f64| if missing { share } else { 0.0 };
    let config =
        SplitConfig { validate: share(!has_validation, usual.validate), test: share(test, usual.test), ..usual };
    let (mut train, named): (Vec<Study>, Vec<Study>) =
        std::mem::take(&mut all.studies).into_iter().partition(|study| study.split == Split::Train);
    if test || !has_validation {
        let mut rest = Dataset { studies: train, ..all.clone() };
        split_by_patient(&mut rest, &config)?;
        train = rest.studies;
    }
    all.studies = [train, named].concat();
    all.studies.sort_by_key(|study| study.row);
    Ok(check_leaks(all)?)
}

fn parts(all: &Dataset, tested_on: String) -> Labelled {
    let part = |split| Dataset { studies: all.split(split), name: all.name.clone(), classes: all.classes.clone() };
    Labelled {
        train: part(Split::Train),
        validate: part(Split::Validate),
        test: part(Split::Test),
        tested_on,
        kind: LabelKind::default(),
        studies: None,
    }
}

/// The images of each study, in the order of their first ones; some sources number studies anew for every patient.
fn studies_of(test: &Dataset) -> Result<Vec<Vec<usize>>> {
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut studies: Vec<Vec<usize>> = Vec::new();
    for (image, study) in test.studies.iter().enumerate() {
        let key = (study.patient_id.expose().as_str(), study.study_id.expose().as_str());
        let place = *places.entry(key).or_insert(studies.len());
        match studies.get_mut(place) {
            Some(images) => images.push(image),
            None => studies.push(vec![image]),
        }
    }
    if test.studies.iter().all(|study| *study.study_id.expose() == format!("row {}", study.row)) {
        let what = "no test image names its study: name the column with --study-column".to_owned();
        return Err(EvalError::Unfit { data: test.name.clone(), what });
    }
    Ok(studies)
}

fn check_parts(labelled: &Labelled) -> Result<()> {
    for (name, part) in labelled.named() {
        if part.studies.is_empty() {
            let what = format!("the part \"{name}\" has no image: use more patients, or name parts in a split column");
            return Err(EvalError::Unfit { data: part.name.clone(), what });
        }
    }
    Ok(())
}

fn tell(labelled: &Labelled) {
    for (part, data) in labelled.named() {
        let (images, patients) = (data.studies.len(), data.num_patients());
        tracing::info!(data = %data.name, part, images, patients, "part read");
    }
    tracing::info!("tested on {}; no patient is in two parts", labelled.tested_on);
}

impl Labelled {
    /// The parts with their names.
    pub fn named(&self) -> [(&'static str, &Dataset); 3] {
        [("train", &self.train), ("validate", &self.validate), ("test", &self.test)]
    }

    /// Images, patients and positive images of every part.
    pub fn counts(&self) -> Value {
        let mut counts = serde_json::Map::new();
        for (name, part) in self.named() {
            let positive = |class: usize| part.studies.iter().filter(|s| s.labels[class] == Some(true)).count();
            let positives: serde_json::Map<String, Value> =
                part.classes.iter().enumerate().map(|(class, name)| (name.clone(), json!(positive(class)))).collect();
            let part = json!({ "images": part.studies.len(), "patients": part.num_patients(), "positive": positives });
            counts.insert(name.to_owned(), part);
        }
        Value::Object(counts)
    }
}
