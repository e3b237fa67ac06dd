//! Which images a command evaluates on.

use std::path::{Path, PathBuf};

use clap::Args;
use data::record::Dataset;
use data::source::pairs_csv::{PairsColumns, PairsConfig};
use data::source::parts::{PairsSource, Parts, PhantomSource, SourceConfig};
use data::split::SplitConfig;

use crate::downstream::labelled::LabelledConfig;
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
    /// A CSV of images; default, and for the word phantom: the built-in phantoms.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Column with the image path, relative to the CSV's folder.
    #[arg(long, requires = "data")]
    image_column: Option<String>,
    /// Column with the report or note.
    #[arg(long, requires = "data")]
    text_column: Option<String>,
    /// Column of one class, with 1, 0 or blank; may be repeated. Where lists are asked for, their column. Default: a column
    /// `labels` of "a|b" lists.
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

/// What labels mean, for commands that need them.
#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// What separates the names in a list of labels; default: "|".
    #[arg(long, requires = "data")]
    separator: Option<String>,
    /// Classes of the lists, with commas between or repeated; default: all names that occur. An image is positive where its
    /// list has the class, negative where the list has other names only, and left out where it is blank.
    #[arg(long, requires = "data", value_delimiter = ',')]
    classes: Vec<String>,
    /// Name that marks the images without any finding. Then images that carry neither it nor one of the classes are left
    /// out.
    #[arg(long, requires = "data")]
    negative: Option<String>,
    /// Column that parts the images, such as `view`: also prints AUROC within each of its values, their mean, and the AUROC
    /// of the value alone. Every row is an image of its own then.
    #[arg(long, requires = "data")]
    stratify: Option<String>,
}

impl LabelArgs {
    /// Whether there are strata.
    pub(super) fn stratify(&self) -> bool {
        self.stratify.is_some()
    }
}

impl DataArgs {
    /// The CSV, if there is one.
    fn manifest(&self) -> Option<&Path> {
        self.data.as_deref().filter(|data| *data != Path::new("phantom") || data.exists())
    }

    fn parts(&self) -> Result<Parts> {
        let csv = PairsConfig { group_rows: true, ..self.config(None).csv(None)? };
        Ok(self.parts_of(csv)?)
    }

    /// What is read of the CSV and how.
    fn config(&self, labels: Option<&LabelArgs>) -> LabelledConfig {
        LabelledConfig {
            data: self.data.clone(),
            image_column: self.image_column.clone(),
            label_columns: self.label_column.clone(),
            patient_column: self.patient_column.clone(),
            image_root: self.image_root.clone(),
            separator: labels.and_then(|labels| labels.separator.clone()),
            classes: labels.iter().flat_map(|l| &l.classes).map(|class| class.trim().to_owned()).collect(),
            negative: labels.and_then(|labels| labels.negative.clone()),
            stratify: labels.and_then(|labels| labels.stratify.clone()),
            sex_column: None,
            age_column: None,
            test_data: None,
        }
    }

    fn parts_of(&self, csv: PairsConfig) -> data::error::Result<Parts> {
        let Some(manifest) = self.manifest() else {
            return SourceConfig::Phantom(PhantomSource::default()).parts();
        };
        let text = self.text_column.clone().unwrap_or(PairsColumns::default().text);
        let csv = PairsConfig { columns: PairsColumns { text, ..csv.columns }, ..csv };
        PairsSource { manifest: manifest.to_owned(), csv, split: SplitConfig::default() }.parts()
    }

    /// The studies to evaluate: of phantoms the held-out part, of a CSV what `--part` names.
    pub(super) fn dataset(&self) -> Result<(Dataset, Parts)> {
        let parts = self.parts()?;
        Ok((self.part_of(&parts), parts))
    }

    /// The same with labels as asked for.
    pub(super) fn labelled(&self, labels: &LabelArgs) -> Result<Dataset> {
        let config = self.config(Some(labels));
        let Some(manifest) = self.manifest() else { return Ok(self.part_of(&self.parts()?)) };
        // A study can have images of several views.
        let csv = PairsConfig { group_rows: !labels.stratify(), ..config.csv(None)? };
        let parts = self.parts_of(csv).map_err(|error| config.name_setting(manifest, error))?;
        let mut dataset = self.part_of(&parts);
        if labels.negative.is_some() {
            config.select(&mut dataset)?;
        }
        Ok(dataset)
    }

    fn part_of(&self, parts: &Parts) -> Dataset {
        match (self.part, self.manifest().is_some()) {
            (_, false) | (PartName::Test, true) => parts.test.clone(),
            (PartName::Train, true) => parts.train.clone(),
            (PartName::Validate, true) => parts.validate.clone(),
            (PartName::All, true) => {
                let all = [&parts.train, &parts.validate, &parts.test];
                let mut studies: Vec<_> = all.iter().flat_map(|part| part.studies.iter().cloned()).collect();
                studies.sort_by_key(|study| study.row);
                Dataset { studies, ..parts.train.clone() }
            }
        }
    }
}
