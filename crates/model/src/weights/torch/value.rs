//! What a pickle describes, as data: plain Python values, storages and tensors, everything else opaque.
//!
//! Values that are shared or large live in an arena and are named by their index. A pickle can then neither make copies
//! grow exponentially, nor nest so deep that dropping it overflows the stack, and cycles do no harm.

use safetensors::Dtype;

use super::error::{Result, TorchProblem};

/// Most values of the arena.
const MAX_NODES: usize = 2_000_000;
/// Most members of all tuples, lists and dicts together; names and tensors count as their size in members.
const MAX_MEMBERS: usize = 8_000_000;

/// A value; small ones are stored in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Node(Id),
}

/// Index into the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value of the arena.
#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    /// An integer of more than 64 bits.
    Long(i128),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    /// In the order of insertion; of equal keys the last one counts.
    Dict(Vec<(Value, Value)>),
    /// A class or function, by its full name. It is never looked up.
    Class(Box<str>),
    Storage(Storage),
    Tensor(Box<Tensor>),
    /// A tensor whose storage, offset, sizes or strides make no sense.
    BadTensor,
    Object(Box<Object>),
    /// Bytes, sets and whatever else no state dict holds.
    Opaque(&'static str),
}

/// The numbers behind one or more tensors.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub(super) key: Box<str>,
    /// Type of its numbers; none if it is untyped or of numbers that are not read.
    pub(super) dtype: Option<Dtype>,
    /// Bytes of a number.
    pub(super) item: u64,
    /// Numbers in all.
    pub(super) len: u64,
    /// Numbers before it in the storage of that key.
    pub(super) skip: u64,
}

/// A view of a storage; offset and strides count numbers.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) storage: Id,
    pub(super) dtype: Option<Dtype>,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) stride: Vec<u64>,
}

/// What a class that is not known was asked to make: its name and what would have been set on it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) class: Value,
    pub(super) state: Value,
    pub(super) items: Vec<(Value, Value)>,
}

/// All nodes of a pickle.
#[derive(Debug, Default)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    members: usize,
}

impl Arena {
    pub(super) fn add(&mut self, node: Node) -> Result<Value> {
        if self.nodes.len() >= MAX_NODES {
            return Err(TorchProblem::TooMuch { what: "values in its pickle", limit: MAX_NODES as u64 });
        }
        self.nodes.push(node);
        #[expect(clippy::cast_possible_truncation, reason = "MAX_NODES fits")]
        Ok(Value::Node(Id(self.nodes.len() as u32 - 1)))
    }

    /// Counts members that are about to be stored somewhere: a few instructions can ask for the same work again and again.
    pub(super) fn charge(&mut self, members: usize) -> Result<()> {
        self.members = self.members.saturating_add(members);
        if self.members > MAX_MEMBERS {
            return Err(TorchProblem::TooMuch {
                what: "members of tuples, lists and dicts",
                limit: MAX_MEMBERS as u64,
            });
        }
        Ok(())
    }

    /// A class or function by its full name.
    pub(super) fn add_class(&mut self, name: &str) -> Result<Value> {
        self.charge(name.len() / size_of::<Value>())?;
        self.add(Node::Class(name.into()))
    }

    /// What a class that is not known makes.
    pub(super) fn add_object(&mut self, class: Value) -> Result<Value> {
        self.charge(size_of::<Object>() / size_of::<Value>())?;
        self.add(Node::Object(Box::new(Object { class, state: Value::None, items: Vec::new() })))
    }

    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(id) => self.nodes.get(id.index()),
            _ => None,
        }
    }

    pub(super) fn node_mut(&mut self, value: Value) -> Option<&mut Node> {
        match value {
            Value::Node(id) => self.nodes.get_mut(id.index()),
            _ => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn class(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Class(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Tuple(members) => Some(members),
            _ => None,
        }
    }

    pub(super) fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.node(value)? {
            Node::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn tensor(&self, value: Value) -> Option<&Tensor> {
        match self.node(value)? {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Whether a value was saved as a tensor, whether or not it makes sense.
    pub(super) fn is_tensor(&self, value: Value) -> bool {
        matches!(self.node(value), Some(Node::Tensor(_) | Node::BadTensor))
    }

    pub(super) fn storage(&self, id: Id) -> Option<&Storage> {
        match self.nodes.get(id.index())? {
            Node::Storage(storage) => Some(storage),
            _ => None,
        }
    }

    /// All storages, of the state dict or not.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| if let Node::Storage(storage) = node { Some(storage) } else { None })
    }

    /// A value in words, for messages.
    pub(super) fn describe(&self, value: Value) -> String {
        let node = match value {
            Value::None => return "None".to_owned(),
            Value::Bool(_) => return "a bool".to_owned(),
            Value::Int(_) => return "an integer".to_owned(),
            Value::Float(_) => return "a float".to_owned(),
            Value::Node(_) => self.node(value),
        };
        match node {
            Some(Node::Text(_)) => "text".to_owned(),
            Some(Node::Long(_)) => "a large integer".to_owned(),
            Some(Node::Tuple(_)) => "a tuple".to_owned(),
            Some(Node::List(_)) => "a list".to_owned(),
            Some(Node::Dict(_)) => "a dict".to_owned(),
            Some(Node::Class(name)) => format!("the class or function {:?}", short(name)),
            Some(Node::Storage(_)) => "a bare storage".to_owned(),
            Some(Node::Tensor(_)) => "a tensor".to_owned(),
            Some(Node::BadTensor) => "a tensor whose storage, offset, sizes or strides make no sense".to_owned(),
            Some(Node::Object(object)) => format!("an object of class {:?}", self.class_name(object)),
            Some(Node::Opaque(what)) => (*what).to_owned(),
            None => "nothing".to_owned(),
        }
    }

    /// Name of the class of an object.
    pub(super) fn class_name(&self, object: &Object) -> String {
        short(self.class(object.class).unwrap_or("(made by another object)"))
    }
}

/// The start of a name out of the file.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}
