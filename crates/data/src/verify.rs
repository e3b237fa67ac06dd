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
    let checked: Vec<(String, Option<RowFaultKind>)> = pictures
        .par_iter()
        .map(|picture| {
            let checked = check(picture, expected.as_ref());
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, pictures.len());
            checked
        })
        .collect();
    let mut counts = Counts { images: pictures.len() + outside, unreadable: outside, ..Counts::default() };
    let columns = PairsColumns::default();
    let mut reject = |picture: &Picture, column: &str, why| {
        faults.push(RowFault { sample: picture.sample(), column: column.to_owned(), why });
    };
    let (hashes, broken): (Vec<String>, Vec<Option<RowFaultKind>>) = checked.into_iter().unzip();
    for (picture, why) in pictures.iter().zip(broken) {
        if let Some(why) = why {
            counts.unreadable += 1;
            reject(picture, &columns.image, why);
        }
    }
    for (image, earlier) in repeats(&hashes) {
        counts.duplicates += 1;
        // Within one split it costs weight; across splits it is a leak.
        if pictures[image].split != pictures[earlier].split {
            reject(&pictures[image], &columns.image, RowFaultKind::Duplicate(pictures[earlier].row));
        }
    }
    let patients: Vec<(String, Split)> = pictures.iter().map(|picture| (picture.patient_id(), picture.split)).collect();
    for (image, earlier) in leaks(&patients) {
        counts.leaks += 1;
        reject(&pictures[image], &columns.patient, RowFaultKind::Leak(pictures[earlier].row));
    }
    faults.sort_by_key(|fault| fault.sample.row);
    Ok(Findings { manifest, counts, faults })
}

/// Each image whose bytes an earlier one has, and the first that has them; an empty hash says that there are none.
fn repeats(hashes: &[String]) -> Vec<(usize, usize)> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let known = hashes.iter().enumerate().filter(|(_, hash)| !hash.is_empty());
    known.map(|(i, hash)| (i, *first.entry(hash).or_insert(i))).filter(|(i, earlier)| i != earlier).collect()
}

/// Each patient in more than one split: the first image that shows it, and the one that it contradicts.
fn leaks(patients: &[(String, Split)]) -> Vec<(usize, usize)> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut leaked: HashSet<&str> = HashSet::new();
    let mut found = Vec::new();
    for (i, (patient, split)) in patients.iter().enumerate() {
        let earlier = *first.entry(patient).or_insert(i);
        if patients[earlier].1 != *split && leaked.insert(patient) {
            found.push((i, earlier));
        }
    }
    found
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
            faults.push(RowFault::new(0, "", RowFaultKind::ManifestChanged));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// Ten thousand small random sets, compared with what a search of all pairs finds.
    #[test]
    fn no_repeated_image_and_no_leak_is_missed() {
        let mut random = Stream::new(17);
        let (mut equal, mut leaked) = (0, 0);
        for _ in 0..10_000 {
            let n = random.below(24);
            // Few values, so that they meet often; some files have no bytes.
            let hashes: Vec<String> = (0..n).map(|_| "x".repeat(random.below(12))).collect();
            let splits = [Split::Train, Split::Validate, Split::Test];
            let patients: Vec<(String, Split)> =
                (0..n).map(|_| (format!("p{}", random.below(12)), splits[random.below(3)])).collect();
            let pairs = || (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
            let mut expected: Vec<(usize, usize)> =
                pairs().filter(|&(i, j)| !hashes[i].is_empty() && hashes[i] == hashes[j]).collect();
            // The first of all that are equal is named.
            expected.dedup_by_key(|pair| pair.0);
            assert_eq!(repeats(&hashes), expected);
            equal += expected.len();
            let in_two: HashSet<&str> = pairs()
                .filter(|&(i, j)| patients[i].0 == patients[j].0 && patients[i].1 != patients[j].1)
                .map(|(i, _)| patients[i].0.as_str())
                .collect();
            let found = leaks(&patients);
            assert_eq!(found.len(), in_two.len());
            for (i, j) in found {
                assert!(patients[i].0 == patients[j].0 && patients[i].1 != patients[j].1);
            }
            leaked += in_two.len();
        }
        assert!(equal > 10_000 && leaked > 10_000, "{equal} {leaked}");
    }
}
