//! The labeler: the command, promises on any text, and its agreement with collections that people labelled.

use std::collections::HashMap;
use std::path::Path;

use data::label::{CHEXPERT14, FindingSet, Labeler, NIH14, Status, to_chexpert14};
use serde_json::Value;

use crate::cases::{check, text};
use crate::support::{output, shared, write};

/// A call of `label` on a file, with more arguments.
fn label(kind: &str, file: &Path, more: &[&str], code: i32) -> (String, String) {
    output(&[&["label", kind, file.to_str().unwrap()], more].concat(), code)
}

/// The rows of a CSV by column.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

const REPORTS: &str = "\u{feff}report_id,findings,impression,note\r\n\
    r1,\"No effusion.\r\nThe heart is enlarged.\",,x\r\n\
    r2,,\"Possible edema, no \"\"mass\"\".\",y\r\n\
    r3,,,\r\n";

#[test]
fn one_row_for_each_report_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let csv = write(dir.path(), "reports.csv", REPORTS.as_bytes());
    let out = dir.path().join("labels.csv");
    let (text, error) = label("--reports", &csv, &["--findings", "nih14", "--out", out.to_str().unwrap()], 0);
    assert!(text.is_empty(), "{text}");
    assert!(error.starts_with("3 reports, ") && error.contains("a second on one core"), "{error}");
    let written = std::fs::read_to_string(&out).unwrap();
    let expected =
        format!("report_id,{}\nr1,,1,0,,,,,,,,,,,\nr2,,,,,0,,,,,-1,,,,\nr3,,,,,,,,,,,,,,\n", NIH14.join(","));
    assert_eq!(written, expected);
    label("--reports", &csv, &["--columns", "impression", "--id", "note", "--out", out.to_str().unwrap()], 0);
    let rows = rows(&out);
    assert_eq!(rows[0].len(), 15);
    assert!(CHEXPERT14.iter().all(|name| rows[0].contains_key(*name)));
    assert_eq!((rows[1]["note"].as_str(), rows[1]["Edema"].as_str()), ("y", "-1"));
    // A report of nothing says nothing.
    assert!(rows[2].values().all(String::is_empty));
}

#[test]
fn the_status_of_a_concept_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let csv = "n,finding,line,status\n1,cough,He denies COUGH.,Affirmed\n2,fever,\"Fever, no cough.\",Affirmed\n\
               3,gout,Possible gout.,\n4,gout,None.,\n";
    let csv = write(dir.path(), "s.csv", csv.as_bytes());
    let out = dir.path().join("out.csv");
    let named = ["--text", "line", "--concept", "finding", "--out", out.to_str().unwrap()];
    let (text, _) = label("--sentences", &csv, &[&named[..], &["--score", "--json"]].concat(), 0);
    let statuses: Vec<String> = rows(&out).into_iter().map(|row| row["status"].clone()).collect();
    assert_eq!(statuses, ["Negated", "Affirmed", "Possible", ""]);
    let header = std::fs::read_to_string(&out).unwrap();
    assert!(header.starts_with("n,finding,line,status\n"), "{header}");
    let score: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(score["negated"]["false_positives"], 1);
}

#[test]
fn faults_name_the_file_and_the_row_and_leave_no_output() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("labels.csv");
    let to = ["--out", out.to_str().unwrap()];
    let csv = write(dir.path(), "r.csv", b"report_id,finding,impression\n1,secret words,\n");
    let (_, error) = label("--reports", &csv, &to, 2);
    assert!(error.contains("r.csv: no column \"findings\"") && error.contains("\"finding\" is the nearest"), "{error}");
    let csv = write(dir.path(), "r.csv", b"report_id,findings\nsecret,secret words\nsecret\n");
    let (_, error) = label("--reports", &csv, &[&to[..], &["--columns", "findings"]].concat(), 3);
    assert!(error.contains("r.csv: 1 fault") && error.contains("row 2: 1 fields, the header has 2"), "{error}");
    assert!(!error.contains("secret") && !out.exists(), "{error}");
    let (_, error) = label("--reports", &csv, &["--columns", "findings"], 1);
    assert!(error.contains("nothing to do"), "{error}");
    output(&["label"], 2);
    let (_, error) = label("--reports", &dir.path().join("absent.csv"), &to, 1);
    assert!(error.contains("cannot read") && error.contains("absent.csv"), "{error}");
}

#[test]
fn rules_are_printed_edited_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules");
    let (text, _) = output(&["label", "--print-rules", rules.to_str().unwrap()], 0);
    assert!(text.contains("cues.txt, observations.txt, chexpert14.txt, nih14.txt"), "{text}");
    let own = std::fs::read_to_string(rules.join("nih14.txt")).unwrap() + "\n[Scoliosis]\nscoliosis\n";
    write(&rules, "nih14.txt", own.as_bytes());
    let csv = write(dir.path(), "r.csv", b"findings,impression\nNo scoliosis.,Edema\n");
    let out = dir.path().join("out.csv");
    let with = ["--findings", "nih14", "--rules", rules.to_str().unwrap(), "--out", out.to_str().unwrap()];
    label("--reports", &csv, &with, 0);
    let rows = rows(&out);
    assert_eq!((rows[0]["row"].as_str(), rows[0]["Scoliosis"].as_str(), rows[0]["Edema"].as_str()), ("1", "0", "1"));
    write(&rules, "cues.txt", b"[negation before]\nNo\n");
    let (_, error) = label("--reports", &csv, &with, 2);
    assert!(error.contains("cues.txt, line 2: \"No\" is no word"), "{error}");
}

