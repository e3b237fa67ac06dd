//! The program `roentgen-eval zero-shot`: prompt sets, rules, samplings, strata, comparisons and refusals.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use data::image::encode::png;
use data::rng::Stream;
use data::source::phantom::{CLASSES, PhantomKey, Prevalence};
use serde_json::{Value, json};
use tempfile::TempDir;

const ROWS: u64 = 60;

/// Weights as other tests of the program have them, and a CSV of lists with names of the NIH and views.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        super::cli::write_weights_locked(folder.path());
        write_lists(folder.path());
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        data::fsx::write_atomic(&self.0.path().join(name), text.as_bytes()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(self.0.path()).timeout(Duration::from_mins(5)).args(["zero-shot", "--weights", "run"]);
        command.args(LISTS).args(arguments).args(["--ui", "plain", "--resamples", "20"]);
        command
    }

    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    fn figures(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.printed(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).assert().code(2).get_output().clone();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        text[text.find("error: ").unwrap_or_else(|| panic!("no message in {text}"))..].to_owned()
    }
}

const LISTS: [&str; 12] = [
    "--data",
    "lists.csv",
    "--image-column",
    "file",
    "--patient-column",
    "person",
    "--label-column",
    "findings",
    "--separator",
    ";",
    "--negative",
    "No Finding",
];

/// Names of the NIH's collection for classes of phantoms.
const NAMES: [(usize, &str); 5] =
    [(0, "Cardiomegaly"), (1, "Effusion"), (2, "Consolidation"), (4, "Edema"), (5, "Nodule")];

/// `lists.csv`: phantoms with one finding or none, two images a patient; a tenth of them has a second finding.
fn write_lists(folder: &Path) {
    let mut csv = "file,person,position,findings\n".to_owned();
    let mut random = Stream::new(3);
    for index in 0..ROWS {
        let study = PhantomKey { seed: 5, index, prevalence: Prevalence::Exclusive }.study();
        data::fsx::write_atomic(&folder.join(format!("{index}.png")), &png(&study.render(32)).unwrap()).unwrap();
        let found = study.labels();
        let mut names: Vec<&str> = NAMES.iter().filter(|(class, _)| found[*class]).map(|(_, name)| *name).collect();
        if names.is_empty() {
            names.push("No Finding");
        } else if index % 10 == 0 {
            names.push(if names[0] == "Effusion" { "Edema" } else { "Effusion" });
        }
        let view = if random.chance(0.5) { "AP" } else { "PA" };
        writeln!(csv, "{index}.png,p{},{view},{}", index / 2, names.join(";")).unwrap();
    }
    data::fsx::write_atomic(&folder.join("lists.csv"), csv.as_bytes()).unwrap();
}

fn number(figures: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(figures, |value, key| &value[key]);
    found.as_f64().or(found["value"].as_f64()).unwrap_or_else(|| panic!("no {path} in {figures:#}"))
}

/// Asserts that a figure lies inside its interval.
fn assert_interval(figures: &Value, path: &str) {
    let [value, low, high] = ["value", "low", "high"].map(|key| number(figures, &format!("{path}.{key}")));
    assert!(low <= high && (0.0..=1.0).contains(&value), "{path}: {value} in [{low}, {high}]");
}

