//! BERT against transformers: `scripts/golden/bert.py`.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Gradients, Tensor};
use model::text::bert::{Bert, BertConfig};
use model::text::frozen::FrozenStates;
use model::text::{TextFeatures, TextInput};
use model::weights::TensorMap;

use super::support::{Golden, STACK, assert_all_close, assert_close, device, gradients, host};

fn load(dropout: f64) -> (Golden, Bert) {
    let golden = Golden::read("bert");
    let config: BertConfig = golden.0.metadata_json("config").unwrap();
    let config = BertConfig { dropout, ..config };
    config.validate().unwrap();
    let model = golden.load(config.init(&device().autodiff()), "param.");
    (golden, model)
}

fn input(golden: &Golden, device: &Device) -> TextInput {
    TextInput { input_ids: golden.ids("input_ids", device), padding: golden.padding("attention_mask", device) }
}

/// Token vectors with zeros at padding, where transformers and this project may hold anything.
fn true_tokens(golden: &Golden, features: &TextFeatures) -> Tensor<3> {
    let padding = golden.padding("attention_mask", &features.tokens.device());
    let [b, t, d] = features.tokens.dims();
    features.tokens.clone().mask_fill(padding.reshape([b, t, 1]).expand([b, t, d]), 0.0)
}

fn backward(golden: &Golden, features: &TextFeatures) -> Gradients {
    let device = features.global.device();
    let pooled = features.global.clone() * golden.tensor("weights.features", &device);
    let tokens = true_tokens(golden, features) * golden.tensor("weights.tokens", &device);
    (pooled.sum() + tokens.sum()).backward()
}

fn assert_features(golden: &Golden, features: &TextFeatures) {
    assert_close("tokens", &host(true_tokens(golden, features)), golden.host("tokens"), STACK);
    assert_close("features", &host(features.global.clone()), golden.host("features"), STACK);
}

/// Gradients of the whole network under names that `keep` lets pass; the pooler has none.
fn whole_gradients(golden: &Golden, keep: impl Fn(&str) -> bool) -> TensorMap {
    golden.under("grad.").into_iter().filter(|(name, _)| keep(name)).collect()
}

#[test]
fn features_and_gradients() {
    let (golden, model) = load(0.0);
    assert_features(&golden, &model.valid().forward(input(&golden, &device()), None));
    let features = model.forward(input(&golden, &device().autodiff()), None);
    assert_features(&golden, &features);
    let grads = gradients(backward(&golden, &features), &model);
    assert_all_close("gradients", &grads, &whole_gradients(&golden, |_| true), STACK);
}

#[test]
fn padding_changes_nothing() {
    let (golden, model) = load(0.0);
    let plain = device();
    let texts = input(&golden, &plain);
    let whole = host(model.valid().forward(texts.clone(), None).global);
    // The third text has two tokens: alone and without padding it must have the same features.
    let alone = TextInput {
        input_ids: texts.input_ids.clone().slice([2..3, 0..2]),
        padding: texts.padding.clone().slice([2..3, 0..2]),
    };
    let alone = host(model.valid().forward(alone, None).global);
    let d = alone.shape[1];
    assert_close("features", &alone, &weights_row(&whole, 2, d), STACK);
    // Another id where there is padding is not seen.
    let other = TextInput { input_ids: texts.input_ids.mask_fill(texts.padding.clone(), 7), padding: texts.padding };
    assert_close("features", &host(model.valid().forward(other, None).global), &whole, STACK);
}

fn weights_row(tensor: &model::weights::HostTensor, row: usize, d: usize) -> model::weights::HostTensor {
    model::weights::HostTensor { shape: vec![1, d], data: tensor.data[row * d..(row + 1) * d].to_vec() }
}

