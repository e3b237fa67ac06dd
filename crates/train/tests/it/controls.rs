//! The negative controls of `resume`: without any one of what a state holds, and of what a run goes by, a run that was
//! interrupted ends otherwise than one that was not. A suite that did not see this would see nothing.

use std::path::Path;

use engine::optim::Plateau;
use serde_json::{Value, json as value};

use crate::runs::{killed_after, outcome, start, start_with, straight};
use crate::workplace::{CONVIRT, Workplace, json, names};

/// Puts other content into a file of a state, which is believed since the manifest tells the same.
fn spoil(state: &Path, file: &str, content: &[u8]) {
    data::fsx::write_atomic(&state.join(file), content).unwrap();
    let mut manifest = json(&state.join("manifest.json"));
    let entry = &mut manifest["files"][file];
    assert!(entry["sha256"].is_string() && entry["bytes"].is_u64(), "{entry}");
    *entry = serde_json::json!({"bytes": content.len(), "sha256": data::fsx::sha256_hex(content)});
    data::fsx::write_atomic(&state.join("manifest.json"), manifest.to_string().as_bytes()).unwrap();
}

/// Puts another value into the position of a state; returns the one that was there.
fn spoil_position(state: &Path, key: &str, value: Value) -> Value {
    let mut train = json(&state.join("train.json"));
    let before = train.as_object_mut().unwrap().insert(key.to_owned(), value).unwrap();
    spoil(state, "train.json", train.to_string().as_bytes());
    before
}

#[test]
fn every_part_of_a_state_is_needed() {
    let place = Workplace::new(CONVIRT);
    let (expected, _) = straight(&place);
    // The whole run under another seed, and one that saw other studies, differ in what is compared.
    for (out, more) in [("seed", ["--seed", "2"]), ("data", ["--set", "data.source.seed=8"])] {
        assert!(start(&place, out, &more).wait().unwrap().success());
        let other = outcome(&place.path(out));
        assert!(other.weights != expected.weights && other.optimizer != expected.optimizer, "{out}");
    }
    // A run that goes on with an objective or an optimizer of another step ends otherwise.
    for file in ["model.safetensors", "optim.bpk"] {
        let out = format!("spoiled-{}", &file[..5]);
        let (checkpoints, states) = killed_after(&place, &out, 6, &[], "");
        let [old, new] = [&states[0], &states[1]].map(|name| checkpoints.join(name));
        spoil(&new, file, &std::fs::read(old.join(file)).unwrap());
        assert!(start(&place, &out, &[]).wait().unwrap().success());
        let spoiled = outcome(&place.path(&out));
        assert!(spoiled.objective != expected.objective, "{file} is not used");
        assert!(spoiled.optimizer != expected.optimizer, "{file} is not used");
    }
}

#[test]
fn seeds_of_steps_and_the_position_in_the_data_are_needed() {
    let place = Workplace::new(CONVIRT);
    for point in ["fit-seed", "fit-position"] {
        let failpoints = format!("{point}=return");
        let (straight, killed) = (format!("{point}-straight"), format!("{point}-killed"));
        assert!(start_with(&place, &straight, &[], &failpoints).wait().unwrap().success());
        killed_after(&place, &killed, 6, &[], &failpoints);
        assert!(start_with(&place, &killed, &[], &failpoints).wait().unwrap().success());
        let [straight, killed] = [&straight, &killed].map(|out| outcome(&place.path(out)));
        assert!(straight.objective != killed.objective && straight.metrics != killed.metrics, "{point} is not needed");
    }
}

#[test]
fn the_reductions_of_the_learning_rate_are_needed() {
    let place = Workplace::new(CONVIRT);
    // So high a rate makes the validation loss go up and down.
    let settings = ["optim.schedule={kind = \"plateau\", factor = 0.8, patience = 1}", "optim.lr=0.02", "eval.every=1"];
    let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    assert!(start(&place, "straight", &more).wait().unwrap().success());
    let expected = outcome(&place.path("straight"));
    let [kept, lost] = ["kept", "lost"].map(|out| {
        let (checkpoints, states) = killed_after(&place, out, 15, &more, "");
        let newest = checkpoints.join(states.last().unwrap());
        let plateau = &json(&newest.join("train.json"))["plateau"];
        assert!(plateau["factor"].as_f64().unwrap() < 1.0, "nothing to lose yet: {plateau}");
        if out == "lost" {
            spoil_position(&newest, "plateau", serde_json::to_value(Plateau::default()).unwrap());
        }
        assert!(start(&place, out, &more).wait().unwrap().success());
        outcome(&place.path(out))
    });
    assert!(kept == expected);
    assert!(lost.metrics != expected.metrics && lost.train["plateau"] != expected.train["plateau"]);
    assert!(lost.objective != expected.objective && lost.optimizer != expected.optimizer);
}

/// The third update in a row that is skipped ends a run, wherever it was interrupted in between.
#[test]
fn the_updates_that_were_skipped_are_needed() {
    let place = Workplace::new(CONVIRT);
    // Single precision has no such temperature: every loss is NaN.
    let more = ["--set", "objective.temperature=1e-60", "--set", "run.save_every=1", "--steps", "9"];
    let arguments: Vec<&str> = ["tiny.toml", "--out", "run"].into_iter().chain(more).collect();
    let stopped = || {
        let refused = place.program(&arguments).assert().code(1);
        String::from_utf8_lossy(&refused.get_output().stderr).into_owned()
    };
    let newest = || {
        let mut states = names(&place.path("run/checkpoints"));
        states.retain(|name| name.starts_with("step-"));
        let name = states.pop().unwrap();
        let step: u64 = name["step-".len()..].parse().unwrap();
        (place.path("run/checkpoints").join(name), step)
    };
    let expected = "error: loss is NaN at step 2 (3 updates were skipped";
    let message = stopped();
    assert!(message.contains(expected), "{message}");
    // The process that goes on skips no more than what is left.
    let (_, step) = newest();
    assert!((1..=2).contains(&step), "nothing was skipped before state {step}");
    let message = stopped();
    assert!(message.contains(expected), "{message}");
    let (state, step) = newest();
    let before = spoil_position(&state, "skipped", value!([]));
    assert_eq!(before, value!((0..step).collect::<Vec<u64>>()));
    let message = stopped();
    assert!(message.contains(&format!("error: loss is NaN at step {} (3 updates were skipped", step + 2)), "{message}");
}