#[test]
fn labels_of_other_names_find_their_prompts() {
    let place = Workplace::new();
    let figures = place.figures(&["--prompts", "chexpert"]);
    let classes: Vec<&Value> = figures["settings"]["prompts"]["classes"].as_array().unwrap().iter().collect();
    let matched: Vec<(&str, &str)> =
        classes.iter().map(|c| (c["name"].as_str().unwrap(), c["labels"][0].as_str().unwrap())).collect();
    let expected = [
        ("Cardiomegaly", "Cardiomegaly"),
        ("Consolidation", "Consolidation"),
        ("Edema", "Edema"),
        ("Pleural Effusion", "Effusion"),
        ("Lung Lesion", "Nodule"),
    ];
    assert_eq!(matched, expected);
    for (class, _) in expected {
        assert_interval(&figures, &format!("zero_shot.per_class.{class}.auroc"));
    }
    assert_interval(&figures, "zero_shot.macro_auroc");
    // Of 60 rows those with one finding have an answer.
    let argmax = &figures["zero_shot"]["argmax"];
    assert_interval(&figures, "zero_shot.argmax.accuracy");
    let counts = ["images", "several_positive", "none_positive", "unknown"].map(|key| argmax[key].as_u64().unwrap());
    assert_eq!(counts.iter().sum::<u64>(), ROWS);
    assert!(counts[0] > 20 && counts[1] > 0 && counts[2] > 10 && counts[3] == 0, "{counts:?}");
    assert!((number(argmax, "accuracy.chance") - 0.2).abs() < 1e-12, "one of five");
    // Some of the classes.
    let some = place.figures(&["--prompts", "gloria", "--classes", "Effusion,Edema"]);
    assert_eq!(some["zero_shot"]["per_class"].as_object().unwrap().len(), 2);
    assert_eq!(some["settings"]["prompts"]["classes"][1]["positive"], 54);
}

#[test]
fn every_rule_has_figures_and_says_what_it_is() {
    let place = Workplace::new();
    let of = |rule: &str, more: &[&str]| place.figures(&[&["--prompts", "chexpert", "--rule", rule], more].concat());
    let aurocs = |figures: &Value| figures["zero_shot"]["per_class"].clone();
    let difference = of("difference", &[]);
    assert_eq!(difference["settings"]["rule"]["name"], "difference");
    assert_eq!(aurocs(&difference), aurocs(&place.figures(&["--prompts", "chexpert"])), "it is the default");
    // The logistic function and a scale by class keep the order of images.
    let pair = of("pair", &["--temperature", "0.5"]);
    assert!((number(&pair, "settings.temperature") - 0.5).abs() < 1e-12);
    assert_eq!(aurocs(&pair), aurocs(&difference));
    assert_eq!(aurocs(&of("z-score", &[])), aurocs(&of("max-logit", &[])));
    let mut seen = vec![aurocs(&difference)];
    for rule in ["mean-logit", "max-logit", "mean-embedding", "mean-raw-embedding"] {
        let figures = of(rule, &[]);
        assert_eq!(figures["settings"]["rule"]["name"], rule);
        assert_eq!(figures["settings"]["prompts"]["classes"][0]["negative"], 0, "{rule} has no use for them");
        assert_interval(&figures, "zero_shot.macro_auroc");
        seen.push(aurocs(&figures));
    }
    // Mean logits and mean embeddings differ by the length of the mean, which is the same for all images.
    for class in seen[1].as_object().unwrap().keys() {
        let [logits, vectors] = [&seen[1], &seen[3]].map(|seen| number(seen, &format!("{class}.auroc")));
        assert!((logits - vectors).abs() < 0.01, "{class}: {logits} and {vectors}");
    }
    assert!(seen[2] != seen[3] && seen[0] != seen[1], "they are not all the same");
}

#[test]
fn samplings_have_a_mean_and_a_deviation() {
    let place = Workplace::new();
    let draw = |seed: &str| {
        let few = ["--prompts", "gloria", "--rule", "max-logit", "--num-prompts", "2", "--samplings", "4"];
        place.figures(&[&few[..], &["--seed", seed, "--show-text"]].concat())
    };
    let figures = draw("1");
    assert_eq!(figures, draw("1"));
    assert_ne!(figures["zero_shot"], draw("2")["zero_shot"]);
    assert_interval(&figures, "zero_shot.macro_auroc");
    let deviations = ["macro_deviation", "per_class.Edema.deviation", "per_class.Pleural Effusion.deviation"];
    assert!(deviations.iter().map(|path| number(&figures["zero_shot"], path)).sum::<f64>() > 0.0);
    assert!(number(&figures, "zero_shot.argmax.deviation") >= 0.0);
    let drawn = figures["settings"]["prompts"]["drawn"].as_array().unwrap();
    assert_eq!(drawn.len(), 4);
    assert!(drawn.iter().all(|draw| draw["Edema"]["positive"].as_array().unwrap().len() == 2));
    assert_eq!((&figures["settings"]["seed"], &figures["settings"]["samplings"]), (&json!(1), &json!(4)));
    // One sampling of two sentences is the same as the first of four.
    let few = ["--prompts", "gloria", "--num-prompts", "2", "--rule", "max-logit", "--show-text", "--seed", "1"];
    assert_eq!(place.figures(&few)["settings"]["prompts"]["drawn"][0], drawn[0]);
}

