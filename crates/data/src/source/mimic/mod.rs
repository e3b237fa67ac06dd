//! MIMIC-CXR-JPG with the reports of MIMIC-CXR, as `PhysioNet` hands them out.
//!
//! # Source
//! methods.md, section 5.1: tables `mimic-cxr-2.0.0-*.csv` (or `.csv.gz`), images
//! `files/p10/p10000032/s50414267/<dicom_id>.jpg` and reports `files/p10/p10000032/s50414267.txt`.

mod counts;
mod files;
mod tables;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::counts::{Counts, Reason};
use self::files::{Found, look_up};
use self::tables::Listed;
use super::parts::Parts;
use crate::demographics::Demographics;
use crate::error::{DataError, Result};
use crate::record::{Dataset, ImageSource, Phi, Study};
use crate::report::cleaning::ReportRules;
use crate::split::check_leaks;

/// The labels, in the order of MIMIC's tables. `CheXpert` and `MedCLIP` order them otherwise: go by name, never by place.
pub const CLASSES: [&str; 14] = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
];

/// Which program's labels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelTable {
    /// `mimic-cxr-2.0.0-chexpert.csv`.
    #[default]
    Chexpert,
    /// `mimic-cxr-2.0.0-negbio.csv`.
    Negbio,
    /// None; the data set has no classes.
    None,
}

/// What an uncertain label (-1) counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncertain {
    /// Not labelled: the study is left out for that class.
    #[default]
    Unlabelled,
    /// Negative, as `MedCLIP`'s pre-processing has it.
    Negative,
    /// Positive.
    Positive,
}

impl Uncertain {
    fn label(self) -> Option<bool> {
        match self {
            Self::Unlabelled => None,
            Self::Negative => Some(false),
            Self::Positive => Some(true),
        }
    }
}

/// Where MIMIC-CXR-JPG lies and how it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MimicSource {
    /// Folder of MIMIC-CXR-JPG: the tables, and the images under `files/`.
    pub root: PathBuf,
    /// Folder that holds the `files/` of `mimic-cxr-reports.zip`; empty for `root`.
    #[serde(default)]
    pub reports: PathBuf,
    /// Which labels are read.
    #[serde(default)]
    pub labels: LabelTable,
    /// What an uncertain label counts as.
    #[serde(default)]
    pub uncertain: Uncertain,
    /// Whether a finding that is not mentioned counts as negative, in studies with a row of labels. Otherwise it is not
    /// labelled.
    #[serde(default)]
    pub blank_is_negative: bool,
    /// Classes in this order; empty for all of [`CLASSES`].
    #[serde(default)]
    pub classes: Vec<String>,
    /// Values of `ViewPosition` that are kept, in capitals; empty for all, unknown ones too.
    #[serde(default = "frontal")]
    pub views: Vec<String>,
    /// Whether the images of a study form one sample. Otherwise each image is a sample with the study's report, as MGCA
    /// has it.
    #[serde(default = "yes")]
    pub group_images: bool,
    /// How reports become sentences.
    #[serde(default)]
    pub text: ReportRules,
}

fn frontal() -> Vec<String> {
    ["AP", "PA"].map(str::to_owned).to_vec()
}

fn yes() -> bool {
    true
}

impl MimicSource {
    /// The data in a folder, read as the defaults of a recipe have it: frontal views, labels of `CheXpert`'s labeler.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            reports: PathBuf::new(),
            labels: LabelTable::default(),
            uncertain: Uncertain::default(),
            blank_is_negative: false,
            classes: Vec::new(),
            views: frontal(),
            group_images: true,
            text: ReportRules::default(),
        }
    }

    /// The official parts.
    ///
    /// # Errors
    /// As [`read`].
    pub fn parts(&self) -> Result<Parts> {
        let (all, counts) = read(self, Keep::WithImage)?;
        counts.log(&all.name);
        Ok(Parts::of(all))
    }

    /// The classes that are read.
    fn class_names(&self) -> Result<Vec<String>> {
        let refuse = |value: &str, why| Err(DataError::Setting { key: "classes", value: value.to_owned(), why });
        let known: &[&str] = if self.labels == LabelTable::None { &[] } else { &CLASSES };
        for (i, name) in self.classes.iter().enumerate() {
            if known.is_empty() {
                return refuse(name, "labels = \"none\" reads no label; leave classes empty or name a label table");
            }
            if !known.contains(&name.as_str()) {
                return refuse(
                    name,
                    "MIMIC-CXR-JPG has no such label; mind spelling and capitals: \"Pleural Effusion\"",
                );
            }
            if self.classes[..i].contains(name) {
                return refuse(name, "the class is named twice");
            }
        }
        let all = || known.iter().map(|&name| name.to_owned()).collect();
        Ok(if self.classes.is_empty() { all() } else { self.classes.clone() })
    }
}

