//! Paths of configuration keys: `optim.learning_rate`.

use std::fmt::{self, Write as _};

/// The path of a key or a table, from the root of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// The path of these names, from the root on.
    pub fn new(parts: &[&str]) -> Self {
        Self(parts.iter().map(|&part| part.to_owned()).collect())
    }

    /// The path of `name` in the table at this path.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.to_owned());
        Self(parts)
    }

    /// The names from the root on.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The last name, empty at the root.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The table that holds this key; the root holds itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0.split_last().map_or_else(Vec::new, |(_, rest)| rest.to_vec()))
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether this is the path of the whole configuration.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for KeyPath {
    /// Dotted, with quotes around the names that TOML wants quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            let bare = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if bare { f.write_str(part)? } else { f.write_str(&basic_string(part))? }
        }
        Ok(())
    }
}

/// A basic string of TOML: always on one line, whatever it holds.
pub(super) fn basic_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_toml_reads_them() {
        let path = KeyPath::new(&["data", "column names", "text"]);
        assert_eq!(path.to_string(), "data.\"column names\".text");
        let table: toml::Table = toml::from_str(&format!("{path} = 1")).unwrap();
        assert_eq!(table["data"]["column names"]["text"].as_integer(), Some(1));
    }

    #[test]
    fn strings_stay_on_one_line() {
        let text = "a \"b\" \\ c\nd\u{7f}\u{85}";
        let written = basic_string(text);
        assert_eq!(written, "\"a \\\"b\\\" \\\\ c\\u000Ad\\u007F\\u0085\"");
        let table: toml::Table = toml::from_str(&format!("a = {written}")).unwrap();
        assert_eq!(table["a"].as_str(), Some(text));
    }

    #[test]
    fn a_table_is_no_part_of_another_with_a_longer_name() {
        let optim = KeyPath::new(&["optim"]);
        assert!(KeyPath::new(&["optim", "lr"]).is_within(&optim));
        assert!(optim.is_within(&optim));
        assert!(!KeyPath::new(&["optimizer"]).is_within(&optim));
        assert!(optim.is_within(&KeyPath::default()) && optim.parent().is_root());
        assert_eq!((optim.child("lr").name(), KeyPath::default().name()), ("lr", ""));
    }
}
