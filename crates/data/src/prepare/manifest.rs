//! What is written beside the images: `pairs.csv` and `provenance.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::record::{Dataset, Split, Study};
use crate::report::TextRules;
use crate::source::pairs_csv::signed_name;

/// Name of the manifest.
pub const MANIFEST: &str = "pairs.csv";
/// Name of the provenance.
pub const PROVENANCE: &str = "provenance.json";

/// Where a prepared folder comes from and what is in it: no time, no path outside it, nothing of a patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this file's layout.
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// What was prepared.
    pub source: Origin,
    /// Larger side of an image at most (px).
    pub size: usize,
    /// How much is there.
    pub counts: Counts,
    /// Images that were left out.
    pub skipped: Vec<SkippedImage>,
    /// What the source left out before that, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, usize>,
    /// Hash of [`MANIFEST`].
    pub manifest_sha256: String,
    /// Hash of every image by its path in the folder.
    pub images: BTreeMap<String, String>,
}

/// A kind of source and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the kind.
    pub kind: String,
    /// Number of generated studies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Seed of generated studies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// How much is in a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Patients of the studies.
    pub patients: usize,
    /// Studies with a readable image or a text.
    pub studies: usize,
    /// Of these, studies without a readable image: the manifest cannot hold them.
    pub studies_without_image: usize,
    /// Readable images.
    pub images: usize,
    /// Reports with text.
    pub texts: usize,
}

/// An image that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedImage {
    /// Name of the manifest that lists it.
    pub manifest: String,
    /// Row of its study there.
    pub row: usize,
    /// Its number in the study, from 1.
    pub image: usize,
    /// Why, in a word.
    pub reason: String,
}

/// A manifest under construction.
#[derive(Debug)]
pub struct ManifestWriter(csv::Writer<Vec<u8>>);

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DataError {
    DataError::Io { action: "write", path: MANIFEST.into(), source: std::io::Error::other(error) }
}

impl ManifestWriter {
    /// A manifest with its header: the columns that the `pairs` source looks for.
    ///
    /// # Errors
    /// None in memory; [`DataError::Io`] is what the writer of CSV is typed for.
    pub fn new() -> Result<Self> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = ["image_path", "text", "labels", "patient_id", "study_id", "view", "split"];
        writer.write_record(header).map_err(failed)?;
        Ok(Self(writer))
    }

    /// Adds the images of a study by their paths: a row for each, none for a study without one.
    ///
    /// # Errors
    /// As [`ManifestWriter::new`].
    pub fn add(&mut self, dataset: &Dataset, study: &Study, images: &[&str]) -> Result<()> {
        if images.is_empty() {
            return Ok(());
        }
        let (text, labels) = (text_field(study), labels_field(&dataset.classes, &study.labels));
        let split = match study.split {
            Split::Train => "train",
            Split::Validate => "validate",
            Split::Test => "test",
        };
        let fields = [&text, &labels, study.patient_id.expose(), study.study_id.expose(), &study.view, split];
        // A reader refuses a NUL, and no text needs one.
        let fields = fields.map(|field| field.replace('\0', " "));
        for &image in images {
            self.0.write_record(std::iter::once(image).chain(fields.iter().map(String::as_str))).map_err(failed)?;
        }
        Ok(())
    }

    /// The bytes of the manifest.
    ///
    /// # Errors
    /// As [`ManifestWriter::new`].
    pub fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().map_err(|error| failed(error.into_error()))
    }
}

/// The sentences as one text that splits into them again: a blank line ends a sentence.
fn text_field(study: &Study) -> String {
    let sentences: Vec<&str> = study.sentences.iter().map(|sentence| sentence.expose().as_str()).collect();
    let text = sentences.join("\n\n");
    let rules = TextRules { min_tokens: 1, ..TextRules::default() };
    // A sentence that looks like a header ("Impression: clear") would hide the others: without colons none does.
    if rules.sentences(&text) == sentences { text } else { text.replace(':', ";") }
}

/// The labels as the list that reads back as the same ones.
fn labels_field(classes: &[String], labels: &[Option<bool>]) -> String {
    let known: Vec<(&str, bool)> =
        classes.iter().zip(labels).filter_map(|(class, &label)| Some((class.as_str(), label?))).collect();
    let present: Vec<&str> = known.iter().filter(|(_, present)| *present).map(|&(class, _)| class).collect();
    // A plain list says no to all others, and it must have an entry to say so.
    let plain = known.len() == classes.len() && present.iter().any(|class| signed_name(class).is_none());
    if plain {
        return present.join("|");
    }
    let signed = known.iter().map(|&(class, present)| format!("{}{class}", if present { '+' } else { '-' }));
    signed.collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demographics::Demographics;
    use crate::record::Phi;

    #[test]
    fn labels_are_plain_where_a_plain_list_says_all() {
        let classes = ["a", "b"].map(str::to_owned);
        let cases = [
            ([Some(true), Some(false)], "a"),
            ([Some(true), Some(true)], "a|b"),
            ([Some(false), Some(false)], "-a|-b"),
            ([Some(true), None], "+a"),
            ([None, Some(false)], "-b"),
            ([None, None], ""),
        ];
        for (labels, expected) in cases {
            assert_eq!(labels_field(&classes, &labels), expected);
        }
    }

    #[test]
    fn a_sentence_like_a_header_hides_no_other() {
        let sentences = ["Seen by Dr. \"Impression: clear\".", "Impression: the chest is clear.", "No effusion."];
        let study = Study {
            patient_id: Phi::new(String::new()),
            study_id: Phi::new(String::new()),
            images: Vec::new(),
            sentences: sentences.iter().map(|&s| Phi::new(s.to_owned())).collect(),
            labels: Vec::new(),
            view: String::new(),
            demographics: Demographics::default(),
            split: Split::Train,
            row: 1,
        };
        let text = text_field(&study);
        assert_eq!(TextRules::default().sentences(&text).len(), 3, "{text}");
    }
}
