//! The images and reports of MIMIC-CXR on disk.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::super::table::{BYTE_ORDER_MARK, decode};
use super::tables::Listed;
use super::{Keep, MimicSource, Reason};
use crate::error::DataError;
use crate::fsx;
use crate::report::cleaning::{Cleaned, Cleaning, NoText};
use crate::report::counts::MARK;
use crate::report::mimic::is_special;

/// Largest accepted report (bytes); real ones have a few thousand.
const MAX_REPORT_BYTES: u64 = 1 << 20;

/// What is on disk of a study.
pub(super) struct Found {
    /// The images that are there.
    pub(super) images: Vec<FoundImage>,
    /// The text of the report; with [`Keep::WithImage`] not looked for where there is no image.
    pub(super) text: Result<Cleaned, Reason>,
    /// Whether the report is not UTF-8.
    pub(super) legacy: bool,
    /// Whether the report holds marks of de-identification.
    pub(super) marked: bool,
}

/// An image that is there.
pub(super) struct FoundImage {
    pub(super) path: PathBuf,
    pub(super) view: String,
    pub(super) row: usize,
}

/// Looks for the images of every study and reads its report, on all cores; the result is in the order of the studies.
pub(super) fn look_up(studies: &[Listed], source: &MimicSource, keep: Keep) -> Vec<Found> {
    let reports = if source.reports.as_os_str().is_empty() { &source.root } else { &source.reports };
    studies.par_iter().map(|study| look_up_one(study, source, reports, keep)).collect()
}

fn look_up_one(study: &Listed, source: &MimicSource, reports: &Path, keep: Keep) -> Found {
    let folder = source.root.join(study_folder(study));
    let images = study.images.iter().filter_map(|image| {
        let path = folder.join(format!("{}.jpg", image.id));
        path.is_file().then(|| FoundImage { path, view: image.view.clone(), row: image.row })
    });
    let images: Vec<FoundImage> = images.collect();
    let (mut legacy, mut marked) = (0, false);
    let text = if images.is_empty() && keep == Keep::WithImage {
        Err(Reason::ReportMissing)
    } else if source.text.cleaning == Cleaning::Mgca && is_special(study.study) {
        Err(Reason::ReportSpecial)
    } else {
        let file = reports.join(study_folder(study) + ".txt");
        report(&file, &mut legacy).and_then(|report| {
            marked = report.contains(MARK);
            source.text.clean(&report).map_err(|why| match why {
                NoText::NoSection => Reason::ReportWithoutSection,
                NoText::TooShort => Reason::ReportTooShort,
            })
        })
    };
    Found { images, text, legacy: legacy > 0, marked }
}

/// `files/p10/p10000032/s50414267`: in paths the numbers have prefixes, in tables they have none.
fn study_folder(study: &Listed) -> String {
    let subject = study.subject.to_string();
    format!("files/p{}/p{subject}/s{}", &subject[..2], study.study)
}

/// The text of a report, with line ends as the rules of sections expect them.
fn report(file: &Path, legacy: &mut usize) -> Result<String, Reason> {
    let bytes = fsx::read_capped(file, MAX_REPORT_BYTES).map_err(|error| match error {
        DataError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Reason::ReportMissing,
        _ => Reason::ReportUnreadable,
    })?;
    Ok(decode(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes), legacy).replace("\r\n", "\n"))
}
