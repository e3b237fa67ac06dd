//! The images and reports of MIMIC-CXR on disk.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::super::table::{BYTE_ORDER_MARK, decode};
use super::tables::Listed;
use super::{Keep, MimicSource, Reason};
use crate::error::DataError;
use crate::fsx;
use crate::report::cleaning::{Cleaned, Cleaning, NoText, ReportRules};
use crate::report::counts::MARK;
use crate::report::mimic::is_special;

/// Largest accepted report (bytes); real ones have a few thousand.
const MAX_REPORT_BYTES: u64 = 1 << 20;

/// What is on disk of a study.
pub(super) struct Found {
    /// The images that are there.
    pub(super) images: Vec<FoundImage>,
    /// The text of the report by the source's own rules; empty where [`Reading::size`] of it says why.
    pub(super) texts: Vec<String>,
    /// What the source's own rules make of the report.
    pub(super) reading: Reading,
    /// What other rules make of it.
    pub(super) others: Vec<Reading>,
}

/// What one set of rules makes of a report.
pub(super) struct Reading {
    /// How long the text is; with [`Keep::WithImage`] not looked for where there is no image.
    pub(super) size: Result<Size, Reason>,
    /// Whether the report is not UTF-8.
    pub(super) legacy: bool,
    /// Whether the report holds marks of de-identification.
    pub(super) marked: bool,
}

/// How long a text is.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) sentences: usize,
    pub(super) tokens: usize,
}

/// An image that is there.
pub(super) struct FoundImage {
    pub(super) path: PathBuf,
    pub(super) view: String,
    pub(super) row: usize,
}

/// Looks for the images of every study and reads its report once, on all cores; the result is in the order of the
/// studies.
pub(super) fn look_up(studies: &[Listed], source: &MimicSource, others: &[ReportRules], keep: Keep) -> Vec<Found> {
    let reports = if source.reports.as_os_str().is_empty() { &source.root } else { &source.reports };
    studies.par_iter().map(|study| look_up_one(study, source, others, reports, keep)).collect()
}

fn look_up_one(study: &Listed, source: &MimicSource, others: &[ReportRules], reports: &Path, keep: Keep) -> Found {
    let folder = source.root.join(study_folder(study));
    let images = study.images.iter().filter_map(|image| {
        let path = folder.join(format!("{}.jpg", image.id));
        path.is_file().then(|| FoundImage { path, view: image.view.clone(), row: image.row })
    });
    let images: Vec<FoundImage> = images.collect();
    let report = if images.is_empty() && keep == Keep::WithImage {
        Err(Reason::ReportMissing)
    } else {
        Report::read(&reports.join(study_folder(study) + ".txt"))
    };
    let (reading, texts) = clean(&report, study.study, &source.text);
    let others = others.iter().map(|rules| clean(&report, study.study, rules).0).collect();
    Found { images, texts, reading, others }
}

/// What rules make of a report, and its text.
fn clean(report: &Result<Report, Reason>, study: u32, rules: &ReportRules) -> (Reading, Vec<String>) {
    let without = |reason, legacy, marked| (Reading { size: Err(reason), legacy, marked }, Vec::new());
    if rules.cleaning == Cleaning::Mgca && is_special(study) {
        return without(Reason::ReportSpecial, false, false);
    }
    let report = match report {
        Ok(report) => report,
        Err(reason) => return without(*reason, false, false),
    };
    let (legacy, marked) = (report.legacy, report.text.contains(MARK));
    match rules.clean(&report.text) {
        Ok(Cleaned { texts, sentences, tokens }) => {
            (Reading { size: Ok(Size { sentences, tokens }), legacy, marked }, texts)
        }
        Err(NoText::NoSection) => without(Reason::ReportWithoutSection, legacy, marked),
        Err(NoText::TooShort) => without(Reason::ReportTooShort, legacy, marked),
    }
}

/// `files/p10/p10000032/s50414267`: in paths the numbers have prefixes, in tables they have none.
fn study_folder(study: &Listed) -> String {
    let subject = study.subject.to_string();
    format!("files/p{}/p{subject}/s{}", &subject[..2], study.study)
}

/// A report as it was written.
struct Report {
    /// With line ends as the rules of sections expect them.
    text: String,
    /// Whether it is not UTF-8.
    legacy: bool,
}

impl Report {
    fn read(file: &Path) -> Result<Self, Reason> {
        let bytes = fsx::read_capped(file, MAX_REPORT_BYTES).map_err(|error| match error {
            DataError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Reason::ReportMissing,
            _ => Reason::ReportUnreadable,
        })?;
        let mut legacy = 0;
        let text = decode(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes), &mut legacy).replace("\r\n", "\n");
        Ok(Self { text, legacy: legacy > 0 })
    }
}
