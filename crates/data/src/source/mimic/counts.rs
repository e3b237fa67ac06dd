//! What of MIMIC-CXR was read, and what was left out for which reason.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::Keep;
use super::files::{FoundImage, Reading};
use super::tables::Listed;

/// Why something is left out or has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Images of a view that is not kept.
    OtherView,
    /// Images of a kept view whose file is not there.
    ImageMissing,
    /// Studies left out: no image of a kept view is there, nor a text where that alone would do.
    StudyWithoutImage,
    /// Reports whose file is not there.
    ReportMissing,
    /// Reports that cannot be read or are larger than any report.
    ReportUnreadable,
    /// Reports of the 54 studies that the chosen cleaning leaves without text.
    ReportSpecial,
    /// Reports without text in the sections that are kept.
    ReportWithoutSection,
    /// Reports whose text is too short.
    ReportTooShort,
    /// Studies that the label table does not list; they are kept, not labelled.
    StudyUnlabelled,
}

impl Reason {
    /// Its name in reports for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherView => "other_view",
            Self::ImageMissing => "image_missing",
            Self::StudyWithoutImage => "study_without_image",
            Self::ReportMissing => "report_missing",
            Self::ReportUnreadable => "report_unreadable",
            Self::ReportSpecial => "report_special",
            Self::ReportWithoutSection => "report_without_section",
            Self::ReportTooShort => "report_too_short",
            Self::StudyUnlabelled => "study_unlabelled",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Counts of what was read.
///
/// Reports are counted for studies with an image: those with text and those of each reason add up to
/// [`Counts::studies`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Patients with an image.
    pub patients: usize,
    /// Studies with an image.
    pub studies: usize,
    /// Images that are there, of the views that are kept.
    pub images: usize,
    /// Reports with text.
    pub texts: usize,
    /// Sentences of all texts.
    pub sentences: usize,
    /// Tokens of all texts.
    pub tokens: usize,
    /// Most sentences of a text.
    pub most_sentences: usize,
    /// Most tokens of a text.
    pub most_tokens: usize,
    /// Reports that are not UTF-8 and were read as Windows-1252.
    pub legacy_reports: usize,
    /// Reports from which something was taken out to protect the patient (`___`).
    pub marked_reports: usize,
    /// What was left out.
    skipped: BTreeMap<Reason, usize>,
}

impl Counts {
    /// How many were left out for a reason.
    pub fn skipped(&self, reason: Reason) -> usize {
        self.skipped.get(&reason).copied().unwrap_or(0)
    }

    /// Reasons that occurred, with their numbers.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, usize)> {
        self.skipped.iter().map(|(&reason, &count)| (reason, count))
    }

    fn skip(&mut self, reason: Reason, count: usize) {
        if count > 0 {
            *self.skipped.entry(reason).or_default() += count;
        }
    }

    /// Counts one study, of whose report some rules make `reading`.
    pub(super) fn add(&mut self, listed: &Listed, images: &[FoundImage], reading: &Reading, keep: Keep) {
        self.skip(Reason::OtherView, listed.other_views);
        self.skip(Reason::ImageMissing, listed.images.len() - images.len());
        if images.is_empty() {
            let is_kept = keep == Keep::WithImageOrText && reading.size.is_ok();
            self.skip(Reason::StudyWithoutImage, usize::from(!is_kept));
            return;
        }
        self.studies += 1;
        self.images += images.len();
        self.legacy_reports += usize::from(reading.legacy);
        self.marked_reports += usize::from(reading.marked);
        self.skip(Reason::StudyUnlabelled, usize::from(!listed.labels.is_empty() && !listed.is_labelled()));
        match reading.size {
            Ok(size) => {
                self.texts += 1;
                self.sentences += size.sentences;
                self.tokens += size.tokens;
                self.most_sentences = self.most_sentences.max(size.sentences);
                self.most_tokens = self.most_tokens.max(size.tokens);
            }
            Err(reason) => self.skip(reason, 1),
        }
    }

    /// Writes the counts to the log; as a warning where files are missing or unreadable.
    pub(crate) fn log(&self, name: &str) {
        let (patients, studies, images, texts) = (self.patients, self.studies, self.images, self.texts);
        tracing::info!(name, patients, studies, images, texts, sentences = self.sentences, "read");
        for (reason, count) in self.reasons() {
            match reason {
                Reason::ImageMissing | Reason::ReportMissing | Reason::ReportUnreadable => {
                    tracing::warn!(
                        name,
                        ?reason,
                        count,
                        "left out: is the download complete, and are root and reports right?"
                    );
                }
                _ => tracing::info!(name, ?reason, count, "left out"),
            }
        }
        if self.legacy_reports > 0 {
            tracing::warn!(name, reports = self.legacy_reports, "not UTF-8, read as Windows-1252");
        }
    }
}
