//! MURA v1.1: radiographs of the upper limb, normal or abnormal, labelled by study. There is no text.
//!
//! | File | Content (no header) |
//! |---|---|
//! | `train_image_paths.csv`, `valid_image_paths.csv` | a path per line: `MURA-v1.1/train/XR_WRIST/patient00001/study1_positive/image1.png` |
//! | `train_labeled_studies.csv`, `valid_labeled_studies.csv` | a study and its label: `MURA-v1.1/train/XR_WRIST/patient00001/study1_positive/,1` |
//!
//! A patient numbers studies anew for every body part, and has studies of several parts. The published validation part
//! is the test part here; patients of the training part are held out for validation.
//!
//! # Source
//! Rajpurkar et al. 2017, "MURA"; the parts are those of `ConVIRT`, table 1.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parts::Parts;
use super::table::{Listing, Row, Table};
use crate::demographics::Demographics;
use crate::error::{DataError, Result, RowFaultKind};
use crate::fsx::Folder;
use crate::record::{Dataset, ImageSource, Phi, Split, Study};
use crate::split::{SplitConfig, check_leaks, split_by_patient};

/// The class: whether a radiologist called the study abnormal.
pub const CLASS: &str = "abnormal";
/// The body parts, as the download names them.
pub const BODY_PARTS: [&str; 7] =
    ["XR_ELBOW", "XR_FINGER", "XR_FOREARM", "XR_HAND", "XR_HUMERUS", "XR_SHOULDER", "XR_WRIST"];
/// What every path of the download begins with.
const RELEASE: &str = "MURA-v1.1";
/// Names of the columns that the files lack, for messages.
const COLUMNS: [&str; 2] = ["path", "label"];

/// Where MURA lies and which of it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuraSource {
    /// The folder `MURA-v1.1` of the download, or the one that holds it.
    pub root: PathBuf,
    /// Body parts to use (of [`BODY_PARTS`]); all where the list is empty.
    #[serde(default)]
    pub body_parts: Vec<String>,
    /// Seed of the choice of patients for validation.
    #[serde(default)]
    pub seed: u64,
    /// Share of the training patients held out for validation.
    #[serde(default = "tenth")]
    pub validate: f64,
}

fn tenth() -> f64 {
    0.1
}

impl MuraSource {
    /// All of the download in `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root, body_parts: Vec::new(), seed: 0, validate: tenth() }
    }

    /// The parts: the published training part, its held-out patients, and the published validation part as test.
    ///
    /// # Errors
    /// As [`read`].
    pub fn parts(&self) -> Result<Parts> {
        let [train, test] = read(self)?;
        Ok(Parts { test, ..Parts::of(train) })
    }
}

/// Reads the published training part ([`Split::Train`], and [`Split::Validate`] for the patients that are held out) and
/// the published validation part ([`Split::Test`]).
///
/// Studies keep the order of the list of images. Files that macOS adds (`._image1.png`) are no images. An image that is
/// listed but absent is left for whoever decodes it to report.
///
/// # Errors
/// [`DataError::Io`] where a list cannot be read, [`DataError::Rows`] with every line that is not as the download writes
/// it, lies outside the folder or contradicts the label in its own path, [`DataError::Empty`] where nothing is left,
/// [`DataError::Leak`] where a patient is in both parts, [`DataError::Setting`] for an unknown body part and a share that leaves
/// nothing to train on.
pub fn read(source: &MuraSource) -> Result<[Dataset; 2]> {
    if let Some(unknown) = source.body_parts.iter().find(|part| !BODY_PARTS.contains(&part.as_str())) {
        let why = "no such body part; MURA has XR_ELBOW, XR_FINGER, XR_FOREARM, XR_HAND, XR_HUMERUS, XR_SHOULDER, \
                   XR_WRIST";
        return Err(DataError::Setting { key: "body_parts", value: unknown.clone(), why });
    }
    let inner = source.root.join(RELEASE);
    let root = if inner.is_dir() { inner } else { source.root.clone() };
    let mut train = read_part(source, &root, "train", Split::Train)?;
    split_by_patient(&mut train, &SplitConfig { seed: source.seed, validate: source.validate, test: 0.0 })?;
    let parts = [train, read_part(source, &root, "valid", Split::Test)?];
    let studies = parts.iter().flat_map(|part| part.studies.iter().cloned()).collect();
    check_leaks(&Dataset { name: RELEASE.to_owned(), classes: Vec::new(), studies })?;
    Ok(parts)
}

/// What a path of the download says.
struct Place<'a> {
    body_part: &'a str,
    patient: &'a str,
    study: &'a str,
    abnormal: bool,
    /// Name of the image; empty in the list of studies.
    file: &'a str,
}

impl Place<'_> {
    /// The study's id: patients number studies anew for every body part.
    fn study_id(&self) -> String {
        format!("{}/{}", self.body_part, self.study)
    }
}

