//! Whole optimizer steps of a tiny ConVIRT model against torch: loss, gradients, and parameters after one and three steps.

use std::collections::BTreeMap;

use engine::fit::{gradients, update};
use engine::optim::OptimizerKind;
use model::weights::{TensorMap, collect};
use serde::Deserialize;
use train::objective::convirt::ConVirt;

use super::support::{
    Golden, assert_all_close, assert_near, at, by_name, distance, fit_config, generator, number, optim, tolerance,
    tracked,
};

/// Goldens are exact to double precision; torch's own single precision is within 4.7e-6 of them. Twenty normalised
/// layers forward and back may lose one decimal more than it does.
const TOLERANCE: f32 = 1e-4;

/// Tolerance of a parameter after steps, in learning rates: one step moves a parameter by about one. Torch's own single
/// precision is within 8e-4 of the goldens; the exporter asserts that any two variants differ by more than 0.1.
const STEP_TOLERANCE: f32 = 1e-2;

/// An optimizer as the exporter describes it.
#[derive(Deserialize)]
struct Variant {
    kind: OptimizerKind,
    weight_decay: f32,
    max_norm: Option<f64>,
}

/// Runs updates; returns the objective after them and the figures of each.
fn train(golden: &Golden, variant: &Variant, prefixes: &[(&Golden, &str)]) -> (ConVirt, Vec<BTreeMap<String, f64>>) {
    let device = tracked();
    let mut objective = golden.objective(&golden.loss());
    let config = fit_config(optim(variant.kind, golden.metadata("lr"), variant.weight_decay, variant.max_norm));
    let mut optimizer = config.optim.init(&objective);
    let mut figures = Vec::new();
    for ((file, prefix), step) in prefixes.iter().zip(0..) {
        let batch = file.batch(prefix);
        let updated = update(objective, &mut optimizer, &batch, &config, config.optim.lr, &at(step), &device);
        objective = updated.objective;
        figures.push(updated.scalars.into_iter().collect());
    }
    (objective, figures)
}

/// Splits into running statistics and the rest; the biases of keys are left out, whose gradient is zero by theory, so
/// that their update is the sign of rounding noise.
fn split(tensors: TensorMap) -> (TensorMap, TensorMap) {
    tensors.into_iter().filter(|(name, _)| !name.ends_with("key.bias")).partition(|(name, _)| name.contains("running_"))
}

fn assert_after(what: &str, objective: &ConVirt, expected: TensorMap, lr: f32) {
    let (statistics, parameters) = split(collect(&objective.model));
    let (expected_statistics, expected_parameters) = split(expected);
    assert_all_close(&format!("{what}, statistics"), &statistics, &expected_statistics, tolerance(TOLERANCE));
    let (worst, name) = distance(what, &parameters, &expected_parameters, |_| lr);
    println!("{what}: parameters within {worst:.1e} learning rates ({name})");
    let limit = if tolerance(0.0) > 0.0 { 0.1 } else { STEP_TOLERANCE };
    assert!(worst <= limit, "{what}: {name} is {worst} learning rates off");
}

#[test]
fn losses_and_gradients_are_those_of_torch() {
    let _lock = generator();
    let golden = Golden::read("step");
    let objective = golden.objective(&golden.loss());
    let (grads, losses) = gradients(&objective, &golden.batch("a."), None, &at(0), &tracked());
    let value = |name: &str| golden.host(name).data[0];
    for term in &losses.terms {
        assert_near(term.name, number(term.value.clone()), value(term.name), tolerance(TOLERANCE));
    }
    assert_eq!(losses.terms.len(), 2);
    assert_near("loss", number(losses.total()), value("loss"), tolerance(TOLERANCE));
    let found = by_name(grads, &objective.model);
    assert_all_close("gradients", &found, &golden.under("grad."), tolerance(TOLERANCE));
}

#[test]
fn one_step_of_adam_is_that_of_torch() {
    let _lock = generator();
    let golden = Golden::read("step");
    let variants: BTreeMap<String, Variant> = golden.metadata("variants");
    let (objective, figures) = train(&golden, &variants["adam"], &[(&golden, "a.")]);
    let lr: f32 = golden.metadata("lr");
    #[expect(clippy::cast_possible_truncation, reason = "it was single precision before")]
    let norm = figures[0]["grad_norm"] as f32;
    assert_near("norm of the gradient", norm, golden.host("grad_norm").data[0], tolerance(TOLERANCE));
    assert_after("adam", &objective, golden.under("after."), lr);
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "it was single precision before")]
fn three_steps_of_every_optimizer_are_those_of_torch() {
    let _lock = generator();
    let (golden, more) = (Golden::read("step"), Golden::read("step_variants"));
    let variants: BTreeMap<String, Variant> = more.metadata("variants");
    for name in ["adam_l2", "adamw", "adam_clipped"] {
        let batches = [(&golden, "a."), (&more, "b."), (&golden, "a.")];
        let (objective, figures) = train(&golden, &variants[name], &batches);
        for (step, figures) in figures.iter().enumerate() {
            for (key, expected) in [("loss", "losses"), ("grad_norm", "grad_norms")] {
                let expected = more.host(&format!("{name}.{expected}")).data[step];
                let what = format!("{name}, step {step}, {key}");
                assert_near(&what, figures[key] as f32, expected, tolerance(TOLERANCE));
            }
        }
        assert_after(name, &objective, more.under(&format!("{name}.after.")), more.metadata("lr"));
    }
}
