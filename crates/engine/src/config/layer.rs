//! One layer of a configuration: a file, a typed setting or the defaults, with the place of every key in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use data::error::DataError;
use serde::Serialize;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{ConfigError, KeyPath};

/// The largest configuration file that is read (bytes).
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where the values of a layer come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The defaults of this program.
    Default,
    /// A preset under `models/`, by its name.
    Preset(String),
    /// A recipe file.
    File(PathBuf),
    /// A `--set` of the command line, with its text.
    Set(String),
    /// A named flag of the command line, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Set(text) => write!(f, "--set {text}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Where one value was written: its source, and the line where that is a text of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The layer.
    pub source: Source,
    /// Line, counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => write!(f, "{}", self.source),
        }
    }
}

/// Values from one source.
#[derive(Debug, Clone)]
pub struct Layer {
    source: Source,
    table: Table,
    lines: BTreeMap<KeyPath, usize>,
}

impl Layer {
    /// The layer of a recipe file.
    ///
    /// # Errors
    /// The file cannot be read, is larger than 1 MiB or is not TOML.
    pub fn file(path: &Path) -> Result<Self, ConfigError> {
        let bytes = data::fsx::read_capped(path, MAX_FILE_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| DataError::Io {
            action: "read",
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()),
        })?;
        Self::text(Source::File(path.to_owned()), &text)
    }

    /// The layer of a TOML text.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn text(source: Source, text: &str) -> Result<Self, ConfigError> {
        let failed = |error| ConfigError::Syntax { layer: source.clone(), error: Box::new(error) };
        let spanned = DeTable::parse(text).map_err(failed)?;
        let mut lines = BTreeMap::new();
        // Lines are counted once, so that a long file is not searched again for every key.
        let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        collect_lines(spanned.get_ref(), &KeyPath::default(), &starts, &mut lines);
        let table = toml::from_str(text).map_err(failed)?;
        Ok(Self { source, table, lines })
    }

    /// The layer of one `--set key=value`. The value is TOML; what is not is taken as a string, so that
    /// `data.root=/a/b` needs no quotes. Numbers may leave out the zero that TOML wants (`.5`), and dates are strings.
    ///
    /// # Errors
    /// There is no `=`, or the key is not a dotted path.
    pub fn set(text: &str) -> Result<Self, ConfigError> {
        let syntax = || ConfigError::SetSyntax { text: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(syntax)?;
        if key.contains(char::is_control) {
            return Err(syntax());
        }
        let keys = toml::from_str::<Table>(&format!("{} = 0", key.trim())).map_err(|_| syntax())?;
        let path = only_path(&keys).ok_or_else(syntax)?;
        Ok(Self::one(Source::Set(text.to_owned()), &path, parse_value(value.trim())))
    }

    /// The layer of a named flag of the command line (`--steps`) that sets the key at `path`.
    pub fn flag(name: &'static str, path: &[&str], value: impl Into<Value>) -> Self {
        Self::one(Source::Flag(name), &KeyPath::new(path), value.into())
    }

    /// The layer of one value at one path.
    fn one(source: Source, path: &KeyPath, mut value: Value) -> Self {
        for part in path.parts().iter().rev() {
            value = Value::Table(Table::from_iter([(part.clone(), value)]));
        }
        let table = match value {
            Value::Table(table) => table,
            _ => Table::new(),
        };
        Self { source, table, lines: BTreeMap::new() }
    }

    /// The layer of a typed value, such as the defaults.
    ///
    /// # Errors
    /// The value is not a table of TOML, for instance because an integer is above 2^63 - 1.
    pub fn typed<T: Serialize>(source: Source, value: &T) -> Result<Self, ConfigError> {
        let table = super::to_table(value)?;
        Ok(Self { source, table, lines: BTreeMap::new() })
    }

    /// The values.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Where the key or table at `path` was written.
    pub fn origin(&self, path: &KeyPath) -> Origin {
        Origin { source: self.source.clone(), line: self.lines.get(path).copied() }
    }
}

/// The path of the only leaf of a table, `None` where there are more or none.
fn only_path(table: &Table) -> Option<KeyPath> {
    let mut path = KeyPath::default();
    let mut table = table;
    loop {
        let mut entries = table.iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else { return None };
        path = path.child(name);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// The value of a `--set`.
fn parse_value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    match parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value")) {
        Some(Value::Datetime(_)) => Value::String(text.to_owned()),
        Some(value) => value,
        None => match text.parse::<f64>() {
            // Rust reads ".5" and "5." as TOML does not; words such as "infinity" stay words.
            Ok(number) if !text.contains(|c: char| c.is_alphabetic() && !c.eq_ignore_ascii_case(&'e')) => {
                Value::Float(number)
            }
            _ => Value::String(text.to_owned()),
        },
    }
}

