//! Which images a command evaluates on.

use std::path::PathBuf;

use clap::Args;
use data::record::Dataset;
use data::source::pairs_csv::{PairsColumns, PairsConfig};
use data::source::parts::{PairsSource, Parts, PhantomSource, SourceConfig};
use data::split::SplitConfig;

use crate::error::Result;

/// Which part of a CSV is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PartName {
    All,
    Train,
    Validate,
    Test,
}

#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// A CSV of images; default: the built-in phantoms.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Column with the image path, relative to the CSV's folder.
    #[arg(long, requires = "data")]
    image_column: Option<String>,
    /// Column with the report or note.
    #[arg(long, requires = "data")]
    text_column: Option<String>,
    /// Column of one class, with 1, 0 or blank; may be repeated. Default: a column `labels` of "a|b" lists.
    #[arg(long, requires = "data")]
    label_column: Vec<String>,
    /// Column with the patient, for splits and intervals.
    #[arg(long, requires = "data")]
    patient_column: Option<String>,
    /// Folder that image paths are relative to.
    #[arg(long, requires = "data")]
    image_root: Option<PathBuf>,
    /// Part of a CSV to evaluate; parts follow its split column, else patients are split as recipes do by default.
    #[arg(long, value_enum, default_value = "all", requires = "data")]
    part: PartName,
}

impl DataArgs {
    fn parts(&self) -> Result<Parts> {
        let Some(manifest) = &self.data else {
            return Ok(SourceConfig::Phantom(PhantomSource::default()).parts()?);
        };
        let usual = PairsColumns::default();
        let columns = PairsColumns {
            image: self.image_column.clone().unwrap_or(usual.image),
            text: self.text_column.clone().unwrap_or(usual.text),
            patient: self.patient_column.clone().unwrap_or(usual.patient),
            ..PairsColumns::default()
        };
        let csv = PairsConfig {
            columns,
            label_columns: self.label_column.clone(),
            image_root: self.image_root.clone().unwrap_or_default(),
            ..PairsConfig::default()
        };
        let source = PairsSource { manifest: manifest.clone(), csv, split: SplitConfig::default() };
        Ok(source.parts()?)
    }

    /// The studies to evaluate: of phantoms the held-out part, of a CSV what `--part` names.
    pub(super) fn dataset(&self) -> Result<(Dataset, Parts)> {
        let parts = self.parts()?;
        let dataset = match (self.part, self.data.is_some()) {
            (_, false) | (PartName::Test, true) => parts.test.clone(),
            (PartName::Train, true) => parts.train.clone(),
            (PartName::Validate, true) => parts.validate.clone(),
            (PartName::All, true) => {
                let all = [&parts.train, &parts.validate, &parts.test];
                let mut studies: Vec<_> = all.iter().flat_map(|part| part.studies.iter().cloned()).collect();
                studies.sort_by_key(|study| study.row);
                Dataset { studies, ..parts.train.clone() }
            }
        };
        Ok((dataset, parts))
    }
}
