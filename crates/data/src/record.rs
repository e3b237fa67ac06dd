//! Studies and their parts: the one shape that every data source is read into.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::demographics::Demographics;
use crate::fsx;
pub use crate::phi::{Phi, SampleRef, show_paths};
use crate::source::phantom::PhantomKey;

/// A patient, as the source names them.
pub type PatientId = Phi<String>;
/// One examination of a patient: its images and its report.
pub type StudyId = Phi<String>;

/// Which part of the data a study belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Parameters are fitted on it.
    Train,
    /// Learning rate, early stop and the best checkpoint are chosen on it.
    Validate,
    /// Figures are reported on it.
    Test,
}

/// Where the pixels of an image come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A file on disk. The path can hold a patient's id and is protected like one.
    File(Phi<PathBuf>),
    /// A generated phantom.
    Phantom(PhantomKey),
}

impl ImageSource {
    /// What tells it from other images, without the folder that it lies in: a data set may move. For hashing alone, since
    /// the name of a file can hold a patient's id.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::File(path) => path.expose().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Phantom(key) => format!("{key:?}"),
        }
    }

    /// The same with what changes when the image does: length and time of a file. For hashing alone.
    pub fn state(&self) -> String {
        match self {
            Self::File(path) => fsx::state(path.expose()),
            Self::Phantom(_) => self.fingerprint(),
        }
    }
}

/// One study: at least one image, the sentences of its report (possibly none) and its labels.
#[derive(Debug, Clone)]
pub struct Study {
    /// The patient, for splits and for patient-level intervals.
    pub patient_id: PatientId,
    /// The study.
    pub study_id: StudyId,
    /// Images of the study.
    pub images: Vec<ImageSource>,
    /// Sentences of the report that are long enough to learn from.
    pub sentences: Vec<Phi<String>>,
    /// One entry for every class of the data set; `None` where the class is not labelled.
    pub labels: Vec<Option<bool>>,
    /// The view (PA, AP, L, ...), empty where unknown.
    pub view: String,
    /// Sex and age band of the patient, where known.
    pub demographics: Demographics,
    /// Part of the data.
    pub split: Split,
    /// Row of the manifest (1 = first data row) or index of the phantom, for messages.
    pub row: usize,
}

impl Study {
    /// How messages name this study, or one of its images where its number is given.
    pub fn sample(&self, image: Option<usize>) -> SampleRef {
        let path = match image.and_then(|image| self.images.get(image)) {
            Some(ImageSource::File(path)) => Some(path.clone()),
            _ => None,
        };
        SampleRef { row: self.row, study: Some(self.study_id.clone()), path }
    }
}

/// Studies of one source and the names of their labels.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Short name, for logs and cards.
    pub name: String,
    /// Names of the labels, in the order of [`Study::labels`].
    pub classes: Vec<String>,
    /// The studies, in the order of the source.
    pub studies: Vec<Study>,
}

impl Dataset {
    /// How many patients there are.
    pub fn num_patients(&self) -> usize {
        let patients: std::collections::HashSet<&PatientId> = self.studies.iter().map(|s| &s.patient_id).collect();
        patients.len()
    }

    /// SHA-256 of patients, studies, names of images, sentences and labels, in order: a data set that differs in any of them
    /// differs here, and one that was moved is the same.
    pub fn fingerprint(&self) -> String {
        let mut digest = String::new();
        for study in &self.studies {
            let ids = [study.patient_id.expose(), study.study_id.expose()];
            let sentences: Vec<&String> = study.sentences.iter().map(Phi::expose).collect();
            let images: Vec<String> = study.images.iter().map(ImageSource::fingerprint).collect();
            digest = fsx::sha256_hex(format!("{digest}{ids:?}{images:?}{:?}{sentences:?}", study.labels).as_bytes());
        }
        digest
    }

    /// [`Self::fingerprint`] with the state of every image, by which a replaced file is another one.
    pub fn state(&self) -> String {
        let images = self.studies.iter().flat_map(|study| &study.images);
        images
            .fold(self.fingerprint(), |digest, image| fsx::sha256_hex(format!("{digest}{}", image.state()).as_bytes()))
    }

    /// The studies of one split, in order.
    pub fn split(&self, split: Split) -> Vec<Study> {
        self.studies.iter().filter(|s| s.split == split).cloned().collect()
    }
}
