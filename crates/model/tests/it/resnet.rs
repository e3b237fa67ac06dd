//! `ResNet` against torchvision: `scripts/golden/resnet.py`.

use burn::module::Module;
use burn::tensor::Tensor;
use model::image::resnet::{ResNet, ResNetConfig};
use model::weights;

use super::support::{Golden, STACK, assert_all_close, assert_close, device, gradients, host};

fn load(name: &str) -> (Golden, ResNet) {
    let golden = Golden::read(name);
    let config: ResNetConfig = golden.0.metadata_json("config").unwrap();
    config.validate().unwrap();
    let model = golden.load(config.init(&device().autodiff()), "param.");
    (golden, model)
}

/// Features and gradients in one mode of `BatchNorm`.
fn check(golden: &Golden, model: &ResNet, mode: &str) {
    let device = device().autodiff();
    let images = golden.tensor::<4>("images", &device).require_grad();
    let features = model.forward(images.clone()).global;
    let weights: Tensor<2> = golden.tensor(&format!("{mode}.weights"), &device);
    let mut grads = (features.clone() * weights).sum().backward();
    assert_close("features", &host(features), golden.host(&format!("{mode}.features")), STACK);
    let grad_images = images.grad_remove(&mut grads).unwrap();
    assert_close("gradient of the images", &host(grad_images), golden.host(&format!("{mode}.grad_images")), STACK);
    let mut expected = golden.under(&format!("{mode}.grad."));
    expected.retain(|name, _| !name.starts_with("fc."));
    assert_all_close("gradients", &gradients(grads, model), &expected, STACK);
}

fn evaluation(name: &str) {
    let (golden, model) = load(name);
    let plain = model.valid().forward(golden.tensor("images", &device())).global;
    assert_close("features on the plain device", &host(plain), golden.host("eval.features"), STACK);
    // Frozen flags, then gradients again: `BatchNorm` as in evaluation, with a graph.
    let model = model.freeze().set_require_grad(true);
    check(&golden, &model, "eval");
    assert_eq!(running(&model), running(&load(name).1), "evaluation moved the running statistics");
}

fn training(name: &str) {
    let (golden, model) = load(name);
    check(&golden, &model, "train");
    assert_all_close("running statistics", &running(&model), &golden.under("train.after."), STACK);
}

fn running(model: &ResNet) -> weights::TensorMap {
    weights::collect(model).into_iter().filter(|(name, _)| name.contains("running_")).collect()
}

#[test]
fn basic_in_evaluation() {
    evaluation("resnet_basic");
}

#[test]
fn basic_in_training() {
    training("resnet_basic");
}

#[test]
fn bottleneck_in_evaluation() {
    evaluation("resnet_bottleneck");
}

#[test]
fn bottleneck_in_training() {
    training("resnet_bottleneck");
}

/// The map of each stage as vectors, and the gradient of the stem through them: `scripts/golden/resnet_local.py`.
#[test]
fn local_features_of_every_stage() {
    let golden = Golden::read("resnet_local");
    let config: ResNetConfig = golden.0.metadata_json("config").unwrap();
    let tracked = device().autodiff();
    for stage in 1..=4 {
        let config = ResNetConfig { local_stage: Some(stage), ..config.clone() };
        config.validate().unwrap();
        // In evaluation, with a graph.
        let model = golden.load(config.init(&tracked), "param.").freeze().set_require_grad(true);
        let local = model.forward(golden.tensor("images", &tracked)).local.unwrap();
        assert_close("local", &host(local.clone()), golden.host(&format!("layer{stage}.local")), STACK);
        let total = (local * golden.tensor::<3>(&format!("layer{stage}.weights"), &tracked)).sum();
        let stem = gradients(total.backward(), &model).remove("conv1.weight").unwrap();
        assert_close("gradient of the stem", &stem, golden.host(&format!("layer{stage}.grad")), STACK);
    }
    let model = config.init(&device());
    assert!(model.forward(golden.tensor("images", &device())).local.is_none());
    assert!(ResNetConfig { local_stage: Some(5), ..config }.validate().unwrap_err().to_string().contains("use 1 to 4"));
}
