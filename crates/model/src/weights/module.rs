//! Walks a module: names, shapes and values of its float tensors.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use super::keys::public_name;
use super::{HostTensor, TensorMap};
use crate::{ModelError, Result};

/// Where a walk stands: field names with the type of what holds them.
#[derive(Default)]
struct Path(Vec<(String, String)>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.push((name.to_owned(), container.to_owned()));
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    /// Public name; variants of enums are no part of it.
    fn name(&self) -> String {
        let fields = self.0.iter().filter(|(_, container)| !container.starts_with("Enum:"));
        public_name(&fields.map(|(name, _)| name.as_str()).collect::<Vec<_>>())
    }

    /// Whether the tensor is a linear layer's weight, which Burn stores as `(in, out)`.
    fn is_linear_weight(&self) -> bool {
        self.0.last().is_some_and(|(name, container)| container == "Struct:Linear" && name == "weight")
    }
}

/// A matrix with rows for columns, block by block: whole columns of a large one would miss the cache at every value.
fn transposed(shape: &[usize], data: &[f32]) -> Vec<f32> {
    const BLOCK: usize = 32;
    let [rows, columns] = [shape[0], shape[1]];
    let mut turned = vec![0.0; data.len()];
    for top in (0..rows).step_by(BLOCK) {
        let bottom = (top + BLOCK).min(rows);
        for left in (0..columns).step_by(BLOCK) {
            for column in left..(left + BLOCK).min(columns) {
                let out = &mut turned[column * rows + top..column * rows + bottom];
                for (row, value) in (top..bottom).zip(out) {
                    *value = data[row * columns + column];
                }
            }
        }
    }
    turned
}

#[derive(Default)]
struct Collector {
    path: Path,
    tensors: TensorMap,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let mut shape = tensor.dims().to_vec();
        let mut data: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        if self.path.is_linear_weight() {
            data = transposed(&shape, &data);
            shape.reverse();
        }
        self.tensors.insert(self.path.name(), HostTensor { shape, data });
    }
}

#[derive(Default)]
struct Shapes {
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
    linear: Vec<String>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if self.path.is_linear_weight() {
            shape.reverse();
            self.linear.push(self.path.name());
        }
        self.found.insert(self.path.name(), shape);
    }
}

struct Applier {
    path: Path,
    tensors: TensorMap,
}

impl ModuleMapper for Applier {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(mut tensor) = self.tensors.remove(&self.path.name()) else {
            return param;
        };
        if self.path.is_linear_weight() {
            tensor.data = transposed(&tensor.shape, &tensor.data);
            tensor.shape.reverse();
        }
        param.map(|old| {
            let data = TensorData::new(tensor.data, tensor.shape);
            Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
        })
    }
}

/// Gives the tensor of a name.
pub(super) type Read<'a> = &'a mut dyn FnMut(&str) -> Result<HostTensor>;

/// Fills every tensor of a module from a reader; what was there is never asked for, so that a new module draws no values.
struct Loader<'a> {
    path: Path,
    read: Read<'a>,
    failed: Option<ModelError>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let mut tensor = match (self.read)(&self.path.name()) {
            Ok(tensor) => tensor,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        if self.path.is_linear_weight() {
            tensor.data = transposed(&tensor.shape, &tensor.data);
            tensor.shape.reverse();
        }
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(tensor.data, tensor.shape), &device), id)
    }
}

/// A module with tensors from a reader; shapes must have been compared before.
pub(super) fn load<M: Module>(module: M, read: Read<'_>) -> Result<M> {
    let mut loader = Loader { path: Path::default(), read, failed: None };
    let module = module.map(&mut loader);
    loader.failed.map_or(Ok(module), Err)
}

pub(super) fn collect<M: Module>(module: &M) -> TensorMap {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.tensors
}

pub(super) fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

/// Names of the matrices that lie the other way round in files.
pub(super) fn linear<M: Module>(module: &M) -> Vec<String> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.linear
}

/// Replaces the values of all tensors that are named in `tensors`; shapes must have been compared before.
pub(super) fn apply<M: Module>(module: M, tensors: TensorMap) -> M {
    module.map(&mut Applier { path: Path::default(), tensors })
}
