//! Targets of crate `model`. Each takes any bytes and panics where a promise of the crate is broken.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use model::weights::torch::TorchFile;
use model::weights::{WeightsFile, encode};

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 2] = [("torch_file", torch_file), ("weights_file", weights_file)];

/// A weights file that is accepted is one whose tensors fit its bytes, and it is written and read as the same.
pub fn weights_file(input: &[u8]) {
    let path = Path::new("input.safetensors");
    let Ok(file) = WeightsFile::parse(path, input) else { return };
    let values: usize = file.tensors.values().map(|tensor| tensor.data.len()).sum();
    // The smallest number that is read has two bytes.
    assert!(2 * values <= input.len(), "{values} values of {} bytes", input.len());
    for tensor in file.tensors.values() {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
    }
    let mut metadata: BTreeMap<String, String> = file.metadata.clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    let again = WeightsFile::parse(path, &encode(&file.tensors, &metadata)).unwrap();
    assert_eq!(again.metadata, metadata);
    // By bits, since NaN is unlike itself.
    let bits = |file: &WeightsFile| -> Vec<(String, Vec<usize>, Vec<u32>)> {
        let tensors = file.tensors.iter();
        tensors.map(|(n, t)| (n.clone(), t.shape.clone(), t.data.iter().map(|v| v.to_bits()).collect())).collect()
    };
    assert_eq!(bits(&again), bits(&file));
}

/// A checkpoint that is accepted is one whose tensors can be read, each of the size that its type and shape tell.
pub fn torch_file(input: &[u8]) {
    let Ok(file) = TorchFile::from_reader(Path::new("input.pt"), Cursor::new(input.to_vec())) else { return };
    assert!(TorchFile::is_torch(input));
    for (name, info) in file.tensors() {
        let numbers = info.shape.iter().product::<usize>();
        // Repeated numbers can be many; a few mebibytes of them tell as much.
        if numbers < 1 << 20 {
            assert_eq!(file.read(name).unwrap().bytes.len(), numbers * info.dtype.bitsize() / 8, "{name}");
        }
    }
}
