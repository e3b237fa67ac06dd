//! `roentgen-data verify`: images, hashes, splits and duplicates.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{films, output, shared, unnamed, write};

fn verify(path: &Path, code: i32) -> (Value, String) {
    let (text, error) = output(&["verify", path.to_str().unwrap(), "--json"], code);
    (serde_json::from_str(&text).unwrap(), unnamed(&error))
}

/// A folder with six different films, `0.png` to `5.png`, and a manifest.
fn folder(dir: &Path, rows: &str) -> PathBuf {
    for (i, film) in films(6).iter().enumerate() {
        write(dir, &format!("{i}.png"), film);
    }
    write(dir, "pairs.csv", format!("image_path,patient_id,split\n{rows}").as_bytes())
}

fn prepared(dir: &Path) -> PathBuf {
    let out = dir.join("out");
    let args = ["prepare", "phantom", "--count", "5", "--size", "32", "--out", out.to_str().unwrap()];
    output(&args, 0);
    out
}

#[test]
fn sound_data_pass() {
    let dir = tempfile::tempdir().unwrap();
    let csv = folder(dir.path(), "0.png,p1,train\n1.png,p1,train\n2.png,p2,test\n3.png,,val\n");
    let expected = json!({"images": 4, "unreadable": 0, "leaks": 0, "duplicates": 0});
    for path in [csv.as_path(), dir.path()] {
        let (found, error) = verify(path, 0);
        assert_eq!((&found, error.as_str()), (&expected, ""));
    }
    let keys: Vec<String> = verify(&csv, 0).0.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["images", "unreadable", "leaks", "duplicates"]);
    let (found, _) = verify(&prepared(dir.path()), 0);
    assert_eq!(found["images"], 5);
    let (plain, _) = output(&["verify", csv.to_str().unwrap()], 0);
    assert!(plain.contains("images                     4\n"), "{plain}");
}

#[test]
fn broken_images_are_found_where_a_decoder_would_accept_them() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "0.png,secret,train\n1.png,secret,train\ncut.jpg,p1,train\ngone.png,p1,train\nlogo.png,p1,train\n\
                ../secret.png,p1,train\n";
    folder(dir.path(), rows);
    let film = &films(1)[0];
    // Without its last chunk all pixels are there.
    write(dir.path(), "1.png", &film[..film.len() - 12]);
    let gray = data::image::decode::decode_bytes(film).unwrap();
    let mut jpeg = Vec::new();
    let (width, height) = (gray.width as u32, gray.height as u32);
    image::codecs::jpeg::JpegEncoder::new(&mut jpeg)
        .encode(&gray.pixels, width, height, image::ExtendedColorType::L8)
        .unwrap();
    write(dir.path(), "cut.jpg", &jpeg[..jpeg.len() * 3 / 4]);
    // The decoder itself fills up the rest of the picture with grey.
    assert!(
        image::ImageReader::with_format(std::io::Cursor::new(&jpeg[..jpeg.len() * 3 / 4]), image::ImageFormat::Jpeg)
            .decode()
            .is_ok()
    );
    write(dir.path(), "logo.png", b"<svg/>");
    let (found, error) = verify(dir.path(), 3);
    assert_eq!(found, json!({"images": 6, "unreadable": 5, "leaks": 0, "duplicates": 0}));
    for part in [
        "pairs.csv: 5 faults",
        "row 2, column \"image_path\": the image file is truncated",
        "row 3, column \"image_path\": the image file is truncated",
        "row 4, column \"image_path\": the image file does not exist",
        "row 5, column \"image_path\": the image is neither PNG nor JPEG",
        "row 6, column \"image_path\": the path leads out of its folder",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("secret") && !error.contains(".jpg"), "{error}");
}

#[test]
fn leaks_are_counted_by_patient_and_duplicates_by_image() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "0.png,p-secret,train\n1.png,p-secret,test\n2.png,p-secret,val\n3.png,p2,test\n4.png,p3,train\n\
                4.png,p3,train\n";
    folder(dir.path(), rows);
    let film = &films(1)[0];
    write(dir.path(), "3.png", film);
    let (found, error) = verify(dir.path(), 3);
    assert_eq!(found, json!({"images": 6, "unreadable": 0, "leaks": 1, "duplicates": 2}));
    for part in [
        "row 2, column \"patient_id\": the patient is in another split in row 1",
        "row 4, column \"image_path\": the image has the same bytes as that of row 1",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("row 6"), "the same image twice in one split is counted, not rejected: {error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn changes_of_a_prepared_folder_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let out = prepared(dir.path());
    write(&out, "images/0000/0000003-00.png", &films(1)[0]);
    let (found, error) = verify(&out, 3);
    assert_eq!(found, json!({"images": 5, "unreadable": 1, "leaks": 0, "duplicates": 0}));
    assert!(error.contains("row 4, column \"image_path\": the image differs from the one that was"), "{error}");
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let out = prepared(&other);
    let text = std::fs::read_to_string(out.join("pairs.csv")).unwrap();
    write(&out, "pairs.csv", text.replacen(",train", ",test", 1).as_bytes());
    let (found, error) = verify(&out, 3);
    assert_eq!(found["unreadable"], 0);
    assert!(error.contains("file: the manifest differs from the one that was prepared"), "{error}");
}

#[test]
fn other_faults_of_the_manifest_reject_too() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), "0.png,p1,train\n1.png,p1\n2.png,p2,never\n");
    let (found, error) = verify(dir.path(), 3);
    assert_eq!(found["images"], 2);
    assert!(error.contains("row 2: 2 fields, the header has 3"), "{error}");
    assert!(error.contains("row 3, column \"split\": the split must be"), "{error}");
    let (_, error) = output(&["verify", dir.path().join("none.csv").to_str().unwrap()], 1);
    assert!(error.contains("none.csv"), "{error}");
}

#[test]
fn real_pairs_pass() {
    let Some(folder) = shared("cxr-pairs") else { return };
    let (found, _) = verify(&folder, 0);
    assert_eq!(found, json!({"images": 233, "unreadable": 0, "leaks": 0, "duplicates": 0}));
}
