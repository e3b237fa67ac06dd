//! Labelled images: which rows are positive, negative and left out, and that no patient is in two parts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data::demographics::{AgeBand, Demographics, Sex};
use data::image::GrayImage;
use data::image::encode::png;
use data::record::{Dataset, Phi, Split, Study};
use eval::downstream::Repetitions;
use eval::downstream::figures::{Scored, TestPart};
use eval::downstream::labelled::{Labelled, LabelledConfig};
use eval::metric::Bootstrap;
use serde_json::Value;

/// A folder with `data.csv` of `rows` after the columns image and patient, an image for each.
fn folder(header: &str, rows: &[(usize, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "data", header, rows);
    folder
}

fn write(folder: &Path, name: &str, header: &str, rows: &[(usize, &str)]) {
    let image = png(&GrayImage { width: 2, height: 2, pixels: vec![9; 4] }).unwrap();
    let mut csv = format!("image_path,patient_id,{header}\n");
    for (row, (patient, rest)) in rows.iter().enumerate() {
        data::fsx::write_atomic(&folder.join(format!("{name}{row}.png")), &image).unwrap();
        writeln!(csv, "{name}{row}.png,p{patient},{rest}").unwrap();
    }
    data::fsx::write_atomic(&folder.join(format!("{name}.csv")), csv.as_bytes()).unwrap();
}

fn config(folder: &Path) -> LabelledConfig {
    LabelledConfig { data: Some(folder.join("data.csv")), ..LabelledConfig::default() }
}

fn patients(part: &Dataset) -> BTreeSet<String> {
    part.studies.iter().map(|study| study.patient_id.expose().clone()).collect()
}

fn all_labels(labelled: &Labelled) -> Vec<(usize, Vec<Option<bool>>)> {
    let studies = labelled.named().into_iter().flat_map(|(_, part)| part.studies.clone());
    let mut labels: Vec<_> = studies.map(|study| (study.row, study.labels)).collect();
    labels.sort();
    labels
}

const PARTS: [(usize, &str); 7] = [
    (0, "A|B,train"),
    (0, "B,train"),
    (1, "None,train"),
    (2, "C,train"),
    (3, ",train"),
    (4, "A,validate"),
    (5, "None,test"),
];

#[test]
fn lists_without_the_class_are_negative() {
    let folder = folder("labels,split", &PARTS);
    let classes = vec!["A".to_owned(), "B".to_owned()];
    let labelled = LabelledConfig { classes, ..config(folder.path()) }.read().unwrap();
    assert_eq!(labelled.train.classes, ["A", "B"]);
    let [yes, no] = [Some(true), Some(false)];
    let expected = [
        (1, vec![yes, yes]),
        (2, vec![no, yes]),
        (3, vec![no, no]),
        (4, vec![no, no]),
        // Row 5 is blank, which says nothing.
        (6, vec![yes, no]),
        (7, vec![no, no]),
    ];
    assert_eq!(all_labels(&labelled), expected);
    // Without names, all that occur; without a column of lists, columns of 1 and 0.
    let all = config(folder.path()).read().unwrap();
    assert_eq!(all.train.classes, ["A", "B", "None", "C"]);
}

#[test]
fn a_named_negative_leaves_others_out() {
    let folder = folder("labels,split", &PARTS);
    let classes = vec!["A".to_owned()];
    let negative = Some("None".to_owned());
    let labelled = LabelledConfig { classes, negative, ..config(folder.path()) }.read().unwrap();
    assert_eq!(labelled.train.classes, ["A"]);
    let [yes, no] = [Some(true), Some(false)].map(|label| vec![label]);
    assert_eq!(all_labels(&labelled), [(1, yes.clone()), (3, no.clone()), (6, yes), (7, no)]);
    assert_eq!(labelled.counts()["train"]["positive"]["A"], 1);
    // Without --classes the negative is no class.
    let negative = Some("None".to_owned());
    let all = LabelledConfig { negative, ..config(folder.path()) }.read().unwrap();
    assert_eq!(all.train.classes, ["A", "B", "C"]);
}

#[test]
fn columns_of_one_class_and_other_separators() {
    let rows = [(0, "1,0,x;y,train"), (1, ",,y,train"), (2, "0,1,x,validate"), (3, "-1,1,x,test")];
    let folder = folder("edema,mass,list,split", &rows);
    let label_columns = vec!["edema".to_owned(), "mass".to_owned()];
    let labelled = LabelledConfig { label_columns, ..config(folder.path()) }.read().unwrap();
    let [yes, no] = [Some(true), Some(false)];
    assert_eq!(all_labels(&labelled), [(1, vec![yes, no]), (3, vec![no, yes]), (4, vec![None, yes])]);
    let label_columns = vec!["list".to_owned()];
    let lists = LabelledConfig { label_columns, separator: Some(";".to_owned()), ..config(folder.path()) };
    assert_eq!(lists.read().unwrap().train.classes, ["x", "y"]);
}

/// Rows of two images for each of some patients, every third patient with the finding.
fn many(from: usize, to: usize) -> Vec<(usize, &'static str)> {
    (from..to).flat_map(|p| [(p, if p % 3 == 0 { "A,AP" } else { "None,PA" }); 2]).collect()
}

#[test]
fn parts_and_draws_never_share_a_patient() {
    let folder = folder("labels,view", &many(0, 60));
    let labelled = config(folder.path()).read().unwrap();
    let parts = labelled.named().map(|(_, part)| patients(part));
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 60);
    assert_eq!(parts.iter().flatten().collect::<BTreeSet<_>>().len(), 60);
    assert!(labelled.tested_on.contains("split off"));

    // Patients of the test data are not trained on.
    write(folder.path(), "test", "labels,view", &many(50, 70));
    let test_data = Some(folder.path().join("test.csv"));
    let apart = LabelledConfig { test_data, ..config(folder.path()) }.read().unwrap();
    assert_eq!(patients(&apart.test).len(), 20);
    let kept = patients(&apart.train).len() + patients(&apart.validate).len();
    assert_eq!((kept, patients(&apart.train).is_disjoint(&patients(&apart.test))), (50, true));
    assert!(patients(&apart.validate).is_disjoint(&patients(&apart.test)) && !apart.validate.studies.is_empty());

    // Repetitions draw different patients, each whole.
    let draws = Repetitions { fraction: 0.4, seed: 3, seeds: 2 }.draws(&apart.train).unwrap();
    assert_eq!(draws.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), [3, 4]);
    let drawn: Vec<BTreeSet<String>> = draws
        .iter()
        .map(|(_, studies)| {
            let chosen = studies.iter().map(|&study| apart.train.studies[study].clone()).collect::<Vec<_>>();
            assert_eq!(chosen.len() % 2, 0);
            patients(&Dataset { studies: chosen, ..apart.train.clone() })
        })
        .collect();
    assert!(drawn[0].len() == drawn[1].len() && drawn[0] != drawn[1]);
}

