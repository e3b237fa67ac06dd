//! Walks a module: names, shapes and values of its float tensors.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use super::keys::public_name;
use super::{HostTensor, TensorMap};

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

fn transposed(shape: &[usize], data: &[f32]) -> Vec<f32> {
    let [rows, columns] = [shape[0], shape[1]];
    (0..columns).flat_map(|c| (0..rows).map(move |r| data[r * columns + c])).collect()
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
    shapes: BTreeMap<String, Vec<usize>>,
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
        }
        self.shapes.insert(self.path.name(), shape);
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

pub(super) fn collect<M: Module>(module: &M) -> TensorMap {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.tensors
}

pub(super) fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.shapes
}

/// Replaces the values of all tensors that are named in `tensors`; shapes must have been compared before.
pub(super) fn apply<M: Module>(module: M, tensors: TensorMap) -> M {
    module.map(&mut Applier { path: Path::default(), tensors })
}
