//! Configurations as text: TOML, its hash, the list of keys, and values with their origins.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use toml::{Table, Value};

use super::key::basic_string;
use super::{ConfigError, KeyPath, Layered};

/// The TOML of a configuration, with its keys in the order of the type's fields.
///
/// # Errors
/// The value is not a table of TOML, for instance because an integer is above 2^63 - 1.
pub fn to_toml<T: Serialize>(value: &T) -> Result<String, ConfigError> {
    // The writer alone would let integers pass that no reader takes back.
    to_table(value)?;
    Ok(toml::to_string(value)?)
}

/// The sha256 of a configuration, in hex. It depends on the values alone, not on the order of keys or of layers.
///
/// # Errors
/// As [`to_toml`].
pub fn sha256<T: Serialize>(value: &T) -> Result<String, ConfigError> {
    let mut text = String::new();
    for (key, value) in flat(value)? {
        // Lengths keep a text that looks like another key from hashing like it.
        let _ = writeln!(text, "{} {key} {} {value}", key.len(), value.len());
    }
    Ok(data::fsx::sha256_hex(text.as_bytes()))
}

/// All values of a configuration as TOML by their dotted paths. Options that are `None` have no key.
///
/// # Errors
/// As [`to_toml`].
pub fn flat<T: Serialize>(value: &T) -> Result<BTreeMap<String, String>, ConfigError> {
    Ok(leaves(&to_table(value)?).into_iter().map(|(path, value)| (path.to_string(), inline(&value))).collect())
}

/// Keys whose values differ between a configuration as TOML and another one, each with a line that tells both values. A text
/// that is no TOML has no values.
///
/// # Errors
/// As [`to_toml`].
pub fn differences<T: Serialize>(old: &str, new: &T) -> Result<Vec<(String, String)>, ConfigError> {
    let (old, new) = (old.parse::<Table>().map_or_else(|_| Ok(BTreeMap::new()), |old| flat(&old))?, flat(new)?);
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let get = |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_else(|| "absent".to_owned());
    let differ = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    Ok(differ.map(|key| (key.clone(), format!("{key}: {}, now {}", get(&old, key), get(&new, key)))).collect())
}

/// The table of a configuration.
pub(crate) fn to_table<T: Serialize>(value: &T) -> Result<Table, ConfigError> {
    let table = Table::try_from(value)?;
    // A table holds doubles, where 0.9 in single precision is 0.8999999761581421; as text it keeps its short form.
    Ok(toml::from_str(&toml::to_string(value)?).unwrap_or(table))
}

impl Layered {
    /// The resolved configuration as dotted TOML, one value a line, each with its origin as a comment; for
    /// `--print-config`.
    ///
    /// # Errors
    /// As [`to_toml`].
    pub fn annotate<T: Serialize>(&self, resolved: &T) -> Result<String, ConfigError> {
        let rows: Vec<(String, String)> = leaves(&to_table(resolved)?)
            .into_iter()
            .map(|(path, value)| {
                let origin = self.origin(&path).map_or_else(|| "default".to_owned(), ToString::to_string);
                // A line break of a --set would end the comment and begin a value.
                (format!("{path} = {}", inline(&value)), origin.replace(['\n', '\r'], " "))
            })
            .collect();
        let width = rows.iter().map(|(text, _)| text.chars().count()).filter(|&w| w <= 60).max().unwrap_or(0);
        let mut out = String::new();
        for (text, origin) in rows {
            let _ = writeln!(out, "{text:width$}  # {origin}");
        }
        Ok(out)
    }
}

/// All values that are no table, with their paths, sorted by path. An empty table counts as a value.
fn leaves(table: &Table) -> Vec<(KeyPath, Value)> {
    fn walk(table: &Table, at: &KeyPath, out: &mut Vec<(KeyPath, Value)>) {
        for (name, value) in table {
            match value {
                Value::Table(inner) if !inner.is_empty() => walk(inner, &at.child(name), out),
                value => out.push((at.child(name), value.clone())),
            }
        }
    }
    let mut out = Vec::new();
    walk(table, &KeyPath::default(), &mut out);
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// A value on one line, as TOML.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let mut entries: Vec<(&String, &Value)> = table.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            let entry = |(name, value): (&String, &Value)| format!("{} = {}", KeyPath::new(&[name]), inline(value));
            format!("{{{}}}", entries.into_iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => basic_string(text),
        other => other.to_string(),
    }
}