/// Which studies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those with an image, which can be trained and tested on.
    WithImage,
    /// Those with a text alone too.
    WithImageOrText,
}

/// Reads the tables, looks which images are there and reads the reports. Studies keep the order of the split table;
/// their rows are rows of it.
///
/// An image or a report that is not there, and a report that cannot be read or has no text, is counted. A study without
/// any image is left out and counted, unless its text is to be kept; one without a label row is not labelled.
///
/// # Errors
/// [`DataError::Io`] where a table is missing or broken, [`DataError::Column`] where one lacks a column,
/// [`DataError::Rows`] with all faults of one table, [`DataError::Leak`] for a patient in two splits,
/// [`DataError::Setting`] for an unknown class, [`DataError::Empty`] where no image is left.
pub fn read(source: &MimicSource, keep: Keep) -> Result<(Dataset, Counts)> {
    read_counted(source, keep, &[]).map(|(data, counts, _)| (data, counts))
}

/// As [`read`], with the counts by other rules for the reports too, in their order. Every file is read once; patients are
/// those of the data set.
///
/// # Errors
/// As [`read`].
pub fn read_counted(
    source: &MimicSource,
    keep: Keep,
    others: &[ReportRules],
) -> Result<(Dataset, Counts, Vec<Counts>)> {
    let classes = source.class_names()?;
    let tables::Tables { name, studies: listed } = tables::read(source, &classes)?;
    let found = look_up(&listed, source, others, keep);
    let (mut counts, mut by_others) = (Counts::default(), vec![Counts::default(); others.len()]);
    let mut data = Dataset { name, classes, studies: Vec::with_capacity(listed.len()) };
    for (study, found) in listed.into_iter().zip(found) {
        counts.add(&study, &found.images, &found.reading, keep);
        for (counts, reading) in by_others.iter_mut().zip(&found.others) {
            counts.add(&study, &found.images, reading, keep);
        }
        append(&mut data.studies, study, found, source.group_images, keep);
    }
    if data.studies.is_empty() {
        let what = if counts.skipped(Reason::ImageMissing) == 0 {
            "no image has one of the views that are kept: see data.source.views"
        } else {
            "no listed image is there: root must be the folder that holds the tables and files/p10 to files/p19"
        };
        return Err(DataError::Empty { name: data.name, what });
    }
    check_leaks(&data)?;
    let patients: HashSet<&str> = data.studies.iter().map(|study| study.patient_id.expose().as_str()).collect();
    for counts in std::iter::once(&mut counts).chain(&mut by_others) {
        counts.patients = patients.len();
    }
    Ok((data, counts, by_others))
}

/// Adds the samples of one study: one, or one an image; a text alone is one.
fn append(studies: &mut Vec<Study>, listed: Listed, found: Found, group: bool, keep: Keep) {
    let first = found.images.first();
    if first.is_none() && (keep == Keep::WithImage || found.texts.is_empty()) {
        return;
    }
    let (view, row) = first.map_or((String::new(), listed.row), |image| (image.view.clone(), image.row));
    let study = Study {
        patient_id: Phi::new(listed.subject.to_string()),
        study_id: Phi::new(listed.study.to_string()),
        images: Vec::new(),
        sentences: found.texts.into_iter().map(Phi::new).collect(),
        labels: listed.labels,
        view,
        demographics: Demographics::default(),
        split: listed.split,
        row,
    };
    let file = |path: PathBuf| ImageSource::File(Phi::new(path));
    if group || found.images.is_empty() {
        let images = found.images.into_iter().map(|image| file(image.path)).collect();
        studies.push(Study { images, ..study });
    } else {
        studies.extend(found.images.into_iter().map(|image| Study {
            images: vec![file(image.path)],
            view: image.view,
            row: image.row,
            ..study.clone()
        }));
    }
}
