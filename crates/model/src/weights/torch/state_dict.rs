//! The state dict of a checkpoint, wherever it lies, and the plain values beside it.

use std::collections::BTreeMap;

use super::error::{Result, TorchProblem};
use super::scalars;
use super::value::{Arena, Node, Object, Value};

/// Keys under which training code keeps a state dict, in the order in which they are looked for.
pub const WRAPPERS: [&str; 7] = ["state_dict", "model_state_dict", "model", "net", "network", "teacher", "student"];

/// Wrappers inside each other.
const MAX_WRAPPERS: usize = 3;
/// Dicts inside each other.
const MAX_DEPTH: usize = 16;
/// Most tensors of a state dict.
const MAX_TENSORS: usize = 20_000;
/// Most entries that are looked at, tensors or not: a few shared dicts can hold each other very often.
const MAX_VISITS: usize = 1_000_000;
/// Longest name of a tensor.
const MAX_NAME: usize = 1024;

type Entries<'a> = &'a [(Value, Value)];

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Tensors by their names.
    pub(super) tensors: BTreeMap<String, Value>,
    /// The keys above the state dict, joined by dots.
    pub(super) wrapper: Option<String>,
    /// Plain values by their names.
    pub(super) scalars: BTreeMap<String, String>,
}

/// Looks for the state dict of a checkpoint.
///
/// A dict that holds nothing but tensors is one. So is what lies under the first of [`WRAPPERS`] that holds a dict with
/// tensors. Without such a key the dicts of tensors are parts of one state dict (`{"encoder": ..., "head": ...}`); dicts of
/// another kind, an optimizer's say, are passed over.
///
/// # Errors
/// If there is none, or an entry of it is no tensor.
pub(super) fn find(arena: &Arena, top: Value) -> Result<Found> {
    let Some(mut here) = arena.dict(top) else { return Err(none_in(arena, top)) };
    let mut wrappers: Vec<&str> = Vec::new();
    while wrappers.len() < MAX_WRAPPERS && !is_state_dict(arena, here) {
        let Some((key, inner)) = WRAPPERS.iter().find_map(|key| Some((*key, wrapped(arena, here, key)?))) else {
            break;
        };
        wrappers.push(key);
        here = inner;
    }
    let mut collector = Collector { arena, tensors: BTreeMap::new(), plain: BTreeMap::new(), visits: 0 };
    let strict = !wrappers.is_empty() || here.iter().any(|(_, value)| arena.is_tensor(*value));
    collector.collect(here, "", strict, 0)?;
    let Collector { tensors, plain, .. } = collector;
    if tensors.is_empty() {
        return Err(none_in(arena, top));
    }
    let wrapper = (!wrappers.is_empty()).then(|| wrappers.join("."));
    let mut scalars = scalars::beside(arena, arena.dict(top).unwrap_or_default());
    scalars.extend(plain);
    Ok(Found { tensors, wrapper, scalars })
}

/// The last value of a key: the one that Python would keep.
fn get(arena: &Arena, entries: Entries<'_>, key: &str) -> Option<Value> {
    entries.iter().rev().find(|(name, _)| arena.text(*name) == Some(key)).map(|(_, value)| *value)
}

fn is_state_dict(arena: &Arena, entries: Entries<'_>) -> bool {
    !entries.is_empty() && entries.iter().all(|(_, value)| arena.is_tensor(*value))
}

/// The dict under a key, if tensors are in it or in dicts of it.
fn wrapped<'a>(arena: &'a Arena, entries: Entries<'_>, key: &str) -> Option<Entries<'a>> {
    let inner = get(arena, entries, key)?;
    let mut seen = vec![false; arena.len()];
    let mut open = vec![inner];
    while let Some(value) = open.pop() {
        let Value::Node(id) = value else { continue };
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        match arena.node(value) {
            Some(Node::Tensor(_) | Node::BadTensor) => return arena.dict(inner),
            Some(Node::Dict(entries)) => open.extend(entries.iter().map(|(_, value)| *value)),
            _ => {}
        }
    }
    None
}

struct Collector<'a> {
    arena: &'a Arena,
    tensors: BTreeMap<String, Value>,
    plain: BTreeMap<String, String>,
    visits: usize,
}

