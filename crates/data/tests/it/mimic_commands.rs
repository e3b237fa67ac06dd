//! `prepare`, `stats` and `show` of MIMIC-CXR-JPG.

use std::path::Path;

use data::image::{GrayImage, encode};
use data::report::{count_tokens, sentences};
use data::source::pairs_csv::{PairsConfig, read};

use crate::mimic_layout::{
    METADATA, ROWS, Row, SPLIT, download, folder_of, ids, load, metadata_table, split_table, texts,
};
use crate::support::{output, shared, write};

/// The picture of every row, all different.
fn different_pictures(dir: &Path) {
    for ((dicom, subject, study, ..), value) in ROWS.iter().zip(0_u8..) {
        let pixels = (0..64).map(|i| i * 3 + value).collect();
        let bytes = encode::png(&GrayImage { width: 8, height: 8, pixels }).unwrap();
        write(dir, &format!("{}/{dicom}.jpg", folder_of(*subject, *study)), &bytes);
    }
}

#[test]
fn a_download_is_prepared_with_studies_that_have_a_text_alone() {
    let dir = download();
    different_pictures(dir.path());
    // One image cut short, one report without a text and one in an old encoding.
    let base = folder_of(ROWS[0].1, ROWS[0].2);
    write(dir.path(), &format!("{base}.txt"), b"x\n FINDINGS: A temperature of 39\xB0C.\n");
    let image = dir.path().join("files/p11/p11000032/s53189527/0b-2.jpg");
    let bytes = std::fs::read(&image).unwrap();
    data::fsx::write_atomic(&image, &bytes[..bytes.len() - 9]).unwrap();
    write(dir.path(), "files/p12/p12000764/s50771383.txt", b"FINAL REPORT\n INDICATION: cough\n");
    let out = tempfile::tempdir().unwrap();
    let [root, out] = [dir.path(), &out.path().join("prepared")].map(|path| path.to_str().unwrap().to_owned());
    let args = ["prepare", "mimic-cxr", "--root", &root, "--out", &out, "--size", "32", "--json"];
    let (printed, warned) = output(&args, 0);
    assert!(warned.contains("not UTF-8, read as Windows-1252") && warned.contains("reports=1"), "{warned}");
    assert!(!warned.contains("50414267"), "{warned}");
    let mut summary: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(summary.as_object_mut().unwrap().remove("seconds").unwrap().as_f64().unwrap() >= 0.0);
    let skipped = serde_json::json!({"other_view": 3, "study_without_image": 1, "truncated": 1});
    let expected = serde_json::json!({"patients": 3, "studies": 4, "images": 3, "texts": 4, "skipped": skipped});
    assert_eq!(summary, expected);
    // What was prepared is fit for use and names no patient in a path.
    let (printed, _) = output(&["verify", &out, "--json"], 0);
    let found: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(found["images"], 3);
    let file = Path::new(&out).join("pairs.csv");
    let manifest = std::fs::read_to_string(&file).unwrap();
    assert_eq!(manifest.matches("images/0000/").count(), 3);
    assert!(!manifest.contains("0a-1") && !manifest.contains("files/"), "{manifest}");
}

#[test]
fn a_prepared_manifest_has_the_view_of_each_image_and_reads_back_by_study() {
    let dir = download();
    different_pictures(dir.path());
    let out = tempfile::tempdir().unwrap();
    let [root, out] = [dir.path(), &out.path().join("prepared")].map(|path| path.to_str().unwrap().to_owned());
    let (printed, _) = output(&["prepare", "mimic-cxr", "--root", &root, "--out", &out, "--json"], 0);
    // Studies and texts are counted once, however many images they have; the two studies of other views have a text.
    let start = r#"{"patients":3,"studies":5,"images":4,"texts":5,"skipped":{"other_view":3},"seconds":"#;
    assert!(printed.starts_with(start), "{printed}");
    let file = Path::new(&out).join("pairs.csv");
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let of = |column: usize| rows.iter().map(|row| row[column].to_owned()).collect::<Vec<_>>();
    // Columns: image_path, text, labels, patient_id, study_id, view, split.
    assert_eq!(of(4), ["50414267", "53189527", "53189527", "57375967"]);
    assert_eq!(of(5), ["PA", "AP", "PA", "AP"]);
    assert_eq!(of(6), ["train", "validate", "validate", "test"]);
    assert_eq!(
        of(2),
        ["+Atelectasis|-Cardiomegaly|+Support Devices", "+No Finding", "+No Finding", "+Cardiomegaly|-Pneumothorax"]
    );
    let data = read(&file, &PairsConfig::default()).unwrap();
    let (straight, _) = load(&dir, |_| {});
    assert_eq!((ids(&data), texts(&data)), (ids(&straight), texts(&straight)));
}

