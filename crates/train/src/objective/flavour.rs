//! Which of two descriptions of a method a recipe follows where paper and published code disagree.

use engine::config::{Layer, Source};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::error::TrainError;

/// Which description gives the values that a recipe leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// The paper.
    Paper,
    /// The published code, which made the published weights.
    Reference,
}

/// A difference that changes a result: key, the paper's value, that of the published code. A recipe may set any of
/// them.
pub type Difference = (&'static str, &'static str, &'static str);

impl Flavour {
    /// The values of a flavour for the keys that a table leaves open.
    ///
    /// # Errors
    /// None with the tables of differences as they are.
    pub fn fill(self, differences: &[Difference], table: &Table) -> Result<Layer, TrainError> {
        let open = differences.iter().filter(|(key, ..)| !is_set(table, key));
        let (name, lines): (_, Vec<String>) = match self {
            Self::Paper => ("paper", open.map(|(key, paper, _)| format!("{key} = {paper}")).collect()),
            Self::Reference => ("reference", open.map(|(key, _, code)| format!("{key} = {code}")).collect()),
        };
        Ok(Layer::text(Source::Preset(format!("flavour {name}")), &lines.join("\n"))?)
    }
}

/// Whether a table has a value at a path of names joined by dots.
fn is_set(table: &Table, key: &str) -> bool {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    match (table.get(first), rest) {
        (Some(Value::Table(inner)), Some(rest)) => is_set(inner, rest),
        (value, rest) => value.is_some() && rest.is_none(),
    }
}
