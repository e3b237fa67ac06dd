//! Loading is strict, saving is exact, names are those of torchvision and transformers.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use model::image::resnet::{ResNet, ResNetConfig};
use model::text::bert::{Bert, BertConfig};
use model::weights::{self, HostTensor, Mismatch, TensorMap, WeightsFile, encode};
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
    Golden::read("resnet_basic").encoder_under("param.")
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
fn names_and_shapes_are_those_of_torch() {
    let shapes = |tensors: TensorMap| -> BTreeMap<String, Vec<usize>> {
        tensors.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect()
    };
    assert_eq!(shapes(weights::collect(&resnet())), shapes(torchvision()));
    assert_eq!(shapes(weights::collect(&bert())), shapes(Golden::read("bert").encoder_under("param.")));
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let model = apply(bert(), Golden::read("bert").encoder_under("param."), Path::new("x")).unwrap();
    let expected = Golden::read("bert").encoder_under("param.");
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
    let expected = torchvision();
    assert_eq!(weights::collect(&model), expected);
}

/// The file of a map of tensors after a change of its header.
fn with_header(tensors: &TensorMap, change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let bytes = encode(tensors, &BTreeMap::new());
    let end = 8 + usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    change(&mut header);
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[end..]].concat()
}

#[test]
fn every_wrong_file_is_refused_by_name_and_nothing_is_loaded() {
    const NORM: &str = "layer1.0.bn1.weight";
    let good = torchvision();
    let changed = |change: &dyn Fn(&mut TensorMap)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        encode(&tensors, &BTreeMap::new())
    };
    let value = |name: &'static str, value: f32| changed(&move |t| t.get_mut(name).unwrap().data[0] = value);
    let shape =
        |name: &'static str, swap: [usize; 2]| changed(&move |t| t.get_mut(name).unwrap().shape.swap(swap[0], swap[1]));
    let whole = encode(&good, &BTreeMap::new());
    let dtype = |name: &'static str, dtype: &'static str| with_header(&good, move |h| h[name]["dtype"] = dtype.into());
    let bottleneck = encode(&Golden::read("resnet_bottleneck").under("param."), &BTreeMap::new());
    let text = encode(&Golden::read("bert").encoder_under("param."), &BTreeMap::new());
    let cases: [(&str, Vec<u8>, &[&str]); 22] = [
        ("another architecture", bottleneck, &["layer1.0.conv3.weight", "unused"]),
        ("another tower", text, &["missing conv1.weight"]),
        ("nothing in it", encode(&TensorMap::new(), &BTreeMap::new()), &["missing conv1.weight"]),
        ("a tensor less", changed(&|t| drop(t.remove(NORM))), &["missing layer1.0.bn1.weight"]),
        ("a tensor more", changed(&|t| drop(t.insert("layer9.weight".into(), t[NORM].clone()))), &["unused layer9"]),
        (
            "a renamed tensor",
            changed(&|t| drop(t.remove(NORM).map(|n| t.insert(format!("x.{NORM}"), n)))),
            &["(nearest in the file: x."],
        ),
        ("a transposed kernel", shape(CONV, [0, 1]), &[CONV, "the model has [", "the file ["]),
        (
            "a flat kernel",
            changed(&|t| t.get_mut(CONV).unwrap().shape = vec![t[CONV].data.len()]),
            &[CONV, "the file ["],
        ),
        (
            "a shorter norm",
            changed(&|t| {
                let n = t.get_mut(NORM).unwrap();
                n.data.pop();
                n.shape[0] -= 1;
            }),
            &[NORM, "the file ["],
        ),
        ("NaN", value(CONV, f32::NAN), &[CONV, "NaN"]),
        ("infinity", value(NORM, f32::INFINITY), &[NORM, "NaN or infinity"]),
        (
            "minus infinity",
            value("layer1.0.bn1.running_var", f32::NEG_INFINITY),
            &["layer1.0.bn1.running_var holds NaN"],
        ),
        ("half the bytes", whole[..whole.len() / 2].to_vec(), &["cut short"]),
        ("a byte too few", whole[..whole.len() - 1].to_vec(), &["cut short"]),
        ("a byte too many", [&whole[..], &[0]].concat(), &["cut short"]),
        ("no bytes", Vec::new(), &["not a safetensors file"]),
        ("a web page", b"<!DOCTYPE html><html>Not found</html>".to_vec(), &["its header would take", "another format"]),
        ("an archive of torch", b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl".to_vec(), &["another format"]),
        (
            "a header of 17 MiB",
            [&(17_u64 << 20).to_le_bytes()[..], &[b' '; 64]].concat(),
            &["its header would take 17825792 bytes"],
        ),
        (
            "double precision",
            with_header(&TensorMap::from([("a".into(), HostTensor { shape: vec![2], data: vec![0.0; 2] })]), |h| {
                h["a"]["dtype"] = "F64".into();
                h["a"]["shape"] = serde_json::json!([1]);
            }),
            &["a holds F64 numbers; save it as F32"],
        ),
        ("numbers of another size", dtype(CONV, "F16"), &["not a safetensors file"]),
        (
            "overlapping tensors",
            with_header(&good, |h| h[NORM]["data_offsets"] = h[CONV]["data_offsets"].clone()),
            &["not a safetensors file"],
        ),
    ];
    for (what, bytes, words) in cases {
        let before = weights::collect(&resnet());
        let module = resnet();
        let result = WeightsFile::parse(Path::new("some.safetensors"), &bytes)
            .and_then(|file| apply(module.clone(), file.tensors, &file.path));
        let message = result.err().unwrap_or_else(|| panic!("{what} was accepted")).to_string();
        assert!(message.contains("some.safetensors"), "{what}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{what}: {message}");
        let after = weights::collect(&module);
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        // Statistics begin as constants: a part that was loaded would show.
        let name = "bn1.running_mean";
        assert_eq!(before[name], after[name], "{what}: a part was loaded");
    }
}

#[test]
fn halves_are_read_as_what_they_are() {
    let values = [0.0_f32, 1.0, -2.5, 65504.0, 6.103_515_6e-5];
    let header = |dtype: &str| {
        let header = serde_json::json!({"a": {"dtype": dtype, "shape": [5], "data_offsets": [0, 10]}}).to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    let f16: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let bf16: Vec<u8> = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    for (dtype, data) in [("F16", f16), ("BF16", bf16)] {
        let file = WeightsFile::parse(Path::new("x"), &[header(dtype), data].concat()).unwrap();
        let read = &file.tensors["a"].data;
        assert_eq!(read[..3], values[..3]);
        // Three digits of BF16, all of F16.
        let tolerance = if dtype == "F16" { 0.0 } else { 1.0 / 256.0 };
        assert!(read.iter().zip(values).all(|(a, b)| (a - b).abs() <= tolerance * b.abs()), "{dtype}: {read:?}");
    }
}
