//! `ResNet` against torchvision: `scripts/golden/resnet.py`.

use burn::module::Module;
use burn::tensor::{Distribution, Tensor};
use model::image::resnet::{ResNet, ResNetConfig};
use model::image::{Cells, ImageEncoderConfig};
use model::weights;
use serde_json::{Value, json};

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

/// The map of each stage as vectors, with the position of one too, and the gradient of the stem through them: `scripts/golden/resnet_local.py`.
#[test]
fn local_features_of_every_stage() {
    let golden = Golden::read("resnet_local");
    let config: ResNetConfig = golden.0.metadata_json("config").unwrap();
    let tracked = device().autodiff();
    for (name, stage) in [("layer1", 1), ("layer2", 2), ("layer3", 3), ("layer4", 4), ("position", 2)] {
        let local_position = name == "position";
        let config = ResNetConfig { local_stage: Some(stage), local_position, ..config.clone() };
        config.validate().unwrap();
        // In evaluation, with a graph.
        let model = golden.load(config.init(&tracked), "param.").freeze().set_require_grad(true);
        let local = model.forward(golden.tensor("images", &tracked)).local.unwrap();
        assert_eq!(Some(local.dims()[2]), config.local_size(), "{name}");
        assert_close(name, &host(local.clone()), golden.host(&format!("{name}.local")), STACK);
        let total = (local * golden.tensor::<3>(&format!("{name}.weights"), &tracked)).sum();
        let stem = gradients(total.backward(), &model).remove("conv1.weight").unwrap();
        assert_close("gradient of the stem", &stem, golden.host(&format!("{name}.grad")), STACK);
    }
    let model = config.init(&device());
    assert!(model.forward(golden.tensor("images", &device())).local.is_none());
    let message = |local_stage, local_position| {
        ResNetConfig { local_stage, local_position, ..config.clone() }.validate().unwrap_err().to_string()
    };
    assert!(message(Some(5), false).contains("use 1 to 4"));
    assert!(message(None, true).contains("set local_stage"));
}

/// What a position of the local features depends on: the middle of its field in the image must be where the configuration says.
#[test]
fn local_features_lie_where_the_configuration_says() {
    const SIDE: usize = 160;
    let config = |stage: usize, upsample: Option<usize>| -> ResNetConfig {
        let json =
            json!({"block": "basic", "stages": [1, 1, 1, 1], "width": 4, "in_channels": 1, "local_stage": stage});
        ResNetConfig { upsample, ..serde_json::from_value(json).unwrap() }
    };
    let tracked = device().autodiff();
    // Stage 3 sees more than half of the image, later ones see all of it.
    for (stage, upsample, cell) in [(1, None, 19), (2, None, 10), (2, Some(239), 15)] {
        let config = config(stage, upsample);
        let cells = ImageEncoderConfig::Resnet(config.clone()).cells(SIDE).unwrap();
        // In evaluation: batch statistics would join all pixels.
        let model = config.init(&tracked).freeze();
        // Noise, so that maxima and rectifiers let something of every pixel through in one of the images.
        let images = Tensor::random([6, 1, SIDE, SIDE], Distribution::Normal(0.0, 1.0), &tracked).require_grad();
        let local = model.forward(images.clone()).local.unwrap(); // [B, M, L]
        let side = local.dims()[1].isqrt();
        let grads = local.narrow(1, cell * side + cell, 1).sum().backward();
        let felt = images.grad(&grads).unwrap().abs().max_dim(0).reshape([SIDE, SIDE]);
        for (axis, other) in [("row", 1), ("column", 0)] {
            let felt = host(felt.clone().max_dim(other)).data;
            let first = felt.iter().position(|&felt| felt > 0.0).unwrap();
            let last = felt.iter().rposition(|&felt| felt > 0.0).unwrap();
            assert!(first > 0 && last + 1 < SIDE, "the field is cut off: stage {stage}");
            let middle = (f64::midpoint(first as f64, last as f64) + 0.5) / SIDE as f64;
            // Half a pixel is rounding; half a cell would be four or more.
            assert!((middle - cells.middle(cell)).abs() * (SIDE as f64) < 1.5, "{axis} of stage {stage}: {middle}");
        }
    }
    let cells = |config: Value| {
        let config: ImageEncoderConfig = serde_json::from_value(config).unwrap();
        config.cells(64)
    };
    let heads =
        json!({"kind": "vit", "image_size": 64, "patch_size": 16, "hidden_size": 8, "num_layers": 1, "num_heads": 2});
    assert_eq!(cells(heads), Some(Cells { first: 0.125, step: 0.25 }));
    assert_eq!(cells(json!({"kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1]})), None);
}
