//! Swin transformers against timm: `scripts/golden/swin.py`.

use burn::module::Module;
use model::image::swin::{Swin, SwinConfig};
use model::image::{ImageEncoderConfig, ImageFeatures};
use model::weights::collect;

use super::support::{Golden, STACK, assert_all_close, assert_close, device, gradients, host, shapes};

fn load() -> (Golden, Swin) {
    let golden = Golden::read("swin");
    let config: SwinConfig = golden.0.metadata_json("config").unwrap();
    config.validate().unwrap();
    let model = golden.load(config.init(&device().autodiff()), "param.");
    (golden, model)
}

fn assert_features(golden: &Golden, features: &ImageFeatures) {
    assert_close("features", &host(features.global.clone()), golden.host("features"), STACK);
    assert_close("local", &host(features.local.clone().unwrap()), golden.host("local"), STACK);
    assert!(features.attention.is_none());
}

#[test]
fn features_and_gradients() {
    let (golden, model) = load();
    assert_features(&golden, &model.valid().forward(golden.tensor("images", &device())));
    let device = device().autodiff();
    let features = model.forward(golden.tensor("images", &device));
    assert_features(&golden, &features);
    let total = (features.global * golden.tensor::<2>("weights.features", &device)).sum()
        + (features.local.unwrap() * golden.tensor::<3>("weights.local", &device)).sum();
    let grads = gradients(total.backward(), &model);
    assert_all_close("gradients", &grads, &golden.under("grad."), STACK);
}

#[test]
fn names_and_shapes_are_those_of_timm() {
    let (golden, model) = load();
    assert_eq!(shapes(&collect(&model)), shapes(&golden.under("param.")));
    // Swin-T of timm without the classifier: 27.5 million parameters.
    let tiny: ImageEncoderConfig = serde_json::from_str(r#"{"kind": "swin"}"#).unwrap();
    tiny.validate().unwrap();
    assert_eq!((tiny.feature_size(), tiny.image_size()), (768, Some(224)));
    assert_eq!(tiny.init(&device()).num_params(), 27_519_354);
}

#[test]
fn values_that_make_no_network_are_named() {
    let tiny: SwinConfig = serde_json::from_str("{}").unwrap();
    for (config, field) in [
        (SwinConfig { image_size: 225, ..tiny.clone() }, "image_size"),
        (SwinConfig { image_size: 256, ..tiny.clone() }, "image_size"),
        (SwinConfig { heads: vec![3, 6, 12], ..tiny.clone() }, "heads"),
        (SwinConfig { heads: vec![5, 6, 12, 24], ..tiny.clone() }, "heads"),
        (SwinConfig { stages: vec![2, 0, 6, 2], ..tiny.clone() }, "stages"),
        (SwinConfig { window_size: 0, ..tiny.clone() }, "window_size"),
        (SwinConfig { in_channels: 2, ..tiny }, "in_channels"),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(&format!("swin.{field}")), "{message}");
    }
}
