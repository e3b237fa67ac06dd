//! Runs of every release, kept for ever: later programs evaluate their weights and go on with their states.
//!
//! `golden/release-VERSION` is an unfinished run with the vocabulary that it uses, its weights and what they make of fixed
//! inputs. `cargo test -p train --test it release::keep -- --ignored` writes that of the current version.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use engine::checkpoint::Checkpoint;
use engine::fit::Start;
use engine::state::store::StateStore;
use model::text::TextInput;
use serde_json::{Value, json};
use train::objective::convirt::ConVirt;
use train::recipe::{ObjectiveConfig, resolve};

use crate::workplace::{CONVIRT, Workplace, json as read_json, lines, names, text};

const VOCABULARY: [&str; 24] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "no", "the", "is", "are", "of", "heart", "lung", "lungs",
    "effusion", "left", "right", "pleural", "clear", "normal", "size", "large", "small",
];
const SETTINGS: [&str; 7] = [
    "data.tokenizer.path=vocab.txt",
    "run.save_every=2",
    "run.keep_every=4",
    "model.image.width=2",
    "model.text.hidden_size=8",
    "model.text.intermediate_size=16",
    "objective.topics=0",
];
const KEPT_STEP: u64 = 4;
const STEPS: u64 = 6;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden")
}

/// The kept folders.
fn releases() -> Vec<PathBuf> {
    let names = names(&golden()).into_iter().filter(|name| name.starts_with("release-"));
    names.map(|name| golden().join(name)).collect()
}

/// What the weights make of an image that is a ramp and of the first tokens of the vocabulary.
fn embeds(weights: &Path) -> Value {
    let device = Device::flex();
    let model = Checkpoint::read(weights).unwrap().dual_encoder(&device).unwrap();
    let ramp: Vec<f32> = (0..32 * 32).map(|i| i as f32 / 512.0 - 1.0).collect();
    let image = Tensor::<4>::from_data(TensorData::new(ramp, [1, 1, 32, 32]), &device);
    let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![2_i32, 12, 9, 16, 3], [1, 5]), &device);
    let padding = ids.clone().equal_elem(-1);
    let embeds = [model.encode_image(image).embeds, model.encode_text(TextInput { input_ids: ids, padding }).embeds];
    json!(embeds.map(|embeds| embeds.into_data().iter::<f32>().collect::<Vec<f32>>()))
}

fn copy(from: &Path, to: &Path) {
    data::fsx::create_private_dir(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            data::fsx::write_atomic(&to, &std::fs::read(from).unwrap()).unwrap();
        }
    }
}

#[test]
fn weights_of_every_release_embed_as_they_did() {
    assert!(!releases().is_empty());
    for release in releases() {
        let expected = read_json(&release.join("expected.json"));
        let actual = embeds(&release.join("model.safetensors"));
        for tower in 0..2 {
            let numbers = |value: &Value| -> Vec<f64> {
                value[tower].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
            };
            let (expected, actual) = (numbers(&expected["embeds"]), numbers(&actual));
            assert_eq!(actual.len(), expected.len());
            // Embeddings have length 1; another processor or release of Burn may round otherwise.
            let worst = expected.iter().zip(&actual).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-4, "{}: {worst}", release.display());
        }
    }
}

#[test]
fn states_of_every_release_are_gone_on_with() {
    for release in releases() {
        let place = Workplace::new(CONVIRT);
        copy(&release, &place.path("run"));
        copy(&release, place.0.path());
        // The version is another one some day, which is what this is about.
        place.program(&["--resume", "run", "--force-resume"]).assert().success();
        let steps: Vec<u64> =
            lines(&place.path("run/metrics.jsonl")).iter().filter(|l| l["train/loss"].is_number()).map(step).collect();
        assert_eq!(steps, (1..=STEPS).collect::<Vec<_>>(), "{}", release.display());
        assert!(text(&place.path("run/log.jsonl")).contains("goes on from a saved state"));

        let states = StateStore::new(&release.join("checkpoints"), 0);
        let saved = states.newest().unwrap().unwrap();
        assert_eq!(saved.train.step, KEPT_STEP);
        assert_eq!(saved.train.samples_seen, KEPT_STEP * 8);
        assert_eq!(moments(place.0.path(), saved), read_json(&release.join("expected.json"))["moments"]);
    }
}

fn step(line: &Value) -> u64 {
    line["step"].as_u64().unwrap()
}

/// Tensors of the optimizer's state once it is restored; a vocabulary and a configuration lie in `folder`.
fn moments(folder: &Path, saved: engine::state::SavedState) -> usize {
    let config =
        text(&folder.join("config.toml")).replace("vocab.txt", &folder.join("vocab.txt").display().to_string());
    let path = folder.join("here.toml");
    data::fsx::write_atomic(&path, config.as_bytes()).unwrap();
    let recipe = resolve(path.to_str().unwrap(), &[]).unwrap().recipe;
    let ObjectiveConfig::Convirt(loss) = &recipe.objective else { panic!("another objective") };
    let model = recipe.model.init(&Device::flex().autodiff());
    let objective = ConVirt::new(model, loss.clone(), None, recipe.preprocess());
    let origin = saved.train.origin.clone();
    Start::resumed(saved, objective, &recipe.optim, origin).unwrap().optimizer().to_record().len()
}

#[test]
#[ignore = "writes the run of this release"]
fn keep() {
    let release = golden().join(format!("release-{}", env!("CARGO_PKG_VERSION")));
    assert!(!release.exists(), "what is kept stays as it is");
    let place = Workplace::new(CONVIRT);
    let vocabulary = place.path("vocab.txt");
    data::fsx::write_atomic(&vocabulary, format!("{}\n", VOCABULARY.join("\n")).as_bytes()).unwrap();
    let mut arguments = vec!["--steps".to_owned(), STEPS.to_string()];
    arguments.extend(SETTINGS.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    place.train("run", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let run = place.path("run");
    let state = format!("checkpoints/step-{KEPT_STEP:08}");
    copy(&run.join(&state), &release.join(&state));
    copy(&run.join("checkpoints/best"), &release.join("checkpoints/best"));
    for name in ["config.toml", "env.json", "metrics.jsonl", "vocab.txt", "model.safetensors"] {
        data::fsx::write_atomic(&release.join(name), &std::fs::read(run.join(name)).unwrap()).unwrap();
    }
    let saved = StateStore::new(&release.join("checkpoints"), 0).newest().unwrap().unwrap();
    copy(&release, place.0.path());
    let expected = json!({ "embeds": embeds(&run), "moments": moments(place.0.path(), saved) });
    data::fsx::write_atomic(&release.join("expected.json"), expected.to_string().as_bytes()).unwrap();
}
