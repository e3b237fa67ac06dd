//! Weights in and out under the names of torchvision and Hugging Face.
//!
//! A module becomes a [`TensorMap`]: names joined by dots, linear weights transposed to `(out, in)`, gamma and beta renamed.
//! Loading is strict: every tensor of the model must be in the file with its shape, and every tensor of the file must be
//! wanted, apart from heads and counters that `layout` names for each kind of file.

mod export;
pub mod family;
mod file;
mod import;
mod infer;
mod keys;
mod layout;
mod module;
mod positions;
mod preprocess;
pub mod rules;
mod sorted;
mod source;
pub mod stored;
mod tensor;
pub mod torch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use burn::module::Module;

pub use export::{Export, Target};
pub use file::{WeightsFile, encode};
pub use import::{CARD_FILE, Origin, Weights};
pub use sorted::CarriedTensor;
pub use source::Source;
pub use tensor::{RawTensor, TensorInfo};

use crate::{ModelError, Result};

/// A tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes of the axes, slowest first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

/// Tensors by name, in the order of their names.
pub type TensorMap = BTreeMap<String, HostTensor>;

/// How the tensors of a file differ from those of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Names that the model needs and the file lacks, each with the nearest unused names of the file.
    pub missing: Vec<(String, Vec<String>)>,
    /// Names of the file that the model has no place for.
    pub unused: Vec<String>,
    /// Name, shape in the model, shape in the file.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Names of tensors that hold NaN or infinity.
    pub non_finite: Vec<String>,
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misshapen.is_empty() && self.non_finite.is_empty()
    }
}

/// Names printed of each kind; the rest is counted.
const SHOWN: usize = 10;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = |f: &mut fmt::Formatter<'_>, n: usize| {
            if n > SHOWN { write!(f, "\n  ... and {} more", n - SHOWN) } else { Ok(()) }
        };
        write!(
            f,
            "{} missing, {} unused, {} of another shape, {} not finite",
            self.missing.len(),
            self.unused.len(),
            self.misshapen.len(),
            self.non_finite.len()
        )?;
        for (name, near) in self.missing.iter().take(SHOWN) {
            write!(f, "\n  missing {name}")?;
            if !near.is_empty() {
                write!(f, " (nearest in the file: {})", near.join(", "))?;
            }
        }
        rest(f, self.missing.len())?;
        for name in self.unused.iter().take(SHOWN) {
            write!(f, "\n  unused {name}")?;
        }
        rest(f, self.unused.len())?;
        for (name, model, file) in self.misshapen.iter().take(SHOWN) {
            write!(f, "\n  {name}: the model has {model:?}, the file {file:?}")?;
        }
        rest(f, self.misshapen.len())?;
        for name in self.non_finite.iter().take(SHOWN) {
            write!(f, "\n  {name} holds NaN or infinity")?;
        }
        rest(f, self.non_finite.len())
    }
}

/// All tensors of a module under their public names.
///
/// Running statistics are brought up to date first; the module itself is unchanged.
pub fn collect<M: Module>(module: &M) -> TensorMap {
    module::collect(&module.valid())
}

/// Names and shapes of a module's tensors; values that were never asked for are not made.
pub fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    module::shapes(module)
}

/// The module with the tensors of a file, which must fit exactly.
///
/// These are tensors of this project: what files of others hold besides is for [`Weights`] to know. Clones of a module share
/// their running statistics, so those of a clone change too.
///
/// # Errors
/// [`ModelError::Mismatch`] lists every difference; nothing is applied then.
pub fn apply<M: Module>(module: M, tensors: TensorMap, path: &Path) -> Result<M> {
    let wanted = module::shapes(&module);
    let mismatch = compare(&wanted, &tensors);
    if !mismatch.is_empty() {
        return Err(ModelError::Mismatch { path: path.to_owned(), report: Box::new(mismatch) });
    }
    // Burn keeps the last update of a running statistic aside until it is read, and would lay it over the loaded one. A
    // copy for inference takes it in.
    let _ = module.valid();
    Ok(module::apply(module, tensors))
}

/// The module with the tensors of another of the same architecture, running statistics included.
pub fn restore<M: Module>(module: M, from: &M) -> M {
    let tensors = collect(from);
    let _ = module.valid();
    module::apply(module, tensors)
}

fn compare(wanted: &BTreeMap<String, Vec<usize>>, tensors: &TensorMap) -> Mismatch {
    let unused: Vec<String> = tensors.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
    let mut mismatch = Mismatch::default();
    for (name, shape) in wanted {
        match tensors.get(name) {
            None => mismatch.missing.push((name.clone(), nearest(name, &unused))),
            Some(tensor) if tensor.shape != *shape => {
                mismatch.misshapen.push((name.clone(), shape.clone(), tensor.shape.clone()));
            }
            Some(tensor) if tensor.data.iter().any(|v| !v.is_finite()) => mismatch.non_finite.push(name.clone()),
            Some(_) => {}
        }
    }
    mismatch.unused = unused;
    mismatch
}

/// Up to three unused names that share the longest ending with `name`, at least its last component.
fn nearest(name: &str, unused: &[String]) -> Vec<String> {
    let common_end = |other: &str| name.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
    let least = name.rsplit('.').next().map_or(0, str::len);
    let mut scored: Vec<(usize, &String)> =
        unused.iter().map(|other| (common_end(other), other)).filter(|(n, _)| *n >= least).collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, other)| other.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_reported() {
        let wanted = BTreeMap::from([
            ("a.weight".to_owned(), vec![2]),
            ("b.weight".to_owned(), vec![3]),
            ("c.bias".to_owned(), vec![1]),
        ]);
        let host = |data: &[f32]| HostTensor { shape: vec![data.len()], data: data.to_vec() };
        let tensors = TensorMap::from([
            ("x.a.weight".to_owned(), host(&[1.0, 2.0])),
            ("b.weight".to_owned(), host(&[1.0])),
            ("c.bias".to_owned(), host(&[f32::NAN])),
        ]);
        let report = compare(&wanted, &tensors);
        assert_eq!(report.missing, [("a.weight".to_owned(), vec!["x.a.weight".to_owned()])]);
        assert_eq!(report.unused, ["x.a.weight"]);
        assert_eq!(report.misshapen, [("b.weight".to_owned(), vec![3], vec![1])]);
        assert_eq!(report.non_finite, ["c.bias"]);
        assert!(report.to_string().contains("nearest in the file: x.a.weight"));
    }
}