#[test]
fn views_are_scored_apart_and_alone() {
    let place = Workplace::new();
    let figures = place.figures(&["--prompts", "chexpert", "--stratify", "position", "--against", "random"]);
    for part in ["stratum.AP", "stratum.PA", "within_strata", "stratum_alone"] {
        assert!((0.0..=1.0).contains(&number(&figures, &format!("zero_shot.{part}.macro_auroc"))), "{part}");
        number(&figures, &format!("zero_shot.{part}.per_class.Pleural Effusion.auroc"));
    }
    assert!(number(&figures, "zero_shot.stratum_alone.macro_auroc") >= 0.5);
    let [ap, pa] =
        ["AP", "PA"].map(|view| number(&figures, &format!("zero_shot.stratum.{view}.per_class.Edema.auroc")));
    let mean = number(&figures, "zero_shot.within_strata.per_class.Edema.auroc");
    assert!((mean - f64::midpoint(ap, pa)).abs() < 1e-12);
    number(&figures, "difference.within_strata.macro_auroc");
    let message = place.refusal(&["--prompts", "chexpert", "--stratify", "file"]);
    assert!(message.contains("--stratify has 60 values"), "{message}");
}

#[test]
fn another_model_sees_the_same_images_and_sentences() {
    let place = Workplace::new();
    let prompts = ["--prompts", "chexpert"];
    let same = place.figures(&[&prompts[..], &["--against", "run/model.safetensors"]].concat());
    assert_eq!(same["against"], same["zero_shot"]);
    for key in ["value", "low", "high"] {
        assert!(number(&same, &format!("difference.macro_auroc.{key}")).abs() < 1e-15);
        assert!(number(&same, &format!("difference.per_class.Edema.auroc.{key}")).abs() < 1e-15);
    }
    let random = |seed| place.figures(&[&prompts[..], &["--against", "random", "--seed", seed]].concat());
    let figures = random("1");
    assert_eq!(figures, random("1"));
    assert_ne!(figures["against"], random("2")["against"]);
    assert_eq!(figures["zero_shot"], same["zero_shot"]);
    let gap = number(&figures, "zero_shot.macro_auroc") - number(&figures, "against.macro_auroc");
    assert!((number(&figures, "difference.macro_auroc") - gap).abs() < 1e-12);
    assert_eq!(figures["settings"]["against"], json!({ "weights": "random" }));
}