#[test]
fn explanations_mark_phrases_and_cues_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let csv = write(dir.path(), "r.csv", b"findings,impression\nNo \x1beffusion.,Edema\n");
    let (text, _) = label("--reports", &csv, &["--explain"], 0);
    let expected = "row 1\n  [No]{cue}  [effusion]{Pleural Effusion -}.\n  [Edema]{Edema +}\n\n";
    assert_eq!(text, expected);
}

/// What the rules look at.
const PIECES: [&str; 20] = [
    "No ",
    "effusion",
    ", ",
    " or ",
    "but ",
    "may be ",
    "edema ",
    ". ",
    "heart ",
    "is not ",
    "enlarged",
    "(",
    ") ",
    ": ",
    "FINDINGS: ",
    "cannot be excluded",
    "without ",
    "; ",
    "-",
    "\n",
];

#[test]
fn any_text_is_labelled_within_itself() {
    let sets = [FindingSet::Chexpert14, FindingSet::Nih14].map(|set| Labeler::builtin(set).unwrap());
    check(21, |draws| {
        let report = text(draws, &PIECES, 40);
        for labeler in &sets {
            let labels = labeler.report(&report);
            assert_eq!(labels.statuses.len(), 14);
            for mention in &labels.mentions {
                let inside = |span: &std::ops::Range<usize>| {
                    assert!(mention.sentence.start <= span.start && span.end <= mention.sentence.end);
                    assert!(!report[span.clone()].is_empty());
                };
                inside(&mention.phrase);
                mention.cue.iter().for_each(inside);
                let column = labels.statuses.get(mention.finding);
                assert!(column.is_none_or(|status| status.is_some()), "a mention without a status");
            }
            assert_eq!(labeler.report(&format!("{report} \n\t ")).statuses, labels.statuses);
        }
        let concept = text(draws, &PIECES, 3);
        let _ = sets[0].concept(&report, &concept);
    });
}

#[test]
fn a_long_text_without_stops_takes_no_long_time() {
    let labeler = Labeler::builtin(FindingSet::Chexpert14).unwrap();
    for piece in ["no effusion ", "edema ", "may ", "is not seen ", "heart , ", "possible edema , is "] {
        let labels = labeler.report(&piece.repeat((1 << 18) / piece.len()));
        assert_eq!(labels.statuses.len(), 14);
    }
}

/// The score of the half of a collection that the rules were not written on.
fn score(kind: &str, file: &Path, more: &[&str]) -> Value {
    let (text, _) = label(kind, file, &[&["--score", "--score-part", "test", "--json"], more].concat(), 0);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn findings_of_real_reports_agree_with_people() {
    let Some(folder) = shared("iu-reports") else { return };
    let score = score("--reports", &folder.join("reports.csv"), &["--findings", "nih14"]);
    assert!(score["micro"]["f1"].as_f64().unwrap() > 0.90, "{score}");
    let findings = score["findings"].as_object().unwrap();
    let frequent = findings.iter().filter(|(_, counts)| counts["positives"].as_u64().unwrap() >= 15);
    let f1: Vec<f64> = frequent.map(|(_, counts)| counts["f1"].as_f64().unwrap()).collect();
    assert!(f1.len() >= 7 && f1.iter().all(|&f1| f1 >= 0.75), "{score}");
}

#[test]
fn negated_concepts_agree_with_people() {
    let Some(folder) = shared("labeler") else { return };
    let score = score("--sentences", &folder.join("negex/sentences.csv"), &[]);
    assert!(score["negated"]["f1"].as_f64().unwrap() > 0.90, "{score}");
    assert!(score["accuracy"].as_f64().unwrap() > 0.95, "{score}");
}

#[test]
fn published_labels_of_four_reports_are_reproduced() {
    let Some(folder) = shared("labeler") else { return };
    let labeler = Labeler::builtin(FindingSet::Chexpert14).unwrap();
    let given = rows(&folder.join("chexpert-labeler/labeled_reports.csv"));
    assert_eq!(given.len(), 4);
    for row in given {
        let labels = labeler.report(&row["Reports"]);
        for (name, status) in labeler.findings().iter().zip(labels.statuses) {
            let value = status.map_or_else(String::new, |status: Status| format!("{}.0", status.value()));
            assert_eq!(value, row[name], "{name}");
        }
    }
}

#[test]
fn every_name_of_the_sets_translates_or_is_known_not_to() {
    let lost: Vec<&str> = NIH14.into_iter().filter(|name| to_chexpert14(name).is_none()).collect();
    assert_eq!(lost, ["Emphysema", "Fibrosis", "Hernia"]);
}
