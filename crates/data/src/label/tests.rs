//! Sentences of every kind of rule.

use super::Status::{Negative, Positive, Uncertain};
use super::*;

fn labeler(set: FindingSet) -> Labeler {
    Labeler::builtin(set).unwrap()
}

/// What a text says of a finding of CheXpert.
fn status(labeler: &Labeler, text: &str, finding: &str) -> Option<Status> {
    let column = labeler.findings().iter().position(|name| name == finding).unwrap();
    labeler.report(text).statuses[column]
}

fn check(cases: &[(&str, &str, Option<Status>)]) {
    let labeler = labeler(FindingSet::Chexpert14);
    for (text, finding, expected) in cases {
        assert_eq!(status(&labeler, text, finding), *expected, "{finding}: {text}");
    }
}

#[test]
fn columns_are_those_of_the_sets() {
    assert_eq!(labeler(FindingSet::Chexpert14).findings(), CHEXPERT14);
    assert_eq!(labeler(FindingSet::Nih14).findings(), NIH14);
}

#[test]
fn negation_before_and_behind() {
    check(&[
        ("There is no effusion today.", "Pleural Effusion", Some(Negative)),
        ("Both bases are free of consolidation.", "Consolidation", Some(Negative)),
        ("Lungs without evidence of overt edema.", "Edema", Some(Negative)),
        ("Negative for pneumothorax.", "Pneumothorax", Some(Negative)),
        ("An effusion is not seen.", "Pleural Effusion", Some(Negative)),
        ("The left pneumothorax has resolved.", "Pneumothorax", Some(Negative)),
        ("Pneumothorax: none.", "Pneumothorax", Some(Negative)),
        ("Scarring rather than consolidation at the apex.", "Consolidation", Some(Negative)),
        ("The films do not show any effusion.", "Pleural Effusion", Some(Negative)),
        ("An effusion is seen on the left.", "Pleural Effusion", Some(Positive)),
        ("The effusion is no longer seen.", "Pleural Effusion", Some(Negative)),
    ]);
}

#[test]
fn uncertainty() {
    check(&[
        ("Hazy base, which may represent pneumonia.", "Pneumonia", Some(Uncertain)),
        ("A small effusion cannot be excluded.", "Pleural Effusion", Some(Uncertain)),
        ("Cannot exclude pneumonia at the base.", "Pneumonia", Some(Uncertain)),
        ("Density that may be due to atelectasis.", "Atelectasis", Some(Uncertain)),
        ("Possible atelectasis at the left base.", "Atelectasis", Some(Uncertain)),
        ("Effusion is suspected.", "Pleural Effusion", Some(Uncertain)),
        ("No effusion, possible edema.", "Edema", Some(Uncertain)),
        ("Probable edema.", "Edema", Some(Uncertain)),
        ("Borderline heart size.", "Cardiomegaly", Some(Uncertain)),
    ]);
    let nih = labeler(FindingSet::Nih14);
    assert_eq!(status(&nih, "Probable edema.", "Edema"), Some(Positive));
    assert_eq!(status(&nih, "Possible edema.", "Edema"), Some(Uncertain));
}

#[test]
fn reach_ends_at_conjunctions_and_new_statements() {
    check(&[
        ("No effusion, but edema has developed.", "Edema", Some(Positive)),
        ("No effusion, however consolidation is present.", "Consolidation", Some(Positive)),
        ("No pneumothorax, although edema persists.", "Edema", Some(Positive)),
        ("No effusion; mild edema.", "Edema", Some(Positive)),
        ("No effusion, edema has increased.", "Edema", Some(Positive)),
        ("Without pneumothorax, there is edema.", "Edema", Some(Positive)),
        ("Edema without effusion.", "Edema", Some(Positive)),
        ("Edema without effusion.", "Pleural Effusion", Some(Negative)),
        ("Small effusion with adjacent atelectasis.", "Atelectasis", Some(Positive)),
        ("Old film (not at hand) and effusion on this one.", "Pleural Effusion", Some(Positive)),
    ]);
}

#[test]
fn lists_share_a_cue() {
    let text = "No focal consolidation, effusion, edema, or pneumothorax.";
    let all = ["Consolidation", "Pleural Effusion", "Edema", "Pneumothorax"];
    check(&all.map(|finding| (text, finding, Some(Negative))));
    let text = "Effusion, edema and pneumothorax are not seen.";
    check(&all[1..].iter().map(|finding| (text, *finding, Some(Negative))).collect::<Vec<_>>());
    let text = "Shadow that may be atelectasis, consolidation or edema.";
    let all = ["Atelectasis", "Consolidation", "Edema"];
    check(&all.map(|finding| (text, finding, Some(Uncertain))));
}

#[test]
fn what_looks_like_a_negation() {
    check(&[
        ("No change in the right effusion.", "Pleural Effusion", Some(Positive)),
        ("Effusion without significant change.", "Pleural Effusion", Some(Positive)),
        ("There is not only edema but also effusion.", "Edema", Some(Positive)),
        ("No increase of the pneumothorax.", "Pneumothorax", Some(Positive)),
    ]);
}

#[test]
fn phrases_with_gaps_and_phrases_of_absence() {
    check(&[
        ("The heart is now mildly enlarged.", "Cardiomegaly", Some(Positive)),
        ("The heart is not enlarged.", "Cardiomegaly", Some(Negative)),
        ("Heart size, as before, is normal.", "Cardiomegaly", Some(Negative)),
        ("Pericardial effusion is present.", "Pleural Effusion", None),
        ("The chest is clear.", "Cardiomegaly", None),
    ]);
}

