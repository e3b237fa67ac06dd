//! Sections and cleaning of MIMIC-CXR reports, against the data set's own script (`scripts/golden/mimic_sections.py`) and
//! in a folder of the data set's layout.

use data::report::cleaning::{Cleaning, Part, ReportRules, mgca_sentences};
use data::report::mimic::sections;
use data::source::mimic::{Counts, Keep, MimicSource, Reason, read, read_counted};
use serde_json::Value;

use crate::mimic_layout::{
    METADATA, REPORT, ROWS, Row, SPLIT, download, folder_of, ids, load, metadata_table, picture, split_table, texts,
};
use crate::support::{golden_path, write};

#[test]
fn sections_and_sentences_are_those_of_the_scripts() {
    let golden = std::fs::read(golden_path("mimic_sections.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&golden).unwrap();
    assert_eq!(cases.len(), 400);
    for case in &cases {
        let report = case["report"].as_str().unwrap();
        let expected: Vec<(String, String)> = serde_json::from_value(case["sections"].clone()).unwrap();
        let actual = sections(report).into_iter().map(|s| (s.name, s.text.to_owned()));
        assert_eq!(actual.collect::<Vec<_>>(), expected, "{report:?}");
        let expected: Vec<String> = serde_json::from_value(case["sentences"].clone()).unwrap();
        assert_eq!(mgca_sentences(report).0, expected, "{report:?}");
    }
}

#[test]
fn mgca_cleans_otherwise_and_never_sees_the_special_studies() {
    let rows: [Row; 2] = [("a", 10_000_032, 50_913_680, "train", "PA"), ("b", 10_000_032, 50_414_267, "train", "PA")];
    let dir = download();
    write(dir.path(), SPLIT, split_table(&rows).as_bytes());
    write(dir.path(), METADATA, metadata_table(&rows).as_bytes());
    for (dicom, subject, study, _, _) in rows {
        picture(dir.path(), &format!("{}/{dicom}.jpg", folder_of(subject, study)));
        write(dir.path(), &format!("{}.txt", folder_of(subject, study)), REPORT.as_bytes());
    }
    let rules = ReportRules { cleaning: Cleaning::Mgca, join_sentences: true, ..ReportRules::default() };
    let (data, counts) = load(&dir, |s| s.text = rules.clone());
    let expected: [&[&str]; 2] = [&[], &["mild cardiomegaly the heart is mildly enlarged no effusion"]];
    assert_eq!(texts(&data), expected);
    assert_eq!((counts.skipped(Reason::ReportSpecial), counts.sentences, counts.tokens), (1, 3, 9));
    let findings = ReportRules { sections: vec![Part::Findings], ..ReportRules::default() };
    let (data, _) = load(&dir, |s| s.text = findings.clone());
    assert_eq!(texts(&data)[0], ["The heart is mildly enlarged.", "No effusion."]);
}

#[test]
fn one_reading_counts_what_several_rules_make_of_the_reports() {
    let special = ("b-1", 10_000_032, 50_913_680, "train", "PA");
    let rows: Vec<Row> = ROWS.into_iter().chain([special]).collect();
    let dir = download();
    write(dir.path(), SPLIT, split_table(&rows).as_bytes());
    write(dir.path(), METADATA, metadata_table(&rows).as_bytes());
    picture(dir.path(), &format!("{}/b-1.jpg", folder_of(special.1, special.2)));
    // Of five reports with an image one has no UTF-8, one is short, one has other sections and one is not there.
    let old = b"\n FINDINGS: A temperature of 39\xB0C. No effusion ___.\n\n IMPRESSION: No acute disease.\n";
    write(dir.path(), &format!("{}.txt", folder_of(special.1, special.2)), old);
    let report = |row: usize| format!("{}.txt", folder_of(ROWS[row].1, ROWS[row].2));
    write(dir.path(), &report(0), b"\n FINDINGS: Normal.\n");
    write(dir.path(), &report(4), b"\n INDICATION: Cough for weeks ___.\n");
    std::fs::remove_file(dir.path().join(report(5))).unwrap();
    let source = MimicSource { views: Vec::new(), ..MimicSource::new(dir.path()) };
    let mgca = ReportRules { cleaning: Cleaning::Mgca, ..ReportRules::default() };
    let impression = ReportRules { sections: vec![Part::Impression], ..ReportRules::default() };
    let (data, counts, others) = read_counted(&source, Keep::WithImage, &[mgca.clone(), impression.clone()]).unwrap();
    let (straight, of_straight) = read(&source, Keep::WithImage).unwrap();
    assert_eq!((ids(&data), texts(&data), &counts), (ids(&straight), texts(&straight), &of_straight));
    let alone =
        [mgca, impression].map(|text| read(&MimicSource { text, ..source.clone() }, Keep::WithImage).unwrap().1);
    assert_eq!(others, alone);
    let reasons = [Reason::ReportSpecial, Reason::ReportMissing, Reason::ReportTooShort, Reason::ReportWithoutSection];
    let skipped = |counts: &Counts| reasons.map(|reason| counts.skipped(reason));
    assert_eq!(
        [skipped(&counts), skipped(&others[0]), skipped(&others[1])],
        [[0, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 2]]
    );
    // A report that is not looked at has no marks.
    assert_eq!([&counts, &others[0]].map(|counts| (counts.legacy_reports, counts.marked_reports)), [(1, 4), (0, 3)]);
    assert!(counts.sentences > others[1].sentences && others[1].sentences > 0);
}
