//! The program `roentgen-train`: what a run writes, what it repeats, and how it refuses.

use data::source::phantom::CLASSES;
use engine::checkpoint::{Architecture, Checkpoint};
use engine::device::compiled;
use serde_json::Value;

use crate::support::device;
use crate::workplace::{CONVIRT, SUPERVISED, Workplace, assert_costs, assert_figure, json, lines, names, text};

#[test]
fn a_run_writes_its_folder_and_is_never_overwritten() {
    let place = Workplace::new(CONVIRT);
    let printed = place.train("run", &["--json"]);
    let run = place.path("run");
    let expected = [
        ".lock",
        "checkpoints",
        "config.toml",
        "env.json",
        "eval.json",
        "log.jsonl",
        "metrics.jsonl",
        "model.safetensors",
        "tb",
    ];
    assert_eq!(names(&run), expected);
    assert_eq!(place.entries(), ["run", "tiny.toml"]);

    let figures = json(&run.join("eval.json"));
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), figures);
    for path in ["zero_shot.macro_auroc", "linear_probe.macro_auroc", "linear_probe_random.macro_auroc"] {
        assert_figure(&figures, path);
    }
    let per_class = figures["zero_shot"]["per_class"].as_object().unwrap();
    assert_eq!(per_class.keys().collect::<Vec<_>>(), CLASSES);
    for class in ["cardiomegaly", "pleural_effusion", "support_device"] {
        assert_figure(&figures, &format!("zero_shot.per_class.{class}.auroc"));
    }
    for direction in ["text_to_image", "image_to_image"] {
        for k in [5, 10] {
            let path = format!("retrieval.{direction}.precision_at_{k}");
            assert_figure(&figures, &path);
            let chance = figures["retrieval"][direction][format!("precision_at_{k}")]["chance"].as_f64().unwrap();
            assert!((chance - 0.125).abs() < 1e-9, "{path}: {chance}");
        }
    }
    assert_costs(&figures);

    let metrics = lines(&run.join("metrics.jsonl"));
    let trained: Vec<&Value> = metrics.iter().filter(|line| line.get("train/loss").is_some()).collect();
    assert_eq!(trained.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    for name in ["loss", "loss/image_to_text", "loss/text_to_image", "accuracy", "lr", "grad_norm", "data_wait"] {
        assert!(trained.iter().all(|line| line[format!("train/{name}")].is_f64()), "{name}: {trained:?}");
    }
    assert_eq!(metrics.iter().filter(|line| line.get("validate/loss").is_some()).count(), 1);
    assert!(!lines(&run.join("log.jsonl")).is_empty());
    assert_eq!(names(&run.join("tb")).len(), 1);
    let environment = json(&run.join("env.json"));
    assert_eq!(environment["device"], device().1);
    assert_eq!(names(&run.join("checkpoints/best")), ["card.toml", "model.safetensors"]);
    let state = ["manifest.json", "model.safetensors", "optim.bpk", "train.json"];
    assert_eq!(names(&run.join("checkpoints/step-00000003")), state);
    assert_eq!(json(&run.join("checkpoints/step-00000003/train.json"))["step"], 3);

    let weights = std::fs::read(run.join("model.safetensors")).unwrap();
    assert_eq!(weights, std::fs::read(run.join("checkpoints/best/model.safetensors")).unwrap());
    let checkpoint = Checkpoint::read(&run).unwrap();
    assert!(matches!(checkpoint.card.model, Architecture::DualEncoder(_)) && checkpoint.card.objective == "convirt");
    checkpoint.dual_encoder(&device().0).unwrap();
    let folder = place.0.path().to_str().unwrap().as_bytes();
    assert!(!weights.windows(folder.len()).any(|part| part == folder), "a path in the weights");

    // The resolved configuration is a recipe that resolves to itself.
    let again = place.program(&["run/config.toml", "--print-config"]).assert().success().get_output().clone();
    let again: toml::Table = toml::from_str(std::str::from_utf8(&again.stdout).unwrap()).unwrap();
    assert_eq!(again, toml::from_str::<toml::Table>(&text(&run.join("config.toml"))).unwrap());

    let message = place.refusal(&["tiny.toml", "--out", "run"], 2);
    assert!(message.contains("finished run") && message.contains("--out"), "{message}");
    assert_eq!(std::fs::read(run.join("model.safetensors")).unwrap(), weights);
    assert_eq!(json(&run.join("eval.json")), figures);
}

#[test]
fn runs_without_a_folder_are_counted() {
    let place = Workplace::new(CONVIRT);
    for _ in 0..2 {
        place.program(&["tiny.toml", "--steps", "1", "--set", "eval.every=0"]).assert().success();
    }
    assert_eq!(names(&place.path("runs")), ["tiny", "tiny-2"]);
    assert!(place.path("runs/tiny-2/eval.json").is_file());
}

