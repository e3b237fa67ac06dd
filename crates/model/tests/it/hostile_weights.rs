//! Damaged and hostile safetensors files end in an error, with bounded memory, and nothing is loaded of them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use model::weights::{HostTensor, TensorMap, Weights, encode};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::Golden;

fn good() -> Vec<u8> {
    encode(&Golden::read("vit").under("param."), &BTreeMap::new())
}

/// A file with this header and so many bytes behind it.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

/// Opens, checks and loads; what went wrong.
fn refusal(folder: &Path, bytes: &[u8]) -> Option<String> {
    let path = folder.join("weights.safetensors");
    data::fsx::write_atomic(&path, bytes).unwrap();
    let device = Device::flex();
    let loaded = Weights::open(&path).and_then(|found| {
        found.check(&device)?;
        let config = found.card.model.image().unwrap().clone();
        found.load(config.init(&device), "image_encoder.").map(|_| ())
    });
    loaded.err().map(|error| error.to_string())
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    data::fsx::write_atomic(&folder.path().join("config.json"), br#"{"num_heads": 4}"#).unwrap();
    folder
}

#[test]
fn damaged_files_are_refused() {
    let folder = folder();
    let good = good();
    assert_eq!(refusal(folder.path(), &good), None, "the file is good before it is damaged");
    let size = u64::from_le_bytes(*good.first_chunk::<8>().unwrap());
    let header = std::str::from_utf8(&good[8..8 + usize::try_from(size).unwrap()]).unwrap();
    let data = good.len() - 8 - header.len();
    let changed = |from: &str, to: &str| {
        assert!(header.contains(from), "{from}");
        [with_header(&header.replacen(from, to, 1), 0), good[good.len() - data..].to_vec()].concat()
    };
    let sized = |size: u64| [&size.to_le_bytes()[..], &good[8..]].concat();
    let tensor = |entry: &str, data: usize| with_header(&format!(r#"{{"cls_token":{entry}}}"#), data);
    let f32_of =
        |shape: &str, from: u64, to: u64| format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#);
    let twice = format!(r#"{{"a":{},"b":{}}}"#, f32_of("[2]", 0, 8), f32_of("[2]", 4, 12));
    let gap = format!(r#"{{"a":{},"b":{}}}"#, f32_of("[1]", 0, 4), f32_of("[1]", 8, 12));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<String> = (0..20_001).map(|i| format!(r#""t{i}":{}"#, f32_of("[0]", 0, 0))).collect();
    let mutated: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("seven bytes", good[..7].to_vec()),
        ("no header", good[..8].to_vec()),
        ("half a header", good[..8 + header.len() / 2].to_vec()),
        ("no data", good[..8 + header.len()].to_vec()),
        ("the last byte is missing", good[..good.len() - 1].to_vec()),
        ("one byte too many", [&good[..], &[0]].concat()),
        ("a header of zero bytes", sized(0)),
        ("a header larger than the file", sized(good.len() as u64)),
        ("a header of all memory", sized(u64::MAX)),
        ("a header just over the limit", sized((16 << 20) + 1)),
        ("a header that ends in the data", sized(size + 8)),
        ("a header that is no JSON", with_header("not json", 0)),
        ("a header that is a list", with_header("[1, 2]", 0)),
        ("a header that is not UTF-8", with_header_bytes(&[0xff; 16])),
        ("a deep header", with_header(&deep, 0)),
        ("an unknown type", changed(r#""dtype":"F32""#, r#""dtype":"F33""#)),
        ("numbers of another size", changed(r#""dtype":"F32""#, r#""dtype":"F64""#)),
        ("a negative offset", tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}"#, 4)),
        ("offsets backwards", tensor(&f32_of("[1]", 4, 0), 4)),
        ("offsets behind the end", tensor(&f32_of("[4]", 0, 16), 4)),
        ("a shape larger than its bytes", tensor(&f32_of("[1024]", 0, 4), 4)),
        ("a shape that overflows", tensor(&f32_of("[4294967296,4294967296,4294967296]", 0, 4), 4)),
        ("tensors over each other", with_header(&twice, 12)),
        ("a hole between tensors", with_header(&gap, 12)),
        ("too many tensors", with_header(&format!("{{{}}}", many.join(",")), 0)),
        ("metadata that is no text", with_header(r#"{"__metadata__":{"a":1}}"#, 0)),
        ("a card that is no card", with_header(r#"{"__metadata__":{"roentgen":"{}"}}"#, 0)),
        ("another format", b"GIF89a and so on, long enough to be a header".to_vec()),
        ("JSON alone", br#"{"weights": "here"}"#.to_vec()),
    ];
    for (what, bytes) in &mutated {
        let message = refusal(folder.path(), bytes);
        assert!(message.as_ref().is_some_and(|text| text.contains("weights.safetensors")), "{what}: {message:?}");
    }
    assert!(mutated.len() >= 20);
}

fn with_header_bytes(header: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header].concat()
}

#[test]
fn shapes_that_describe_no_network_are_refused() {
    let folder = folder();
    let tensors = Golden::read("vit").under("param.");
    let changed = |name: &str, shape: Vec<usize>| {
        let mut tensors: TensorMap = tensors.clone();
        let data = vec![0.0; shape.iter().product()];
        tensors.insert(name.to_owned(), HostTensor { shape, data });
        refusal(folder.path(), &encode(&tensors, &BTreeMap::new()))
    };
    for (name, shape) in [
        ("cls_token", vec![]),
        ("cls_token", vec![1, 1, 0]),
        ("pos_embed", vec![1, 7, 16]),
        ("pos_embed", vec![1]),
        ("patch_embed.proj.weight", vec![16]),
        ("patch_embed.proj.weight", vec![16, 3, 0, 0]),
        ("patch_embed.proj.weight", vec![16, 2, 4, 4]),
        ("blocks.0.mlp.fc1.weight", vec![0, 16]),
    ] {
        assert!(changed(name, shape.clone()).is_some(), "{name} {shape:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_ends_in_an_error_or_in_numbers(
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        whole in any::<bool>(),
    ) {
        let folder = folder();
        let mut bytes = good();
        for (place, value) in flips {
            // The header is where the harm is: half of the flips go there.
            let reach = if value % 2 == 0 { bytes.len() } else { bytes.len().min(4096) };
            bytes[place.index(reach)] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        // Neither a panic nor a loop: whether it is refused depends on the place.
        let _ = refusal(folder.path(), &bytes);
    }
}
