//! A source made ready once: small grey PNG files, a manifest that names them, and their hashes.
//!
//! A prepared folder holds
//!
//! | File | Content |
//! |---|---|
//! | `images/SSSS/SSSSSSS-II.png` | 8-bit grey images, named by the numbers of a sample and of its image |
//! | `pairs.csv` | one row per image; the `pairs` source reads it without an option |
//! | `provenance.json` | what was prepared, and the hash of every file |
//! | `journal.jsonl` | what is done, so that a killed call goes on and a second one has nothing to do |

mod folder;
mod journal;
mod kinds;
mod manifest;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use self::folder::Folder;
use self::journal::{Entry, Journal, fingerprint};
use self::kinds::Loaded;
pub use self::kinds::{KINDS, Kind, Request, kind};
pub use self::manifest::{Counts, MANIFEST, ManifestWriter, Origin, PROVENANCE, Provenance, SkippedImage};
use crate::error::{DataError, ImageFault, Result};
use crate::fsx;
use crate::image::encode;
use crate::record::Dataset;
use crate::store::ImageStore;

/// Folder of the images.
const IMAGES: &str = "images";
/// Samples whose images share a folder.
const SAMPLES_PER_FOLDER: usize = 1000;
/// Version of the layout of `provenance.json`.
const FORMAT: u32 = 1;

/// What was prepared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Patients of the studies.
    pub patients: usize,
    /// Studies with at least one readable image or a text.
    pub studies: usize,
    /// Readable images, all of which are in the folder.
    pub images: usize,
    /// Reports with text.
    pub texts: usize,
    /// What was left out, by reason: images, and studies and reports of a source that says why.
    pub skipped: BTreeMap<String, usize>,
    /// How long it took (s).
    pub seconds: f64,
}

/// One image to prepare.
struct Job<'a> {
    dataset: &'a Dataset,
    store: &'a ImageStore,
    study: usize,
    image: usize,
    /// Its path in the folder.
    name: String,
}

/// The path of an image in a prepared folder, from the numbers of its sample and of itself.
fn image_name(sample: usize, image: usize) -> String {
    format!("{IMAGES}/{:04}/{sample:07}-{image:02}.png", sample / SAMPLES_PER_FOLDER)
}

/// Reads a source and fills `out`: every image decoded, reduced to at most `size` (px) on its larger side and written.
///
/// Images that an earlier call wrote are left as they are. `progress` is called after every image with the number done
/// and the number of all. Images that cannot be read are left out and counted.
///
/// # Errors
/// [`DataError::Setting`] for a size of zero or an `out` with files of others, whatever the source fails with,
/// [`DataError::Io`] where something cannot be written.
pub fn prepare(
    kind: Kind,
    request: &Request,
    out: &Path,
    size: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Summary> {
    let start = Instant::now();
    if size == 0 {
        return Err(DataError::Setting { key: "--size", value: "0".to_owned(), why: "at least one pixel" });
    }
    let Loaded { datasets, left_out } = (kind.load)(request)?;
    let folder = Folder::open(out)?;
    let journal = Journal::open(&folder)?;
    let stores: Vec<ImageStore> = datasets.iter().map(|dataset| ImageStore::new(dataset, size, 0)).collect();
    let jobs = jobs(&datasets, &stores);
    folder.create_parents(jobs.iter().map(|job| job.name.as_str()))?;
    let done = AtomicUsize::new(0);
    let made: Vec<Result<Entry, ImageFault>> = jobs
        .par_iter()
        .map(|job| {
            let made = job.run(&folder, &journal, size)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
            Ok(made)
        })
        .collect::<Result<_>>()?;
    let outcome = Outcome { left_out, ..Outcome::new(&datasets, &jobs, made)? };
    let stale: HashSet<&String> = journal.names().filter(|name| !outcome.images.contains_key(*name)).collect();
    folder.remove(stale.into_iter().cloned())?;
    let generated = |value| kind.generated.then_some(value);
    let origin = Origin { kind: kind.name.to_owned(), count: generated(request.count), seed: generated(request.seed) };
    outcome.write(&folder, origin, size)?;
    journal.finish(&outcome.images)?;
    Ok(outcome.summary(start.elapsed().as_secs_f64()))
}

fn jobs<'a>(datasets: &'a [Dataset], stores: &'a [ImageStore]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    let mut number = 0;
    for (dataset, store) in datasets.iter().zip(stores) {
        for study in 0..dataset.studies.len() {
            let named = (0..store.num_images(study)).map(|image| (image, image_name(number, image)));
            jobs.extend(named.map(|(image, name)| Job { dataset, store, study, image, name }));
            number += 1;
        }
    }
    jobs
}