impl Collector<'_> {
    /// Takes the tensors of a dict. In a `strict` one everything else but plain values is an error; others are searched for
    /// dicts that hold tensors, which are strict.
    fn collect(&mut self, entries: Entries<'_>, prefix: &str, strict: bool, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(TorchProblem::TooMuch { what: "dicts inside each other", limit: MAX_DEPTH as u64 });
        }
        for (key, value) in entries {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                return Err(TorchProblem::TooMuch { what: "entries in its state dict", limit: MAX_VISITS as u64 });
            }
            let Some(key) = self.arena.text(*key) else {
                if !strict {
                    return Ok(());
                }
                let what = format!("a dict with {} for a key", self.arena.describe(*key));
                return Err(TorchProblem::NotATensor { name: prefix.to_owned(), what });
            };
            if prefix.len() + key.len() >= MAX_NAME {
                return Err(TorchProblem::TooMuch { what: "bytes in the name of a tensor", limit: MAX_NAME as u64 });
            }
            let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            self.entry(name, *value, strict, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, name: String, value: Value, strict: bool, depth: usize) -> Result<()> {
        match self.arena.node(value) {
            Some(Node::Dict(inner)) => {
                self.visits += if strict { 0 } else { inner.len() };
                let strict = strict || inner.iter().any(|(_, value)| self.arena.is_tensor(*value));
                self.collect(inner, &name, strict, depth + 1)
            }
            _ if !strict => Ok(()),
            Some(Node::Tensor(_)) if self.tensors.len() >= MAX_TENSORS => {
                Err(TorchProblem::TooMuch { what: "tensors", limit: MAX_TENSORS as u64 })
            }
            Some(Node::Tensor(_)) => match self.tensors.insert(name.clone(), value) {
                None => Ok(()),
                Some(_) => Err(TorchProblem::NotATensor { name, what: "there twice".to_owned() }),
            },
            _ if !self.harmless(value) => Err(TorchProblem::NotATensor { name, what: self.arena.describe(value) }),
            _ => {
                if self.plain.len() < scalars::MAX_SCALARS
                    && let Some(plain) = scalars::plain(self.arena, value)
                {
                    self.plain.insert(name, plain);
                }
                Ok(())
            }
        }
    }

    /// Whether a value is plain, or a list of plain ones: settings, which are no weights.
    fn harmless(&mut self, value: Value) -> bool {
        let leaf = |value: Value| matches!(self.arena.node(value), None | Some(Node::Text(_) | Node::Long(_)));
        match self.arena.node(value) {
            Some(Node::List(members) | Node::Tuple(members)) => {
                self.visits += members.len();
                members.iter().all(|member| leaf(*member))
            }
            _ => leaf(value),
        }
    }
}

/// The error for a file without a state dict.
fn none_in(arena: &Arena, top: Value) -> TorchProblem {
    let entries = arena.dict(top).unwrap_or_default();
    let wrapped = WRAPPERS.iter().filter_map(|key| get(arena, entries, key));
    let module = wrapped.chain([top]).find_map(|value| match arena.node(value) {
        Some(Node::Object(object)) if is_module(arena, object) => Some(object),
        _ => None,
    });
    if let Some(module) = module {
        return TorchProblem::PickledModule { class: arena.class_name(module) };
    }
    if arena.dict(top).is_none() {
        return TorchProblem::NoStateDict { found: format!("its top level is {}", arena.describe(top)) };
    }
    let keys = entries.iter().filter_map(|(key, value)| {
        let key: String = arena.text(*key)?.chars().take(60).collect();
        Some(format!("{key:?} ({})", arena.describe(*value)))
    });
    let keys: Vec<String> = keys.take(10).collect();
    let found =
        if keys.is_empty() { "its top level is empty".to_owned() } else { format!("it holds {}", keys.join(", ")) };
    TorchProblem::NoStateDict { found }
}

/// Whether an object was an `nn.Module`.
fn is_module(arena: &Arena, object: &Object) -> bool {
    let state = arena.dict(object.state).unwrap_or_default();
    get(arena, state, "_modules").is_some() || get(arena, state, "_parameters").is_some()
}
