//! Reading CSVs of images and text.

use std::path::Path;

use data::error::DataError;
use data::image::{GrayImage, encode};
use data::record::{Dataset, ImageSource, Split};
use data::report::TextRules;
use data::source::pairs_csv::{PairsColumns, PairsConfig, read};

use crate::support::{unnamed, write};

fn image(dir: &Path, name: &str) {
    let pixels = vec![name.len() as u8; 16];
    write(dir, name, &encode::png(&GrayImage { width: 4, height: 4, pixels }).unwrap());
}

/// A folder with the images `a.png` to `f.png` under `images/` and the given CSV.
fn folder(csv: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        image(dir.path(), &format!("images/{name}.png"));
    }
    write(dir.path(), "pairs.csv", csv.as_bytes());
    dir
}

fn load(csv: &str, config: &PairsConfig) -> Result<Dataset, DataError> {
    let dir = folder(csv);
    read(&dir.path().join("pairs.csv"), config)
}

fn message(csv: &str, config: &PairsConfig) -> String {
    unnamed(&load(csv, config).unwrap_err().to_string())
}

/// Rows of the first image of each study and how many images it has.
fn shape(data: &Dataset) -> Vec<(usize, usize)> {
    data.studies.iter().map(|s| (s.row, s.images.len())).collect()
}

