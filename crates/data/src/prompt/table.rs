//! Prompt sets as they are written: TOML tables or JSON objects.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{ClassPrompts, MAX_COMBINATIONS, PromptError};

/// A class as a file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassTable {
    name: String,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    normal: bool,
    #[serde(default)]
    positive: Vec<String>,
    /// Lists of which one entry each makes a sentence.
    #[serde(default)]
    parts: Vec<Vec<String>>,
    #[serde(default)]
    negative: Vec<String>,
    #[serde(default)]
    queries: Vec<String>,
}

impl TryFrom<ClassTable> for ClassPrompts {
    type Error = PromptError;

    fn try_from(table: ClassTable) -> Result<Self, PromptError> {
        let ClassTable { name, labels, normal, mut positive, parts, negative, queries } = table;
        if [&positive, &negative, &queries].iter().any(|list| list.iter().any(|text| text.trim().is_empty())) {
            return Err(PromptError::Blank { name });
        }
        let Some(combined) = combinations(&parts) else { return Err(PromptError::TooMany { name }) };
        positive.extend(combined);
        if positive.is_empty() {
            return Err(PromptError::NoPositive { name });
        }
        Ok(Self { name, labels, normal, positive, negative, queries })
    }
}

/// Every sentence of one entry of each list, the last list running fastest; none of no list, and `None` where there are
/// more than [`MAX_COMBINATIONS`].
fn combinations(parts: &[Vec<String>]) -> Option<Vec<String>> {
    let count = parts.iter().try_fold(1_usize, |count, list| count.checked_mul(list.len()))?;
    if count > MAX_COMBINATIONS {
        return None;
    }
    if parts.is_empty() {
        return Some(Vec::new());
    }
    let mut sentences = vec![String::new()];
    for list in parts {
        let extended = |start: &String| {
            let join = |part: &String| [start.trim(), part.trim()].join(" ").trim().to_owned();
            list.iter().map(join).collect::<Vec<_>>()
        };
        sentences = sentences.iter().flat_map(extended).collect();
    }
    sentences.retain(|sentence| !sentence.is_empty());
    Some(sentences)
}

/// Makes sure that classes can be told apart.
pub(super) fn check(classes: &[ClassPrompts]) -> Result<(), PromptError> {
    if classes.is_empty() {
        return Err(PromptError::Empty);
    }
    let mut names = BTreeSet::new();
    if let Some(class) = classes.iter().find(|class| !names.insert(&class.name)) {
        return Err(PromptError::Twice { name: class.name.clone() });
    }
    let count = classes.iter().filter(|class| class.normal).count();
    if count > 1 { Err(PromptError::Normals { count }) } else { Ok(()) }
}

/// The `[[class]]` tables of a text.
pub(super) fn of_toml(text: &str) -> Result<Vec<ClassTable>, PromptError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        class: Vec<ClassTable>,
    }
    Ok(toml::from_str::<File>(text)?.class)
}

/// The classes of a JSON object, in its order.
pub(super) fn of_json(text: &str) -> Result<Vec<ClassTable>, PromptError> {
    let classes: Ordered<JsonClass> = serde_json::from_str(text)?;
    let table = |(name, class): (String, JsonClass)| {
        let (positive, parts) = match class {
            JsonClass::Sentences(sentences) => (sentences, Vec::new()),
            JsonClass::Parts(parts) => (Vec::new(), parts),
            JsonClass::Named(parts) => (Vec::new(), parts.0.into_iter().map(|(_, list)| list).collect()),
        };
        ClassTable { name, positive, parts, ..ClassTable::default() }
    };
    Ok(classes.0.into_iter().map(table).collect())
}

/// What stands for a class in JSON.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a class is a list of sentences, a list of lists of parts or an object of such lists")]
enum JsonClass {
    Sentences(Vec<String>),
    Parts(Vec<Vec<String>>),
    Named(Ordered<Vec<String>>),
}

/// The entries of an object in the order of the text, repeated keys included.
struct Ordered<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData)).map(Self)
    }
}
