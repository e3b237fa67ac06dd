//! Errors of a configuration: which key, in which file and line, and what was probably meant.

use std::fmt;

use data::error::DataError;
use thiserror::Error;

use super::layer::{Origin, Source};
use super::suggest::nearest;
use super::{KeyPath, Layered};

/// From this likeness on a name is suggested; below, the valid names are listed.
const ALIKE: f64 = 0.65;
/// From this likeness on a key of another table is suggested.
const ALIKE_ELSEWHERE: f64 = 0.85;

/// Everything that can be wrong with a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A recipe file cannot be read.
    #[error(transparent)]
    Read(#[from] DataError),
    /// A text is not TOML.
    #[error("{layer} is not valid TOML: {error}")]
    Syntax {
        /// The layer.
        layer: Source,
        /// What the parser says, with the line.
        error: Box<toml::de::Error>,
    },
    /// A `--set` is not `key=value`.
    #[error("--set {text}: write a key, an equals sign and a value, as in --set optim.learning_rate=1e-4")]
    SetSyntax {
        /// The text of the argument.
        text: String,
    },
    /// Keys that do not exist.
    #[error("{}", lines(.0))]
    UnknownKeys(Vec<UnknownKey>),
    /// A key that must be given is not.
    #[error("{key} is not set: give it in the recipe or with --set {key}=...")]
    Missing {
        /// The key.
        key: KeyPath,
    },
    /// A value of a wrong type or out of its range.
    #[error("{at}{key}: {reason}{}", hint.as_deref().map_or_else(String::new, |hint| format!("; {hint}")))]
    Value {
        /// The key, with indices for a part of an array.
        key: String,
        /// Where the value was written.
        at: At,
        /// What is wrong with it.
        reason: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

/// The origin of a value in front of a message, empty where nobody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At(
    /// Where the value was written.
    pub Option<Origin>,
);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |origin| write!(f, "{origin}: "))
    }
}

/// A key that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// The key as it was written.
    pub key: KeyPath,
    /// Where it was written.
    pub at: At,
    /// The key that was probably meant.
    pub suggestion: Option<KeyPath>,
    /// Names that are valid in the table of the key.
    pub valid: Vec<String>,
}

impl UnknownKey {
    /// Describes the unknown `key` of `layered`, where `valid` are the names that its table knows.
    pub(super) fn new(key: KeyPath, valid: &[&str], layered: &Layered, unknown: &[KeyPath]) -> Self {
        let parent = key.parent();
        let sibling = nearest(key.name(), valid.iter().copied());
        let best_sibling = sibling.map_or(0.0, |(_, score)| score);
        // A key in the wrong table, or a table in the wrong place: the paths of lower layers know the right one.
        let elsewhere = layered
            .paths()
            .filter(|path| path.parent() != parent && !unknown.iter().any(|bad| path.is_within(bad)))
            .filter_map(|path| nearest(key.name(), [path.name()]).map(|(_, score)| (path, score)))
            .filter(|&(_, score)| score >= ALIKE_ELSEWHERE && score > best_sibling)
            .fold(None, |best: Option<(&KeyPath, f64)>, next| match best {
                Some(best) if best.1 >= next.1 => Some(best),
                _ => Some(next),
            });
        let suggestion = elsewhere
            .map(|(path, _)| path.clone())
            .or_else(|| sibling.filter(|&(_, score)| score >= ALIKE).map(|(name, _)| parent.child(name)));
        let at = At(layered.origin(&key).cloned());
        Self { key, at, suggestion, valid: valid.iter().map(|&name| name.to_owned()).collect() }
    }
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}unknown key {}", self.at, self.key)?;
        let parent = self.key.parent();
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean {suggestion}?")
        } else if self.valid.is_empty() {
            write!(f, "; {parent} takes no keys")
        } else if parent.is_root() {
            write!(f, "; valid here: {}", self.valid.join(", "))
        } else {
            write!(f, "; valid in {parent}: {}", self.valid.join(", "))
        }
    }
}

/// "did you mean x?" for a name among `valid`, or the list of them.
pub(super) fn hint_for_variant(name: &str, valid: &[&str]) -> Option<String> {
    match nearest(name, valid.iter().copied()) {
        Some((best, score)) if score >= ALIKE => Some(format!("did you mean \"{best}\"?")),
        Some(_) => Some(format!("valid: {}", valid.join(", "))),
        None => None,
    }
}

/// One line for every item.
fn lines(items: &[UnknownKey]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
