//! Runs of MedCLIP by the program: what they log and keep, that a killed one goes on as if nothing had been,
//! checkpoints of the published names, and that no patient both shows and tells.

use std::collections::BTreeMap;
use std::path::Path;

use data::pairing::shared_patients;
use data::source::parts::SourceConfig;
use data::source::texts::TextsConfig;
use engine::checkpoint::Checkpoint;
use engine::config::Layer;
use model::weights::{HostTensor, TensorMap, encode};
use serde_json::Value;
use train::recipe::{RECIPES, resolve};

use crate::runs::{killed_after, outcome, start};
use crate::support::device;
use crate::workplace::{Workplace, assert_figure, json, lines};

/// Reports of phantoms that the tiny recipe has no images of.
const MEDCLIP: &str = r#"
[objective]
kind = "medclip"
flavour = "paper"

[data.texts]
kind = "phantom"
seed = 7
first = 1000
count = 40
"#;
/// A sentence and its copy.
const COPIES: [&str; 2] = ["--set", "data.sentences_per_study=2"];

#[test]
fn losses_entropy_and_temperature_are_logged_and_the_temperature_is_kept() {
    let place = Workplace::new(MEDCLIP);
    place.train("run", &COPIES);
    let metrics = lines(&place.path("run/metrics.jsonl"));
    let trained: Vec<&Value> = metrics.iter().filter(|line| line.get("train/loss").is_some()).collect();
    assert_eq!(trained.len(), 3);
    for line in trained {
        let of = |name: &str| line[format!("train/{name}")].as_f64().unwrap_or_else(|| panic!("no {name}"));
        assert!((of("loss") - 0.5 * (of("loss/image_to_text") + of("loss/text_to_image"))).abs() < 1e-5);
        assert!((of("divergence") - (of("loss") - of("target_entropy"))).abs() < 1e-5);
        // Eight images and sentences: targets are between one of them and all alike.
        assert!(of("divergence") > -1e-5 && of("target_entropy") > 0.0 && of("target_entropy") < 8.0_f64.ln() + 1e-5);
        assert!((0.01..=1.0).contains(&of("temperature")) && (0.0..=1.0).contains(&of("accuracy")));
    }
    let checkpoint = Checkpoint::read(&place.path("run")).unwrap();
    assert_eq!(checkpoint.card.objective, "medclip");
    assert_eq!(checkpoint.card.provenance.data.len(), 2, "images and texts");
    checkpoint.dual_encoder(&device().0).unwrap();
    let kept = checkpoint.weights.carried_number("logit_scale").unwrap().unwrap();
    assert!((kept - 2.659).abs() < 0.1, "{kept}");
    let figures = json(&place.path("run/eval.json"));
    for figure in ["zero_shot.macro_auroc", "linear_probe.macro_auroc", "retrieval.text_to_image.precision_at_5"] {
        assert_figure(&figures, figure);
    }
    // Another run goes on from its weights, the temperature among them.
    place.train("next", &["--set", "init.checkpoint=run", "--steps", "1", "--set", "optim.lr=1e-9"]);
    let next = Checkpoint::read(&place.path("next")).unwrap().weights.carried_number("logit_scale").unwrap().unwrap();
    assert!((next - kept).abs() < 1e-5, "{next} is not {kept}");
}

#[test]
fn a_killed_run_ends_as_a_straight_one() {
    let place = Workplace::new(MEDCLIP);
    let more = [&COPIES[..], &["--set", "objective.flavour=reference"]].concat();
    assert!(start(&place, "straight", &more).wait().unwrap().success());
    let (_, states) = killed_after(&place, "killed", 9, &more, "");
    assert!(!states.is_empty());
    assert!(start(&place, "killed", &more).wait().unwrap().success());
    assert!(outcome(&place.path("killed")) == outcome(&place.path("straight")), "it ended otherwise");
}

#[test]
fn other_texts_are_another_run() {
    let place = Workplace::new(MEDCLIP);
    let fingerprint = |set: &str| {
        let out = format!("run-{}", set.len());
        place.train(&out, &["--set", set, "--steps", "1", "--set", "eval.every=0"]);
        Checkpoint::read(&place.path(&out)).unwrap().card.provenance.data
    };
    assert_ne!(fingerprint("data.texts.count=40"), fingerprint("data.texts.count=39 "));
}

