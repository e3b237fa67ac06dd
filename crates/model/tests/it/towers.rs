//! What other systems' towers add, against torch and transformers: `scripts/golden/towers.py`.

use burn::module::Module;
use burn::tensor::Tensor;
use model::ops::resize_bilinear;
use model::projection::ProjectionConfig;
use model::text::TextInput;
use model::text::bert::{BertConfig, Pooling};

use super::support::{Golden, MODULE, STACK, assert_all_close, assert_close, device, gradients, host};

fn check_pooling(name: &str, change: impl Fn(&mut BertConfig)) {
    let golden = Golden::read("towers");
    let mut config: BertConfig = golden.0.metadata_json("config").unwrap();
    change(&mut config);
    config.validate().unwrap();
    let mut params = golden.under("bert.param.");
    if config.type_vocab_size == 0 {
        params.remove("embeddings.token_type_embeddings.weight");
    }
    let model = model::weights::apply(config.init(&device().autodiff()), params, "towers".as_ref()).unwrap();
    let input = |device| TextInput {
        input_ids: golden.ids("input_ids", device),
        padding: golden.padding("attention_mask", device),
    };
    let want = golden.host(&format!("bert.{name}.features"));
    let plain = device();
    assert_close(name, &host(model.valid().forward(input(&plain), None).global), want, STACK);
    let tracked = device().autodiff();
    let features = model.forward(input(&tracked), None).global;
    assert_close(name, &host(features.clone()), want, STACK);
    let mut grads = gradients((features * golden.tensor("weights", &tracked)).sum().backward(), &model);
    let want = golden.under(&format!("bert.{name}.grad."));
    grads.retain(|name, _| want.contains_key(name));
    assert!(want.len() >= 2, "{name} has gradients to compare");
    assert_all_close(name, &grads, &want, STACK);
}

#[test]
fn poolings_of_texts() {
    for (name, pooling, layers) in [
        ("max", Pooling::Max, vec![]),
        ("mean", Pooling::Mean, vec![]),
        ("padded_mean", Pooling::PaddedMean, vec![]),
        ("cls", Pooling::Cls, vec![]),
        ("medclip", Pooling::PaddedMean, vec![1, 2, 3]),
        ("gloria", Pooling::Mean, vec![2, 3]),
    ] {
        check_pooling(name, |config| {
            config.pooling = pooling;
            config.pooled_layers.clone_from(&layers);
        });
    }
}

#[test]
fn texts_without_positions_and_segments() {
    check_pooling("zero_positions", |config| {
        config.pooling = Pooling::Cls;
        config.zero_positions = true;
        config.type_vocab_size = 0;
    });
}

#[test]
fn a_frozen_part_pools_the_same() {
    let golden = Golden::read("towers");
    let config: BertConfig = golden.0.metadata_json("config").unwrap();
    let config = BertConfig { pooling: Pooling::PaddedMean, pooled_layers: vec![1, 2, 3], ..config };
    let tracked = device().autodiff();
    let model = golden.load(config.init(&tracked), "bert.param.");
    let input =
        TextInput { input_ids: golden.ids("input_ids", &tracked), padding: golden.padding("attention_mask", &tracked) };
    let features = model.forward(input, Some(2)).global;
    assert_close("frozen", &host(features), golden.host("bert.medclip.features"), STACK);
}

#[test]
fn layers_that_do_not_exist_are_refused() {
    let config: BertConfig = Golden::read("towers").0.metadata_json("config").unwrap();
    let config = BertConfig { pooled_layers: vec![1, 4], ..config };
    assert!(config.validate().unwrap_err().to_string().contains("use 1 to num_layers"));
}

#[test]
fn images_are_enlarged_corner_on_corner() {
    let golden = Golden::read("towers");
    let tracked = device().autodiff();
    let x = golden.tensor::<4>("resize.input", &tracked).require_grad();
    let y = resize_bilinear(x.clone(), 9);
    assert_close("enlarged", &host(y.clone()), golden.host("resize.output"), MODULE);
    let mut grads = (y * golden.tensor("resize.weights", &tracked)).sum().backward();
    let grad: Tensor<4> = x.grad_remove(&mut grads).unwrap();
    assert_close("gradient of the input", &host(grad), golden.host("resize.grad_input"), MODULE);
}

#[test]
fn heads_of_other_systems() {
    let golden = Golden::read("towers");
    let tracked = device().autodiff();
    let cases = [
        ("medclip_head", ProjectionConfig::Linear { bias: false }),
        ("mgca_head", ProjectionConfig::Mlp { hidden_size: Some(8), batch_norm: true, out_affine: false }),
    ];
    for (name, config) in cases {
        let head = golden.load(config.init(6, 4, &tracked), &format!("{name}.param."));
        let x = golden.tensor::<2>(&format!("{name}.input"), &tracked).require_grad();
        let y = head.forward(x.clone());
        assert_close(name, &host(y.clone()), golden.host(&format!("{name}.output")), MODULE);
        let mut grads = (y * golden.tensor(&format!("{name}.weights"), &tracked)).sum().backward();
        let grad: Tensor<2> = x.grad_remove(&mut grads).unwrap();
        assert_close(name, &host(grad), golden.host(&format!("{name}.grad_input")), MODULE);
        assert_all_close(name, &gradients(grads, &head), &golden.under(&format!("{name}.grad.")), MODULE);
    }
}
