//! MURA v1.1 in the layout of its download.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use data::error::DataError;
use data::image::decode::decode_file;
use data::record::{Dataset, ImageSource, Split};
use data::source::mura::{MuraSource, read};
use data::source::pairs_csv::{self, PairsConfig};
use data::source::parts::SourceConfig;
use serde_json::{Value, json};

use crate::support::{films, output, unnamed, write};

/// The files have no header. The first lines of the download's lists are the first ones here.
const TRAIN_IMAGES: &str = "\
    MURA-v1.1/train/XR_SHOULDER/patient00001/study1_positive/image1.png\n\
    MURA-v1.1/train/XR_SHOULDER/patient00001/study1_positive/image2.png\n\
    MURA-v1.1/train/XR_SHOULDER/patient00001/study1_positive/image3.png\n\
    MURA-v1.1/train/XR_HAND/patient00001/study1_negative/image1.png\n\
    MURA-v1.1/train/XR_HAND/patient00001/study2_positive/image1.png\n\
    MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png\n\
    MURA-v1.1/train/XR_HAND/patient00002/study1_negative/._image1.png\n";
const TRAIN_STUDIES: &str = "\
    MURA-v1.1/train/XR_SHOULDER/patient00001/study1_positive/,1\n\
    MURA-v1.1/train/XR_HAND/patient00001/study1_negative/,0\n\
    MURA-v1.1/train/XR_HAND/patient00001/study2_positive/,1\n\
    MURA-v1.1/train/XR_HAND/patient00002/study1_negative/,0\n";
const VALID_IMAGES: &str = "\
    MURA-v1.1/valid/XR_WRIST/patient11185/study1_positive/image1.png\n\
    MURA-v1.1/valid/XR_WRIST/patient11185/study1_positive/image2.png\n\
    MURA-v1.1/valid/XR_WRIST/patient11186/study1_negative/image1.png\n";
const VALID_STUDIES: &str = "\
    MURA-v1.1/valid/XR_WRIST/patient11185/study1_positive/,1\n\
    MURA-v1.1/valid/XR_WRIST/patient11186/study1_negative/,0\n";

