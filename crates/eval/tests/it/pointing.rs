//! `roentgen-eval pointing`: its figures, their order, and what it refuses.

use assert_cmd::Command;
use serde_json::Value;

use super::explain::workplace;

#[test]
fn towers_that_learnt_nothing_point_by_chance() {
    let folder = workplace();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(folder.path()).arg("pointing").args(arguments).output().unwrap()
    };
    let output = run(&["--weights", "aligned", "--against", "plain", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &found["pointing"];
    let at = |name: &str, part: &str| found[name][part].as_f64().unwrap();
    assert_eq!(found["grid"], serde_json::json!([8, 8]));
    assert_eq!(found["per_class"].as_object().unwrap().len(), 7, "all but edema");
    // The mean area of the boxes is the same for all, and no tower knows more than that by much.
    for name in ["hits", "other_sentence", "other_model"] {
        assert!((at(name, "chance") - at("hits", "chance")).abs() < 1e-12);
        assert!(at(name, "value") < 0.3 && at(name, "low") <= at(name, "high"), "{name}");
    }
    for (difference, control) in [("over_other_sentence", "other_sentence"), ("over_other_model", "other_model")] {
        assert!((at(difference, "value") - (at("hits", "value") - at(control, "value"))).abs() < 1e-12);
        assert!(at(difference, "low") <= at(difference, "value") && at(difference, "value") <= at(difference, "high"));
    }
    let repeated = run(&["--weights", "aligned", "--against", "plain", "--json", "--batch-size", "7"]);
    assert_eq!(repeated.stdout, output.stdout, "the batch size changes no figure");
    // Without another model there is nothing to compare with; other phantoms give other figures.
    let alone = run(&["--weights", "aligned", "--seed", "8"]);
    let table = String::from_utf8(alone.stdout).unwrap();
    assert!(table.contains("pointing.hits") && !table.contains("other_model"), "{table}");
    // A model without words to compare is told so.
    let refused = run(&["--weights", "plain", "--sentence-as", "words"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("not aligned"));
}
