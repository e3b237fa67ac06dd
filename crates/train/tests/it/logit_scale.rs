//! A learned temperature against torch (`scripts/golden/logit_scale.py`), and in the objective.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use engine::fit::{gradients, update};
use engine::optim::OptimizerKind;
use model::head::logit_scale::LogitScale;
use model::ops::l2_normalize;
use model::weights::{self, TensorMap, collect};
use train::loss::info_nce::{InfoNce, info_nce_of_logits};
use train::objective::convirt::{ConVirt, ConVirtConfig};

use super::micro_batch::tiny;
use super::support::{
    Golden, assert_all_close, at, by_name, fit_config, generator, host, number, optim, scalar, tolerance, tracked,
};
use super::toy::batch;

fn loss(scale: &LogitScale, image: Tensor<2>, text: Tensor<2>) -> InfoNce {
    info_nce_of_logits(scale.logits(l2_normalize(image).matmul(l2_normalize(text).transpose())), 0.75)
}

/// The scale of a case; its golden is one number, as is the parameter.
fn scale(golden: &Golden, case: &str) -> LogitScale {
    let start = golden.host(&format!("{case}.log_scale")).clone();
    let tensors = TensorMap::from([("logit_scale".to_owned(), start)]);
    weights::apply(LogitScale::new(1.0, &tracked()), tensors, "golden".as_ref()).unwrap()
}

#[test]
fn values_and_gradients_are_those_of_torch() {
    let golden = Golden::read("logit_scale");
    for case in ["clip", "floor"] {
        let scale = scale(&golden, case);
        let [image, text] = ["image", "text"]
            .map(|side| golden.tensor::<2>(&format!("{case}.{side}_embeds"), &tracked()).require_grad());
        let loss = loss(&scale, image.clone(), text.clone()).loss;
        let grads = loss.clone().backward();
        let mut actual = TensorMap::from([
            ("grad_image".to_owned(), host(image.grad(&grads).unwrap())),
            ("grad_text".to_owned(), host(text.grad(&grads).unwrap())),
            ("loss".to_owned(), scalar(number(loss))),
        ]);
        let of_scale = by_name(GradientsParams::from_grads(grads, &scale), &scale).remove("logit_scale").unwrap();
        actual.insert("grad_log_scale".to_owned(), of_scale);
        let mut expected = golden.under(&format!("{case}."));
        expected.retain(|name, _| actual.contains_key(name));
        expected.get_mut("loss").unwrap().shape.clear();
        // Torch's own single precision is within 3.8e-7 of these.
        assert_all_close(case, &actual, &expected, tolerance(1e-5));
    }
}

#[test]
fn updates_end_at_the_bound_as_in_torch() {
    let golden = Golden::read("logit_scale");
    let mut scale = scale(&golden, "steps");
    let [image, text] = ["image", "text"].map(|side| golden.tensor::<2>(&format!("steps.{side}_embeds"), &tracked()));
    let mut optimizer = optim(OptimizerKind::Adam, 0.3, 0.0, None).init(&scale);
    let mut values = Vec::new();
    for _ in 0..5 {
        let grads = loss(&scale, image.clone(), text.clone()).loss.backward();
        let grads = GradientsParams::from_grads(grads, &scale);
        scale = optimizer.step(0.3, scale, grads).clamped();
        values.extend(collect(&scale)["logit_scale"].data.clone());
    }
    let expected = golden.host("steps.log_scales");
    let actual = model::weights::HostTensor { shape: vec![5], data: values };
    let map = |tensor: &model::weights::HostTensor| TensorMap::from([("log_scales".to_owned(), tensor.clone())]);
    // Five steps of Adam: torch's single precision is within 4.8e-6.
    assert_all_close("steps", &map(&actual), &map(expected), tolerance(1e-4));
    assert!((number(scale.temperature()) - 0.01).abs() < 1e-6);
}

#[test]
fn the_objective_learns_it_whole_or_in_parts_and_keeps_its_bounds() {
    let _lock = generator();
    let device = tracked();
    let objective = |learn_temperature| {
        let config = ConVirtConfig { learn_temperature, ..ConVirtConfig::default() };
        let preprocess = engine::upload::Preprocess {
            image_size: 32,
            source_size: 32,
            mean: vec![0.0],
            std: vec![1.0],
            framing: None,
        };
        ConVirt::new(tiny(0.0, None), config, None, preprocess)
    };
    let batch = batch(6, 32, 1);
    let learning = objective(true);
    let of = |size| {
        let (grads, losses) = gradients(&learning, &batch, size, &at(0), &device);
        (by_name(grads, &learning)["scale.logit_scale"].data[0], number(losses.total()))
    };
    let (whole, total) = of(None);
    assert!(whole.abs() > 1e-3, "{whole}");
    assert!((whole - of(Some(6)).0).abs() <= 1e-5 * whole.abs());
    // At its start it is the fixed loss.
    let fixed = gradients(&objective(false), &batch, None, &at(0), &device).1;
    assert!((total - number(fixed.total())).abs() < 1e-5);
    assert!(fixed.metrics.iter().all(|(name, _)| *name != "temperature"));
    assert!(collect(&objective(false)).keys().all(|name| !name.contains("logit_scale")));

    let config = fit_config(optim(OptimizerKind::Adam, 5.0, 0.0, None));
    let mut optimizer = config.optim.init(&learning);
    let updated = update(learning, &mut optimizer, &batch, &config, 5.0, &at(0), &device);
    let after = collect(&updated.objective)["scale.logit_scale"].data[0];
    // One step of five would leave the bounds on either side.
    assert!(after == 0.0 || (after - 100.0_f32.ln()).abs() < 1e-6, "{after}");
    assert!(updated.scalars.iter().any(|(name, value)| name == "temperature" && (value - 0.1).abs() < 1e-6));
}
