//! Layered configuration: defaults, presets, recipe files, `--set` and flags merge into one typed tree.
//!
//! Later layers win, tables merge key by key, everything else (arrays too) is replaced as a whole, and so is a table
//! whose `kind` changes, because its other keys belong to the old kind. Every value keeps where it was written, so that
//! an error names file and line and `--print-config` shows what came from where. Configurations are data: no code, no
//! environment variables.

mod error;
mod key;
mod layer;
mod print;
mod suggest;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::{Table, Value};

pub use error::{At, ConfigError, UnknownKey};
pub use key::KeyPath;
pub use layer::{Layer, Origin, Source};
pub(crate) use print::to_table;
pub use print::{differences, flat, sha256, to_toml};

/// Keys of recipes that change nothing of what is learned: a run may go on under other values.
pub const FREE: [&str; 11] = [
    "run.licence",
    "run.log_every",
    "run.save_every",
    "run.keep_every",
    "data.num_workers",
    "data.cache_mib",
    "data.text_cache_mib",
    "data.text_cache",
    "eval.batch_size",
    "eval.ks",
    "eval.resamples",
];

/// Merged layers and the origin of every key.
#[derive(Debug, Clone, Default)]
pub struct Layered {
    table: Table,
    origins: BTreeMap<KeyPath, Origin>,
}

impl Layered {
    /// A configuration without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `layer` on top.
    pub fn push(&mut self, layer: &Layer) {
        merge(&mut self.table, layer.table(), &KeyPath::default(), layer, &mut self.origins);
    }

    /// The merged values.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Where the value at `path` was written; for a table, where it was first opened.
    pub fn origin(&self, path: &KeyPath) -> Option<&Origin> {
        self.origins.get(path)
    }

    /// Every key and table, in alphabetical order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &KeyPath> {
        self.origins.keys()
    }

    /// The typed configuration.
    ///
    /// # Errors
    /// Keys that `T` does not know (all of them at once), or else the first value that is missing or wrong.
    pub fn load<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let mut table = self.table.clone();
        let mut unknown: Vec<(KeyPath, Vec<String>)> = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
                Ok(value) if unknown.is_empty() => return Ok(value),
                Ok(_) => break,
                Err(error) => error,
            };
            // The unknown key is put aside and the rest tried again, so that one run shows every slip.
            match unknown_key(&error, &table) {
                Some((key, valid)) if remove(&mut table, key.parts()) => unknown.push((key, valid)),
                // What else is wrong may well follow from a misspelt key.
                _ if unknown.is_empty() => return Err(self.value_error(&error)),
                _ => break,
            }
        }
        let keys: Vec<KeyPath> = unknown.iter().map(|(key, _)| key.clone()).collect();
        let describe = |(key, valid): (KeyPath, Vec<String>)| {
            let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
            UnknownKey::new(key, &valid, self, &keys)
        };
        Err(ConfigError::UnknownKeys(unknown.into_iter().map(describe).collect()))
    }

    /// The error of a value that is missing or wrong.
    fn value_error(&self, error: &serde_path_to_error::Error<toml::de::Error>) -> ConfigError {
        let path = existing_path(&self.table, error.path());
        let message = error.inner().message();
        if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return ConfigError::Missing { key: path.child(field) };
        }
        let (key, origin) = if table_at(&self.table, &path).is_none() {
            (error.path().to_string(), self.origin(&path))
        } else if let Some(inside) = find_value(&self.table, &path, message) {
            (inside.to_string(), self.origin(&inside))
        } else {
            // One layer opened the table and others filled it: naming one of them would mislead.
            (if path.is_root() { "the configuration".to_owned() } else { path.to_string() }, None)
        };
        let mut hint = None;
        if let Some(unknown) = suggest::parse_unknown(message, "variant") {
            hint = error::hint_for_variant(unknown.name, &unknown.valid);
        } else if let Some(Origin { source: Source::Set(text), .. }) = origin
            && message.ends_with("expected a string")
            && let Some((key, value)) = text.split_once('=')
        {
            hint = Some(format!("quote it for a string: --set '{key}=\"{value}\"'"));
        }
        ConfigError::Value { key, at: At(origin.cloned()), reason: message.to_owned(), hint }
    }
}

/// The typed configuration of `layers`, the last on top.
///
/// # Errors
/// As [`Layered::load`].
pub fn load<T: DeserializeOwned>(layers: &[Layer]) -> Result<T, ConfigError> {
    let mut layered = Layered::new();
    for layer in layers {
        layered.push(layer);
    }
    layered.load()
}

