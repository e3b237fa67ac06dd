//! Vision transformers against timm: `scripts/golden/vit.py`.

use burn::module::Module;
use burn::tensor::Tensor;
use model::image::vit::{Vit, VitConfig};
use model::image::{ImageEncoderConfig, ImageFeatures};
use model::weights::collect;

use super::support::{Golden, STACK, assert_all_close, assert_close, device, gradients, host, shapes};

const CASES: [&str; 2] = ["vit", "vit_layer_scale"];

fn load(name: &str) -> (Golden, Vit) {
    let golden = Golden::read(name);
    let config: VitConfig = golden.0.metadata_json("config").unwrap();
    config.validate().unwrap();
    let model = golden.load(config.init(&device().autodiff()), "param.");
    (golden, model)
}

fn assert_features(golden: &Golden, features: &ImageFeatures) {
    assert_close("features", &host(features.global.clone()), golden.host("features"), STACK);
    assert_close("local", &host(features.local.clone().unwrap()), golden.host("local"), STACK);
    assert_close("attention", &host(features.attention.clone().unwrap()), golden.host("attention"), STACK);
}

#[test]
fn features_attention_and_gradients() {
    for name in CASES {
        let (golden, model) = load(name);
        assert_features(&golden, &model.valid().forward(golden.tensor("images", &device())));
        let device = device().autodiff();
        let features = model.forward(golden.tensor("images", &device));
        assert_features(&golden, &features);
        let total = (features.global * golden.tensor::<2>("weights.features", &device)).sum()
            + (features.local.unwrap() * golden.tensor::<3>("weights.local", &device)).sum()
            + (features.attention.unwrap() * golden.tensor::<4>("weights.attention", &device)).sum();
        let grads = gradients(total.backward(), &model);
        assert_all_close(name, &grads, &golden.under("grad."), STACK);
    }
}

#[test]
fn names_and_shapes_are_those_of_timm() {
    for name in CASES {
        let (golden, model) = load(name);
        assert_eq!(shapes(&collect(&model)), shapes(&golden.under("param.")));
    }
    // B/16 of timm: 85.8 million parameters without the classifier.
    let base: ImageEncoderConfig = serde_json::from_str(r#"{"kind": "vit"}"#).unwrap();
    assert_eq!((base.feature_size(), base.in_channels()), (768, 3));
    let ImageEncoderConfig::Vit(base) = base else { panic!("another encoder") };
    assert_eq!(VitConfig { num_layers: 1, ..base }.init(&device()).num_params(), 85_798_656 - 11 * 7_087_872);
}

#[test]
fn a_fresh_network_attends_and_scales_as_configured() {
    let config = VitConfig { layer_scale: Some(1e-5), ..Golden::read("vit").0.metadata_json("config").unwrap() };
    let device = device();
    let model = config.init(&device);
    let images = Tensor::<4>::ones([2, 3, 12, 12], &device);
    let features = model.forward(images);
    let rows = host(features.attention.unwrap().sum_dim(3)).data;
    assert!(rows.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "attention sums to one");
    assert!(collect(&model)["blocks.0.ls1.gamma"].data.iter().all(|value| (value - 1e-5).abs() < 1e-9));
}

#[test]
fn values_that_make_no_network_are_named() {
    let base: VitConfig = serde_json::from_str("{}").unwrap();
    base.validate().unwrap();
    for (config, field) in [
        (VitConfig { image_size: 225, ..base.clone() }, "image_size"),
        (VitConfig { patch_size: 0, ..base.clone() }, "image_size"),
        (VitConfig { num_heads: 7, ..base.clone() }, "num_heads"),
        (VitConfig { num_layers: 0, ..base.clone() }, "num_layers"),
        (VitConfig { in_channels: 2, ..base }, "in_channels"),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(&format!("vit.{field}")), "{message}");
    }
}