#[test]
fn images_and_reports_of_a_csv_each() {
    let place = Workplace::new(MEDCLIP);
    let write = |name: &str, text: String| data::fsx::write_atomic(&place.path(name), text.as_bytes()).unwrap();
    let labels = ["Edema", "Effusion|Mass", "No Finding", "Hernia", ""];
    let mut images = "image_path,labels,patient_id\n".to_owned();
    for i in 0..60_u8 {
        let picture = data::image::GrayImage { width: 33, height: 32, pixels: vec![4 * i; 33 * 32] };
        data::fsx::write_atomic(&place.path(&format!("{i}.png")), &data::image::encode::png(&picture).unwrap())
            .unwrap();
        images.extend([&format!("{i}.png,"), labels[usize::from(i) % 5], &format!(",p{i}\n")]);
    }
    write("images.csv", images);
    let reports = "findings,impression,Effusion\nThere is pulmonary edema. No pneumothorax.,Mild edema.,0\n\
                   A large left pleural effusion is seen.,,1\n,The heart is normal in size.,0\n";
    write("reports.csv", reports.to_owned());
    let source = "data.source={kind = \"pairs\", manifest = \"images.csv\", split = {validate = 0.25, test = 0.25}}";
    let texts = "data.texts={kind = \"reports\", manifest = \"reports.csv\"}";
    let table = place.train("run", &["--set", source, "--set", texts]);
    assert!(table.contains("Edema"), "{table}");
    assert_figure(&json(&place.path("run/eval.json")), "zero_shot.macro_auroc");
    let plan = place.program(&["tiny.toml", "--dry-run", "--set", source, "--set", texts]).assert().success();
    let plan = String::from_utf8_lossy(&plan.get_output().stdout).into_owned();
    let line = plan.lines().find(|line| line.starts_with("texts")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["texts", "3", "reports", "5", "sentences"]);
}

#[test]
fn what_the_objective_needs_is_asked_for() {
    let place = Workplace::new(MEDCLIP);
    let refused = |set: &[&str], expected: &str| {
        let arguments: Vec<&str> = ["tiny.toml", "--out", "run"].into_iter().chain(set.iter().copied()).collect();
        let message = place.refusal(&arguments, 2);
        assert!(message.contains(expected), "{message}");
    };
    refused(&["--set", "data.text=report"], "data.text");
    refused(&["--set", "data.sentences_per_study=0"], "data.sentences_per_study");
    refused(&["--set", "objective.temperature=0.0"], "objective.temperature = 0.0: use 0.01 to 1");
    refused(&["--set", "objective.target_temperature=0.0"], "objective.target_temperature = 0.0");
    refused(&["--set", "objective.flavour=publisher"], "valid: paper, reference");
    refused(&["--set", "data.pairing.pool_size=0"], "data.pairing.pool_size = 0");
    refused(&["--set", "objective={kind = \"convirt\"}"], "data.texts");
}

/// Values of a flavour stand in the recipe under their own keys.
#[test]
fn a_flavour_sets_what_a_recipe_leaves_open() {
    let of = |flavour: &str| {
        let set = [format!("objective.flavour={flavour}")].map(|text| Layer::set(&text).unwrap());
        let texts = ["data.source.manifest=a.csv", "data.texts.manifest=b.csv"].map(|text| Layer::set(text).unwrap());
        let layers: Vec<Layer> = set.into_iter().chain(texts).collect();
        engine::config::flat(&resolve("medclip-rn50", &layers).unwrap().recipe).unwrap()
    };
    let (paper, reference) = (of("paper"), of("reference"));
    for (key, of_paper, of_code) in train::objective::medclip::DIFFERENCES {
        let plain = |map: &BTreeMap<String, String>| map.get(key).cloned();
        for (map, expected) in [(&paper, of_paper), (&reference, of_code)] {
            // Options at their default are not printed.
            let found = plain(map);
            let number = |text: &str| text.parse::<f64>().ok();
            let same = found.as_deref().is_none_or(|found| {
                found == expected || number(found).is_some_and(|found| Some(found) == number(expected))
            });
            assert!(same, "{key}: {found:?} is not {expected}");
        }
        assert_ne!(plain(&paper), plain(&reference), "{key}");
    }
}

