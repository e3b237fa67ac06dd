//! Reading MIMIC-CXR-JPG, from small folders in its layout.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use data::error::DataError;
use data::record::{ImageSource, Split};
use data::source::mimic::{CLASSES, Keep, LabelTable, MimicSource, Reason, Uncertain, read};
use data::source::parts::SourceConfig;
use data::store::ImageStore;
use tempfile::TempDir;

use crate::mimic_layout::{
    CHEXPERT, LABEL_HEADER, METADATA, METADATA_HEADER, ROWS, SPLIT, SPLIT_HEADER, download, folder_of, ids, load,
    metadata_table, picture, split_table, texts,
};
use crate::support::{unnamed, write};

fn message(dir: &TempDir, change: impl FnOnce(&mut MimicSource)) -> String {
    let mut source = MimicSource::new(dir.path());
    change(&mut source);
    unnamed(&read(&source, Keep::WithImage).unwrap_err().to_string())
}

fn gzip(dir: &Path, name: &str) {
    let content = std::fs::read(dir.join(name)).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&content).unwrap();
    write(dir, &format!("{name}.gz"), &encoder.finish().unwrap());
    std::fs::remove_file(dir.join(name)).unwrap();
}

#[test]
fn a_download_becomes_studies_with_frontal_images() {
    let dir = download();
    let (data, counts) = load(&dir, |_| {});
    assert_eq!(data.name, SPLIT);
    assert_eq!(
        ids(&data),
        [
            ("10000032", "50414267", Split::Train, 1),
            ("11000032", "53189527", Split::Validate, 2),
            ("12000764", "57375967", Split::Test, 1),
        ]
    );
    let rows: Vec<(usize, &str)> = data.studies.iter().map(|s| (s.row, s.view.as_str())).collect();
    assert_eq!(rows, [(1, "PA"), (3, "AP"), (5, "AP")]);
    let ImageSource::File(path) = &data.studies[0].images[0] else { panic!("a file") };
    assert_eq!(*path.expose(), dir.path().join("files/p10/p10000032/s50414267/0a-1.jpg"));
    assert!(texts(&data).iter().all(|t| *t == ["The heart is mildly enlarged.", "No effusion.", "Mild cardiomegaly."]));
    let whole = serde_json::to_value(&counts).unwrap();
    let expected = serde_json::json!({
        "patients": 3, "studies": 3, "images": 4, "texts": 3, "sentences": 9, "tokens": 36, "most_sentences": 3,
        "most_tokens": 12, "legacy_reports": 0, "marked_reports": 3, "skipped": {"other_view": 3, "study_without_image": 2},
    });
    assert_eq!(whole, expected);
}

