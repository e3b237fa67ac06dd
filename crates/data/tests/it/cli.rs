//! The binary `roentgen-data`.

use std::fmt::Write as _;

use data::image::decode::decode_file;
use serde_json::Value;

use crate::support::{films, output, shared, write};

#[test]
fn a_contact_sheet_of_phantoms_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sheet.png");
    let path = out.to_str().unwrap();
    let (text, _) = output(&["show", "phantom", "--out", path, "--count", "5", "--columns", "3", "--size", "32"], 0);
    assert!(text.contains("5 images of phantom, 104 x 70 pixels"), "{text}");
    let sheet = decode_file(&out).unwrap();
    // Three columns and two rows of 32 px with gaps of 2 px; the sixth place is empty.
    assert_eq!((sheet.width, sheet.height), (3 * 34 + 2, 2 * 34 + 2));
    assert!(sheet.pixels[50 * 104 + 85] == 255 && sheet.pixels[18 * 104 + 18] < 255);
    let (_, error) = output(&["show", "phantom", "--out", path, "--class", "measles"], 1);
    assert!(error.contains("has no class \"measles\"; it has cardiomegaly, "), "{error}");
    output(&["show", "phantom-exclusive", "--out", path, "--class", "Nodule", "--count", "2", "--size", "16"], 0);
}

#[test]
fn statistics_are_counted() {
    let (text, _) = output(&["stats", "phantom-exclusive", "--count", "64", "--json"], 0);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["studies"].as_u64(), json["patients"].as_u64()), (Some(64), Some(64)));
    // Every eighth study of the exclusive set has a given finding.
    assert_eq!(json["labels"]["nodule"]["positive"], 8);
    assert_eq!(json["studies_without_sentence"], 0);
    let (plain, _) = output(&["stats", "phantom-exclusive", "--count", "64"], 0);
    assert!(plain.contains("studies                    64\n"), "{plain}");
}

#[test]
fn what_reports_lack_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = b"image_path,text,study_id\n".to_vec();
    let rows: [&[u8]; 8] = [
        b"\"FINDINGS: Clear lungs. IMPRESSION: Normal chest.\"",
        b"",
        b"  ",
        b"No acute disease here.",
        b"\"HISTORY: ___ year old. TECHNIQUE: Two views.\"",
        b"\"IMPRESSION: Seen by Dr. ___ at ___.\"",
        b"39\xB0C since ___.",
        b"",
    ];
    for (i, (row, film)) in rows.iter().zip(films(8)).enumerate() {
        write(dir.path(), &format!("{i}.png"), &film);
        // The last row is of the study of the one before, whose text it shares.
        csv.extend([format!("{i}.png,").as_bytes(), row, format!(",s{}\n", i.min(6)).as_bytes()].concat());
    }
    let path = write(dir.path(), "pairs.csv", &csv);
    let (text, error) = output(&["stats", path.to_str().unwrap(), "--json"], 0);
    let json: Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "empty": 2,
        "without_findings_or_impression": 3,
        "with_deidentification_marks": 3,
        "fields_not_utf8": 1,
    });
    assert_eq!(json["reports"], expected);
    assert_eq!((json["studies"].as_u64(), json["images"].as_u64()), (Some(7), Some(8)));
    assert!(error.contains("not UTF-8, read as Windows-1252") && error.contains("fields=1"), "{error}");
    let (plain, _) = output(&["stats", path.to_str().unwrap()], 0);
    assert!(plain.contains("empty 2, without_findings_or_impression 3, "), "{plain}");
}

#[test]
fn statistics_of_real_pairs_are_those_of_their_readme() {
    let Some(folder) = shared("cxr-pairs") else { return };
    let csv = folder.join("pairs.csv");
    let (text, _) = output(&["stats", csv.to_str().unwrap(), "--json"], 0);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["images"].as_u64(), json["patients"].as_u64()), (Some(233), Some(115)));
}

#[test]
fn rejected_data_ends_with_its_own_code_and_no_private_word() {
    let dir = tempfile::tempdir().unwrap();
    let csv = write(dir.path(), "pairs.csv", b"image_path,text,patient_id\nsecret.png,secret words,secret\n");
    let (text, error) = output(&["stats", csv.to_str().unwrap()], 3);
    assert!(
        text.is_empty() && error.contains("row 1, column \"image_path\": the image file does not exist"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    let (_, error) = output(&["stats", csv.to_str().unwrap(), "--image-column", "file"], 2);
    assert!(error.contains("no column \"file\""), "{error}");
    output(&["stats"], 2);
}

#[test]
fn equally_many_images_with_one_finding_are_selected() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "Path,Sex,No Finding,Edema,Pleural Effusion,Support Devices\n".to_owned();
    for patient in 0..40 {
        let flags = ["1.0,,,", ",1.0,0.0,", ",,1.0,", ",1.0,,1.0"][patient % 4];
        writeln!(csv, "train/patient{patient:05}/study1/view1_frontal.jpg,F,{flags}").unwrap();
    }
    let source = write(dir.path(), "train.csv", csv.as_bytes());
    let [source, out] = [source, dir.path().join("2x5.csv")].map(|path| path.to_str().unwrap().to_owned());
    let classes = ["--classes", "Edema,Pleural Effusion", "--out", out.as_str()];
    let (text, _) = output(&[&["select", source.as_str(), "--count", "5", "--json"], &classes[..]].concat(), 0);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["classes"]["Edema"], serde_json::json!({ "eligible": 10, "drawn": 5 }));
    assert_eq!((json["patients"].as_u64(), json["images_of_shared_patients"].as_u64()), (Some(10), Some(0)));
    let written = std::fs::read_to_string(&out).unwrap();
    assert!(written.starts_with("Path,Sex,No Finding,Edema,Pleural Effusion,Support Devices,category\n"), "{written}");
    assert_eq!(written.lines().filter(|line| line.ends_with(",Edema")).count(), 5);
    let (text, _) = output(&[&["select", source.as_str(), "--count", "5"], &classes[..]].concat(), 0);
    assert!(text.contains("Pleural Effusion") && text.contains("eligible 10, drawn 5"), "{text}");
    let (_, error) = output(&[&["select", source.as_str(), "--count", "50"], &classes[..]].concat(), 2);
    assert!(error.contains("10 images have \"Edema\" and nothing else"), "{error}");
}
