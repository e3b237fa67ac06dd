//! Rows of a manifest to studies: which images belong together, and what their study says.

use std::collections::HashMap;
use std::path::PathBuf;

use super::pairs_csv::PairsConfig;
use crate::demographics::Demographics;
use crate::error::RowFaultKind;
use crate::record::{ImageSource, Phi, SampleRef, Split, Study};
use crate::report::counts::TextCounts;

/// One row of a manifest.
pub(crate) struct Picture {
    pub(crate) path: PathBuf,
    pub(crate) row: usize,
    pub(super) text: String,
    pub(super) patient: String,
    pub(super) study: String,
    pub(super) view: String,
    pub(super) demographics: Demographics,
    /// Names in the list of labels and whether each is present.
    pub(super) findings: Vec<(String, bool)>,
    /// Whether every name of the list has a sign: then the list says nothing about other names.
    pub(super) signed: bool,
    /// One entry for every class.
    pub(super) labels: Vec<Option<bool>>,
    pub(crate) split: Split,
}

impl Picture {
    /// How messages name it.
    pub(crate) fn sample(&self) -> SampleRef {
        let study = (!self.study.is_empty()).then(|| Phi::new(self.study.clone()));
        SampleRef { row: self.row, study, path: Some(Phi::new(self.path.clone())) }
    }

    /// The patient; without one, the patient of this study or of this row alone.
    pub(crate) fn patient_id(&self) -> String {
        match (self.patient.is_empty(), self.study.is_empty()) {
            (false, _) => self.patient.clone(),
            (true, false) => format!("study {}", self.study),
            (true, true) => format!("row {}", self.row),
        }
    }
}

/// What rows of one study have in common.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Study(String),
    PatientAndText(String, String),
    Row(usize),
}

fn key_of(picture: &Picture, group_rows: bool) -> Key {
    if !group_rows {
        Key::Row(picture.row)
    } else if !picture.study.is_empty() {
        // Some sources number studies anew for every patient.
        Key::Study(format!("{}\n{}", picture.patient, picture.study))
    } else if !picture.patient.is_empty() && !picture.text.is_empty() {
        Key::PatientAndText(picture.patient.clone(), picture.text.clone())
    } else {
        Key::Row(picture.row)
    }
}

/// Groups pictures into studies in the order of their first rows and counts their reports. `fault` takes the row, the column and the cause
/// where rows of one study disagree.
pub(super) fn group(
    pictures: Vec<Picture>,
    classes: &[String],
    config: &PairsConfig,
    counts: &mut TextCounts,
    fault: &mut dyn FnMut(usize, &str, RowFaultKind),
) -> Vec<Study> {
    let mut positions: HashMap<Key, usize> = HashMap::new();
    let mut groups: Vec<Vec<Picture>> = Vec::new();
    for picture in pictures {
        let position = *positions.entry(key_of(&picture, config.group_rows)).or_insert(groups.len());
        match groups.get_mut(position) {
            Some(members) => members.push(picture),
            None => groups.push(vec![picture]),
        }
    }
    groups.into_iter().filter_map(|members| study_of(members, classes.len(), config, counts, fault)).collect()
}

/// The study of some rows, `None` for no rows.
fn study_of(
    members: Vec<Picture>,
    classes: usize,
    config: &PairsConfig,
    counts: &mut TextCounts,
    fault: &mut dyn FnMut(usize, &str, RowFaultKind),
) -> Option<Study> {
    let first = members.first()?;
    let (row, split) = (first.row, first.split);
    // The text may be given once for all images of a study.
    let told = members.iter().find(|m| !m.text.is_empty());
    let (text, text_row) = told.map_or(("", row), |m| (m.text.as_str(), m.row));
    counts.add(text);
    let mut labels = vec![None; classes];
    for member in &members {
        if !member.text.is_empty() && member.text != text {
            fault(member.row, &config.columns.text, RowFaultKind::Disagrees("text", text_row));
        }
        if member.split != split {
            fault(member.row, &config.columns.split, RowFaultKind::Disagrees("split", row));
        }
        for (merged, &label) in labels.iter_mut().zip(&member.labels) {
            // A finding that shows in one image is a finding of the study.
            *merged = match (*merged, label) {
                (Some(a), Some(b)) => Some(a || b),
                (known, other) => known.or(other),
            };
        }
    }
    let study_id = if first.study.is_empty() { format!("row {row}") } else { first.study.clone() };
    let patient_id = first.patient_id();
    let view = members.iter().map(|m| &m.view).find(|view| !view.is_empty()).cloned().unwrap_or_default();
    let demographics = Demographics {
        sex: members.iter().find_map(|m| m.demographics.sex),
        age: members.iter().find_map(|m| m.demographics.age),
    };
    let sentences = config.text.sentences(text).into_iter().map(|s| Phi::new(s.to_owned())).collect();
    Some(Study {
        patient_id: Phi::new(patient_id),
        study_id: Phi::new(study_id),
        sentences,
        labels,
        view,
        demographics,
        split,
        row,
        images: members.into_iter().map(|m| ImageSource::File(Phi::new(m.path))).collect(),
    })
}
