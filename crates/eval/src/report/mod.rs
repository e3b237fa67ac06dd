//! What a run is and what it can do, as one HTML file that a browser opens anywhere: no network, no script, no image or text of a
//! patient unless it is asked for.
//!
//! [`record`] reads the folder of a run, [`subject`] asks its checkpoint once for everything that is shown, and each further
//! file is one section. [`page`] puts them together.

mod calibration;
mod compare;
mod curves;
mod documents;
mod figures;
mod gallery;
mod heat;
mod map;
pub mod page;
pub mod record;
mod scored;
mod subgroups;
mod subject;

use std::path::{Path, PathBuf};

use data::record::Dataset;
use data::source::parts::Parts;
use maud::{Markup, html};

use crate::error::{EvalError, Result};
use crate::tasks::Tools;
use page::{Section, page};
use record::RunRecord;
use subject::{Ask, Subject};

/// Most bytes of a report. Everything drawn is bounded so that a report stays below; one that would not is an error, not a file.
pub const MAX_BYTES: usize = 3 << 20;

/// Data of a report.
#[derive(Debug, Clone)]
pub struct ReportData {
    /// The parts that a dual encoder is probed with and tested on.
    pub parts: Parts,
    /// What a classifier is tested on: images that it was not trained on.
    pub unseen: Dataset,
}

/// What may be in a report, and what it is drawn from.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// Pictures of images.
    pub include_images: bool,
    /// Sentences: those of reports, of prompts and of queries.
    pub include_texts: bool,
    /// Only what the folder holds: no checkpoint is loaded and no image is read.
    pub figures_only: bool,
    /// Data to show instead of those that the run's configuration names.
    pub data: Option<ReportData>,
}

impl ReportOptions {
    /// What may be shown of a study besides its row.
    fn shows(&self, dataset: &Dataset) -> String {
        let what = match (self.include_images, self.include_texts) {
            (true, true) => "Images and texts are shown: treat this file like the data.",
            (true, false) => "Images are shown: treat this file like the data.",
            (false, true) => "Texts are shown: treat this file like the data.",
            (false, false) => "Neither images nor texts are shown (--include-images, --include-texts).",
        };
        format!("Drawn from {} ({} studies). {what}", dataset.name, dataset.studies.len())
    }
}

/// The report of one run.
///
/// # Errors
/// A folder that holds no run, weights or data that cannot be read, a report that grows beyond [`MAX_BYTES`].
pub fn run_report(folder: &Path, options: &ReportOptions, tools: &Tools) -> Result<String> {
    let record = RunRecord::read(folder)?;
    let mut sections = vec![documents::overview(&record)];
    sections.extend(curves::section(&record.metrics)?);
    sections.extend(figures::section(&record.figures));
    if !options.figures_only {
        let subject = Subject::ask(&record, folder, Ask::Everything, options, tools)?;
        sections.extend(scored::drawn_section(&subject)?);
        sections.extend(calibration::drawn_section(&subject)?);
        sections.extend(subgroups::drawn_section(&subject, tools)?);
        sections.extend(gallery::drawn_section(&subject, options)?);
        sections.extend(heat::drawn_section(&subject, options)?);
        sections.extend(map::drawn_section(&subject)?);
        sections.push(documents::data_card(&subject, &options.shows(&subject.test)));
    }
    sections.extend(documents::model_card(&record));
    sections.extend(documents::configuration(&record));
    let about = documents::subtitle(&record);
    bounded(page(&format!("{}: report", record.name), &about, &sections))
}

/// Several runs side by side.
///
/// # Errors
/// As [`run_report`].
pub fn compare_report(folders: &[PathBuf], options: &ReportOptions, tools: &Tools) -> Result<String> {
    let records = folders.iter().map(|folder| RunRecord::read(folder)).collect::<Result<Vec<_>>>()?;
    let names = compare::names(&records);
    let mut sections = vec![compare::figures(&records, &names)];
    sections.extend(compare::curves(&records, &names)?);
    if !options.figures_only {
        sections.extend(compare::paired(&records, &names, folders, options, tools)?);
    }
    sections.push(compare::settings(&records, &names));
    let about: Markup = html! { p { (names.len()) " runs: " (names.join(", ")) } };
    bounded(page("Comparison of runs", &about, &sections))
}

fn bounded(html: String) -> Result<String> {
    if html.len() <= MAX_BYTES {
        return Ok(html);
    }
    let what = format!("it would hold {} bytes, more than {MAX_BYTES}: leave out --include-images", html.len());
    Err(EvalError::Unfit { data: "the report".to_owned(), what })
}

/// A section where there is something to show.
fn section(id: &'static str, title: &'static str, body: Markup) -> Section {
    Section { id, title, body }
}
