//! Is a folder of pairs fit for use? Every image is decoded, every hash compared, and patients are followed over splits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{DataError, ImageFault, Result, RowFault, RowFaultKind};
use crate::fsx;
use crate::image::decode;
use crate::prepare::{MANIFEST, PROVENANCE, Provenance};
use crate::record::Split;
use crate::source::pairs_csv::{PairsColumns, PairsConfig, Picture, survey};

/// Largest accepted provenance (bytes): about a hundred for each image.
const MAX_PROVENANCE_BYTES: u64 = 1 << 30;

/// Counts of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Images that the manifest lists.
    pub images: usize,
    /// Of these, images that cannot be used: missing, broken, cut short or not the ones that were prepared.
    pub unreadable: usize,
    /// Patients in more than one split.
    pub leaks: usize,
    /// Images with the same bytes as an earlier one; rejected where that is in another split.
    pub duplicates: usize,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The manifest.
    pub manifest: PathBuf,
    /// How much of what.
    pub counts: Counts,
    /// Each rejection by its row, in the order of the rows; further faults of the manifest among them.
    pub faults: Vec<RowFault>,
}

/// Checks a CSV of pairs, or the `pairs.csv` of a folder; against the hashes of a provenance where one lies beside it.
///
/// `progress` is called after every image with the number done and the number of all. Rejections are findings, no error.
///
/// # Errors
/// [`DataError::Io`] where the manifest or the provenance cannot be read, [`DataError::Column`] where the manifest has
/// no column of images, [`DataError::Empty`] where it has no row.
pub fn verify(path: &Path, progress: impl Fn(usize, usize) + Sync) -> Result<Findings> {
    let manifest = if path.is_dir() { path.join(MANIFEST) } else { path.to_path_buf() };
    let (pictures, mut faults) = survey(&manifest, &PairsConfig::default())?;
    // A file that is listed twice is found by its bytes.
    faults.retain(|fault| !matches!(fault.why, RowFaultKind::Repeated(_)));
    let outside = faults.iter().filter(|fault| matches!(fault.why, RowFaultKind::Path(_))).count();
    let expected = Expected::read(&manifest, &mut faults)?;
    let done = AtomicUsize::new(0);
    let hashes: Vec<(String, Option<RowFaultKind>)> = pictures
        .par_iter()
        .map(|picture| {
            let checked = check(picture, expected.as_ref());
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, pictures.len());
            checked
        })
        .collect();
    let mut counts = Counts { images: pictures.len() + outside, unreadable: outside, ..Counts::default() };
    let columns = PairsColumns::default();
    let mut reject = |row, column: &str, why| faults.push(RowFault { row, column: column.to_owned(), why });
    let mut first: HashMap<String, (Split, usize)> = HashMap::new();
    for (picture, (hash, fault)) in pictures.iter().zip(hashes) {
        if let Some(why) = fault {
            counts.unreadable += 1;
            reject(picture.row, &columns.image, why);
        }
        // No hash: there are no bytes to compare.
        if hash.is_empty() {
            continue;
        }
        match first.get(&hash) {
            Some(&(split, row)) => {
                counts.duplicates += 1;
                // Within one split it costs weight; across splits it is a leak.
                if split != picture.split {
                    reject(picture.row, &columns.image, RowFaultKind::Duplicate(row));
                }
            }
            None => {
                first.insert(hash, (picture.split, picture.row));
            }
        }
    }
    for (row, other) in leaks(&pictures) {
        counts.leaks += 1;
        reject(row, &columns.patient, RowFaultKind::Leak(other));
    }
    faults.sort_by_key(|fault| fault.row);
    Ok(Findings { manifest, counts, faults })
}

/// What a provenance says of the images beside it.
struct Expected {
    root: PathBuf,
    images: BTreeMap<String, String>,
}

impl Expected {
    /// The provenance beside a prepared manifest, `None` where there is none or it is one of another file.
    fn read(manifest: &Path, faults: &mut Vec<RowFault>) -> Result<Option<Self>> {
        let root = manifest.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        let path = root.join(PROVENANCE);
        if manifest.file_name().is_none_or(|name| name != MANIFEST) || !path.is_file() {
            return Ok(None);
        }
        let broken = |error| DataError::Io {
            action: "read",
            path: path.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        };
        let bytes = fsx::read_capped(&path, MAX_PROVENANCE_BYTES)?;
        let told: Provenance = serde_json::from_slice(&bytes).map_err(broken)?;
        if fsx::sha256_file(manifest)? != told.manifest_sha256 {
            faults.push(RowFault { row: 0, column: String::new(), why: RowFaultKind::ManifestChanged });
        }
        Ok(Some(Self { root, images: told.images }))
    }

    /// Whether an image is the one that was prepared.
    fn agrees(&self, path: &Path, hash: &str) -> bool {
        let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        name.and_then(|name| self.images.get(name)).is_some_and(|told| told == hash)
    }
}

/// The hash of an image's file, empty where it cannot be read, and what is wrong with it.
fn check(picture: &Picture, expected: Option<&Expected>) -> (String, Option<RowFaultKind>) {
    let bytes = match decode::read_file(&picture.path) {
        Ok(bytes) => bytes,
        Err(ImageFault::Read(std::io::ErrorKind::NotFound)) => return (String::new(), Some(RowFaultKind::NoFile)),
        Err(fault) => return (String::new(), Some(fault.into())),
    };
    let hash = fsx::sha256_hex(&bytes);
    if let Err(fault) = decode::decode_bytes(&bytes) {
        return (hash, Some(fault.into()));
    }
    let changed = expected.is_some_and(|expected| !expected.agrees(&picture.path, &hash));
    (hash, changed.then_some(RowFaultKind::Changed))
}

/// Each patient in more than one split: the first row that shows it, and the row that it contradicts.
fn leaks(pictures: &[Picture]) -> Vec<(usize, usize)> {
    let mut first: HashMap<String, (Split, usize)> = HashMap::new();
    let mut leaked: HashSet<String> = HashSet::new();
    let mut rows = Vec::new();
    for picture in pictures {
        let patient = picture.patient_id();
        let &mut (split, row) = first.entry(patient.clone()).or_insert((picture.split, picture.row));
        if split != picture.split && leaked.insert(patient) {
            rows.push((picture.row, row));
        }
    }
    rows
}