#[test]
fn statistics_and_a_contact_sheet_come_straight_from_the_download() {
    let dir = download();
    write(dir.path(), &format!("{}.txt", folder_of(ROWS[4].1, ROWS[4].2)), b"\n FINDINGS: Normal.\n");
    let root = dir.path().to_str().unwrap();
    let (printed, error) = output(&["stats", "mimic-cxr", "--root", root, "--json"], 0);
    assert!(!error.contains("10000032") && !error.contains("50414267"), "{error}");
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let counts = ["patients", "studies", "images", "sentences"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [3, 5, 7, 12]);
    assert_eq!(json["splits"], serde_json::json!({"train": 2, "validate": 1, "test": 2}));
    assert_eq!(json["labels"]["Cardiomegaly"], serde_json::json!({"positive": 1, "negative": 1, "unlabelled": 3}));
    // The heart is mildly enlarged. No effusion. Mild cardiomegaly: 6 + 3 + 3 tokens; words alone: 5 + 2 + 2.
    let reports = |tokens: f64, most: u32| {
        serde_json::json!({
            "texts": 4, "sentences": 12, "sentences_per_text": 3.0, "most_sentences": 3, "tokens_per_text": tokens,
            "most_tokens": most, "with_deidentification_marks": 4, "report_too_short": 1,
        })
    };
    assert_eq!(json["cleanings"], serde_json::json!({"convirt": reports(12.0, 12), "mgca": reports(9.0, 9)}));
    let (frontal, _) = output(&["stats", "mimic-cxr", "--root", root, "--views", "AP,PA"], 0);
    assert!(frontal.contains("images                     4\n") && frontal.contains("cleanings\n"), "{frontal}");
    let sheet = dir.path().join("sheet.png");
    let show = ["show", "mimic-cxr", "--root", root, "--out", sheet.to_str().unwrap(), "--size", "16", "--views", "LL"];
    let (printed, _) = output(&show, 0);
    assert!(printed.contains("1 images of mimic-cxr-2.0.0-split.csv"), "{printed}");
    assert!(data::image::decode::decode_file(&sheet).is_ok());
    let (_, error) = output(&["stats", "mimic-cxr"], 2);
    assert!(error.contains("name the folder with --root"), "{error}");
}

/// Real films and, apart from them, real reports, put into the layout of the download.
#[test]
fn real_films_and_reports_are_prepared_with_the_sentences_of_their_sections() {
    const STUDIES: usize = 24;
    let (Some(pairs), Some(reports)) = (shared("cxr-pairs"), shared("iu-reports")) else { return };
    let rows = |path: &Path| -> Vec<csv::StringRecord> {
        csv::Reader::from_path(path).unwrap().records().take(STUDIES).map(Result::unwrap).collect()
    };
    let (films, reports) = (rows(&pairs.join("pairs.csv")), rows(&reports.join("reports.csv")));
    let dir = download();
    let mut listed: Vec<Row> = Vec::new();
    let mut expected = Vec::new();
    for (i, (film, report)) in (0_u32..).zip(films.iter().zip(&reports)) {
        let (subject, study) = (14_000_000 + i / 2, 54_000_000 + i);
        let folder = folder_of(subject, study);
        let name = format!("{i:08x}-film").leak();
        write(dir.path(), &format!("{folder}/{name}.jpg"), &std::fs::read(pairs.join(&film[0])).unwrap());
        // Columns: report_id, indication, comparison, findings, impression. Lines end after eight words.
        let wrap = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            words.chunks(8).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n ")
        };
        let text = format!(
            "                                 FINAL REPORT\n INDICATION:  {}\n \n COMPARISON:  {}\n \n FINDINGS: \n \n {}\n \n \
             IMPRESSION: \n \n {}\n",
            wrap(&report[1]),
            wrap(&report[2]),
            wrap(&report[3]),
            wrap(&report[4])
        );
        write(dir.path(), &format!("{folder}.txt"), text.as_bytes());
        let all = [&report[3], &report[4]].into_iter().flat_map(sentences::split);
        expected.push(all.filter(|s| count_tokens(s) >= 3).map(str::to_owned).collect::<Vec<_>>());
        listed.push((name, subject, study, "train", "PA"));
    }
    write(dir.path(), SPLIT, split_table(&listed).as_bytes());
    write(dir.path(), METADATA, metadata_table(&listed).as_bytes());
    let out = tempfile::tempdir().unwrap();
    let [root, out] = [dir.path(), &out.path().join("prepared")].map(|path| path.to_str().unwrap().to_owned());
    let (printed, _) = output(&["prepare", "mimic-cxr", "--root", &root, "--out", &out, "--size", "64", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let texts = expected.iter().filter(|sentences| !sentences.is_empty()).count();
    let counts = ["patients", "studies", "images", "texts"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [12, 24, 24, texts as u64]);
    let (printed, _) = output(&["verify", &out, "--json"], 0);
    assert!(printed.starts_with(r#"{"images":24,"unreadable":0,"leaks":0,"#), "{printed}");
    let data = read(&Path::new(&out).join("pairs.csv"), &PairsConfig::default()).unwrap();
    for (study, expected) in data.studies.iter().zip(&expected) {
        let told: Vec<&str> = study.sentences.iter().map(|sentence| sentence.expose().as_str()).collect();
        assert_eq!(told, *expected);
    }
}
