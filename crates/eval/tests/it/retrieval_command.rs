//! The program `roentgen-eval retrieval` with queries of one's own: figures, the files of CheXpert 8x200, and refusals.

use std::fmt::Write as _;
use std::time::Duration;

use assert_cmd::Command;
use data::source::phantom::CLASSES;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::{STUDIES, write_pairs, write_weights_locked};

/// Weights and `pairs.csv` as other tests of the program have them: each class is the only finding of six images.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_weights_locked(folder.path());
        write_pairs(folder.path());
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        data::fsx::write_atomic(&self.0.path().join(name), text.as_bytes()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(self.0.path()).timeout(Duration::from_mins(5)).arg("retrieval").args(arguments);
        command.args(["--ui", "plain", "--resamples", "20", "--k", "1,5"]);
        command
    }

    fn figures(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[arguments, &["--json"]].concat()).assert().success().get_output().clone();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["retrieval"].take()
    }

    fn refusal(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).assert().code(code).get_output().clone();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        text[text.find("error: ").unwrap_or_else(|| panic!("no message in {text}"))..].to_owned()
    }
}

/// `pairs.csv` with the column of each class.
fn pairs() -> Vec<&'static str> {
    let columns = CLASSES.iter().flat_map(|class| ["--label-column", *class]);
    ["--weights", "run", "--data", "pairs.csv", "--image-column", "file"].into_iter().chain(columns).collect()
}

fn at(figures: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(figures, |value, key| &value[key]);
    found.as_f64().or(found["value"].as_f64()).unwrap_or_else(|| panic!("no {path} in {figures:#}"))
}

#[test]
fn sentences_and_images_ask_for_categories() {
    let place = Workplace::new();
    place.write(
        "texts.csv",
        &format!("category,text\n{0},An opacity.\n{0},Another.\n{1},Fluid.\n", CLASSES[4], CLASSES[1]),
    );
    // Images of the candidates themselves, in other words for their paths.
    let mut csv = "category,file,patient_id\n".to_owned();
    for (row, class) in [(0, CLASSES[0]), (8, CLASSES[0]), (1, CLASSES[1])] {
        writeln!(csv, "{class},./{row}.png,p{row}").unwrap();
    }
    place.write("images.csv", &csv);
    let queries = ["--queries", "texts.csv", "--queries", "images.csv"];
    let of = |size: &str| place.figures(&[&pairs()[..], &queries, &["--batch-size", size]].concat());
    let figures = of("7");
    assert_eq!(figures["text_to_image"]["num_queries"], 3);
    assert_eq!(figures["text_to_image"]["per_category"][CLASSES[4]]["num_queries"], 2);
    let categories: Vec<&String> = figures["image_to_image"]["per_category"].as_object().unwrap().keys().collect();
    assert_eq!(categories, [CLASSES[0], CLASSES[1]]);
    // Six of 48 images have the category; an image is no candidate of its own query.
    let all = STUDIES as f64;
    assert!((at(&figures, "text_to_image.precision_at_5.chance") - 6.0 / all).abs() < 1e-12);
    assert!((at(&figures, "image_to_image.precision_at_1.chance") - 5.0 / (all - 1.0)).abs() < 1e-12);
    // Means over categories, weighted by their queries.
    for k in [1, 5] {
        let of = |class| at(&figures, &format!("image_to_image.per_category.{class}.precision_at_{k}"));
        let mean = (2.0 * of(CLASSES[0]) + of(CLASSES[1])) / 3.0;
        assert!((at(&figures, &format!("image_to_image.precision_at_{k}")) - mean).abs() < 1e-12);
    }
    assert_eq!(of("1"), figures);
    let printed = place.command(&[&pairs()[..], &queries].concat()).assert().success().get_output().stdout.clone();
    let table = String::from_utf8(printed).unwrap();
    assert!(table.contains("retrieval.image_to_image.precision_at_5"), "{table}");
}

#[test]
fn a_query_does_not_find_itself_in_files_of_chexpert() {
    let place = Workplace::new();
    // A twin of the first image that has another label is nearest to it.
    let twin = std::fs::read(place.0.path().join("0.png")).unwrap();
    data::fsx::create_dir_all(&place.0.path().join("lists/text")).unwrap();
    data::fsx::write_atomic(&place.0.path().join("twin.png"), &twin).unwrap();
    let mut csv = "Path,Sex,Edema,Pleural Effusion\n0.png,F,1.0,0.0\ntwin.png,F,0.0,1.0\n".to_owned();
    for row in 1..9 {
        writeln!(csv, "{row}.png,M,{}.0,{}.0", row % 2, (row + 1) % 2).unwrap();
    }
    place.write("lists/candidate.csv", &csv);
    place.write("lists/query.csv", "Variable,Path\nEdema,0.png\n");
    place.write(
        "lists/text/query.csv",
        "Variable,Text\nPleural Effusion,\"Fluid, on both sides.\"\nEdema,abormalities\n",
    );
    // A classifier has no text tower and answers images all the same.
    let data = ["--data", "lists/candidate.csv", "--image-root", "."];
    let images = [&data[..], &["--queries", "lists/query.csv"]].concat();
    for weights in ["classifier.safetensors", "run"] {
        let figures = place.figures(&[&["--weights", weights], &images[..]].concat());
        assert!(at(&figures, "image_to_image.precision_at_1") < 1e-12, "{weights}: {figures:#}");
        assert!((at(&figures, "image_to_image.precision_at_1.chance") - 4.0 / 9.0).abs() < 1e-12);
        assert!(figures.get("text_to_image").is_none());
    }
    let texts = [&data[..], &["--queries", "lists/text/query.csv"]].concat();
    let figures = place.figures(&[&["--weights", "run"], &texts[..]].concat());
    assert_eq!(figures["text_to_image"]["num_queries"], 2);
    let message = place.refusal(&[&["--weights", "classifier.safetensors"], &texts[..]].concat(), 2);
    assert!(message.contains("no text tower"), "{message}");
}

#[test]
fn queries_that_cannot_be_asked_are_named() {
    let place = Workplace::new();
    let refused = |csv: &str, code| {
        place.write("q.csv", csv);
        place.refusal(&[&pairs()[..], &["--queries", "q.csv"]].concat(), code)
    };
    let message = refused("category,text\nmeasles,Spots.\n", 2);
    assert!(message.contains("the category \"measles\" is no label") && message.contains(CLASSES[3]), "{message}");
    let message = refused("name,text\nmeasles,Spots.\n", 2);
    assert!(message.contains("has a column `category`"), "{message}");
    let message = refused(&format!("category,file\n{},secret.png\n", CLASSES[0]), 3);
    assert!(message.contains("row 1") && !message.contains("secret"), "{message}");
    place.write("q.csv", &format!("category,text\n{},Spots.\n", CLASSES[0]));
    let twice = ["--queries", "q.csv", "--queries", "q.csv"];
    let message = place.refusal(&[&pairs()[..], &twice].concat(), 2);
    assert!(message.contains("a second file of queries text_to_image"), "{message}");
    let message = place.refusal(&["--weights", "run", "--queries", "q.csv"], 2);
    assert!(message.contains("--data"), "{message}");
}
