//! Runs of MGCA by the program: what they log, what their checkpoints tell, that a killed one goes on as if nothing
//! had been, and the comparison of losses.

use data::image::encode;
use data::source::phantom::{PhantomKey, Prevalence};
use engine::checkpoint::Checkpoint;
use model::alignment::rules::AlignmentRules;
use model::text::words::WordRules;
use serde_json::Value;

use crate::runs::{killed_after, outcome, start};
use crate::support::device;
use crate::workplace::{ALIGNED, MGCA, Workplace, assert_figure, json, lines, names, sibling};

/// Also the contrast of sentences, with half of the patches, which know where they are.
fn sentences() -> Vec<&'static str> {
    let set = [
        "data.sentences_beside_report=2",
        "objective.sentence_weight=1.0",
        "objective.sentence_patches=0.5",
        "model.image.local_position=true",
    ];
    ALIGNED.into_iter().chain(set.into_iter().flat_map(|set| ["--set", set])).collect()
}

#[test]
fn every_loss_is_logged_by_its_name_and_the_weights_hold_what_aligns() {
    let place = Workplace::new(MGCA);
    place.train("run", &sentences());
    let metrics = lines(&place.path("run/metrics.jsonl"));
    let trained: Vec<&Value> = metrics.iter().filter(|line| line.get("train/loss").is_some()).collect();
    assert_eq!(trained.len(), 3);
    let losses = ["loss/instance_loss", "loss/token_loss", "loss/sentence_loss", "loss/prototype_loss"];
    for name in losses.iter().chain(&[
        "word_loss",
        "patch_loss",
        "sentence_accuracy",
        "prototype_usage_entropy",
        "prototype_agreement",
        "accuracy",
    ]) {
        assert!(trained.iter().all(|line| line[format!("train/{name}")].is_f64()), "{name}: {trained:?}");
    }
    let share = |name: &str| trained[0][format!("train/{name}")].as_f64().unwrap();
    assert!(
        (0.0..=1.0).contains(&share("prototype_usage_entropy")) && (0.0..=1.0).contains(&share("prototype_agreement"))
    );
    let sum: f64 = losses.iter().map(|name| share(name)).sum();
    assert!((sum - share("loss")).abs() < 1e-4, "{sum} is not the total");
    let checkpoint = Checkpoint::read(&place.path("run")).unwrap();
    assert_eq!(checkpoint.card.objective, "mgca");
    assert!(checkpoint.dual_encoder(&device().0).unwrap().alignment.is_some());
    assert_figure(&json(&place.path("run/eval.json")), "linear_probe.macro_auroc");
}

#[test]
fn a_checkpoint_tells_how_words_and_patches_were_aligned() {
    let place = Workplace::new(MGCA);
    let paper = AlignmentRules {
        learned_attention: true,
        token_temperature: 0.07,
        words: WordRules { separator_is_word: false, full_text_truncated: false },
    };
    for (flavour, rules) in [("paper", paper), ("reference", AlignmentRules::PUBLISHED)] {
        let flavour_is = format!("objective.flavour={flavour}");
        place.train(flavour, &[&ALIGNED[..], &["--set", &flavour_is]].concat());
        let card = Checkpoint::read(&place.path(flavour)).unwrap().card;
        assert_eq!(card.alignment, Some(rules), "{flavour}");
    }
    let Some(eval) = sibling("eval") else { return };
    let picture = PhantomKey { seed: 3, index: 1, prevalence: Prevalence::Natural }.study().render(40);
    data::fsx::write_atomic(&place.path("film.png"), &encode::png(&picture).unwrap()).unwrap();
    for (flavour, kind, words) in [("paper", "learned", 3), ("reference", "similarity", 4)] {
        let out = format!("out-{flavour}");
        let output = std::process::Command::new(&eval)
            .current_dir(place.0.path())
            .args([
                "explain",
                "--weights",
                flavour,
                "--image",
                "film.png",
                "--text",
                "No pleural effusion",
                "--out",
                &out,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record = json(&place.path(&out).join("weights.json"));
        assert_eq!(
            (record["attention"]["kind"].as_str(), record["words"].as_array().unwrap().len()),
            (Some(kind), words)
        );
    }
}

#[test]
fn a_killed_run_ends_as_a_straight_one() {
    let place = Workplace::new(MGCA);
    assert!(start(&place, "straight", &sentences()).wait().unwrap().success());
    let (_, states) = killed_after(&place, "killed", 9, &sentences(), "");
    assert!(!states.is_empty());
    assert!(start(&place, "killed", &sentences()).wait().unwrap().success());
    assert!(outcome(&place.path("killed")) == outcome(&place.path("straight")), "it ended otherwise");
}

#[test]
fn losses_are_compared_and_finished_runs_are_kept() {
    let place = Workplace::new(MGCA);
    let arguments = [&ALIGNED[..], &["--ablate", "--steps", "1", "--set", "eval.every=0"]].concat();
    let table = place.train("ablation", &arguments);
    let choices = ["cpa", "cta", "cta-cpa", "ita", "ita-cpa", "ita-cta", "ita-cta-cpa"];
    assert_eq!(names(&place.path("ablation")), choices);
    for row in ["ITA ", "CTA ", "CPA ", "ITA + CTA ", "ITA + CPA ", "CTA + CPA ", "ITA + CTA + CPA "] {
        let found = table.lines().filter(|line| line.starts_with(row) && line.contains('[')).count();
        assert!(found > 0, "{row} is not in\n{table}");
    }
    // A loss that is off is not computed.
    let logged = lines(&place.path("ablation/ita/metrics.jsonl"));
    assert!(logged.iter().all(|line| line.get("train/loss/token_loss").is_none()), "{logged:?}");
    let written = |choice: &str| {
        std::fs::metadata(place.path(&format!("ablation/{choice}/eval.json"))).unwrap().modified().unwrap()
    };
    let before = choices.map(written);
    data::fsx::remove_dir_all(&place.path("ablation/cta")).unwrap();
    assert_eq!(table, place.train("ablation", &arguments));
    for (choice, before) in choices.iter().zip(before) {
        assert_eq!(written(choice) == before, *choice != "cta", "{choice}");
    }
}

#[test]
fn what_the_objective_needs_is_asked_for() {
    let place = Workplace::new(MGCA);
    let refused = |set: &[&str], expected: &str| {
        let arguments: Vec<&str> = ["tiny.toml", "--out", "run"].into_iter().chain(set.iter().copied()).collect();
        let message = place.refusal(&arguments, 2);
        assert!(message.contains(expected), "{message}");
    };
    refused(&[], "model.image.local_stage");
    refused(&["--set", "model.image.local_position=true"], "local_position");
    let with = |set: &'static str| [&ALIGNED[..], &["--set", set]].concat();
    refused(&with("objective.token_temperature=0.0"), "objective.token_temperature = 0.0: use more than 0");
    refused(&with("objective.sentence_patches=0.0"), "use more than 0 and at most 1");
    refused(&with("objective.flavour=publisher"), "valid: paper, reference");
    refused(&with("data.sentences_per_study=2"), "MGCA takes one text a study");
    refused(&with("objective.sentence_weight=1.0"), "objective.sentence_weight needs at least 1");
    let learned =
        [&with("objective.learned_attention=true")[..], &["--set", "model.alignment.attention=false"]].concat();
    refused(&learned, "objective.learned_attention asks for it");
}