impl Job<'_> {
    /// Makes the image, or finds it made; the inner error is an image that cannot be read.
    fn run(&self, folder: &Folder, journal: &Journal, size: usize) -> Result<Result<Entry, ImageFault>> {
        let of = fingerprint(&self.dataset.studies[self.study].images[self.image], size);
        if let Some(entry) = journal.entry(&self.name).filter(|e| e.of == of && folder.holds(&self.name, &e.sha256)) {
            return Ok(Ok(entry.clone()));
        }
        let image = match self.store.load(self.study, self.image) {
            Ok(image) => image,
            Err(DataError::Sample { fault, .. }) => return Ok(Err(fault)),
            Err(other) => return Err(other),
        };
        let bytes = encode::png(&image)?;
        fsx::write_atomic(&folder.file(&self.name), &bytes)?;
        let entry = Entry { of, sha256: fsx::sha256_hex(&bytes) };
        journal.add(&self.name, &entry)?;
        Ok(Ok(entry))
    }
}

/// What there is of a study.
#[derive(Default)]
struct Held {
    has_text: bool,
    images: usize,
}

/// What became of a source.
struct Outcome {
    manifest: Vec<u8>,
    images: BTreeMap<String, Entry>,
    skipped: Vec<SkippedImage>,
    /// What the source left out by itself, by reason.
    left_out: BTreeMap<String, usize>,
    counts: Counts,
}

impl Outcome {
    /// Counts and lists what was made, in the order of the source.
    fn new(datasets: &[Dataset], jobs: &[Job], made: Vec<Result<Entry, ImageFault>>) -> Result<Self> {
        let mut writer = ManifestWriter::new()?;
        // A study may be several samples, of one image each.
        let mut studies: HashMap<_, Held> = HashMap::new();
        let mut outcome = Self {
            manifest: Vec::new(),
            images: BTreeMap::new(),
            skipped: Vec::new(),
            left_out: BTreeMap::new(),
            counts: Counts::default(),
        };
        let mut pairs = jobs.iter().zip(made);
        for dataset in datasets {
            for study in &dataset.studies {
                let mut names: Vec<&str> = Vec::new();
                for (job, made) in pairs.by_ref().take(study.images.len()) {
                    match made {
                        Ok(entry) => {
                            names.push(&job.name);
                            outcome.images.insert(job.name.clone(), entry);
                        }
                        Err(fault) => outcome.skipped.push(SkippedImage {
                            manifest: dataset.name.clone(),
                            row: study.row,
                            image: job.image + 1,
                            reason: fault.reason().to_owned(),
                        }),
                    }
                }
                let held = studies.entry((&study.patient_id, &study.study_id)).or_default();
                held.has_text |= !study.sentences.is_empty();
                held.images += names.len();
                writer.add(dataset, study, &names)?;
            }
        }
        studies.retain(|_, held| held.has_text || held.images > 0);
        outcome.counts = Counts {
            patients: studies.keys().map(|(patient, _)| patient).collect::<HashSet<_>>().len(),
            studies: studies.len(),
            studies_without_image: studies.values().filter(|held| held.images == 0).count(),
            images: outcome.images.len(),
            texts: studies.values().filter(|held| held.has_text).count(),
        };
        outcome.manifest = writer.finish()?;
        Ok(outcome)
    }

    fn write(&self, folder: &Folder, source: Origin, size: usize) -> Result<()> {
        fsx::write_atomic(&folder.file(MANIFEST), &self.manifest)?;
        let provenance = Provenance {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source,
            size,
            counts: self.counts.clone(),
            skipped: self.skipped.clone(),
            left_out: self.left_out.clone(),
            manifest_sha256: fsx::sha256_hex(&self.manifest),
            images: self.images.iter().map(|(name, entry)| (name.clone(), entry.sha256.clone())).collect(),
        };
        let path = folder.file(PROVENANCE);
        let mut text = serde_json::to_vec_pretty(&provenance).map_err(|error| DataError::Io {
            action: "write",
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        text.push(b'\n');
        fsx::write_atomic(&path, &text)
    }

    fn summary(&self, seconds: f64) -> Summary {
        let mut skipped = self.left_out.clone();
        for image in &self.skipped {
            *skipped.entry(image.reason.clone()).or_default() += 1;
        }
        let Counts { patients, studies, images, texts, .. } = self.counts;
        Summary { patients, studies, images, texts, skipped, seconds }
    }
}
