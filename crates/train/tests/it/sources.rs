//! The downloads that the field trains on, as small folders in their layout: MIMIC-CXR-JPG trains two encoders, MURA, which
//! has no text, a classifier and a probe.

use std::fmt::Write as _;
use std::path::Path;

use data::image::encode;
use data::source::phantom::{PhantomKey, Prevalence};

use crate::workplace::{CONVIRT, SUPERVISED, Workplace, json, sibling};

fn write(path: &Path, bytes: &[u8]) {
    data::fsx::create_dir_all(path.parent().unwrap()).unwrap();
    data::fsx::write_atomic(path, bytes).unwrap();
}

fn film(index: u64) -> Vec<u8> {
    let picture = PhantomKey { seed: 3, index, prevalence: Prevalence::Natural }.study().render(32);
    encode::png(&picture).unwrap()
}

/// MURA v1.1: lists without a header, studies in folders that tell their label.
fn mura(root: &Path) {
    for (part, patients) in [("train", 1..=80), ("valid", 81..=92)] {
        let (mut images, mut studies) = (String::new(), String::new());
        for patient in patients {
            let (name, label) = if patient % 2 == 0 { ("positive", 1) } else { ("negative", 0) };
            let study = format!("MURA-v1.1/{part}/XR_HAND/patient{patient:05}/study1_{name}/");
            writeln!(studies, "{study},{label}").unwrap();
            for image in 1..=1 + patient % 2 {
                writeln!(images, "{study}image{image}.png").unwrap();
                write(&root.join(format!("{study}image{image}.png")), &film(2 * patient + image));
                write(&root.join(format!("{study}._image{image}.png")), b"\0\x05\x16\x07");
            }
        }
        write(&root.join(format!("MURA-v1.1/{part}_image_paths.csv")), images.as_bytes());
        write(&root.join(format!("MURA-v1.1/{part}_labeled_studies.csv")), studies.as_bytes());
    }
}

#[test]
fn mura_trains_a_classifier_and_a_probe() {
    let place = Workplace::new(SUPERVISED);
    mura(&place.path("mura"));
    let source = "data.source={kind = \"mura\", root = \"mura\", validate = 0.3}";
    place.train("classifier", &["--set", source]);
    let figures = json(&place.path("classifier/eval.json"));
    let auroc = figures["supervised"]["macro_auroc"]["value"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&auroc), "{figures:#}");

    // A probe reads the prepared folder, which is a CSV of pairs without texts.
    let (Some(data), Some(eval)) = (sibling("data"), sibling("eval")) else { return };
    let run = |program: &Path, arguments: &[&str]| {
        let output = std::process::Command::new(program).current_dir(place.0.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let counts = run(&data, &["prepare", "mura", "--root", "mura", "--out", "prepared", "--size", "32", "--json"]);
    assert_eq!((&counts["patients"], &counts["images"], &counts["texts"]), (&92.into(), &138.into(), &0.into()));
    let arguments = ["linear-probe", "--weights", "classifier", "--data", "prepared/pairs.csv", "--json"];
    let figures = run(&eval, &arguments);
    assert!(figures["test"]["auroc"]["macro"]["value"].is_number(), "{figures:#}");
    // Two encoders need texts, and the refusal says so.
    let refused = place.program(&["convirt-phantom", "--set", source, "--out", "pairs"]).assert().code(3);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(message.contains("error: train_image_paths.csv: no study has a text to learn from"), "{message}");
}

/// MIMIC-CXR-JPG: tables, reports and images of one study for each of 40 patients. Reports and names of images hold
/// `word`.
pub(crate) fn mimic(root: &Path, word: &str) {
    let mut split = "dicom_id,study_id,subject_id,split\n".to_owned();
    let mut metadata = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,\
                        StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,\
                        PatientOrientationCodeSequence_CodeMeaning\n"
        .to_owned();
    let mut labels = "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,\
                      Fracture,Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,\
                      Pneumothorax,Support Devices\n"
        .to_owned();
    for (index, part) in (0..40).zip(["train", "train", "train", "validate", "test"].into_iter().cycle()) {
        let (subject, study) = (10_000_000 + index, 50_000_000 + index);
        writeln!(split, "{word}{index},{study},{subject},{part}").unwrap();
        writeln!(metadata, "{word}{index},{subject},{study},CHEST,PA,32,32,21800506,213014.5,,,").unwrap();
        writeln!(labels, "{subject},{study},,1.0,,,,,,,,,,,,").unwrap();
        let folder = root.join(format!("files/p10/p{subject}"));
        let phantom = PhantomKey { seed: 3, index, prevalence: Prevalence::Natural }.study();
        let report = phantom.sentences.join(" ");
        let text = format!("                    FINAL REPORT\n FINDINGS: \n \n The {word} is seen. {report}\n");
        write(&folder.join(format!("s{study}.txt")), text.as_bytes());
        write(&folder.join(format!("s{study}/{word}{index}.jpg")), &film(index));
    }
    write(&root.join("mimic-cxr-2.0.0-split.csv"), split.as_bytes());
    write(&root.join("mimic-cxr-2.0.0-metadata.csv"), metadata.as_bytes());
    write(&root.join("mimic-cxr-2.0.0-chexpert.csv"), labels.as_bytes());
}

#[test]
fn mimic_trains_two_encoders() {
    let place = Workplace::new(CONVIRT);
    mimic(&place.path("mimic"), "d");
    place.train("run", &["--set", "data.source={kind = \"mimic-cxr\", root = \"mimic\"}"]);
    let figures = json(&place.path("run/eval.json"));
    for direction in ["text_to_image", "image_to_text"] {
        assert!(figures["retrieval"][direction].is_object(), "{figures:#}");
    }
}