/// No patient of the built-in recipes both shows and tells.
#[test]
fn images_and_texts_of_the_phantom_recipes_are_of_different_patients() {
    let mut seen = 0;
    for (name, _) in RECIPES {
        let Ok(resolved) = resolve(name, &[]) else { continue };
        let data = resolved.recipe.data;
        let (SourceConfig::Phantom(_), Some(TextsConfig::Phantom(_))) = (&data.source, &data.texts) else { continue };
        seen += 1;
        let (parts, texts) = (data.source.parts().unwrap(), data.texts.unwrap().read().unwrap());
        for part in [&parts.train, &parts.validate, &parts.test] {
            assert_eq!(shared_patients(part, &texts), 0, "{name}");
        }
        assert!(!data.pairing.own_report, "{name}: images must not tell");
        assert_eq!(texts.reports.len(), parts.train.studies.len(), "{name}: two halves");
    }
    assert_eq!(seen, 2);
}

/// The tensors of a tiny MedCLIP under the names and in the forms of the published checkpoints.
fn published(model: &model::DualEncoder, log_scale: f32) -> TensorMap {
    let exported = model::weights::collect(model);
    let name = |ours: &str| -> String {
        if let Some(rest) = ours.strip_prefix("image_encoder.") {
            return format!("vision_model.model.{rest}");
        }
        if let Some(rest) = ours.strip_prefix("text_encoder.") {
            return format!("text_model.model.{rest}");
        }
        match ours {
            "image_projection.fc2.weight" => "vision_model.model.fc.weight".to_owned(),
            "text_projection.fc2.weight" => "text_model.projection_head.weight".to_owned(),
            other => panic!("{other}"),
        }
    };
    let mut tensors: TensorMap = exported.into_iter().map(|(ours, tensor)| (name(&ours), tensor)).collect();
    tensors.insert("logit_scale".to_owned(), HostTensor { shape: Vec::new(), data: vec![log_scale] });
    tensors
}

#[test]
fn a_checkpoint_of_the_published_names_is_trained_on() {
    let place = Workplace::new(MEDCLIP);
    let settings = [
        "model.projection={kind = \"linear\", bias = false}",
        "model.text.pooled_layers=[1]",
        "data.sentences_per_study=2",
        "model.image.in_channels=3",
        "data.mean=[0.5, 0.5, 0.5]",
        "data.std=[0.25, 0.25, 0.25]",
    ];
    let layers: Vec<Layer> = settings.iter().map(|text| Layer::set(text).unwrap()).collect();
    let resolved = resolve(place.path("tiny.toml").to_str().unwrap(), &layers).unwrap();
    let model = resolved.recipe.model.init(&device().0);
    let tensors = published(&model, 3.25);
    // No tensor tells the number of heads.
    let heads = serde_json::to_value(&resolved.recipe.model).unwrap()["text"]["num_heads"].clone();
    let config = serde_json::json!({ "num_attention_heads": heads }).to_string();
    data::fsx::write_atomic(&place.path("config.json"), config.as_bytes()).unwrap();
    data::fsx::write_atomic(&place.path("medclip.safetensors"), &encode(&tensors, &BTreeMap::default())).unwrap();
    let mut arguments: Vec<&str> = settings.iter().flat_map(|set| ["--set", set]).collect();
    arguments.extend(["--set", "init.checkpoint=medclip.safetensors", "--set", "optim.lr=1e-12", "--steps", "1"]);
    place.train("run", &arguments);
    let checkpoint = Checkpoint::read(&place.path("run")).unwrap();
    let kept = checkpoint.weights.carried_number("logit_scale").unwrap();
    assert!(kept.is_some_and(|kept| (kept - 3.25).abs() < 1e-5), "{kept:?}");
    let (before, after) =
        (model::weights::collect(&model), model::weights::collect(&checkpoint.dual_encoder(&device().0).unwrap()));
    for (name, tensor) in before.iter().filter(|(name, _)| !name.contains("running_")) {
        let far = tensor.data.iter().zip(&after[name].data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-5, "{name} is off by {far}");
    }
    assert!(Path::new(&place.path("run/model.safetensors")).is_file());
}