#[test]
fn rows_of_two_files_without_patients_are_of_nobody_in_common() {
    let folder = folder("labels", &[(0, "A"), (0, "B"), (0, "A"), (0, "B")].repeat(10));
    write(folder.path(), "test", "labels", &[(0, "A"), (0, "B")]);
    for name in ["data", "test"] {
        let path: PathBuf = folder.path().join(format!("{name}.csv"));
        let text = std::fs::read_to_string(&path).unwrap().replace("patient_id", "nobody");
        data::fsx::write_atomic(&path, text.as_bytes()).unwrap();
    }
    let test_data = Some(folder.path().join("test.csv"));
    let apart = LabelledConfig { test_data, ..config(folder.path()) }.read().unwrap();
    assert_eq!(apart.train.studies.len() + apart.validate.studies.len(), 40);
    assert_eq!(apart.test.studies.len(), 2);
}

#[test]
fn what_is_wrong_is_named_and_is_a_matter_of_settings() {
    let folder = folder("labels,view,empty", &many(0, 60).iter().map(|_| (0, "A,PA,")).collect::<Vec<_>>());
    let read = |change: &dyn Fn(&mut LabelledConfig)| {
        let mut config = config(folder.path());
        change(&mut config);
        let error = config.read().unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    let name = |name: &str| Some(name.to_owned());
    let message = read(&|config| config.label_columns = vec!["finding".to_owned()]);
    assert!(message.contains("no column \"finding\""), "{message}");
    let message = read(&|config| config.classes = vec!["a".to_owned()]);
    assert!(message.contains("no row has the label \"a\" of --classes"), "{message}");
    let message = read(&|config| (config.classes, config.negative) = (vec!["A".to_owned()], name("normal")));
    assert!(message.contains("\"normal\" of --negative"), "{message}");
    let message = read(&|config| config.negative = name("normal"));
    assert!(message.contains("\"normal\" of --negative"), "{message}");
    let message = read(&|config| {
        config.label_columns = vec!["labels".to_owned(), "view".to_owned()];
        config.separator = name("|");
    });
    assert!(message.contains("--label-column = labels, view"), "{message}");
    // All rows are of one patient, who is in one part.
    let message = read(&|_| ());
    assert!(message.contains("has no image: use more patients"), "{message}");

    let many: Vec<(usize, &str)> = (0..60).map(|p| (p, "A,PA,")).collect();
    write(folder.path(), "data", "labels,view,empty", &many);
    let message = read(&|config| config.stratify = name("empty"));
    assert!(message.contains("column \"empty\" says nothing of the test images"), "{message}");
    let labelled = config(folder.path()).read().unwrap();
    let refused = |repetitions: Repetitions| {
        let error = repetitions.draws(&labelled.train).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let message = refused(Repetitions::default());
    assert!(message.contains("no negative image of \"A\" is left to train on"), "{message}");
    for fraction in [0.0, 1.5, f64::NAN] {
        assert!(refused(Repetitions { fraction, ..Repetitions::default() }).contains("--fraction"));
    }
    assert!(refused(Repetitions { seeds: 0, ..Repetitions::default() }).contains("--seeds"));
    let error = TestPart::new(&labelled.test, &labelled.validate, None).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("--test-data"), "{error}");
}

#[test]
fn figures_of_repetitions_are_means_and_differences_are_paired() {
    let [yes, no] = [true, false];
    let rows = [("PA", yes), ("PA", no), ("AP", no), ("AP", yes), ("", yes), ("PA", no)];
    let study = |(row, (view, label)): (usize, (&str, bool))| Study {
        patient_id: Phi::new(format!("p{row}")),
        study_id: Phi::new(format!("s{row}")),
        images: Vec::new(),
        sentences: Vec::new(),
        labels: vec![Some(label)],
        view: view.to_owned(),
        demographics: Demographics {
            sex: Some(if row < 3 { Sex::Female } else { Sex::Male }),
            age: Some(if label && row > 0 { AgeBand::From80 } else { AgeBand::From18 }),
        },
        split: Split::Test,
        row,
    };
    let studies = rows.into_iter().enumerate().map(study).collect();
    let part = Dataset { name: "six".to_owned(), classes: vec!["A".to_owned()], studies };
    // The best threshold of the validation part is a logit of 0.5: it parts all.
    let scored =
        |test: [f32; 6]| [Scored { validate: vec![vec![1.0, 0.0, 0.0, 1.0, 0.5, 0.0]], test: vec![test.to_vec()] }];
    // Pairs in the right order: 6 of 9, within PA 2 of 2, within AP 1 of 1.
    let first = scored([0.9, 0.1, 0.2, 0.8, 0.0, 0.5]);
    // 5 of 9, 0 of 2, 1 of 1.
    let second = scored([0.1, 0.9, 0.2, 0.8, 1.0, 0.5]);
    let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::default() };
    let test = TestPart::new(&part, &part, Some("view")).unwrap();
    let figures = test.figures(&[first.clone(), second.clone()].concat(), &bootstrap).unwrap();
    let value = |figure: &Value| figure["value"].as_f64().unwrap();
    let near =
        |figure: &Value, expected: f64| assert!((value(figure) - expected).abs() < 1e-12, "{expected}: {figure}");
    near(&figures["auroc"]["per_class"]["A"], 11.0 / 18.0);
    near(&figures["auroc"]["macro"], 11.0 / 18.0);
    near(&figures["auroc_stratified"]["per_class"]["A"], 0.75);
    let difference = test.difference(&first, &second, &bootstrap).unwrap();
    near(&difference["per_class"]["A"], 0.5);
    let whole = TestPart::new(&part, &part, None).unwrap();
    let difference = whole.difference(&first, &second, &bootstrap).unwrap();
    near(&difference["macro"], 1.0 / 9.0);

    let figures = whole.figures(&first, &bootstrap).unwrap();
    assert!(!figures.contains_key("auroc_stratified"));
    // Positives at ranks 1, 2 and 6: (1 + 1 + 3/6) / 3; half of the images are positive.
    near(&figures["auprc"]["per_class"]["A"], 2.5 / 3.0);
    assert_eq!(figures["auprc"]["macro"]["chance"], 0.5);
    let probability = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let squares = [(0.9, 1.0), (0.1, 0.0), (0.2, 0.0), (0.8, 1.0), (0.0, 1.0), (0.5, 0.0)];
    let brier = squares.map(|(logit, y)| (probability(logit) - y).powi(2)).iter().sum::<f64>() / 6.0;
    // Logits were single precision.
    assert!((value(&figures["brier"]["macro"]) - brier).abs() < 1e-7, "{figures:?}");
    assert_eq!(figures["brier"]["macro"]["chance"], 0.25);
    let bins = figures["reliability"]["A"].as_array().unwrap();
    let count = bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum::<u64>();
    assert_eq!((bins.len(), count), (15, 6));
    let gaps = bins.iter().filter_map(|bin| {
        let [mean, share] = ["mean_probability", "positive_share"].map(|key| bin[key].as_f64());
        Some(bin["count"].as_f64()? * (mean? - share?).abs() / 6.0)
    });
    near(&figures["ece"]["macro"], gaps.sum());
    // Decided for: 0.9, 0.8 and the negative 0.5.
    let point = &figures["operating_point"]["A"];
    assert!((point["thresholds"][0].as_f64().unwrap() - probability(0.5)).abs() < 1e-12, "{point}");
    for name in ["sensitivity", "specificity", "f1"] {
        near(&point[name], 2.0 / 3.0);
    }
    let subgroups = &figures["subgroups"];
    near(&subgroups["view"]["PA"]["macro"], 1.0);
    assert_eq!((&subgroups["view"]["PA"]["images"], &subgroups["view"]["PA"]["patients"]), (&3.into(), &3.into()));
    // The first three are women, one of them positive; the men are two positives and a negative between them.
    near(&subgroups["sex"]["female"]["per_class"]["A"]["auroc"], 1.0);
    near(&subgroups["sex"]["male"]["per_class"]["A"]["auroc"], 0.5);
    assert_eq!(subgroups["sex"]["male"]["per_class"]["A"]["positive"], 2);
    // From 80 on there is no negative.
    assert_eq!(subgroups["age"].as_object().unwrap().keys().collect::<Vec<_>>(), ["18-39"]);
}

