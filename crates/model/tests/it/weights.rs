//! Loading is strict, saving is exact, names are those of torchvision and transformers.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use model::image::resnet::{ResNet, ResNetConfig};
use model::text::bert::{Bert, BertConfig};
use model::weights::{self, HostTensor, Mismatch, TensorMap, WeightsFile, encode, keys};
use model::{ModelError, weights::apply};

use super::support::{Golden, device};

const CONV: &str = "layer2.0.downsample.0.weight";

fn resnet() -> ResNet {
    let config: ResNetConfig = Golden::read("resnet_basic").0.metadata_json("config").unwrap();
    config.init(&device())
}

fn bert() -> Bert {
    let config: BertConfig = Golden::read("bert").0.metadata_json("config").unwrap();
    config.init(&device())
}

/// torchvision's whole `state_dict`, its classifier and counters with it.
fn torchvision() -> TensorMap {
    Golden::read("resnet_basic").under("param.")
}

fn rejected(tensors: TensorMap) -> (Mismatch, String) {
    let error = apply(resnet(), tensors, Path::new("some.safetensors")).unwrap_err();
    let message = error.to_string();
    let ModelError::Mismatch { path, report } = error else { panic!("{message}") };
    assert_eq!(path, Path::new("some.safetensors"));
    assert!(message.contains("some.safetensors"), "{message}");
    (*report, message)
}

#[test]
fn a_missing_tensor_is_named() {
    let mut tensors = torchvision();
    tensors.remove(CONV).unwrap();
    let (report, message) = rejected(tensors);
    assert_eq!(report, Mismatch { missing: vec![(CONV.to_owned(), vec![])], ..Mismatch::default() });
    assert!(message.contains(CONV), "{message}");
}

#[test]
fn an_unused_tensor_is_named_and_offered_for_the_missing_one() {
    let mut tensors = torchvision();
    let tensor = tensors.remove(CONV).unwrap();
    tensors.insert("encoder.layer2.0.downsample.0.weight".to_owned(), tensor);
    let (report, message) = rejected(tensors);
    let other = "encoder.layer2.0.downsample.0.weight".to_owned();
    assert_eq!(report.missing, [(CONV.to_owned(), vec![other.clone()])]);
    assert_eq!(report.unused, [other]);
    assert!(message.contains(&format!("missing {CONV} (nearest in the file: encoder.")), "{message}");
}

#[test]
fn another_shape_is_named_with_both_shapes() {
    let mut tensors = torchvision();
    // The same number of values in another order of axes is another shape too.
    let tensor = tensors.get_mut(CONV).unwrap();
    tensor.shape = vec![3, 6, 1, 1];
    let (report, message) = rejected(tensors);
    assert_eq!(report.misshapen, [(CONV.to_owned(), vec![6, 3, 1, 1], vec![3, 6, 1, 1])]);
    assert!(message.contains("[6, 3, 1, 1]") && message.contains("[3, 6, 1, 1]"), "{message}");
}

#[test]
fn values_that_are_not_finite_are_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut tensors = torchvision();
        *tensors.get_mut("bn1.running_var").unwrap().data.last_mut().unwrap() = bad;
        let (report, message) = rejected(tensors);
        assert_eq!(report.non_finite, ["bn1.running_var"]);
        assert!(message.contains("bn1.running_var"), "{message}");
    }
}

#[test]
fn heads_and_counters_that_no_encoder_has_are_passed_over() {
    let mut tensors = torchvision();
    assert!(tensors.contains_key("fc.weight"), "the golden holds torchvision's classifier");
    let one = HostTensor { shape: vec![1], data: vec![1.0] };
    tensors.insert("bn1.num_batches_tracked".to_owned(), one.clone());
    apply(resnet(), tensors, Path::new("x")).unwrap();

    // A masked language model as transformers writes it: everything under `bert.`, heads beside it.
    let golden = Golden::read("bert").under("param.");
    assert!(golden.contains_key("pooler.dense.weight"), "the golden holds transformers' pooler");
    let mut tensors: TensorMap = golden.into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor)).collect();
    tensors.insert("bert.embeddings.position_ids".to_owned(), one.clone());
    tensors.insert("cls.predictions.bias".to_owned(), one.clone());
    let bare = |tensors: TensorMap| -> TensorMap {
        tensors.into_iter().map(|(name, tensor)| (keys::strip_encoder_prefix(&name).to_owned(), tensor)).collect()
    };
    apply(bert(), bare(tensors.clone()), Path::new("x")).unwrap();
    tensors.insert("bert.encoder.layer.2.output.dense.bias".to_owned(), one);
    assert!(apply(bert(), bare(tensors), Path::new("x")).is_err(), "a layer too many must not pass");
}

#[test]
fn names_and_shapes_are_those_of_torch() {
    let shapes = |tensors: TensorMap| -> BTreeMap<String, Vec<usize>> {
        tensors
            .into_iter()
            .filter(|(name, _)| !keys::carries_nothing(name))
            .map(|(name, tensor)| (name, tensor.shape))
            .collect()
    };
    assert_eq!(shapes(weights::collect(&resnet())), shapes(torchvision()));
    assert_eq!(shapes(weights::collect(&bert())), shapes(Golden::read("bert").under("param.")));
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let model = apply(bert(), Golden::read("bert").under("param."), Path::new("x")).unwrap();
    let mut expected = Golden::read("bert").under("param.");
    expected.retain(|name, _| !keys::carries_nothing(name));
    assert_eq!(weights::collect(&model), expected);

    let model = apply(resnet(), torchvision(), Path::new("x")).unwrap();
    let metadata = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    let bytes = encode(&weights::collect(&model), &metadata);
    let file = WeightsFile::parse(Path::new("x"), &bytes).unwrap();
    let copy = apply(resnet(), file.tensors, Path::new("x")).unwrap();
    assert_eq!(encode(&weights::collect(&copy), &metadata), bytes);
}

#[test]
fn running_statistics_that_moved_are_saved() {
    let model = resnet().train();
    let before = weights::collect(&model);
    model.forward(Tensor::ones([2, 1, 32, 32], &device().autodiff()));
    let after = weights::collect(&model);
    assert_ne!(before["bn1.running_var"], after["bn1.running_var"]);
    let weights =
        |map: &TensorMap| map.iter().filter(|(k, _)| !k.contains("running")).map(|(_, v)| v.clone()).collect();
    let (before, after): (Vec<HostTensor>, Vec<HostTensor>) = (weights(&before), weights(&after));
    assert_eq!(before, after, "a forward pass changes no parameter");
}

#[test]
fn loading_replaces_statistics_that_moved() {
    let model = resnet().train();
    model.forward(Tensor::ones([2, 1, 32, 32], &device().autodiff()));
    let model = apply(model, torchvision(), Path::new("x")).unwrap();
    let mut expected = torchvision();
    expected.retain(|name, _| !keys::carries_nothing(name));
    assert_eq!(weights::collect(&model), expected);
}