/// The key that `error` calls unknown, and the names that are valid in its place.
fn unknown_key(error: &serde_path_to_error::Error<toml::de::Error>, table: &Table) -> Option<(KeyPath, Vec<String>)> {
    let unknown = suggest::parse_unknown(error.inner().message(), "field")?;
    let valid = unknown.valid.iter().map(|&name| name.to_owned()).collect();
    let mut path = existing_path(table, error.path());
    if path.name() != unknown.name {
        // Behind a tagged enum serde forgets the path: the key lies somewhere below the last known table.
        path = find_below(table, &path, unknown.name)?;
    }
    Some((path, valid))
}

/// Merges `from` into `into` and notes where each key comes from.
fn merge(into: &mut Table, from: &Table, at: &KeyPath, layer: &Layer, origins: &mut BTreeMap<KeyPath, Origin>) {
    for (name, value) in from {
        let path = at.child(name);
        match (into.get_mut(name), value) {
            (Some(Value::Table(old)), Value::Table(new)) if same_kind(old, new) => {
                merge(old, new, &path, layer, origins);
            }
            (_, Value::Table(new)) => {
                origins.retain(|known, _| !known.is_within(&path));
                origins.insert(path.clone(), layer.origin(&path));
                let mut fresh = Table::new();
                merge(&mut fresh, new, &path, layer, origins);
                into.insert(name.clone(), Value::Table(fresh));
            }
            (_, value) => {
                origins.retain(|known, _| !known.is_within(&path));
                origins.insert(path.clone(), layer.origin(&path));
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Whether two tables can be one: a table with another `kind` has other keys, so it replaces the old one as a whole.
fn same_kind(old: &Table, new: &Table) -> bool {
    match (old.get("kind"), new.get("kind")) {
        (Some(old), Some(new)) => old == new,
        _ => true,
    }
}

/// The part of serde's path that leads through tables which exist: not into arrays, not into unit variants.
fn existing_path(table: &Table, path: &serde_path_to_error::Path) -> KeyPath {
    let mut found = KeyPath::default();
    let mut table = Some(table);
    for segment in path {
        let (Segment::Map { key: name } | Segment::Enum { variant: name }) = segment else { break };
        let Some(value) = table.and_then(|table| table.get(name)) else { break };
        found = found.child(name);
        table = value.as_table();
    }
    found
}

/// The table at `path`.
fn table_at<'a>(table: &'a Table, path: &KeyPath) -> Option<&'a Table> {
    path.parts().iter().try_fold(table, |table, name| table.get(name)?.as_table())
}

/// The path of the first key called `name` below `at`.
fn find_below(table: &Table, at: &KeyPath, name: &str) -> Option<KeyPath> {
    let here = table_at(table, at)?;
    if here.contains_key(name) {
        return Some(at.child(name));
    }
    here.keys().find_map(|key| find_below(table, &at.child(key), name))
}

/// The path of the only value below `at` that `message` can be about, where serde lost the path behind a tagged enum.
fn find_value(table: &Table, at: &KeyPath, message: &str) -> Option<KeyPath> {
    fn walk(table: &Table, at: &KeyPath, message: &str, found: &mut Vec<KeyPath>) {
        for (name, value) in table {
            // As serde describes what it met.
            let described = match value {
                Value::Table(inner) => {
                    walk(inner, &at.child(name), message, found);
                    continue;
                }
                Value::String(text) => format!(": string {text:?}, "),
                Value::Integer(number) => format!(": integer `{number}`, "),
                Value::Float(number) => format!(": floating point `{number:?}`, "),
                Value::Boolean(flag) => format!(": boolean `{flag}`, "),
                Value::Array(_) => ": sequence, ".to_owned(),
                Value::Datetime(_) => continue,
            };
            if message.contains(&described) {
                found.push(at.child(name));
            }
        }
    }
    let mut found = Vec::new();
    walk(table_at(table, at)?, at, message, &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

/// Removes the key at `path`; whether it was there.
fn remove(table: &mut Table, path: &[String]) -> bool {
    match path {
        [] => false,
        [name] => table.remove(name).is_some(),
        [name, rest @ ..] => table.get_mut(name).and_then(Value::as_table_mut).is_some_and(|inner| remove(inner, rest)),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
