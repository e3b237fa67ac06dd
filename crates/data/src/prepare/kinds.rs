//! The sources that can be prepared: one line each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::record::{Dataset, Split};
use crate::report::TextRules;
use crate::source::mimic::{self, Keep, MimicSource, Reason};
use crate::source::mura::{self, MuraSource};
use crate::source::pairs_csv::{self, PairsConfig};
use crate::source::phantom::{self, Prevalence};

/// What is to be prepared.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Where the source lies; generated sources need none.
    pub root: Option<PathBuf>,
    /// Number of generated studies.
    pub count: u64,
    /// Seed of generated studies.
    pub seed: u64,
}

/// A kind of source.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name on the command line and in the provenance.
    pub name: &'static str,
    /// Whether it is made from a count and a seed, not read from a root.
    pub generated: bool,
    /// Reads it.
    pub(crate) load: fn(&Request) -> Result<Loaded>,
}

/// What a source holds.
pub(crate) struct Loaded {
    /// Its studies, one data set for each manifest, so that rows can be named.
    pub(crate) datasets: Vec<Dataset>,
    /// What the source left out, by reason.
    pub(crate) left_out: BTreeMap<String, usize>,
}

impl From<Vec<Dataset>> for Loaded {
    fn from(datasets: Vec<Dataset>) -> Self {
        Self { datasets, left_out: BTreeMap::new() }
    }
}

/// All kinds of sources.
pub const KINDS: &[Kind] = &[
    Kind { name: "pairs", generated: false, load: |request| pairs(request.root()?) },
    Kind { name: "mimic-cxr", generated: false, load: |request| mimic_cxr(request.root()?) },
    Kind { name: "mura", generated: false, load: |request| mura(request.root()?) },
    Kind { name: "phantom", generated: true, load: |request| Ok(vec![phantoms(request)].into()) },
];

/// The kind of this name.
///
/// # Errors
/// [`DataError::Setting`] where there is none.
pub fn kind(name: &str) -> Result<Kind> {
    let found = KINDS.iter().find(|kind| kind.name == name).copied();
    found.ok_or_else(|| DataError::Setting { key: "source", value: name.to_owned(), why: "no such kind of source" })
}

impl Request {
    /// The root, which this kind of source needs.
    fn root(&self) -> Result<&Path> {
        let why = "this kind of source is read from files: name them with --root";
        self.root.as_deref().ok_or_else(|| DataError::Setting { key: "--root", value: "(none)".to_owned(), why })
    }
}

/// The text as it is told, short sentences included: whoever reads the result applies rules of their own to it.
fn whole_text() -> TextRules {
    TextRules { min_tokens: 1, ..TextRules::default() }
}

fn pairs(root: &Path) -> Result<Loaded> {
    let manifest = if root.is_dir() { root.join("pairs.csv") } else { root.to_path_buf() };
    let config = PairsConfig { text: whole_text(), ..PairsConfig::default() };
    Ok(vec![pairs_csv::read_listed(&manifest, &config)?].into())
}

/// All studies with an image or a text; reports lie under `root` too. Every image is a sample, since it has a view of its
/// own: whoever reads the result groups them by study.
fn mimic_cxr(root: &Path) -> Result<Loaded> {
    let source = MimicSource { group_images: false, ..MimicSource::new(root) };
    let (dataset, counts) = mimic::read(&source, Keep::WithImageOrText)?;
    counts.log(&dataset.name);
    // A study without labels is there all the same.
    let lost = counts.reasons().filter(|(reason, _)| *reason != Reason::StudyUnlabelled);
    let left_out = lost.map(|(reason, count)| (reason.name().to_owned(), count)).collect();
    Ok(Loaded { datasets: vec![dataset], left_out })
}

fn mura(root: &Path) -> Result<Loaded> {
    Ok(Vec::from(mura::read(&MuraSource::new(root.to_path_buf()))?).into())
}

fn phantoms(request: &Request) -> Dataset {
    phantom::dataset(request.seed, 0..request.count, Prevalence::Natural, Split::Train)
}