#[test]
fn a_class_of_absence_needs_no_label() {
    let place = Workplace::new();
    let text = "[[class]]\nname = 'healthy'\nnormal = true\npositive = ['Clear lungs.']\n[[class]]\nname = 'Effusion'\n\
                positive = ['An effusion.']\n";
    place.write("two.toml", text);
    let figures = place.figures(&["--prompts", "two.toml", "--rule", "pair"]);
    assert_eq!(figures["zero_shot"]["per_class"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Effusion"]);
    // Every row is one or the other.
    assert_eq!(figures["zero_shot"]["argmax"]["images"], ROWS);
    assert!((number(&figures, "zero_shot.argmax.accuracy.chance") - 0.5).abs() < 1e-12);
    let classes = &figures["settings"]["prompts"]["classes"];
    assert_eq!((&classes[0]["negative"], &classes[1]["negative"]), (&json!(1), &json!(1)));
    // The same from JSON, but there is no other side.
    place.write("two.json", r#"{"Effusion": {"size": ["", "large"], "what": ["effusion", "pleural fluid"]}}"#);
    let figures = place.figures(&["--prompts", "two.json", "--rule", "mean-logit"]);
    assert_eq!(figures["settings"]["prompts"]["classes"][0]["positive"], 4);
    let message = place.refusal(&["--prompts", "two.json", "--rule", "pair"]);
    assert!(message.contains("class \"Effusion\" has no negative sentences"), "{message}");
}

#[test]
fn the_output_says_how_it_came_about_and_quotes_on_request_alone() {
    let place = Workplace::new();
    let sentence = "There is cardiomegaly.";
    let text = place.printed(&["--prompts", "chexpert"]);
    for part in [
        "Images: padded with black to a square, scaled to 32 px; channels: 1, mean 0.5, std 0.25.",
        "Prompts: chexpert, sha256 ",
        "all of each list",
        "Cardiomegaly 6+4",
        "Pleural Effusion (Effusion) 6+4",
        "Rule: difference, ",
        "T = 1.0",
        "Seed 0, samplings: 1; intervals: 20 resamples of patients, seed 97.",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains(sentence) && !place.printed(&["--prompts", "chexpert", "--json"]).contains(sentence));
    assert!(place.printed(&["--prompts", "chexpert", "--show-text"]).contains(sentence));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let place = Workplace::new();
    let message = place.refusal(&["--rule", "median"]);
    assert!(message.contains("median") && message.contains("z-score"), "{message}");
    let message = place.refusal(&["--prompts", "chexprt"]);
    assert!(message.contains("chexpert, rsna, covid, gloria"), "{message}");
    let message = place.refusal(&["--classes", "Efusion"]);
    assert!(message.contains("no row has the label \"Efusion\" of --classes"), "{message}");
    let message = place.refusal(&["--prompts", "covid"]);
    assert!(message.contains("none of its labels"), "{message}");
    place.write("empty.toml", "[[class]]\nname = 'Edema'\npositive = []\n");
    let message = place.refusal(&["--prompts", "empty.toml"]);
    assert!(message.contains("class \"Edema\" of the prompt set has no positive prompt"), "{message}");
    let message = place.refusal(&["--samplings", "3"]);
    assert!(message.contains("give --num-prompts"), "{message}");
    let message = place.refusal(&["--num-prompts", "0"]);
    assert!(message.contains("a number above 0, or all"), "{message}");
    let message = place.refusal(&["--temperature", "0"]);
    assert!(message.contains("--temperature = 0"), "{message}");
    let message = place.refusal(&["--against", "classifier.safetensors"]);
    assert!(message.contains("no text tower"), "{message}");
    // Classes of the phantoms are the usual prompts.
    assert!(CLASSES.contains(&"pleural_effusion"));
    assert_eq!(place.figures(&[])["settings"]["prompts"]["set"], "phantom");
}

#[test]
fn towers_are_averaged_by_their_scores() {
    let place = Workplace::new();
    data::fsx::create_dir_all(&place.0.path().join("more")).unwrap();
    super::cli::write_weights_locked(&place.0.path().join("more"));
    let run = |weights: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(place.0.path()).timeout(Duration::from_mins(5)).arg("ensemble").args(weights).args(LISTS);
        command.args(["--prompts", "chexpert", "--json", "--ui", "plain", "--resamples", "20"]);
        serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap()
    };
    // Equal members are their own mean, and that of zero-shot.
    let figures = run(&["--weights", "run", "--weights", "more/run"]);
    let alone = place.figures(&["--prompts", "chexpert"]);
    for path in ["macro_auroc", "argmax.accuracy"] {
        let single = number(&alone, &format!("zero_shot.{path}"));
        assert!((number(&figures, &format!("ensemble.{path}")) - single).abs() < 1e-12);
        assert!((number(&figures, &format!("members.2.{path}")) - single).abs() < 1e-12);
    }
    assert!(number(&figures, "difference.macro_auroc").abs() < 1e-12);
    assert_eq!(figures["best_member"], 1);
}