#[test]
fn rows_become_studies() {
    let csv = "image_path,text,labels,patient_id,view\n\
               images/a.png,Heart is normal. No effusion.,No Finding,p1,PA\n\
               images/b.png,Heart is normal. No effusion.,No Finding,p1,L\n\
               images/c.png,Heart is normal. No effusion.,Edema|Pneumonia,p2,\n\
               images/d.png,,Pneumonia,p1,AP\n\
               images/e.png,,,,\n";
    let data = load(csv, &PairsConfig::default()).unwrap();
    assert_eq!(data.name, "pairs.csv");
    assert_eq!(shape(&data), [(1, 2), (3, 1), (4, 1), (5, 1)]);
    // Counted by row: No Finding 2, Pneumonia 2, Edema 1; equal counts in the order of the alphabet.
    assert_eq!(data.classes, ["No Finding", "Pneumonia", "Edema"]);
    assert_eq!(data.studies[0].labels, [Some(true), Some(false), Some(false)]);
    assert_eq!(data.studies[1].labels, [Some(false), Some(true), Some(true)]);
    assert_eq!(data.studies[3].labels, [None, None, None]);
    let sentences: Vec<&str> = data.studies[0].sentences.iter().map(|s| s.expose().as_str()).collect();
    assert_eq!(sentences, ["Heart is normal.", "No effusion."]);
    assert!(data.studies[2].sentences.is_empty());
    assert_eq!(data.studies[0].view, "PA");
    assert!(data.studies.iter().all(|s| s.split == Split::Train));
    // Without a patient a row is its own.
    assert_eq!(data.studies[3].patient_id.expose(), "row 5");
    let ungrouped = load(csv, &PairsConfig { group_rows: false, ..PairsConfig::default() }).unwrap();
    assert_eq!(shape(&ungrouped), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
}

#[test]
fn a_study_column_decides_and_shares_text_and_labels() {
    let csv = "image_path,text,labels,patient_id,study_id,split\n\
               images/a.png,,Edema,p1,s1,train\n\
               images/b.png,Mild edema is seen.,Effusion,p1,s1,train\n\
               images/c.png,Mild edema is seen.,,p3,s2,val\n\
               images/d.png,Mild edema is seen.,,p2,s1,TEST\n";
    let data = load(csv, &PairsConfig::default()).unwrap();
    // Study s1 of p2 is another study than s1 of p1.
    assert_eq!(shape(&data), [(1, 2), (3, 1), (4, 1)]);
    assert_eq!(data.studies[0].labels, [Some(true), Some(true)]);
    assert_eq!(data.studies[0].sentences.len(), 1);
    assert_eq!(data.studies.iter().map(|s| s.split).collect::<Vec<_>>(), [Split::Train, Split::Validate, Split::Test]);
}

#[test]
fn columns_and_labels_have_names_of_choice() {
    let csv = "File,Report,Edema,Fracture\n\
               images/a.png,One two three.,1,0\n\
               images/b.png,One two.,-1,\n\
               images/c.png,One two three. Four,1.0,0.0\n";
    let columns = PairsColumns { image: "File".into(), text: "Report".into(), ..PairsColumns::default() };
    let config = PairsConfig {
        columns,
        label_columns: vec!["Fracture".into(), "Edema".into()],
        text: TextRules { min_tokens: 4, ..TextRules::default() },
        ..PairsConfig::default()
    };
    let data = load(csv, &config).unwrap();
    assert_eq!(data.classes, ["Fracture", "Edema"]);
    assert_eq!(data.studies[0].labels, [Some(false), Some(true)]);
    assert_eq!(data.studies[1].labels, [None, None]);
    assert_eq!(data.studies.iter().map(|s| s.sentences.len()).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn given_classes_are_kept_in_order_and_checked() {
    let csv = "image_path,labels\nimages/a.png,Edema; Mass\nimages/b.png,Nodule\n";
    let config = |classes: &[&str]| PairsConfig {
        classes: classes.iter().map(|&c| c.to_owned()).collect(),
        label_separator: ";".into(),
        ..PairsConfig::default()
    };
    let data = load(csv, &config(&["Nodule", "Mass"])).unwrap();
    assert_eq!(data.classes, ["Nodule", "Mass"]);
    assert_eq!(data.studies[0].labels, [Some(false), Some(true)]);
    assert!(message(csv, &config(&["nodule"])).contains("classes = nodule: no row has this label"));
}

#[test]
fn all_faults_are_reported_at_once_without_private_values() {
    let csv = "image_path,text,patient_id,study_id,split\n\
               images/a.png,first text here,p-secret,s1,train\n\
               images/a.png,first text here,p-secret,s1,train\n\
               images/secret.png,t,p2,,train\n\
               ../secret.png,t,p2,,train\n\
               /secret.png,t,p2,,train\n\
               ,t,p2,,train\n\
               images/b.png,t,p2,,secret\n\
               images/c.png,t,p2\n";
    let text = message(csv, &PairsConfig::default());
    for part in [
        "pairs.csv: 7 faults",
        "row 2, column \"image_path\": the image is listed in row 1 already",
        "row 3, column \"image_path\": the image file does not exist",
        "row 4, column \"image_path\": the path leads out of its folder",
        "row 5, column \"image_path\": the path is absolute",
        "row 6, column \"image_path\": the path is empty",
        "row 7, column \"split\": the split must be train, validate or test",
        "row 8: 3 fields, the header has 5",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn rows_of_one_study_must_agree() {
    let csv = "image_path,text,patient_id,study_id,split\n\
               images/a.png,one text here,p1,s1,train\n\
               images/b.png,another text here,p1,s1,test\n";
    let text = message(csv, &PairsConfig::default());
    assert!(text.contains("row 2, column \"text\": the text differs from row 1"), "{text}");
    assert!(text.contains("row 2, column \"split\": the split differs from row 1"), "{text}");
}

#[test]
fn a_patient_in_two_splits_is_refused() {
    let csv = "image_path,patient_id,split\nimages/a.png,p1,train\nimages/b.png,p2,test\nimages/c.png,p1,test\n";
    let text = message(csv, &PairsConfig::default());
    assert!(text.contains("1 patients are in more than one split (row 1; row 3)"), "{text}");
}

#[test]
fn labels_outside_the_code_are_faults() {
    let csv = "image_path,Edema\nimages/a.png,2\nimages/b.png,yes\nimages/c.png,1\n";
    let config = PairsConfig { label_columns: vec!["Edema".into()], ..PairsConfig::default() };
    let text = message(csv, &config);
    assert!(text.contains("2 faults") && text.contains("row 2, column \"Edema\": the label must be"), "{text}");
}

#[test]
fn missing_columns_and_empty_files_say_what_to_do() {
    let text = message("file,text\nx,y\n", &PairsConfig::default());
    assert!(text.contains("no column \"image_path\"; the header has \"file\", \"text\""), "{text}");
    assert!(text.contains("columns.image"), "{text}");
    let columns = PairsColumns { text: "report".into(), ..PairsColumns::default() };
    let named = PairsConfig { columns, ..PairsConfig::default() };
    assert!(message("image_path\nimages/a.png\n", &named).contains("columns.text"));
    assert!(message("image_path,text\n", &PairsConfig::default()).contains("no rows"));
    let absent = read(Path::new("/nowhere/pairs.csv"), &PairsConfig::default()).unwrap_err();
    assert!(absent.to_string().contains("cannot read /nowhere/pairs.csv"));
}

#[test]
fn absolute_paths_need_a_root_that_holds_them() {
    let dir = folder("");
    let root = dir.path().join("images");
    let csv = format!("image_path\n{}\nb.png\n", root.join("a.png").display());
    write(dir.path(), "lists/absolute.csv", csv.as_bytes());
    let list = dir.path().join("lists/absolute.csv");
    let data = read(&list, &PairsConfig { image_root: root.clone(), ..PairsConfig::default() }).unwrap();
    let ImageSource::File(path) = &data.studies[0].images[0] else { panic!("a file") };
    assert_eq!(path.expose(), &root.join("a.png"));
    let text = read(&list, &PairsConfig::default()).unwrap_err().to_string();
    assert!(text.contains("row 1, column \"image_path\": the path is absolute"), "{text}");
    let elsewhere = PairsConfig { image_root: dir.path().join("none"), ..PairsConfig::default() };
    assert!(read(&list, &elsewhere).unwrap_err().to_string().contains("cannot read the image root"));
}

#[test]
fn large_manifests_are_read_in_seconds() {
    use std::fmt::Write as _;
    let dir = tempfile::tempdir().unwrap();
    image(dir.path(), "images/a.png");
    let mut csv = String::from("image_path,text,patient_id\n");
    for i in 0..100_000 {
        writeln!(csv, "images/{i}.png,\"The lungs are clear, number {i}.\",p{}", i / 2).unwrap();
    }
    let path = write(dir.path(), "pairs.csv", csv.as_bytes());
    let start = std::time::Instant::now();
    let text = read(&path, &PairsConfig::default()).unwrap_err().to_string();
    // 20 faults are shown of 100 000 missing files; the limit is several times what an unoptimised build needs.
    assert!(text.contains("100000 faults") && text.contains("and 99980 more"), "{text}");
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

#[test]
fn signs_say_which_findings_are_absent_and_leave_the_others_open() {
    let csv = "image_path,labels\n\
               images/a.png,+Edema|-Fracture\n\
               images/b.png,-Edema\n\
               images/c.png,Edema|Nodule\n\
               images/d.png,Edema|-5\n\
               images/e.png,\n";
    let data = load(csv, &PairsConfig::default()).unwrap();
    // Counted where present: Edema 3, -5 and Nodule 1, Fracture 0.
    assert_eq!(data.classes, ["Edema", "-5", "Nodule", "Fracture"]);
    let labels: Vec<_> = data.studies.iter().map(|s| s.labels.clone()).collect();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(labels[0], [yes, None, None, no]);
    assert_eq!(labels[1], [no, None, None, None]);
    assert_eq!(labels[2], [yes, no, yes, no]);
    // One name without a sign: signs are part of the names.
    assert_eq!(labels[3], [yes, yes, no, no]);
    assert_eq!(labels[4], [None; 4]);
}
