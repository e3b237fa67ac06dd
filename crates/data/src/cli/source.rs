//! Which data `show` and `stats` look at.

use std::path::{Path, PathBuf};

use clap::Args;
use data::error::DataError;
use data::record::{Dataset, Split};
use data::report::cleaning::{Cleaning, ReportRules};
use data::report::counts::TextCounts;
use data::source::mimic::{self, Counts, Keep, MimicSource};
use data::source::mura::{self, MuraSource};
use data::source::pairs_csv::{self, PairsColumns, PairsConfig};
use data::source::phantom::{self, Prevalence};

#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// `phantom` (generated), `phantom-exclusive` (one finding each), `mimic-cxr` and `mura` (with --root), or a CSV with
    /// one row per image.
    source: PathBuf,
    /// Folder of the download, for `mimic-cxr` and `mura`.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Values of `ViewPosition` to look at, of `mimic-cxr` [default: all].
    #[arg(long, value_delimiter = ',')]
    views: Vec<String>,
    /// Seed of the phantoms, or of the choice of images from elsewhere.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Column with the path of the image.
    #[arg(long, default_value_t = PairsColumns::default().image)]
    image_column: String,
    /// Column with the report.
    #[arg(long, default_value_t = PairsColumns::default().text)]
    text_column: String,
    /// Column with findings joined by a vertical bar.
    #[arg(long, default_value_t = PairsColumns::default().labels)]
    labels_column: String,
    /// Columns of one finding each with 1, 0, -1 or nothing, instead of a list.
    #[arg(long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Column with the patient.
    #[arg(long, default_value_t = PairsColumns::default().patient)]
    patient_column: String,
    /// Column with the study.
    #[arg(long, default_value_t = PairsColumns::default().study)]
    study_column: String,
    /// Folder that paths are relative to [default: the folder of the CSV].
    #[arg(long)]
    image_root: Option<PathBuf>,
}

/// A data set and what is known of its reports.
pub(super) struct Loaded {
    pub(super) data: Dataset,
    /// What the reports lack, where they are at hand whole.
    pub(super) texts: Option<TextCounts>,
    /// What publications make of the reports, by name; none where the source is not MIMIC-CXR.
    pub(super) cleanings: Vec<(&'static str, Counts)>,
}

impl SourceArgs {
    /// The data set; `phantoms` is how many there are of an endless source.
    pub(super) fn load(&self, phantoms: u64) -> Result<Dataset, DataError> {
        Ok(self.load_with(phantoms, &[])?.data)
    }

    /// The data set and what is known of its reports.
    pub(super) fn load_counted(&self, phantoms: u64) -> Result<Loaded, DataError> {
        self.load_with(phantoms, &[("convirt", Cleaning::Convirt), ("mgca", Cleaning::Mgca)])
    }

    fn load_with(&self, phantoms: u64, cleanings: &[(&'static str, Cleaning)]) -> Result<Loaded, DataError> {
        let loaded = |data, texts| Loaded { data, texts, cleanings: Vec::new() };
        let generate = |prevalence| {
            let data = phantom::dataset(self.seed, 0..phantoms, prevalence, Split::Train);
            let mut counts = TextCounts::default();
            for study in &data.studies {
                let sentences: Vec<&str> = study.sentences.iter().map(|sentence| sentence.expose().as_str()).collect();
                counts.add(&sentences.join(" "));
            }
            loaded(data, Some(counts))
        };
        Ok(match self.source.to_str() {
            Some("phantom") => generate(Prevalence::Natural),
            Some("phantom-exclusive") => generate(Prevalence::Exclusive),
            Some("mimic-cxr") => {
                let rules = |&(_, cleaning)| ReportRules { cleaning, ..ReportRules::default() };
                let rules: Vec<ReportRules> = cleanings.iter().map(rules).collect();
                let (data, _, counts) = mimic::read_counted(&self.mimic()?, Keep::WithImage, &rules)?;
                Loaded { data, texts: None, cleanings: cleanings.iter().map(|(name, _)| *name).zip(counts).collect() }
            }
            Some("mura") => loaded(self.mura()?, None),
            _ => {
                let (data, counts) = pairs_csv::read_counted(&self.source, &self.config())?;
                loaded(data, Some(counts))
            }
        })
    }

    /// MIMIC-CXR-JPG as it lies in the root.
    fn mimic(&self) -> Result<MimicSource, DataError> {
        Ok(MimicSource { views: self.views.clone(), ..MimicSource::new(self.root()?) })
    }

    /// Both published parts of MURA as one.
    fn mura(&self) -> Result<Dataset, DataError> {
        let [mut all, test] = mura::read(&MuraSource::new(self.root()?.to_path_buf()))?;
        all.studies.extend(test.studies);
        Ok(Dataset { name: "mura".to_owned(), ..all })
    }

    fn root(&self) -> Result<&Path, DataError> {
        let why = "this source is read from its download: name the folder with --root";
        self.root.as_deref().ok_or_else(|| DataError::Setting { key: "--root", value: "(none)".to_owned(), why })
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn is_phantom(&self) -> bool {
        [Path::new("phantom"), Path::new("phantom-exclusive")].contains(&self.source.as_path())
    }

    fn config(&self) -> PairsConfig {
        let columns = PairsColumns {
            image: self.image_column.clone(),
            text: self.text_column.clone(),
            labels: self.labels_column.clone(),
            patient: self.patient_column.clone(),
            study: self.study_column.clone(),
            ..PairsColumns::default()
        };
        PairsConfig {
            columns,
            label_columns: self.label_columns.clone(),
            image_root: self.image_root.clone().unwrap_or_default(),
            ..PairsConfig::default()
        }
    }
}
