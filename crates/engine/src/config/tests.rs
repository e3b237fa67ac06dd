//! Loading, origins, messages and the table of typos.

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    run: Run,
    data: Data,
    model: Model,
    objective: Objective,
    optim: Optim,
    log: Log,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Run {
    name: String,
    seed: u64,
    steps: u64,
    precision: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Data {
    source: String,
    root: Option<String>,
    batch_size: usize,
    image_size: usize,
    workers: usize,
    horizontal_flip: f64,
    text_column: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Model {
    embed_dim: usize,
    image: Image,
    text: Text,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Image {
    stages: Vec<usize>,
    width: usize,
    block: Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Block {
    Basic,
    Bottleneck,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    hidden_size: usize,
    num_layers: usize,
    freeze_layers: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
enum Objective {
    Convirt { lambda: f64, temperature: f64 },
    Supervised { label_smoothing: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Optim {
    learning_rate: f64,
    weight_decay: f64,
    warmup_steps: u64,
    clip_norm: f64,
    accumulation: usize,
    patience: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    every: u64,
    tensorboard: bool,
}

macro_rules! defaults {
    ($($kind:ident { $($field:ident: $value:expr),* $(,)? })*) => {$(
        impl Default for $kind { fn default() -> Self { Self { $($field: $value),* } } }
    )*};
}

defaults! {
    Sample {
        run: Run::default(), data: Data::default(), model: Model::default(),
        objective: Objective::Convirt { lambda: 0.75, temperature: 0.1 },
        optim: Optim::default(), log: Log::default(),
    }
    Run { name: "x".to_owned(), seed: 7, steps: 100, precision: "f32".to_owned() }
    Data {
        source: "phantom".to_owned(), root: None, batch_size: 32, image_size: 64, workers: 2, horizontal_flip: 0.0,
        text_column: "text".to_owned(),
    }
    Model { embed_dim: 64, image: Image::default(), text: Text::default() }
    Image { stages: vec![2, 2], width: 16, block: Block::Basic }
    Text { hidden_size: 128, num_layers: 2, freeze_layers: 0 }
    Optim {
        learning_rate: 1e-3, weight_decay: 1e-6, warmup_steps: 10, clip_norm: 1.0, accumulation: 1, patience: 5,
    }
    Log { every: 10, tensorboard: true }
}

fn defaults() -> Layer {
    Layer::typed(Source::Default, &Sample::default()).unwrap()
}

fn recipe(text: &str) -> Layer {
    Layer::text(Source::File("models/x/recipe.toml".into()), text).unwrap()
}

fn set(text: &str) -> Layer {
    Layer::set(text).unwrap()
}

fn message(layers: &[Layer]) -> String {
    load::<Sample>(layers).unwrap_err().to_string()
}

#[test]
fn later_layers_win_and_keep_their_origin() {
    let mut layered = Layered::new();
    for layer in [
        defaults(),
        recipe("[run]\nsteps = 5\n[model.image]\nstages = [3, 4, 6, 3]\nblock = 'bottleneck'\n"),
        set("run.steps=6"),
        Layer::flag("--seed", &["run", "seed"], 9),
    ] {
        layered.push(&layer);
    }
    let config: Sample = layered.load().unwrap();
    assert_eq!((config.run.steps, config.run.seed, config.data.batch_size), (6, 9, 32));
    assert_eq!(config.model.image, Image { stages: vec![3, 4, 6, 3], width: 16, block: Block::Bottleneck });
    let origin = |path: &[&str]| layered.origin(&KeyPath::new(path)).unwrap().to_string();
    assert_eq!(origin(&["run", "steps"]), "--set run.steps=6");
    assert_eq!(origin(&["run", "seed"]), "--seed");
    assert_eq!(origin(&["model", "image", "stages"]), "models/x/recipe.toml:4");
    assert_eq!(origin(&["model", "image", "width"]), "default");

    let text = layered.annotate(&config).unwrap();
    assert_eq!(toml::from_str::<Sample>(&text).unwrap(), config);
    let line = text.lines().find(|line| line.starts_with("run.steps")).unwrap();
    assert_eq!(line.split_once('#').map(|(a, b)| (a.trim(), b.trim())), Some(("run.steps = 6", "--set run.steps=6")));
}

#[test]
fn a_value_replaces_a_table_and_the_other_way_round() {
    let mut layered = Layered::new();
    layered.push(&recipe("[a.b]\nc = 1\nd = 2\n"));
    layered.push(&set("a.b=3"));
    assert_eq!(layered.table(), &toml::from_str::<Table>("a.b = 3").unwrap());
    assert_eq!(layered.origin(&KeyPath::new(&["a", "b", "c"])), None);
    layered.push(&set("a.b.e=4"));
    assert_eq!(layered.table(), &toml::from_str::<Table>("a.b.e = 4").unwrap());
    assert_eq!(layered.origin(&KeyPath::new(&["a", "b"])).unwrap().source, Source::Set("a.b.e=4".to_owned()));
}

#[test]
fn a_table_of_another_kind_replaces_the_old_one() {
    let mut layered = Layered::new();
    layered.push(&recipe("[text]\nkind = 'bert'\nlayers = 4\n"));
    layered.push(&set("text.layers=2"));
    layered.push(&recipe("[text]\nkind = 'bert'\nwidth = 8\n"));
    assert_eq!(layered.table(), &toml::from_str::<Table>("text = { kind = 'bert', layers = 2, width = 8 }").unwrap());
    layered.push(&set("text.kind=bag"));
    assert_eq!(layered.table(), &toml::from_str::<Table>("text.kind = 'bag'").unwrap());
    assert_eq!(layered.origin(&KeyPath::new(&["text", "layers"])), None);
    layered.push(&set("text.words=3"));
    assert_eq!(layered.table(), &toml::from_str::<Table>("text = { kind = 'bag', words = 3 }").unwrap());
}

/// Every key of the sample, misspelt once or more: 50 slips, each with the key that was meant.
const TYPOS: &[(&str, &str)] = &[
    ("runs.seed", "run"),
    ("rnu.seed", "run"),
    ("Run.seed", "run"),
    ("dta.root", "data"),
    ("date.root", "data"),
    ("modle.embed_dim", "model"),
    ("models.embed_dim", "model"),
    ("objectiv.lambda", "objective"),
    ("optimizer.patience", "optim"),
    ("opt.patience", "optim"),
    ("optm.patience", "optim"),
    ("logs.every", "log"),
    ("run.nam", "run.name"),
    ("run.sed", "run.seed"),
    ("run.seeds", "run.seed"),
    ("run.step", "run.steps"),
    ("run.num_steps", "run.steps"),
    ("run.percision", "run.precision"),
    ("data.sorce", "data.source"),
    ("data.rot", "data.root"),
    ("data.batchsize", "data.batch_size"),
    ("data.batch-size", "data.batch_size"),
    ("data.batch", "data.batch_size"),
    ("data.bacth_size", "data.batch_size"),
    ("data.image_sise", "data.image_size"),
    ("data.img_size", "data.image_size"),
    ("data.worker", "data.workers"),
    ("data.num_workers", "data.workers"),
    ("data.horizontal_flips", "data.horizontal_flip"),
    ("data.txt_column", "data.text_column"),
    ("model.embedding_dim", "model.embed_dim"),
    ("model.embed_dims", "model.embed_dim"),
    ("model.imge.width", "model.image"),
    ("model.txt.num_layers", "model.text"),
    ("model.image.stage", "model.image.stages"),
    ("model.image.widht", "model.image.width"),
    ("model.image.blocks", "model.image.block"),
    ("model.text.hiddensize", "model.text.hidden_size"),
    ("model.text.n_layers", "model.text.num_layers"),
    ("model.text.freeze_layer", "model.text.freeze_layers"),
    ("objective.lamda", "objective.lambda"),
    ("objective.temprature", "objective.temperature"),
    ("optim.learning-rate", "optim.learning_rate"),
    ("optim.learningrate", "optim.learning_rate"),
    ("optim.weightdecay", "optim.weight_decay"),
    ("optim.warmup", "optim.warmup_steps"),
    ("optim.clip_nrom", "optim.clip_norm"),
    ("optim.patiense", "optim.patience"),
    ("log.evry", "log.every"),
    ("log.tensor_board", "log.tensorboard"),
];

#[test]
fn every_typo_is_named_and_the_right_key_suggested() {
    assert_eq!(TYPOS.len(), 50);
    for (typo, meant) in TYPOS {
        let text = format!("{typo}=1");
        let error = message(&[defaults(), set(&text)]);
        let bad = if meant.contains('.') { typo } else { typo.split('.').next().unwrap() };
        let bad = if meant.matches('.').count() == 1 && typo.matches('.').count() == 2 {
            typo.rsplit_once('.').unwrap().0
        } else {
            bad
        };
        assert_eq!(error, format!("--set {text}: unknown key {bad}; did you mean {meant}?"));
    }
}

#[test]
fn all_slips_are_shown_at_once_with_their_lines() {
    let text = "[optim]\nlerning_rate = 1\n\n[modell]\nwidth = 1\n[run]\nsteps = 'many'\n";
    assert_eq!(
        message(&[defaults(), recipe(text), set("objective.tau=1")]),
        "models/x/recipe.toml:4: unknown key modell; did you mean model?\n\
         --set objective.tau=1: unknown key objective.tau; valid in objective: lambda, temperature\n\
         models/x/recipe.toml:2: unknown key optim.lerning_rate; did you mean optim.learning_rate?"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    let error = message(&[defaults(), set("learning_rate=1")]);
    assert_eq!(error, "--set learning_rate=1: unknown key learning_rate; did you mean optim.learning_rate?");
    let error = message(&[defaults(), set("optim.batch_size=1")]);
    assert_eq!(error, "--set optim.batch_size=1: unknown key optim.batch_size; did you mean data.batch_size?");
    let error = message(&[defaults(), set("quux=1")]);
    assert_eq!(error, "--set quux=1: unknown key quux; valid here: run, data, model, objective, optim, log");
}

#[test]
fn wrong_values_name_key_line_and_what_is_valid() {
    let error = message(&[defaults(), recipe("[data]\nbatch_size = -1\n")]);
    assert_eq!(error, "models/x/recipe.toml:2: data.batch_size: invalid value: integer `-1`, expected usize");
    let error = message(&[defaults(), set("model.image.block=basik")]);
    assert_eq!(
        error,
        "--set model.image.block=basik: model.image.block: unknown variant `basik`, expected `basic` or `bottleneck`; \
         did you mean \"basic\"?"
    );
    let error = message(&[defaults(), set("run.name=5")]);
    assert_eq!(
        error,
        "--set run.name=5: run.name: invalid type: integer `5`, expected a string; quote it for a string: --set \
         'run.name=\"5\"'"
    );
    let error = message(&[defaults(), set("model.image.stages=[1,true]")]);
    assert!(error.contains("model.image.stages[1]: invalid type: boolean `true`"), "{error}");
    let error = message(&[set("objective.name=convirt"), set("objective.temperature=0.1")]);
    assert_eq!(error, "objective.lambda is not set: give it in the recipe or with --set objective.lambda=...");
}

#[test]
fn values_inside_a_tagged_enum_are_found_again() {
    let cases = [
        ("lambda=much", "string \"much\", expected f64"),
        ("lambda=true", "boolean `true`, expected f64"),
        ("lambda=[1]", "sequence, expected f64"),
    ];
    for (text, reason) in cases {
        let error = message(&[defaults(), set(&format!("objective.{text}"))]);
        assert_eq!(error, format!("--set objective.{text}: objective.lambda: invalid type: {reason}"));
    }
    // Two equal values: which of them is meant cannot be told, and no line is claimed.
    let error = message(&[defaults(), set("objective.lambda=x"), set("objective.temperature=x")]);
    assert_eq!(error, "objective: invalid type: string \"x\", expected f64");
}

#[test]
fn numbers_may_be_written_as_integers() {
    let config: Sample = load(&[defaults(), set("optim.clip_norm=2"), set("objective.lambda=1")]).unwrap();
    assert_eq!(config.optim.clip_norm.to_bits(), 2.0_f64.to_bits());
    assert_eq!(config.objective, Objective::Convirt { lambda: 1.0, temperature: 0.1 });
}

#[test]
fn text_hash_and_keys_describe_the_configuration() {
    let config = Sample::default();
    let text = to_toml(&config).unwrap();
    assert_eq!(load::<Sample>(&[recipe(&text)]).unwrap(), config);
    let keys: Vec<String> = flat(&config).unwrap().into_keys().collect();
    // 4 of run, 6 of data (no root), 7 of model, 3 of the objective, 6 of optim, 2 of log.
    assert_eq!(keys.len(), 28);
    assert!(keys.is_sorted() && keys.contains(&"model.image.stages".to_owned()));

    let hash = sha256(&config).unwrap();
    assert_eq!(hash.len(), 64);
    assert_eq!(sha256(&toml::from_str::<Table>(&text).unwrap()).unwrap(), hash);
    let mut hashes = vec![hash];
    for change in ["run.seed=8", "run.name=y", "data.root=/x", "model.image.stages=[2,2,2]", "optim.clip_norm=1.5"] {
        hashes.push(sha256(&load::<Sample>(&[defaults(), set(change)]).unwrap()).unwrap());
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
}

#[test]
fn what_toml_cannot_hold_is_an_error() {
    let config = Sample { run: Run { seed: u64::MAX, ..Run::default() }, ..Sample::default() };
    assert!(matches!(to_toml(&config), Err(ConfigError::Write(_))));
    assert!(matches!(Layer::typed(Source::Default, &3), Err(ConfigError::Write(_))));
}
