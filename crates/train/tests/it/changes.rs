//! What may change under a run that goes on, and what may not.

use std::path::Path;

use engine::config::{Layer, to_toml};
use engine::run_dir::{Environment, RunDir};
use engine::state::Origin;
use train::recipe::{Recipe, resolve};
use train::resume::{compare, compare_origin, environment};

/// Settings of which each alone is refused: they change what is learned or what a state means.
const REFUSED: [&str; 23] = [
    "run.seed=2",
    "data.source.seed=8",
    "data.source.train=12287",
    "data.image_size=64",
    "data.source_size=112",
    "data.mean=[0.4]",
    "data.batch_size=24",
    "data.micro_batch_size=8",
    "data.sentences_per_study=2",
    "data.max_tokens=20",
    "data.tokenizer.lowercase=false",
    "data.augment.flip=0.1",
    "data.shuffle_pairs=true",
    "model.embed_dim=32",
    "model.image.width=8",
    "model.text.dropout=0.3",
    "model.frozen_text_layers=1",
    "objective.temperature=0.2",
    "objective.topics_weight=1.0",
    "optim.weight_decay=0.1",
    "optim.lr=1e-4",
    "eval.every=7",
    "eval.probe.lr=0.5",
];
/// Settings that are free.
const FREE: [&str; 10] = [
    "run.log_every=7",
    "run.save_every=7",
    "run.keep_every=7",
    "data.num_workers=0",
    "data.cache_mib=1",
    "data.text_cache_mib=1",
    "data.text_cache=elsewhere",
    "eval.batch_size=7",
    "eval.ks=[3]",
    "eval.resamples=7",
];

fn recipe(settings: &[&str]) -> Recipe {
    named("convirt-phantom", settings)
}

fn named(name: &str, settings: &[&str]) -> Recipe {
    let layers: Vec<Layer> = settings.iter().map(|text| Layer::set(text).unwrap()).collect();
    resolve(name, &layers).unwrap().recipe
}

/// A run folder of a recipe.
fn run(path: &Path, recipe: &Recipe) -> RunDir {
    let run = RunDir::create(path).unwrap();
    run.write_config(&to_toml(recipe).unwrap()).unwrap();
    run.write_environment(&environment(recipe, "cpu").unwrap()).unwrap();
    run
}

#[test]
fn each_change_is_refused_or_free() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"), &recipe(&[]));
    compare(&run, &recipe(&[]), "cpu").unwrap();
    for setting in REFUSED {
        let error = compare(&run, &recipe(&[setting]), "cpu").unwrap_err();
        let key = setting.split('=').next().unwrap();
        assert_eq!(error.exit_code(), 2, "{setting}");
        assert!(error.to_string().contains(&format!("  {key}: ")), "{setting}: {error}");
    }
    for setting in FREE {
        compare(&run, &recipe(&[setting]), "vulkan").unwrap();
    }
}

#[test]
fn other_texts_and_another_way_to_draw_them_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"), &named("medclip-phantom", &[]));
    compare(&run, &named("medclip-phantom", &[]), "cpu").unwrap();
    for setting in [
        "data.texts.count=7",
        "data.pairing.pool_size=7",
        "data.pairing.without_shared=any",
        "objective.label_values=positive",
        "objective.target_temperature=0.5",
        "objective.flavour=reference",
    ] {
        let error = compare(&run, &named("medclip-phantom", &[setting]), "cpu").unwrap_err();
        let key = setting.split('=').next().unwrap();
        assert!(error.exit_code() == 2 && error.to_string().contains(&format!("  {key}: ")), "{setting}: {error}");
    }
}

#[test]
fn another_length_is_free_where_no_rate_depends_on_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, schedule, free) in [
        ("constant", "{kind = \"constant\"}", true),
        ("plateau", "{kind = \"plateau\", factor = 0.5, patience = 5}", true),
        ("cosine", "{kind = \"warmup_cosine\", warmup_steps = 1}", false),
    ] {
        let schedule = format!("optim.schedule={schedule}");
        let run = run(&folder.path().join(name), &recipe(&[&schedule, "run.steps=10"]));
        assert_eq!(compare(&run, &recipe(&[&schedule, "run.steps=11"]), "cpu").is_ok(), free, "{name}");
    }
}

#[test]
fn other_studies_and_another_tokenizer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"), &recipe(&[]));
    let old = Origin { data_sha256: "a".to_owned(), tokenizer_sha256: "b".to_owned(), ..Origin::default() };
    // Where a program or a device of another name runs on the same data, nothing is said here.
    compare_origin(&run, &old, &Origin { device: "vulkan".to_owned(), ..old.clone() }).unwrap();
    for (new, what) in [
        (Origin { data_sha256: "c".to_owned(), ..old.clone() }, "the studies to train on are others"),
        (Origin { tokenizer_sha256: "c".to_owned(), ..old.clone() }, "the tokenizer is another"),
    ] {
        let error = compare_origin(&run, &old, &new).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let run = run(&folder.path().join("run"), &recipe);
    let now = environment(&recipe, "cpu").unwrap();
    for (old, what) in [
        (Environment { version: "0.0.1".to_owned(), ..now.clone() }, "version: 0.0.1, now"),
        (Environment { burn: "0.21.0".to_owned(), ..now.clone() }, "version of Burn: 0.21.0, now"),
    ] {
        run.write_environment(&old).unwrap();
        let message = compare(&run, &recipe, "cpu").unwrap_err().to_string();
        assert!(message.contains(what) && message.contains("--force-resume"), "{message}");
    }
}
