//! Real radiographs, where they are present.

use std::collections::HashSet;

use data::error::ImageFault;
use data::image::decode::{decode_bytes, decode_file};
use data::source::pairs_csv::{PairsConfig, read};
use data::split::{SplitConfig, check_leaks, split_by_patient};
use data::text::Tokenizer;

use crate::support::shared;

#[test]
fn pairs_are_read_grouped_and_split() {
    let Some(folder) = shared("cxr-pairs") else { return };
    let mut data = read(&folder.join("pairs.csv"), &PairsConfig::default()).unwrap();
    let images: usize = data.studies.iter().map(|s| s.images.len()).sum();
    let patients: HashSet<_> = data.studies.iter().map(|s| s.patient_id.expose()).collect();
    let keys: HashSet<_> = data.studies.iter().map(|s| s.study_id.expose()).collect();
    assert_eq!((images, patients.len()), (233, 115));
    assert_eq!(keys.len(), data.studies.len());
    // 188 distinct texts; a text that two patients share is two studies.
    assert!((188..=233).contains(&data.studies.len()), "{}", data.studies.len());
    assert_eq!(&data.classes[..2], ["COVID-19", "Pneumonia"]);
    assert!(data.studies.iter().all(|s| !s.sentences.is_empty()));
    split_by_patient(&mut data, &SplitConfig { seed: 1, validate: 0.15, test: 0.15 }).unwrap();
    check_leaks(&data).unwrap();
    // A vocabulary of general words splits a clinical note into less than one and a half pieces per word.
    let tokenizer = Tokenizer::builtin().unwrap();
    let (mut tokens, mut words) = (0, 0);
    for sentence in data.studies.iter().flat_map(|s| &s.sentences) {
        tokens += tokenizer.encode(sentence.expose(), 512).unwrap().input_ids.len() - 2;
        words += sentence.expose().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).count();
    }
    assert!(words > 10_000 && (tokens as f64) < 1.5 * words as f64, "{tokens} tokens for {words} words");
}

#[test]
fn published_files_decode_to_their_known_grey_values() {
    let Some(folder) = shared("native") else { return };
    let mut checked = 0;
    for row in csv::Reader::from_path(folder.join("manifest.csv")).unwrap().deserialize() {
        let row: std::collections::HashMap<String, String> = row.unwrap();
        if row["format"].starts_with("DICOM") {
            continue;
        }
        let image = decode_file(&folder.join(&row["file"])).unwrap();
        let number = |key: &str| row[key].parse::<f64>().unwrap();
        assert_eq!((image.width as f64, image.height as f64), (number("width"), number("height")), "{}", row["file"]);
        let mean = image.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / image.pixels.len() as f64;
        // Two JPEG decoders can differ by about one grey level; PNG is exact up to the rounding of the mean.
        let tolerance = if row["format"] == "PNG" { 2e-3 } else { 0.5 };
        assert!((mean - number("grey_mean")).abs() < tolerance, "{}: {mean} {}", row["file"], row["grey_mean"]);
        checked += 1;
    }
    assert_eq!(checked, 15);
}

#[test]
fn published_files_cut_short_are_errors() {
    let Some(folder) = shared("native") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_image = path.extension().is_some_and(|e| ["png", "jpg", "jpeg"].iter().any(|x| e == *x));
        // The large files would only make the test slow.
        let bytes = if is_image { std::fs::read(&path).unwrap() } else { continue };
        if bytes.len() > 200_000 {
            continue;
        }
        for cut in 0..64 {
            let end = bytes.len() * cut / 64;
            assert_eq!(decode_bytes(&bytes[..end]), Err(ImageFault::Truncated), "{cut}/64 of {}", path.display());
        }
    }
}
