//! What the functions of PyTorch that pickles name would make: dicts, storages, tensors. None is called; a name that is
//! not known gives an opaque object.

use safetensors::Dtype;

use super::error::Result;
use super::value::{Arena, Node, Storage, Tensor, Value};

/// Longest key of a storage; it is copied for every tensor.
const MAX_KEY: usize = 64;
/// Most axes of a tensor.
const MAX_AXES: usize = 16;

impl Arena {
    /// What calling a class or function makes of its arguments.
    pub(super) fn call(&mut self, class: Value, args: Value) -> Result<Value> {
        let name = self.class(class).unwrap_or_default().to_owned();
        if name == "torch._tensor._rebuild_from_type_v2" {
            // A subclass of tensors: (function, type, arguments, state).
            if let Some(&[function, _, inner, _]) = self.tuple(args) {
                let name = self.class(function).unwrap_or_default().to_owned();
                return self.call_known(&name, class, inner);
            }
        }
        self.call_known(&name, class, args)
    }

    fn call_known(&mut self, name: &str, class: Value, args: Value) -> Result<Value> {
        let members = self.tuple(args).unwrap_or_default();
        match (name, members) {
            ("collections.OrderedDict" | "builtins.dict" | "__builtin__.dict", []) | ("collections.defaultdict", _) => {
                self.add(Node::Dict(Vec::new()))
            }
            ("collections.OrderedDict" | "builtins.dict" | "__builtin__.dict", &[pairs]) => self.dict_of(pairs),
            ("torch.Size", &[sizes]) => match self.node(sizes) {
                Some(Node::List(sizes) | Node::Tuple(sizes)) => {
                    let sizes = sizes.clone();
                    self.charge(sizes.len())?;
                    self.add(Node::Tuple(sizes))
                }
                _ => self.add(Node::Opaque("a size that is not readable")),
            },
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", &[tensor, ..]) => {
                Ok(tensor)
            }
            ("torch._utils._rebuild_tensor", &[storage, offset, shape, stride])
            | ("torch._utils._rebuild_tensor_v2", &[storage, offset, shape, stride, ..]) => {
                self.rebuild(storage, offset, shape, stride, None)
            }
            ("torch._utils._rebuild_tensor_v3", &[storage, offset, shape, stride, _, _, dtype, ..]) => {
                self.rebuild(storage, offset, shape, stride, Some(dtype))
            }
            _ => self.add_object(class),
        }
    }

    /// A dict of a list of pairs, as the pickles of Python 2 have it, or of another dict.
    fn dict_of(&mut self, pairs: Value) -> Result<Value> {
        let len = match self.node(pairs) {
            Some(Node::Dict(members)) => members.len(),
            Some(Node::List(members) | Node::Tuple(members)) => members.len(),
            _ => 0,
        };
        // Before the work, which a pickle can ask for many times over.
        self.charge(2 * len)?;
        let entries: Option<Vec<(Value, Value)>> = match self.node(pairs) {
            Some(Node::Dict(entries)) => Some(entries.clone()),
            Some(Node::List(pairs) | Node::Tuple(pairs)) => pairs.iter().map(|pair| self.pair(*pair)).collect(),
            _ => None,
        };
        self.add(entries.map_or(Node::Opaque("a dict that is not readable"), Node::Dict))
    }

    fn pair(&self, value: Value) -> Option<(Value, Value)> {
        match self.node(value)? {
            Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        }
    }

    /// A tensor, if its parts are those of one.
    fn rebuild(
        &mut self,
        storage: Value,
        offset: Value,
        shape: Value,
        stride: Value,
        dtype: Option<Value>,
    ) -> Result<Value> {
        // Two short lists and their box.
        self.charge(2 * MAX_AXES)?;
        let tensor = self.view(storage, offset, shape, stride, dtype);
        self.add(tensor.map_or(Node::BadTensor, |tensor| Node::Tensor(Box::new(tensor))))
    }

    fn view(&self, storage: Value, offset: Value, shape: Value, stride: Value, dtype: Option<Value>) -> Option<Tensor> {
        let (Value::Node(id), Value::Int(offset)) = (storage, offset) else { return None };
        let storage = self.storage(id)?;
        let dtype = match dtype {
            Some(dtype) => dtype_of(self.class(dtype)?),
            None => storage.dtype,
        };
        let axes = |value: Value| -> Option<Vec<u64>> {
            let axes = self.tuple(value).filter(|axes| axes.len() <= MAX_AXES)?;
            axes.iter().map(|axis| if let Value::Int(n) = axis { u64::try_from(*n).ok() } else { None }).collect()
        };
        let (shape, stride) = (axes(shape)?, axes(stride)?);
        let offset = u64::try_from(offset).ok()?;
        (shape.len() == stride.len()).then_some(Tensor { storage: id, dtype, offset, shape, stride })
    }

    /// The storage or class that a persistent id names.
    pub(super) fn persistent(&mut self, id: Value) -> Result<Value> {
        let node = match self.tuple(id).unwrap_or_default() {
            // Source code of a whole module, beside its class.
            [kind, class, ..] if self.text(*kind) == Some("module") => return Ok(*class),
            [kind, class, key, _, len, view @ ..] if self.text(*kind) == Some("storage") => {
                self.persistent_storage(*class, *key, *len, view.first().copied())
            }
            _ => None,
        };
        self.charge(MAX_KEY / size_of::<Value>())?;
        self.add(node.map_or(Node::Opaque("a storage that is not readable"), Node::Storage))
    }

    /// `view` is (its own key, numbers before it, its length) in files of the first releases.
    fn persistent_storage(&self, class: Value, key: Value, len: Value, view: Option<Value>) -> Option<Storage> {
        let (dtype, item) = storage_class(self.class(class)?)?;
        let count = |value: Value| if let Value::Int(n) = value { u64::try_from(n).ok() } else { None };
        let key = self.text(key).filter(|key| key.len() <= MAX_KEY)?;
        let mut storage = Storage { key: key.into(), dtype, item, len: count(len)?, skip: 0 };
        match view {
            None | Some(Value::None) => {}
            Some(view) => {
                let [_, skip, view_len] = *self.tuple(view)? else { return None };
                storage.skip = count(skip)?;
                let end = storage.skip.checked_add(count(view_len)?)?;
                if end > storage.len {
                    return None;
                }
            }
        }
        Some(storage)
    }
}

