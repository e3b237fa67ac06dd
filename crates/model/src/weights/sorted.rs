//! Names of a file by what becomes of them.

use std::collections::BTreeMap;

use super::import::CARRIED;
use super::rules::{Layout, Place};
use super::source::Source;
use super::tensor::TensorInfo;

/// A tensor that is kept but not modelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedTensor {
    /// Its name in the opened file.
    pub source: String,
    /// What it is.
    pub what: &'static str,
}

/// Names of a file sorted by what becomes of them.
#[derive(Default)]
pub(super) struct Sorted {
    /// Names of the file that join to one of ours.
    pub pieces: BTreeMap<String, Vec<String>>,
    /// Tensors kept but not modelled, by the names that they had first.
    pub carried: BTreeMap<String, CarriedTensor>,
    /// Names that no rule knows.
    pub unknown: Vec<String>,
    /// Parts of tensors that are joined: our name and which part, of how many.
    parts: BTreeMap<String, BTreeMap<usize, String>>,
}

impl Sorted {
    /// Sorts a name of a file: `wrapper` stands before every one, `prefix` before those of the towers.
    pub(super) fn add(&mut self, name: &str, wrapper: &str, prefix: &str, layout: &Layout) {
        let plain = &name[wrapper.len()..];
        // Heads of a Hugging Face model stand beside its prefix.
        let place = match plain.strip_prefix(prefix) {
            Some(inner) => layout.place(inner),
            None => layout.carries(plain).map(Place::Carried),
        };
        match place {
            Some(Place::Tensor(native, part, _)) => {
                let parts = self.parts.entry(native).or_default();
                if let Some(other) = parts.insert(part, name.to_owned()) {
                    // Two spellings of one tensor: neither may win.
                    self.unknown.push(other);
                }
            }
            Some(Place::Carried(what)) => {
                let first = plain.strip_prefix(CARRIED).unwrap_or(plain).to_owned();
                self.carried.insert(first, CarriedTensor { source: name.to_owned(), what });
            }
            None => self.unknown.push(name.to_owned()),
        }
    }

    /// Types and shapes of our tensors, and names of parts that do not belong together.
    pub(super) fn join(&mut self, source: &Source) -> (BTreeMap<String, TensorInfo>, Vec<String>) {
        let mut tensors = BTreeMap::new();
        let mut incomplete = Vec::new();
        for (native, parts) in std::mem::take(&mut self.parts) {
            let names: Vec<String> = parts.into_values().collect();
            let infos: Vec<&TensorInfo> = names.iter().map(|name| &source.tensors[name]).collect();
            let alike = |info: &&TensorInfo| info.dtype == infos[0].dtype && info.shape == infos[0].shape;
            let whole = names.len() == 1 || (names.len() == 3 && infos.iter().all(alike) && !infos[0].shape.is_empty());
            // Query, key and value: two of three are none.
            if !whole || (names.len() == 1 && native.contains(".qkv.") && is_part(&names[0])) {
                incomplete.extend(names);
                continue;
            }
            let mut info = infos[0].clone();
            if names.len() > 1 {
                info.shape[0] *= names.len();
            }
            tensors.insert(native.clone(), info);
            self.pieces.insert(native, names);
        }
        (tensors, incomplete)
    }
}

/// Whether a name is that of one of three tensors that are joined.
fn is_part(name: &str) -> bool {
    [".query.", ".key.", ".value."].iter().any(|part| name.contains(part))
}
