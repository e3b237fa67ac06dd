//! Plain values of a checkpoint: the epoch, hyperparameters, arguments of its training.

use std::collections::BTreeMap;

use super::value::{Arena, Node, Object, Value};

/// Most values that are kept.
pub(super) const MAX_SCALARS: usize = 2000;
/// Longest text that is kept.
const MAX_TEXT: usize = 1024;
/// Most members of a list that is kept.
const MAX_LIST: usize = 64;
const MAX_DEPTH: usize = 24;
const MAX_VISITS: usize = 20_000;

/// Keys under which training code keeps its settings, as dicts or objects.
const SETTINGS: [&str; 7] = ["hyper_parameters", "hparams", "args", "config", "cfg", "opt", "params"];

/// Plain values of the top level, and all of the settings, their names joined by dots.
pub(super) fn beside(arena: &Arena, top: &[(Value, Value)]) -> BTreeMap<String, String> {
    let mut walk = Walk { arena, found: BTreeMap::new(), visits: 0 };
    for (key, value) in top.iter().take(MAX_SCALARS) {
        let Some(key) = arena.text(*key) else { continue };
        if plain(arena, *value).is_some() || SETTINGS.contains(&key) {
            walk.visit(key.to_owned(), *value, 0);
        }
    }
    walk.found
}

/// A bool, number, text, or list of these, as text; nothing for other values and what is too long.
pub(super) fn plain(arena: &Arena, value: Value) -> Option<String> {
    let Some(Node::List(members) | Node::Tuple(members)) = arena.node(value) else { return leaf(arena, value) };
    if members.len() > MAX_LIST {
        return None;
    }
    let mut text = "[".to_owned();
    for (index, member) in members.iter().enumerate() {
        text += if index == 0 { "" } else { ", " };
        text += &leaf(arena, *member)?;
        if text.len() > MAX_TEXT {
            return None;
        }
    }
    Some(text + "]")
}

fn leaf(arena: &Arena, value: Value) -> Option<String> {
    match value {
        Value::None => None,
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(format!("{value:?}")),
        Value::Node(_) => arena.text(value).filter(|text| text.len() <= MAX_TEXT).map(str::to_owned),
    }
}

struct Walk<'a> {
    arena: &'a Arena,
    found: BTreeMap<String, String>,
    visits: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: String, value: Value, depth: usize) {
        if depth >= MAX_DEPTH || self.found.len() >= MAX_SCALARS || name.len() > MAX_TEXT {
            return;
        }
        if let Some(plain) = plain(self.arena, value) {
            self.found.insert(name, plain);
            return;
        }
        match self.arena.node(value) {
            Some(Node::Dict(entries)) => self.entries(&name, entries, depth),
            Some(Node::List(members)) if members.len() <= MAX_LIST => {
                for (index, member) in members.iter().enumerate() {
                    self.visits += 1;
                    if self.visits > MAX_VISITS {
                        return;
                    }
                    self.visit(format!("{name}.{index}"), *member, depth + 1);
                }
            }
            Some(Node::Object(object)) => self.object(name, object, depth),
            _ => {}
        }
    }

    fn entries(&mut self, name: &str, entries: &[(Value, Value)], depth: usize) {
        for (key, value) in entries.iter().take(MAX_SCALARS) {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                return;
            }
            let key = match key {
                Value::Int(key) => key.to_string(),
                key => match leaf(self.arena, *key) {
                    Some(key) => key,
                    None => continue,
                },
            };
            self.visit(format!("{name}.{key}"), *value, depth + 1);
        }
    }

    /// What an `argparse.Namespace`, a dict of another class or one of `OmegaConf` holds.
    fn object(&mut self, name: String, object: &'a Object, depth: usize) {
        self.entries(&name, &object.items, depth);
        let arena = self.arena;
        let state = match arena.tuple(object.state) {
            Some([state, ..]) => *state,
            _ => object.state,
        };
        let state = arena.dict(state).unwrap_or_default();
        let state = &state[..state.len().min(MAX_SCALARS)];
        self.visits += state.len() / 16;
        let held = |key: &str| state.iter().find(|(name, _)| arena.text(*name) == Some(key)).map(|(_, value)| *value);
        if let Some(inner) = held("_content").or_else(|| held("_val")) {
            return self.visit(name, inner, depth + 1);
        }
        let private = |key: Value| arena.text(key).is_some_and(|key| key.starts_with('_'));
        let public: Vec<(Value, Value)> = state.iter().filter(|(key, _)| !private(*key)).copied().collect();
        self.entries(&name, &public, depth);
    }
}