/// Type and size of the numbers of a storage by its class.
fn storage_class(name: &str) -> Option<(Option<Dtype>, u64)> {
    let (module, name) = name.rsplit_once('.')?;
    if !matches!(module, "torch" | "torch.cuda" | "torch.storage") {
        return None;
    }
    Some(match name {
        "DoubleStorage" => (Some(Dtype::F64), 8),
        "FloatStorage" => (Some(Dtype::F32), 4),
        "HalfStorage" => (Some(Dtype::F16), 2),
        "BFloat16Storage" => (Some(Dtype::BF16), 2),
        "LongStorage" => (Some(Dtype::I64), 8),
        "IntStorage" => (Some(Dtype::I32), 4),
        "ShortStorage" => (Some(Dtype::I16), 2),
        "CharStorage" => (Some(Dtype::I8), 1),
        "ByteStorage" => (Some(Dtype::U8), 1),
        "BoolStorage" => (Some(Dtype::BOOL), 1),
        // Complex and quantized numbers are not read, but their places are known.
        "ComplexDoubleStorage" => (None, 16),
        "ComplexFloatStorage" => (None, 8),
        "QInt32Storage" => (None, 4),
        "UntypedStorage" | "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => (None, 1),
        _ => return None,
    })
}

/// The type that is named beside an untyped storage.
fn dtype_of(name: &str) -> Option<Dtype> {
    Some(match name.strip_prefix("torch.")? {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        _ => return None,
    })
}