/// The four lists.
#[derive(Clone)]
struct Lists([(&'static str, String); 4]);

impl Default for Lists {
    fn default() -> Self {
        Self([
            ("train_image_paths.csv", TRAIN_IMAGES.to_owned()),
            ("train_labeled_studies.csv", TRAIN_STUDIES.to_owned()),
            ("valid_image_paths.csv", VALID_IMAGES.to_owned()),
            ("valid_labeled_studies.csv", VALID_STUDIES.to_owned()),
        ])
    }
}

/// A folder with `MURA-v1.1` in it: these lists and the images of the ones above, with files that macOS adds.
fn download(lists: &Lists) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in &lists.0 {
        write(dir.path(), &format!("MURA-v1.1/{name}"), text.as_bytes());
    }
    let paths: Vec<&str> = TRAIN_IMAGES.lines().chain(VALID_IMAGES.lines()).filter(|p| !p.contains("._")).collect();
    for (path, film) in paths.iter().zip(films(paths.len() as u64)) {
        write(dir.path(), path, &film);
        write(dir.path(), &path.replace("/image", "/._image"), b"\0\x05\x16\x07Mac OS X");
    }
    dir
}

fn load(dir: &Path) -> Result<[Dataset; 2], DataError> {
    read(&MuraSource::new(dir.to_path_buf()))
}

fn message(lists: &Lists) -> String {
    unnamed(&load(download(lists).path()).unwrap_err().to_string())
}

/// Study, number of images and label.
fn shape(data: &Dataset) -> Vec<(&str, &str, usize, Option<bool>)> {
    let of = |s: &'_ data::record::Study| (s.images.len(), s.labels[0]);
    data.studies
        .iter()
        .map(|s| (s.patient_id.expose().as_str(), s.study_id.expose().as_str(), of(s).0, of(s).1))
        .collect()
}

#[test]
fn images_are_grouped_by_study_and_labelled_by_study() {
    let dir = download(&Lists::default());
    for root in [dir.path().to_path_buf(), dir.path().join("MURA-v1.1")] {
        let [train, test] = load(&root).unwrap();
        assert_eq!((train.name.as_str(), test.name.as_str()), ("train_image_paths.csv", "valid_image_paths.csv"));
        assert_eq!((&train.classes, &test.classes), (&vec!["abnormal".to_owned()], &train.classes));
        // Study 1 of a patient's hand is not study 1 of their shoulder, and the file that macOS adds is no image.
        assert_eq!(
            shape(&train),
            [
                ("patient00001", "XR_SHOULDER/study1_positive", 3, Some(true)),
                ("patient00001", "XR_HAND/study1_negative", 1, Some(false)),
                ("patient00001", "XR_HAND/study2_positive", 1, Some(true)),
                ("patient00002", "XR_HAND/study1_negative", 1, Some(false)),
            ]
        );
        assert_eq!(test.studies.iter().map(|s| (s.row, s.images.len())).collect::<Vec<_>>(), [(1, 2), (3, 1)]);
        assert!(test.studies.iter().all(|s| s.split == Split::Test && s.sentences.is_empty()));
        for image in train.studies.iter().chain(&test.studies).flat_map(|s| &s.images) {
            let ImageSource::File(path) = image else { panic!("a file") };
            decode_file(path.expose()).unwrap();
        }
    }
}

#[test]
fn a_list_of_studies_that_is_absent_is_replaced_by_the_names_of_the_folders() {
    let dir = download(&Lists::default());
    let whole = load(dir.path()).unwrap();
    std::fs::remove_file(dir.path().join("MURA-v1.1/train_labeled_studies.csv")).unwrap();
    assert_eq!(shape(&load(dir.path()).unwrap()[0]), shape(&whole[0]));
    std::fs::remove_file(dir.path().join("MURA-v1.1/valid_image_paths.csv")).unwrap();
    let text = load(dir.path()).unwrap_err().to_string();
    assert!(text.contains("cannot read") && text.contains("valid_image_paths.csv"), "{text}");
}

#[test]
fn body_parts_are_a_filter() {
    let dir = download(&Lists::default());
    let of = |parts: &[&str]| {
        let body_parts = parts.iter().map(|&p| p.to_owned()).collect();
        read(&MuraSource { body_parts, ..MuraSource::new(dir.path().to_path_buf()) })
    };
    let [train, test] = of(&["XR_SHOULDER", "XR_WRIST"]).unwrap();
    assert_eq!((train.studies.len(), test.studies.len()), (1, 2));
    let text = of(&["XR_HAND"]).unwrap_err().to_string();
    assert!(text.contains("valid_image_paths.csv: no image of these body parts"), "{text}");
    let text = of(&["XR_KNEE"]).unwrap_err().to_string();
    assert!(text.contains("body_parts = XR_KNEE: no such body part; MURA has XR_ELBOW"), "{text}");
}

#[test]
fn lines_that_are_not_of_the_download_are_named_by_row() {
    let mut lists = Lists::default();
    lists.0[0].1.push_str(
        "MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png\n\
         /MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image2.png\n\
         MURA-v1.1/train/XR_HAND/patient00002/study1_negative/..\n\
         MURA-v1.1/train/XR_KNEE/patient00002/study1_negative/image2.png\n\
         MURA-v1.1/valid/XR_HAND/patient00002/study1_negative/image2.png\n\
         MURA-v1.1/train/XR_HAND/patient00002/study1/image2.png\n\
         MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image2.png,1\n\
         MURA-v1.1/train/XR_HAND/patient00002/study1_negative/\n",
    );
    let text = message(&lists);
    for part in [
        "train_image_paths.csv: 8 faults",
        "row 8, column \"path\": the image is listed in row 6 already",
        "row 9, column \"path\": the path does not name an image of MURA-v1.1",
        "row 10, column \"path\": the path does not name an image of MURA-v1.1",
        "row 13, column \"path\": the path does not name an image of MURA-v1.1",
        "row 14: 2 fields, the header has 1",
        "row 15, column \"path\": the path does not name an image",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("patient"), "{text}");
    let mut lists = Lists::default();
    lists.0[1].1 = TRAIN_STUDIES.replace("study1_positive/,1", "study1_positive/,0").replace("/,0\nMURA", "/,2\nMURA");
    let text = message(&lists);
    assert!(text.contains("train_labeled_studies.csv: 2 faults"), "{text}");
    assert!(text.contains("row 1, column \"label\": the label must be 1 or 0"), "{text}");
    lists.0[1].1 = TRAIN_STUDIES.replace("study1_positive/,1", "study1_positive/,0");
    let text = message(&lists);
    assert!(text.contains("row 1, column \"label\": the label contradicts the name of the folder"), "{text}");
}

#[test]
fn a_patient_of_both_parts_is_refused() {
    let mut lists = Lists::default();
    for (_, text) in &mut lists.0[2..] {
        *text = text.replace("patient11186", "patient00002");
    }
    let text = message(&lists);
    assert!(text.contains("1 patients are in more than one split") && !text.contains("patient00002"), "{text}");
}

#[test]
fn patients_are_held_out_whole_and_a_recipe_names_the_source() {
    let mut lists = Lists::default();
    for patient in 100..400 {
        for part in ["XR_ELBOW", "XR_FOREARM"] {
            use std::fmt::Write as _;
            let study = format!("MURA-v1.1/train/{part}/patient{patient:05}/study1_negative/");
            writeln!(lists.0[0].1, "{study}image1.png").unwrap();
            writeln!(lists.0[1].1, "{study},0").unwrap();
        }
    }
    let dir = download(&lists);
    let source = json!({"kind": "mura", "root": dir.path()});
    let parts = serde_json::from_value::<SourceConfig>(source).unwrap().parts().unwrap();
    let patients = |data: &Dataset| data.studies.iter().map(|s| s.patient_id.clone()).collect::<HashSet<_>>();
    let (train, validate, test) = (patients(&parts.train), patients(&parts.validate), patients(&parts.test));
    assert!(train.is_disjoint(&validate) && train.is_disjoint(&test));
    assert_eq!((train.len() + validate.len(), test.len()), (302, 2));
    // Four standard deviations of 302 draws of a tenth: 4 * sqrt(302 * 0.1 * 0.9) = 21 around 30.
    assert!((9..=51).contains(&validate.len()), "{}", validate.len());
    assert!(parts.categories.is_none());
    let unknown = json!({"kind": "mura", "root": dir.path(), "body_part": "XR_HAND"});
    assert!(serde_json::from_value::<SourceConfig>(unknown).is_err());
}

fn prepare(root: &Path, out: &Path) -> Value {
    let paths = [root.to_str().unwrap(), out.to_str().unwrap()];
    let (text, _) = output(&["prepare", "mura", "--root", paths[0], "--out", paths[1], "--size", "32", "--json"], 0);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_download_is_prepared_with_its_splits_and_labels() {
    let dir = download(&Lists::default());
    let hand: PathBuf = dir.path().join("MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png");
    std::fs::remove_file(&hand).unwrap();
    let cut = "MURA-v1.1/valid/XR_WRIST/patient11185/study1_positive/image2.png";
    let film = std::fs::read(dir.path().join(cut)).unwrap();
    write(dir.path(), cut, &film[..film.len() - 5]);
    let out = dir.path().join("out");
    let json = prepare(dir.path(), &out);
    assert_eq!(json["skipped"], json!({"missing": 1, "truncated": 1}));
    let counts = ["patients", "studies", "images", "texts"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [3, 5, 7, 0]);
    let provenance = std::fs::read_to_string(out.join("provenance.json")).unwrap();
    assert!(provenance.contains("valid_image_paths.csv") && !provenance.contains("patient0"), "{provenance}");
    let data = pairs_csv::read(&out.join("pairs.csv"), &PairsConfig::default()).unwrap();
    assert_eq!(data.classes, ["abnormal"]);
    let labels: Vec<_> = data.studies.iter().map(|s| (s.labels[0], s.images.len())).collect();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(labels, [(yes, 3), (no, 1), (yes, 1), (yes, 1), (no, 1)]);
    // The name of a study tells its body part.
    let parts: Vec<&str> = data.studies.iter().map(|s| s.study_id.expose().split('/').next().unwrap()).collect();
    assert_eq!(parts, ["XR_SHOULDER", "XR_HAND", "XR_HAND", "XR_WRIST", "XR_WRIST"]);
    assert!(data.studies[3..].iter().all(|s| s.split == Split::Test));
    assert!(data.studies[..3].iter().all(|s| s.split != Split::Test));
    let (found, _) = output(&["verify", out.to_str().unwrap(), "--json"], 0);
    assert_eq!(found.trim(), r#"{"images":7,"unreadable":0,"leaks":0,"duplicates":0}"#);
}

#[test]
fn lists_of_other_systems_read_the_same() {
    let whole = load(download(&Lists::default()).path()).unwrap();
    let mut lists = Lists::default();
    for (_, text) in &mut lists.0 {
        *text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    }
    // Without the slash at the end of a study's path.
    lists.0[1].1 = lists.0[1].1.replace("/,", ",");
    let again = load(download(&lists).path()).unwrap();
    assert_eq!(again.each_ref().map(shape), whole.each_ref().map(shape));
}

#[test]
fn statistics_and_a_contact_sheet_come_straight_from_the_download() {
    let dir = download(&Lists::default());
    let root = dir.path().to_str().unwrap();
    let (printed, _) = output(&["stats", "mura", "--root", root, "--json"], 0);
    let json: Value = serde_json::from_str(&printed).unwrap();
    let counts = ["patients", "studies", "images", "sentences"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [4, 6, 9, 0]);
    assert_eq!((&json["splits"]["test"], &json["patients_in_one_split"]), (&json!(2), &json!(true)));
    assert_eq!(json["labels"]["abnormal"], json!({"positive": 3, "negative": 3, "unlabelled": 0}));
    assert!(json.get("cleanings").is_none(), "there is no text");
    let sheet = dir.path().join("sheet.png");
    let show =
        ["show", "mura", "--root", root, "--out", sheet.to_str().unwrap(), "--size", "16", "--class", "abnormal"];
    let (printed, _) = output(&show, 0);
    assert!(printed.contains("3 images of mura"), "{printed}");
    assert!(decode_file(&sheet).is_ok());
    output(&["show", "mura", "--out", sheet.to_str().unwrap()], 2);
}