// Trap 57: "CheXpert vs MIMIC vs MedCLIP label order."
#[test]
fn labels_go_by_name_in_any_order_of_columns() {
    let dir = download();
    let (data, _) = load(&dir, |_| {});
    assert_eq!(data.classes, CLASSES);
    let mut first = [None; 14];
    (first[0], first[1], first[13]) = (Some(true), Some(false), Some(true));
    assert_eq!(data.studies[0].labels, first);
    // The order of CheXpert's own table, with blanks around names and values.
    let chexpert = "subject_id,study_id,No Finding, Enlarged Cardiomediastinum ,Cardiomegaly,Lung Opacity,Lung Lesion,\
                    Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,\
                    Support Devices\n10000032,50414267,,,0.0,,,,-1.0,, 1.0 ,,,,,1\n";
    write(dir.path(), CHEXPERT, chexpert.as_bytes());
    assert_eq!(load(&dir, |_| {}).0.studies[0].labels, first);
    let wanted = ["Support Devices", "Edema", "Cardiomegaly"].map(str::to_owned).to_vec();
    let (data, _) = load(&dir, |source| source.classes.clone_from(&wanted));
    assert_eq!((data.classes.clone(), data.studies[0].labels.clone()), (wanted, vec![Some(true), None, Some(false)]));
    for (labels, classes, why) in [
        (
            LabelTable::Chexpert,
            &["Pleural effusion"][..],
            "classes = Pleural effusion: MIMIC-CXR-JPG has no such label",
        ),
        (LabelTable::Chexpert, &["Edema", "Edema"], "classes = Edema: the class is named twice"),
        (LabelTable::None, &["Edema"], "classes = Edema: labels = \"none\" reads no label"),
    ] {
        let text = message(&dir, |source| {
            source.labels = labels;
            source.classes = classes.iter().map(|&name| name.to_owned()).collect();
        });
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn uncertain_and_blank_labels_follow_the_options() {
    let dir = download();
    let first = |change: &dyn Fn(&mut MimicSource)| load(&dir, change).0.studies[0].labels[..4].to_vec();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(first(&|_| {}), [yes, no, None, None]);
    assert_eq!(first(&|s| s.uncertain = Uncertain::Negative), [yes, no, no, None]);
    assert_eq!(first(&|s| s.uncertain = Uncertain::Positive), [yes, no, yes, None]);
    assert_eq!(first(&|s| s.blank_is_negative = true), [yes, no, None, no]);
    assert_eq!(first(&|s| s.labels = LabelTable::Negbio), [no, yes, yes, None]);
    let (data, counts) = load(&dir, |s| {
        s.labels = LabelTable::Negbio;
        s.blank_is_negative = true;
    });
    assert_eq!(data.studies[1].labels, [None; 14], "a study without a row says nothing about any class");
    assert_eq!(counts.skipped(Reason::StudyUnlabelled), 2);
    std::fs::remove_file(dir.path().join(CHEXPERT)).unwrap();
    let (data, counts) = load(&dir, |s| s.labels = LabelTable::None);
    assert_eq!((data.classes.len(), data.studies[0].labels.len(), counts.skipped(Reason::StudyUnlabelled)), (0, 0, 0));
    let text = message(&dir, |_| {});
    assert!(text.contains(CHEXPERT) && text.contains("nor the same with .gz") && text.contains("data.source.labels"));
}

#[test]
fn compressed_tables_read_the_same() {
    let dir = download();
    let (plain, _) = load(&dir, |_| {});
    for name in [SPLIT, METADATA, CHEXPERT] {
        gzip(dir.path(), name);
    }
    let (packed, _) = load(&dir, |_| {});
    assert_eq!(format!("{plain:?}"), format!("{packed:?}"));
    assert_eq!(texts(&plain), texts(&packed));
    write(dir.path(), &format!("{SPLIT}.gz"), b"\x1f\x8b\x08\x00torn");
    assert!(message(&dir, |_| {}).contains("cannot decompress"));
}

#[test]
fn views_and_grouping_are_a_choice() {
    let dir = download();
    let shape = |change: &dyn Fn(&mut MimicSource)| {
        let data = load(&dir, change).0;
        data.studies.iter().map(|s| (s.row, s.images.len())).collect::<Vec<_>>()
    };
    assert_eq!(shape(&|s| s.views.clear()), [(1, 2), (3, 2), (5, 1), (6, 1), (7, 1)]);
    assert_eq!(shape(&|s| s.views = vec!["lateral".into(), "LL".into()]), [(2, 1), (6, 1)]);
    assert_eq!(shape(&|s| s.group_images = false), [(1, 1), (3, 1), (4, 1), (5, 1)]);
    let (data, counts) = load(&dir, |s| s.group_images = false);
    assert_eq!((&*data.studies[2].view, counts.studies, counts.images), ("PA", 3, 4));
    assert_eq!(texts(&data)[1], texts(&data)[2]);
    let text = message(&dir, |s| s.views = vec!["OBLIQUE".into()]);
    assert!(text.contains("no image has one of the views that are kept"), "{text}");
}

#[test]
fn reports_may_lie_elsewhere_and_be_of_any_encoding() {
    let dir = download();
    let other = tempfile::tempdir().unwrap();
    let base = |i: usize| format!("{}.txt", folder_of(ROWS[i].1, ROWS[i].2));
    write(other.path(), &base(0), b"x\r\n FINDINGS: A temperature of 39\xB0C.\r\n IMPRESSION: No acute disease.\r\n");
    write(other.path(), &base(2), b"\xEF\xBB\xBF\n FINDINGS: No na\xC3\xAFve sign.\n");
    let (data, counts) = load(&dir, |s| s.reports = other.path().to_path_buf());
    let expected: [&[&str]; 3] = [&["A temperature of 39\u{b0}C.", "No acute disease."], &["No na\u{ef}ve sign."], &[]];
    assert_eq!(texts(&data), expected);
    assert_eq!((counts.texts, counts.legacy_reports, counts.skipped(Reason::ReportMissing)), (2, 1, 1));
}

#[test]
fn a_wet_read_and_an_addendum_are_no_findings() {
    let dir = download();
    let base = |i: usize| format!("{}.txt", folder_of(ROWS[i].1, ROWS[i].2));
    let wet = "                                 FINAL REPORT\n INDICATION: Cough.\n \n WET READ: A wet read of two lines,\n \
               signed.\n \n ______\n FINDINGS: \n The lungs are clear.\n \n IMPRESSION: \n First impression here.\n";
    let addendum = format!("{wet}\n ADDENDUM: Seen again by somebody.\n IMPRESSION: A later impression counts.\n");
    write(dir.path(), &base(0), wet.as_bytes());
    write(dir.path(), &base(2), addendum.as_bytes());
    // A history alone: nothing was found, whatever it says.
    write(dir.path(), &base(4), b"\n WETREAD: No pneumonia is seen.\n HISTORY: Cough for weeks.\n");
    let (data, counts) = load(&dir, |_| {});
    let expected: [&[&str]; 3] = [
        &["The lungs are clear.", "First impression here."],
        &["The lungs are clear.", "A later impression counts."],
        &[],
    ];
    assert_eq!(texts(&data), expected);
    assert_eq!(counts.skipped(Reason::ReportWithoutSection), 1);
}

// Trap 60: "MIMIC section header needs a blank after the newline."
#[test]
fn headers_need_a_blank_after_the_line_break() {
    let dir = download();
    let base = |i: usize| format!("{}.txt", folder_of(ROWS[i].1, ROWS[i].2));
    write(dir.path(), &base(0), b"FINDINGS: At the start.\nIMPRESSION: Without the blank.\n");
    write(dir.path(), &base(2), b"\n FINDINGS: Lungs are clear.\n");
    write(dir.path(), &base(4), b"\n FINDINGS: ___\n\n IMPRESSION: Normal.\n");
    let (data, counts) = load(&dir, |_| {});
    let expected: [&[&str]; 3] = [&[], &["Lungs are clear."], &[]];
    assert_eq!(texts(&data), expected);
    let reasons = [Reason::ReportWithoutSection, Reason::ReportTooShort].map(|reason| counts.skipped(reason));
    assert_eq!((counts.texts, reasons), (1, [1, 1]));
}

#[test]
fn missing_files_are_counted_and_none_at_all_is_an_error() {
    let dir = download();
    let file = |i: usize| dir.path().join(folder_of(ROWS[i].1, ROWS[i].2));
    std::fs::remove_file(file(2).join("0b-1.jpg")).unwrap();
    std::fs::remove_file(file(4).join("0c-1.jpg")).unwrap();
    std::fs::remove_file(file(0).with_extension("txt")).unwrap();
    write(dir.path(), &format!("{}.txt", folder_of(ROWS[2].1, ROWS[2].2)), &vec![b' '; (1 << 20) + 1]);
    let (data, counts) = load(&dir, |_| {});
    assert_eq!(data.studies.iter().map(|s| s.row).collect::<Vec<_>>(), [1, 4]);
    let reasons: Vec<_> = counts.reasons().collect();
    let expected = [
        (Reason::OtherView, 3),
        (Reason::ImageMissing, 2),
        (Reason::StudyWithoutImage, 3),
        (Reason::ReportMissing, 1),
        (Reason::ReportUnreadable, 1),
    ];
    assert_eq!((reasons, counts.texts, counts.studies), (expected.to_vec(), 0, 2));
    std::fs::remove_dir_all(dir.path().join("files")).unwrap();
    let text = message(&dir, |_| {});
    assert!(text.contains("no listed image is there: root must be the folder"), "{text}");
    std::fs::remove_file(dir.path().join(SPLIT)).unwrap();
    assert!(message(&dir, |_| {}).contains("data.source.root must be the folder of MIMIC-CXR-JPG"));
}

#[test]
fn all_faults_of_a_table_are_told_at_once_without_ids() {
    let dir = download();
    let split = format!(
        "{SPLIT_HEADER}\n0a-1,50414267,10000032,train\n0a-1,50414267,10000032,train\n0a-3,s50414267,p10000032,train\n\
         ../x,50414267,10000032,train\n0a-4,50414267,10000099,test\n0a-5,50414267,10000032,valid\n0a-6,50414267\n"
    );
    write(dir.path(), SPLIT, split.as_bytes());
    let text = message(&dir, |_| {});
    for part in [
        "mimic-cxr-2.0.0-split.csv: 8 faults",
        "row 2, column \"dicom_id\": the image is listed in row 1 already",
        "row 3, column \"study_id\": the id must be a number of 2 to 9 digits, without a prefix",
        "row 3, column \"subject_id\": the id must be a number",
        "row 4, column \"dicom_id\": the image's id must consist of letters",
        "row 5, column \"subject_id\": the subject differs from row 1, which is the same study",
        "row 5, column \"split\": the split differs from row 1, which is the same study",
        "row 6, column \"split\": the split must be train, validate or test",
        "row 7: 2 fields, the header has 4",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("10000032") && !text.contains("50414267") && !text.contains("0a-"), "{text}");
}

#[test]
fn tables_that_do_not_belong_together_are_refused() {
    let dir = download();
    let mut rows = ROWS;
    (rows[1].1, rows[2].2, rows[3].0) = (10_000_033, 53_189_528, "0b-9");
    let twice = [&rows[..], &rows[..1]].concat();
    write(dir.path(), METADATA, metadata_table(&twice).as_bytes());
    let text = message(&dir, |_| {});
    for part in [
        "mimic-cxr-2.0.0-metadata.csv: 3 faults",
        "row 2, column \"subject_id\": the subject differs from mimic-cxr-2.0.0-split.csv, row 2",
        "row 3, column \"study_id\": the study differs from mimic-cxr-2.0.0-split.csv, row 3",
        "row 8, column \"dicom_id\": the image is listed in row 1 already",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    write(dir.path(), METADATA, metadata_table(&ROWS[..6]).as_bytes());
    let text = message(&dir, |_| {});
    assert!(text.contains("row 7, column \"dicom_id\": not listed in mimic-cxr-2.0.0-metadata.csv"), "{text}");
    write(dir.path(), METADATA, metadata_table(&ROWS).as_bytes());
    let labels = "10000033,50414267,1.0,yes,,,,,,,,,,,,2\n10000032,50414267,,,,,,,,,,,,,,\n1,s5,,,,,,,,,,,,,,\n";
    write(dir.path(), CHEXPERT, format!("{LABEL_HEADER}\n{labels}").as_bytes());
    let text = message(&dir, |_| {});
    for part in [
        "mimic-cxr-2.0.0-chexpert.csv: 6 faults",
        "row 1, column \"Cardiomegaly\": the label must be 1, 0, -1 or blank",
        "row 1, column \"Support Devices\": the label must be",
        "row 1, column \"subject_id\": the subject differs from mimic-cxr-2.0.0-split.csv, row 1",
        "row 2, column \"study_id\": the study is listed in row 1 already",
        "row 3, column \"subject_id\": the id must be",
        "row 3, column \"study_id\": the id must be",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    write(dir.path(), CHEXPERT, b"subject_id,study_id,Edema\n");
    let text = message(&dir, |_| {});
    assert!(
        text.contains("no column \"Atelectasis\"; the header has \"subject_id\", \"study_id\", \"Edema\""),
        "{text}"
    );
}

#[test]
fn a_patient_in_two_splits_is_refused() {
    let dir = download();
    let mut rows = ROWS;
    rows[4].1 = 10_000_032;
    write(dir.path(), SPLIT, split_table(&rows).as_bytes());
    write(dir.path(), METADATA, metadata_table(&rows).as_bytes());
    picture(dir.path(), &format!("{}/0c-1.jpg", folder_of(rows[4].1, rows[4].2)));
    let text = message(&dir, |s| s.labels = LabelTable::None);
    assert!(text.contains("1 patients are in more than one split (row 1; row 5)"), "{text}");
}

#[test]
fn a_recipe_names_the_source() {
    let dir = download();
    let settings = serde_json::json!({
        "kind": "mimic-cxr", "root": dir.path(), "labels": "negbio", "uncertain": "negative",
        "text": {"cleaning": "mgca", "fallback": ["last_paragraph", "comparison"]},
    });
    let source: SourceConfig = serde_json::from_value(settings).unwrap();
    let again: SourceConfig = serde_json::from_value(serde_json::to_value(&source).unwrap()).unwrap();
    assert_eq!(source, again);
    let unknown = serde_json::json!({"kind": "mimic-cxr", "root": ".", "label": "negbio"});
    assert!(serde_json::from_value::<SourceConfig>(unknown).is_err());
    let parts = source.parts().unwrap();
    let sizes = [&parts.train, &parts.validate, &parts.test].map(|part| (part.studies.len(), part.classes.len()));
    assert_eq!(sizes, [(1, 14), (1, 14), (1, 14)]);
    assert_eq!(parts.train.studies[0].sentences.len(), 3);
    let image = ImageStore::new(&parts.validate, 4, usize::MAX).load(0, 1).unwrap();
    assert_eq!((image.width, image.height), (4, 4));
    let minimal: SourceConfig =
        serde_json::from_value(serde_json::json!({"kind": "mimic-cxr", "root": dir.path()})).unwrap();
    assert_eq!(minimal, SourceConfig::Mimic(MimicSource::new(dir.path())));
}

#[test]
fn no_error_and_no_debug_output_shows_ids_or_texts() {
    let dir = download();
    let (data, counts) = load(&dir, |_| {});
    let shown = format!("{data:?} {counts:?}");
    for secret in ["10000032", "50414267", "cardiomegaly.", "0a-1"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let error = read(&MimicSource::new(Path::new("/nowhere")), Keep::WithImage).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }) && error.to_string().contains("/nowhere"));
}

/// The real tables have 377 110 rows. The limit is many times what an unoptimised build needs.
#[test]
fn tables_of_full_size_are_read_in_seconds() {
    const IMAGES: u32 = 377_110;
    let dir = tempfile::tempdir().unwrap();
    let (mut split, mut metadata) = (format!("{SPLIT_HEADER}\n"), format!("{METADATA_HEADER}\n"));
    let mut labels = format!("{LABEL_HEADER}\n");
    for i in 0..IMAGES {
        let (subject, study) = (10_000_000 + i / 6, 50_000_000 + i / 2);
        let dicom = format!("{i:08x}-{i:08x}-{i:08x}-{i:08x}-{i:08x}");
        writeln!(split, "{dicom},{study},{subject},train").unwrap();
        let view = if i % 2 == 0 { "PA" } else { "LATERAL" };
        let more = "3056,2544,21800506,213014.531,CHEST (PA AND LAT),postero-anterior,Erect";
        writeln!(metadata, "{dicom},{subject},{study},CHEST (PA AND LAT),{view},{more}").unwrap();
        if i % 2 == 0 {
            writeln!(labels, "{subject},{study},1.0,,,0.0,,,,-1.0,,,,,,").unwrap();
        }
    }
    write(dir.path(), SPLIT, split.as_bytes());
    write(dir.path(), METADATA, metadata.as_bytes());
    write(dir.path(), CHEXPERT, labels.as_bytes());
    picture(dir.path(), "files/p10/p10000000/s50000000/00000000-00000000-00000000-00000000-00000000.jpg");
    let start = std::time::Instant::now();
    let (data, counts) = load(&dir, |_| {});
    println!("{IMAGES} rows in {:?}", start.elapsed());
    assert_eq!((data.studies.len(), counts.skipped(Reason::OtherView)), (1, 188_555));
    assert_eq!(counts.skipped(Reason::ImageMissing), 188_554);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