#[test]
fn a_report_takes_the_strongest_statement() {
    check(&[
        ("No edema on the left. Edema on the right. Possible edema at the apex.", "Edema", Some(Positive)),
        ("Possible edema. No edema on the left.", "Edema", Some(Uncertain)),
        ("INDICATION: pneumonia. FINDINGS: No edema. IMPRESSION: No effusion.", "Pneumonia", None),
        ("INDICATION: pneumonia. FINDINGS: No edema. IMPRESSION: No effusion.", "Edema", Some(Negative)),
    ]);
}

#[test]
fn no_finding_follows_from_the_others() {
    check(&[
        ("The chest is clear. No effusion.", "No Finding", Some(Positive)),
        ("A catheter ends in the atrium.", "No Finding", Some(Positive)),
        ("Possible edema.", "No Finding", None),
        ("Emphysema.", "No Finding", None),
        (" ", "No Finding", None),
    ]);
    let labeler = labeler(FindingSet::Chexpert14);
    assert_eq!(labeler.sentence("Two views were taken.").statuses[0], Some(Positive));
    assert_eq!(labeler.sentence("...").statuses[0], None);
}

#[test]
fn parents_follow_their_children_on_demand() {
    let text = "Cardiomegaly and edema.";
    let plain = labeler(FindingSet::Chexpert14);
    assert_eq!(status(&plain, text, "Lung Opacity"), None);
    let above = labeler(FindingSet::Chexpert14).with_hierarchy();
    assert_eq!(status(&above, text, "Lung Opacity"), Some(Positive));
    assert_eq!(status(&above, text, "Enlarged Cardiomediastinum"), Some(Positive));
    assert_eq!(status(&above, "No edema.", "Lung Opacity"), None);
}

#[test]
fn mentions_tell_the_phrase_and_the_cue() {
    let labeler = labeler(FindingSet::Chexpert14);
    let text = "Clear.\nNo large effusions.";
    let labels = labeler.report(text);
    let mention = &labels.mentions[0];
    assert_eq!(labeler.name(mention.finding), "Pleural Effusion");
    assert_eq!(&text[mention.sentence.clone()], "No large effusions.");
    assert_eq!(&text[mention.phrase.clone()], "effusions");
    assert_eq!(mention.cue.clone().map(|cue| &text[cue]), Some("No"));
    assert_eq!(labels.mentions.len(), 1);
}

#[test]
fn any_concept_is_judged() {
    let labeler = labeler(FindingSet::Chexpert14);
    for (sentence, concept, expected) in [
        ("He denies COUGH or fever.", "cough", Some(Negative)),
        ("He denies cough or FEVER.", "fever", Some(Negative)),
        ("He has COUGH but no fever.", "Cough", Some(Positive)),
        ("No CHANGE IN APPETITE.", "change in appetite", Some(Negative)),
        ("PAIN: no PAIN at rest.", "pain", Some(Negative)),
        ("Possible GOUT.", "gout", Some(Uncertain)),
        ("No fever, though CHILLS were noted.", "chills", Some(Positive)),
        ("No fever.", "headache", None),
        ("No fever.", "", None),
    ] {
        assert_eq!(labeler.concept(sentence, concept), expected, "{sentence}");
    }
}

#[test]
fn rules_of_a_folder_add_a_column() {
    let dir = tempfile::tempdir().unwrap();
    rules::write(dir.path()).unwrap();
    assert!(rules::write(dir.path()).unwrap_err().to_string().contains("exists already"));
    let path = dir.path().join("nih14.txt");
    let text = std::fs::read_to_string(&path).unwrap() + "\n[Scoliosis]\nscolio*  # spine\n! scoliosis series\n";
    crate::fsx::write_atomic(&path, text.as_bytes()).unwrap();
    let labeler = Labeler::load(dir.path(), FindingSet::Nih14).unwrap();
    assert_eq!(labeler.findings().last().unwrap(), "Scoliosis");
    assert_eq!(labeler.report("Scoliosis. No edema.").statuses[14], Some(Positive));
    assert_eq!(labeler.report("Scoliosis series.").statuses[14], None);
}

#[test]
fn faults_of_rules_name_file_and_line() {
    for (file, text, expected) in [
        ("nih14.txt", "edema\n", "nih14.txt, line 1: the line stands before the first section"),
        ("nih14.txt", "[A]\nuse = nothing\n", "line 2: observations.txt has no section [nothing]"),
        ("nih14.txt", "[A]\n[A]\n", "line 2: the finding has a section above already"),
        ("nih14.txt", "[A]\ncolor = red\n", "line 2: no such option; the options here are use, likely"),
        ("nih14.txt", "[A]\nlikely = maybe\n", "line 2: the value must be positive, uncertain or negative"),
        ("nih14.txt", "[A]\nnothing_but = B\n", "line 2: the file has no finding [B]"),
        ("nih14.txt", "[A]\n\nX-ray\n", "line 3: \"X-ray\" is no word of a phrase"),
        (
            "cues.txt",
            "[sometimes]\n",
            "cues.txt, line 1: no such section; the sections of this file are [negation before], ",
        ),
        ("cues.txt", "[no cue]\nno ..\n", "line 2: a phrase must end with a word"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        crate::fsx::write_atomic(&dir.path().join(file), text.as_bytes()).unwrap();
        let error = Labeler::load(dir.path(), FindingSet::Nih14).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let dir = tempfile::tempdir().unwrap();
    let error = Labeler::load(dir.path(), FindingSet::Nih14).unwrap_err().to_string();
    assert!(error.contains("it holds none of cues.txt") && error.contains("--print-rules"), "{error}");
}