/// Writes the line of every key of `table` into `lines`.
fn collect_lines(table: &DeTable<'_>, at: &KeyPath, starts: &[usize], lines: &mut BTreeMap<KeyPath, usize>) {
    for (key, value) in table {
        let path = at.child(key.get_ref());
        lines.insert(path.clone(), starts.partition_point(|&start| start <= key.span().start));
        if let DeValue::Table(inner) = Spanned::get_ref(value) {
            collect_lines(inner, &path, starts, lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_value(text: &str) -> Value {
        let layer = Layer::set(&format!("a.b={text}")).unwrap();
        layer.table()["a"]["b"].clone()
    }

    #[test]
    fn set_reads_toml_and_falls_back_to_a_string() {
        let string = |s: &str| Value::String(s.to_owned());
        let cases = [
            ("3", Value::Integer(3)),
            ("1e-4", Value::Float(1e-4)),
            (" 0.5 ", Value::Float(0.5)),
            (".5", Value::Float(0.5)),
            ("-.5", Value::Float(-0.5)),
            ("2.", Value::Float(2.0)),
            ("true", Value::Boolean(true)),
            ("[1, 2]", Value::Array(vec![Value::Integer(1), Value::Integer(2)])),
            ("\"3\"", string("3")),
            ("/x/y", string("/x/y")),
            ("convirt", string("convirt")),
            ("a=b", string("a=b")),
            ("", string("")),
            ("infinity", string("infinity")),
            ("True", string("True")),
            ("2024-01-01", string("2024-01-01")),
            // A line break must not smuggle in a second key.
            ("1\nother = 2", string("1\nother = 2")),
        ];
        for (text, expected) in cases {
            assert_eq!(set_value(text), expected, "{text:?}");
        }
        assert_eq!(set_value("{ c = 1 }")["c"], Value::Integer(1));
    }

    #[test]
    fn set_takes_dotted_and_quoted_keys_only() {
        assert_eq!(Layer::set("a.\"b.c\"=1").unwrap().table()["a"]["b.c"], Value::Integer(1));
        assert_eq!(Layer::set("steps = 1").unwrap().table()["steps"], Value::Integer(1));
        for text in ["a.b", "", "=1", "a..b=1", "a b=1", "[a]\nb=1", ".=1", "a=1\nb=2\nc"] {
            let layer = Layer::set(text);
            let rejected = matches!(layer, Err(ConfigError::SetSyntax { .. }));
            // The last case has a valid key: everything after the first `=` is its value.
            assert_eq!(rejected, !text.starts_with("a=1"), "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_from_one_at_every_level() {
        let text = "name = \"x\"\n\n[optim]\nlr = 1\nbetas = [\n  1,\n]\ninner.deep = 2\n[data]\nroot = \"y\"";
        let layer = Layer::text(Source::File("r.toml".into()), text).unwrap();
        let line = |parts: &[&str]| layer.origin(&KeyPath::new(parts)).line;
        assert_eq!(line(&["name"]), Some(1));
        assert_eq!(line(&["optim"]), Some(3));
        assert_eq!(line(&["optim", "lr"]), Some(4));
        assert_eq!(line(&["optim", "betas"]), Some(5));
        assert_eq!(line(&["optim", "inner", "deep"]), Some(8));
        assert_eq!(line(&["data", "root"]), Some(10));
        assert_eq!(line(&["missing"]), None);
        assert_eq!(layer.origin(&KeyPath::new(&["optim", "lr"])).to_string(), "r.toml:4");
    }

    #[test]
    fn broken_toml_names_the_file_and_shows_the_line() {
        let error = Layer::text(Source::File("r.toml".into()), "a = 1\nb = = 2\n").unwrap_err().to_string();
        assert!(error.starts_with("r.toml is not valid TOML"), "{error}");
        assert!(error.contains("line 2") && error.contains("b = = 2"), "{error}");
    }

    #[test]
    fn nesting_without_end_is_refused_instead_of_overflowing_the_stack() {
        for text in [format!("a = {}1", "[".repeat(20_000)), format!("{}a = 1", "a.".repeat(20_000))] {
            let layer = Layer::text(Source::Default, &text);
            assert!(layer.is_err());
        }
        assert!(Layer::set(&format!("{}a=1", "a.".repeat(20_000))).is_err());
    }

    #[test]
    fn files_that_cannot_be_a_recipe_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.toml");
        std::fs::File::options().create_new(true).write(true).open(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        let error = Layer::file(&path).unwrap_err().to_string();
        assert!(error.contains("1048577 bytes"), "{error}");
        let error = Layer::file(&folder.path().join("none.toml")).unwrap_err().to_string();
        assert!(error.contains("none.toml"), "{error}");
    }
}