#[test]
fn below_the_frozen_boundary_there_are_no_gradients() {
    let (golden, model) = load(0.0);
    let frozen = Golden::read("bert_frozen");
    let layers: usize = frozen.0.metadata_json("frozen_layers").unwrap();
    let features = model.forward(input(&golden, &device().autodiff()), Some(layers));
    assert_features(&golden, &features);
    let grads = gradients(backward(&golden, &features), &model);
    assert_all_close("gradients", &grads, &frozen.under("grad."), STACK);
}

/// Kept or computed, the first time and the second, values and gradients are those of transformers; kept ones are the same bits.
#[test]
fn frozen_states_can_be_kept() {
    let (golden, model) = load(0.0);
    let frozen = Golden::read("bert_frozen");
    let layers: usize = frozen.0.metadata_json("frozen_layers").unwrap();
    let states = Arc::new(FrozenStates::in_memory(1 << 20));
    let model = model.keeping(Arc::clone(&states));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let features = model.forward(input(&golden, &device().autodiff()), Some(layers));
        assert_features(&golden, &features);
        seen.push(host(features.global.clone()).data);
        let grads = gradients(backward(&golden, &features), &model);
        assert_all_close("gradients", &grads, &frozen.under("grad."), STACK);
        // On the plain device, too.
        assert_features(&golden, &model.forward(input(&golden, &device()), Some(layers)));
    }
    assert_eq!(seen[0], seen[1]);
    let (texts, bytes) = states.size();
    assert!(texts > 0 && bytes > 0, "nothing was kept");
    // What is kept of a text does not depend on the texts beside it.
    let alone = |ids: TextInput, row: usize| TextInput {
        input_ids: ids.input_ids.narrow(0, row, 1),
        padding: ids.padding.narrow(0, row, 1),
    };
    let (_, fresh) = load(0.0);
    let fresh = fresh.keeping(Arc::new(FrozenStates::in_memory(1 << 20)));
    for row in 0..input(&golden, &device()).input_ids.dims()[0] {
        let input = || alone(input(&golden, &device()), row);
        assert_eq!(
            host(model.forward(input(), Some(layers)).tokens).data,
            host(fresh.forward(input(), Some(layers)).tokens).data
        );
    }
}

#[test]
fn embeddings_alone_can_be_frozen() {
    let (golden, model) = load(0.0);
    let features = model.forward(input(&golden, &device().autodiff()), Some(0));
    let grads = gradients(backward(&golden, &features), &model);
    let expected = whole_gradients(&golden, |name| !name.starts_with("embeddings."));
    assert_all_close("gradients", &grads, &expected, STACK);
}

#[test]
fn below_the_frozen_boundary_there_is_no_graph_and_no_dropout() {
    let (golden, model) = load(0.5);
    let texts = input(&golden, &device().autodiff());
    let all = model.forward(texts.clone(), Some(2));
    assert!(all.tokens.is_autodiff() && !all.tokens.is_tracked(), "a frozen network records a graph");
    // With dropout the values would differ from transformers' by tens of per cent.
    assert_features(&golden, &all);
    // Above the boundary dropout is on: two passes differ.
    let half = || host(model.forward(texts.clone(), Some(1)).global);
    assert_ne!(half(), half());
    assert_ne!(host(model.forward(texts.clone(), None).global), *golden.host("features"));
}

#[test]
fn a_text_that_is_all_padding_stays_finite() {
    let (golden, model) = load(0.0);
    let tracked = device().autodiff();
    let texts = input(&golden, &tracked);
    let [b, t] = texts.padding.dims();
    let rows =
        Tensor::cat(vec![texts.padding.clone().slice([0..b - 1, 0..t]).float(), Tensor::ones([1, t], &tracked)], 0);
    let features = model.forward(TextInput { padding: rows.equal_scalar(1.0), ..texts }, None);
    let grads = gradients(features.global.clone().slice([0..b - 1, 0..32]).sum().backward(), &model);
    assert!(host(features.global).data.iter().all(|value| value.is_finite()));
    assert!(grads.values().all(|tensor| tensor.data.iter().all(|value| value.is_finite())));
}