/// Takes a path apart: release, part, body part, patient, study and file.
fn place<'a>(path: &'a str, part: &str) -> Option<Place<'a>> {
    let fields: Vec<&str> = path.split('/').collect();
    let [release, found, body_part, patient, study, file] = fields[..] else { return None };
    let (number, label) = study.rsplit_once('_')?;
    let known = release == RELEASE
        && found == part
        && BODY_PARTS.contains(&body_part)
        && patient.starts_with("patient")
        && number.starts_with("study");
    let abnormal = match label {
        "positive" => true,
        "negative" => false,
        _ => return None,
    };
    known.then_some(Place { body_part, patient, study, abnormal, file })
}

/// What a row lists, for messages.
fn named<'a>(row: &'a Row, part: &str) -> Listing<'a> {
    let path = row.fields[0].trim();
    Listing { study: place(path, part).map(|place| place.study_id()), path: Some(path) }
}

/// The path without the name of the release.
fn inside(path: &str) -> &str {
    path.strip_prefix(RELEASE).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// Whether a path names one of the files that macOS keeps attributes in, beside every file.
fn is_attribute(path: &str) -> bool {
    path.split('/').any(|name| name.starts_with("._"))
}

fn read_part(source: &MuraSource, root: &Path, part: &str, split: Split) -> Result<Dataset> {
    let labels = read_labels(root, part)?;
    let file = root.join(format!("{part}_image_paths.csv"));
    let mut table = Table::read_bare(&file, &COLUMNS[..1])?;
    table.identify(|row| named(row, part));
    let mut folder = Folder::new(root)?;
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut listed: HashMap<PathBuf, usize> = HashMap::new();
    let mut studies: Vec<Study> = Vec::new();
    for row in std::mem::take(&mut table.rows) {
        let field = row.fields[0].trim();
        if is_attribute(field) {
            continue;
        }
        let Some(place) = place(field, part).filter(|place| place.file.starts_with("image")) else {
            table.fault(row.number, 0, RowFaultKind::Layout("an image of MURA-v1.1"));
            continue;
        };
        let path = match folder.path(inside(field)) {
            Ok(path) => path,
            Err(why) => {
                table.fault(row.number, 0, why.into());
                continue;
            }
        };
        if let Some(&earlier) = listed.get(&path) {
            table.fault(row.number, 0, RowFaultKind::Repeated(earlier));
            continue;
        }
        listed.insert(path.clone(), row.number);
        if !source.body_parts.is_empty() && !source.body_parts.iter().any(|wanted| wanted == place.body_part) {
            continue;
        }
        let key = field[..field.len() - place.file.len()].to_owned();
        let label = labels.get(&key).copied();
        let position = *positions.entry(key).or_insert_with(|| {
            studies.push(study(&place, label, split, row.number));
            studies.len() - 1
        });
        studies[position].images.push(ImageSource::File(Phi::new(path)));
    }
    table.check()?;
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if studies.is_empty() {
        return Err(DataError::Empty { name, what: "no image of these body parts is listed" });
    }
    Ok(Dataset { name, classes: vec![CLASS.to_owned()], studies })
}

/// A study without its images yet. The list of studies decides on the label; a study that it lacks has that of its path.
fn study(place: &Place, label: Option<bool>, split: Split, row: usize) -> Study {
    Study {
        patient_id: Phi::new(place.patient.to_owned()),
        study_id: Phi::new(place.study_id()),
        images: Vec::new(),
        sentences: Vec::new(),
        labels: vec![Some(label.unwrap_or(place.abnormal))],
        view: String::new(),
        demographics: Demographics::default(),
        split,
        row,
    }
}

/// The labels of the studies, by their path with its trailing slash; none where the download lacks the list, since
/// every path tells its label too.
fn read_labels(root: &Path, part: &str) -> Result<HashMap<String, bool>> {
    let file = root.join(format!("{part}_labeled_studies.csv"));
    let mut labels = HashMap::new();
    if !file.exists() {
        return Ok(labels);
    }
    let mut table = Table::read_bare(&file, &COLUMNS)?;
    table.identify(|row| named(row, part));
    for row in std::mem::take(&mut table.rows) {
        let mut path = row.fields[0].trim().to_owned();
        if is_attribute(&path) {
            continue;
        }
        if !path.ends_with('/') {
            path.push('/');
        }
        let label = match row.fields[1].trim() {
            "1" => true,
            "0" => false,
            _ => {
                table.fault(row.number, 1, RowFaultKind::Binary);
                continue;
            }
        };
        match place(&path, part).filter(|place| place.file.is_empty()) {
            None => table.fault(row.number, 0, RowFaultKind::Layout("a study of MURA-v1.1")),
            Some(place) if place.abnormal != label => table.fault(row.number, 1, RowFaultKind::PathLabel),
            Some(_) => {
                labels.insert(path, label);
            }
        }
    }
    table.check()?;
    Ok(labels)
}
