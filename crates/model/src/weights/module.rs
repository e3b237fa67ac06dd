//! Walks a module: names, shapes and values of its float tensors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

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

/// A matrix with rows for columns.
fn transposed(shape: &[usize], data: &[f32]) -> Vec<f32> {
    let mut turned = vec![0.0; data.len()];
    turn(data, 0, shape, &mut turned);
    turned
}

/// Puts the rows of a matrix from `first` on, `rows`, as columns into `turned`, block by block: whole columns of a large matrix
/// would miss the cache at every value. `shape` is that of the whole matrix.
pub(super) fn turn(rows: &[f32], first: usize, shape: &[usize], turned: &mut [f32]) {
    const BLOCK: usize = 16;
    let [all, columns] = [shape[0], shape[1]];
    let count = rows.len() / columns;
    let mut block = [[0.0_f32; BLOCK]; BLOCK];
    for left in (0..columns).step_by(BLOCK) {
        let width = BLOCK.min(columns - left);
        for top in (0..count).step_by(BLOCK) {
            let height = BLOCK.min(count - top);
            for (row, line) in block.iter_mut().enumerate().take(height) {
                let start = (top + row) * columns + left;
                line[..width].copy_from_slice(&rows[start..start + width]);
            }
            for column in 0..width {
                let start = (left + column) * all + first + top;
                for (value, line) in turned[start..start + height].iter_mut().zip(&block) {
                    *value = line[column];
                }
            }
        }
    }
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

/// Gives the next tensor, as Burn holds it.
type Next<'a> = &'a mut dyn FnMut() -> Result<HostTensor>;

/// Fills every tensor of a module from a reader; what was there is never asked for, so that a new module draws no values.
struct Loader<'a> {
    read: Next<'a>,
    failed: Option<ModelError>,
}

impl ModuleMapper for Loader<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let tensor = match (self.read)() {
            Ok(tensor) => tensor,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(tensor.data, tensor.shape), &device), id)
    }
}

/// A module with tensors that `read` gives by name, the matrices of linear layers (it is told which these are) the other way
/// round; shapes must have been compared before.
///
/// Tensors are read by as many threads as there are cores. Those that come before their turn wait; they are parts of the module
/// to be, so that nothing but the module is ever in memory. `read` gets memory of its thread, to use as it likes.
pub(super) fn load<M: Module>(
    module: M,
    read: impl Fn(&str, bool, &mut Vec<f32>) -> Result<HostTensor> + Sync,
) -> Result<M> {
    let mut order = Order::default();
    module.visit(&mut order);
    let Order { names, .. } = order;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
    let started = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (out, arrived) = channel();
        for _ in 0..threads {
            let (names, started, read, out) = (&names, &started, &read, out.clone());
            scope.spawn(move || {
                let mut memory = Vec::new();
                loop {
                    let turn = started.fetch_add(1, Ordering::Relaxed);
                    let Some((name, linear)) = names.get(turn) else { return };
                    // The receiver is gone once a tensor has failed.
                    if out.send((turn, read(name, *linear, &mut memory))).is_err() {
                        return;
                    }
                }
            });
        }
        // A thread that panics must not leave the receiver waiting for it.
        drop(out);
        let (mut early, mut turn) = (BTreeMap::new(), 0);
        let mut next = || {
            let tensor = loop {
                if let Some(tensor) = early.remove(&turn) {
                    break tensor;
                }
                let (of, tensor) = arrived.recv().map_err(|_| ModelError::Interrupted)?;
                early.insert(of, tensor);
            };
            turn += 1;
            tensor
        };
        let mut loader = Loader { read: &mut next, failed: None };
        let module = module.map(&mut loader);
        loader.failed.map_or(Ok(module), Err)
    })
}

/// Names in the order in which a module is walked, and which are matrices of linear layers.
#[derive(Default)]
struct Order {
    path: Path,
    names: Vec<(String, bool)>,
}

impl ModuleVisitor for Order {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.names.push((self.path.name(), self.path.is_linear_weight()));
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
    shapes.found
}

/// Names of the matrices that lie the other way round in files.
pub(super) fn linear<M: Module>(module: &M) -> Vec<String> {
    let mut order = Order::default();
    module.visit(&mut order);
    order.names.into_iter().filter(|(_, linear)| *linear).map(|(name, _)| name).collect()
}

/// Replaces the values of all tensors that are named in `tensors`; shapes must have been compared before.
pub(super) fn apply<M: Module>(module: M, tensors: TensorMap) -> M {
    module.map(&mut Applier { path: Path::default(), tensors })
}