#[test]
fn sex_and_age_are_read_where_they_are_named() {
    let rows: Vec<(usize, &str)> = (0..40).map(|p| (p, ["A,F,63", "B,M,17Y", "A,,old", "B,x,90+"][p % 4])).collect();
    let folder = folder("labels,gender,years", &rows);
    let unnamed = config(folder.path()).read().unwrap();
    assert!(unnamed.train.studies.iter().all(|study| study.demographics == Demographics::default()));
    let name = |name: &str| Some(name.to_owned());
    let named = LabelledConfig { sex_column: name("gender"), age_column: name("years"), ..config(folder.path()) };
    let labelled = named.read().unwrap();
    let all = labelled.named().into_iter().flat_map(|(_, part)| &part.studies);
    for study in all {
        let expected = match study.row % 4 {
            1 => (Some(Sex::Female), Some(AgeBand::From60)),
            2 => (Some(Sex::Male), Some(AgeBand::Below18)),
            3 => (None, None),
            _ => (None, Some(AgeBand::From80)),
        };
        assert_eq!((study.demographics.sex, study.demographics.age), expected, "row {}", study.row);
    }
    let refusal = LabelledConfig { age_column: name("gender"), ..named.clone() }.read().unwrap_err().to_string();
    assert!(
        refusal.contains("\"gender\" says nothing of the test images") && refusal.contains("--age-column"),
        "{refusal}"
    );
    let refusal = LabelledConfig { sex_column: name("geschlecht"), ..named }.read().unwrap_err().to_string();
    assert!(refusal.contains("no column \"geschlecht\""), "{refusal}");
}