#[test]
fn the_seed_and_nothing_else_decides_the_weights() {
    let place = Workplace::new(CONVIRT);
    let weights = |out: &str, arguments: &[&str]| {
        place.train(out, arguments);
        std::fs::read(place.path(out).join("model.safetensors")).unwrap()
    };
    let first = weights("first", &[]);
    // Neither workers nor what is logged or evaluated may change what is learned.
    let second =
        weights("second", &["--set", "data.num_workers=3", "--set", "run.log_every=2", "--set", "eval.ks=[5]"]);
    assert!(first == second, "two runs with one seed differ");
    assert!(first != weights("third", &["--seed", "2"]), "another seed gives the same weights");
    // The negative control: same pictures, reports of others.
    assert!(first != weights("shuffled", &["--set", "data.shuffle_pairs=true"]), "the pairs were not shuffled");
    assert_figure(&json(&place.path("shuffled/eval.json")), "zero_shot.macro_auroc");
}

#[test]
fn topics_are_terms_of_their_own_and_leave_the_model_alone() {
    let place = Workplace::new(CONVIRT);
    place.train(
        "run",
        &["--set", "objective.topics=3", "--set", "objective.topics_weight=0.5", "--set", "data.micro_batch_size=4"],
    );
    let metrics = lines(&place.path("run/metrics.jsonl"));
    let trained: Vec<&Value> = metrics.iter().filter(|line| line.get("train/loss").is_some()).collect();
    for line in &trained {
        let get = |name: &str| line[format!("train/{name}")].as_f64().unwrap();
        let terms = 0.75 * get("loss/image_to_text")
            + 0.25 * get("loss/text_to_image")
            + 0.5 * (get("loss/image_topics") + get("loss/text_topics"));
        assert!((get("loss") - terms).abs() < 1e-5 * terms, "{line}");
    }
    assert_eq!(trained.len(), 3);
    // The heads that predict topics are no part of what is kept.
    Checkpoint::read(&place.path("run")).unwrap().dual_encoder(&device().0).unwrap();
}

#[test]
fn the_ceiling_is_a_run_of_its_own() {
    let place = Workplace::new(SUPERVISED);
    let printed = place.train("run", &["--set", "data.micro_batch_size=4"]);
    let figures = json(&place.path("run/eval.json"));
    assert_figure(&figures, "supervised.macro_auroc");
    assert_eq!(figures["supervised"]["per_class"].as_object().unwrap().keys().collect::<Vec<_>>(), CLASSES);
    assert_costs(&figures);
    // Without --json the figures are a table.
    assert!(printed.contains("supervised.macro_auroc") && printed.contains("chance"), "{printed}");
    let card = Checkpoint::read(&place.path("run")).unwrap().card;
    assert_eq!((card.objective.as_str(), card.classes.as_slice()), ("supervised", &CLASSES.map(str::to_owned)[..]));
}

#[test]
fn looking_first_writes_nothing() {
    let place = Workplace::new(CONVIRT);
    let printed = |arguments: &[&str]| {
        let output =
            place.program(&["tiny.toml", "--out", "run"]).args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    };
    let dry = printed(&["--dry-run", "--steps", "7"]);
    for what in ["train", "validate", "test", "parameters", "device", "update", "whole run", "memory"] {
        assert!(dry.lines().any(|line| line.starts_with(what)), "no {what} in {dry}");
    }
    assert_eq!(place.entries(), ["tiny.toml"]);
}

#[test]
fn a_dry_run_says_what_memory_is_for() {
    if !cfg!(target_os = "linux") || device().1 != "cpu" {
        println!("skipped: the memory of this device is not measured");
        return;
    }
    let place = Workplace::new(CONVIRT);
    let parts = |arguments: &[&str]| {
        let arguments = [&["--dry-run", "--json", "--set", "data.source.train=192"], arguments].concat();
        let output = place.program(&arguments).assert().success().get_output().clone();
        let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
        let memory = figures["memory_bytes"].as_object().unwrap().clone();
        let of = |name: &str| memory[name].as_u64().unwrap();
        let sum: u64 = memory.keys().filter(|name| *name != "sum").map(|name| of(name)).sum();
        assert_eq!(sum, of("sum"));
        let share = sum as f64 / figures["peak_memory_bytes"].as_u64().unwrap() as f64;
        assert!((0.85..=1.15).contains(&share), "{share} of the peak by {arguments:?}: {figures:#}");
        assert_eq!(of("parameters"), 4 * figures["parameters"].as_u64().unwrap());
        assert_eq!(of("optimizer"), 8 * figures["trained_parameters"].as_u64().unwrap());
        of("activations")
    };
    parts(&["tiny.toml"]);
    // Recipes that hold more than the program: maps of the first layer alone are 48 x 16 x 56 x 56 numbers of 4 bytes.
    let whole = parts(&["convirt-phantom"]);
    assert!(whole > 48 * 16 * 56 * 56 * 4, "{whole}");
    let half = parts(&["convirt-phantom", "--set", "data.batch_size=24"]);
    assert!((0.4..=0.6).contains(&(half as f64 / whole as f64)), "{half} of {whole}");
    // Of a divided batch one part is held at a time.
    let part = parts(&["convirt-phantom", "--set", "data.micro_batch_size=12"]);
    assert!((0.2..=0.5).contains(&(part as f64 / whole as f64)), "{part} of {whole}");
    parts(&["mgca-phantom"]);
}

#[test]
fn the_configuration_is_printed_with_the_origin_of_every_value() {
    let place = Workplace::new(CONVIRT);
    let child = b"extends = \"convirt-phantom\"\n\n[data]\nimage_size = 64\n";
    data::fsx::write_atomic(&place.path("child.toml"), child).unwrap();
    let arguments =
        ["child.toml", "--print-config", "--steps", "7", "--set", "optim.lr=0.5", "--set", "optim.betas=[0.9, 0.999]"];
    let output = place.program(&arguments).assert().success().get_output().clone();
    let config = String::from_utf8(output.stdout).unwrap();
    let table: toml::Table = toml::from_str(&config).unwrap();
    assert_eq!(table["run"]["steps"].as_integer(), Some(7));
    let line = |key: &str| config.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap().to_owned();
    assert!(line("run.steps").ends_with("# --steps"), "{config}");
    assert!(line("optim.lr").ends_with("# --set optim.lr=0.5"), "{config}");
    assert!(line("data.image_size").ends_with("# child.toml:4"), "{config}");
    assert!(line("objective.temperature").contains("# preset convirt-phantom:"), "{config}");
    assert!(line("optim.eps").ends_with("# default"), "{config}");
    // Single precision is printed as it was written, not as the nearest double.
    assert!(line("optim.betas").starts_with("optim.betas = [0.9, 0.999] "), "{config}");
    assert_eq!(place.entries(), ["child.toml", "tiny.toml"]);
}

#[test]
fn every_recipe_of_the_project_resolves() {
    let place = Workplace::new(CONVIRT);
    for (name, text) in train::recipe::RECIPES {
        // Recipes for data that nobody but the user has leave the place of the data to them, and say so.
        let extended = train::recipe::RECIPES.iter().find(|(base, _)| text.contains(&format!("extends = \"{base}\"")));
        let says = |kind: &str| text.contains(kind) || extended.is_some_and(|(_, base)| base.contains(kind));
        let own_data = says("kind = \"pairs\"");
        if own_data {
            let message = place.refusal(&[name, "--print-config"], 2);
            assert!(message.contains("--set data.source.manifest="), "{name}: {message}");
        }
        let mut data = vec![name, "--print-config"];
        if own_data {
            data.extend(["--set", "data.source.manifest=pairs.csv"]);
        }
        if says("kind = \"reports\"") {
            let message = place.refusal(&data, 2);
            assert!(message.contains("--set data.texts.manifest="), "{name}: {message}");
            data.extend(["--set", "data.texts.manifest=reports.csv"]);
        }
        place.program(&data).assert().success();
    }
}

#[test]
fn wrong_settings_are_refused_with_what_was_meant() {
    let place = Workplace::new(CONVIRT);
    let set = |text: &str| place.refusal(&["tiny.toml", "--out", "run", "--set", text], 2);
    let cases: [(&str, &[&str]); 10] = [
        ("optim.weight_decai=0", &["unknown key optim.weight_decai", "did you mean optim.weight_decay?"]),
        ("model.image.bloc=basic", &["did you mean model.image.block?"]),
        ("objective.temprature=0.2", &["unknown key objective.temprature", "did you mean objective.temperature?"]),
        ("optim.lr", &["--set optim.lr", "equals sign"]),
        ("data.batch_size=two", &["data.batch_size", "--set data.batch_size=two"]),
        ("data.batch_size=1", &["data.batch_size = 1", "at least 2"]),
        ("run.steps=0", &["run.steps = 0"]),
        ("eval.probe.max_epochs=0", &["eval.probe.max_epochs = 0"]),
        ("objective.lambda=1.5", &["objective.lambda", "0 to 1"]),
        ("model.text.num_heads=3", &["num_heads", "divide"]),
    ];
    for (setting, parts) in cases {
        let message = set(setting);
        assert!(parts.iter().all(|part| message.contains(part)), "{setting}: {message}");
    }
    let message = place.refusal(&["convirt-fantom"], 2);
    assert!(message.contains("convirt-fantom") && message.contains("convirt-phantom"), "{message}");
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let place = Workplace::new(CONVIRT);
    data::fsx::write_atomic(&place.path("thesis.txt"), b"unique").unwrap();
    let message = place.refusal(&["tiny.toml", "--out", "."], 2);
    assert!(message.contains("not empty"), "{message}");
    assert_eq!(place.entries(), ["thesis.txt", "tiny.toml"]);
}

#[test]
fn a_device_that_cannot_be_used_ends_in_one_sentence() {
    let place = Workplace::new(CONVIRT);
    let missing = ["cuda", "vulkan", "wgpu", "ndarray"].into_iter().find(|name| !compiled().contains(name));
    let cases = [Some(("gpu", "is not a device")), missing.map(|name| (name, "is not compiled in"))];
    for (name, why) in cases.into_iter().flatten() {
        let message = place.refusal(&["tiny.toml", "--out", "run", "--device", name], 1);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains(&format!("device \"{name}\" {why}")), "{message}");
        assert!(compiled().iter().all(|name| message.contains(name)), "{message}");
    }
    assert_eq!(place.entries(), ["tiny.toml"]);
}
