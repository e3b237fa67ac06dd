//! Prompt sets: the sentences that stand for a class in zero-shot classification and in retrieval.

mod named;
mod table;

use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

pub use named::{BUILTIN_SETS, PromptSet};

/// Most sentences that the parts of one class may be combined to.
pub const MAX_COMBINATIONS: usize = 100_000;

/// What is wrong with a prompt set.
#[derive(Debug, Error)]
pub enum PromptError {
    /// The text is no TOML, or a key is missing, unknown or of the wrong type.
    #[error(
        "the prompt set cannot be read: {0}; it needs [[class]] tables with name, positive or parts, negative and queries"
    )]
    Syntax(#[from] toml::de::Error),
    /// The text is no JSON, or not of the shape that is read.
    #[error(
        "the prompt set cannot be read: {0}; JSON needs an object of classes, each a list of sentences, a list of lists of \
         parts, or an object of such lists"
    )]
    Json(#[from] serde_json::Error),
    /// There is no class.
    #[error("the prompt set has no [[class]] table; give at least one")]
    Empty,
    /// Two classes share a name.
    #[error("class {name:?} occurs twice in the prompt set; give each class one table")]
    Twice {
        /// The name.
        name: String,
    },
    /// A class has nothing to compare with.
    #[error("class {name:?} of the prompt set has no positive prompt; give at least one sentence")]
    NoPositive {
        /// The name.
        name: String,
    },
    /// A sentence has no words.
    #[error("class {name:?} of the prompt set has a blank sentence; give it words or take it out")]
    Blank {
        /// Name of the class.
        name: String,
    },
    /// The parts of a class can be combined in too many ways.
    #[error(
        "the parts of class {name:?} make more than {max} sentences; give fewer or shorter lists", max = MAX_COMBINATIONS
    )]
    TooMany {
        /// Name of the class.
        name: String,
    },
    /// More than one class stands for the absence of all others.
    #[error("the prompt set has {count} classes with `normal = true`; mark one at most")]
    Normals {
        /// How many there are.
        count: usize,
    },
    /// There is neither a built-in set nor a file of this name.
    #[error(
        "no prompt set {}: it is no file, and the built-in sets are {}", path.display(), BUILTIN_SETS.join(", ")
    )]
    Unknown {
        /// What was asked for.
        path: PathBuf,
    },
}

/// The sentences of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassPrompts {
    /// Name of the class, as in [`crate::record::Dataset::classes`].
    pub name: String,
    /// Other names of the same label in data sets; may be empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Whether the class stands for the absence of all others of its set. Its positive sentences are the negative ones of
    /// classes that list none, and theirs are its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub normal: bool,
    /// Sentences that say that the finding is there: those of the key `positive`, then every combination of the key
    /// `parts`. A sentence that occurs twice counts twice.
    pub positive: Vec<String>,
    /// Sentences that say that it is not; may be empty.
    pub negative: Vec<String>,
    /// Retrieval queries; may be empty.
    pub queries: Vec<String>,
}

/// A prompt set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompts {
    /// The classes, in the order of the file.
    #[serde(rename = "class")]
    pub classes: Vec<ClassPrompts>,
}

impl Prompts {
    /// Reads a prompt set from TOML text, or from JSON text, which begins with a brace.
    ///
    /// A class of TOML has sentences, `positive`, or `parts`: lists of which every combination of one entry each, in their
    /// order and joined by blanks, is a sentence. Empty entries are left out, and so is a combination of nothing else. A
    /// class of JSON is a list of sentences, a list of lists of parts, or an object whose values are lists of parts.
    ///
    /// # Errors
    /// Names the key or the class that is wrong.
    ///
    /// # Examples
    /// ```
    /// use data::prompt::Prompts;
    ///
    /// let text = r#"
    /// [[class]]
    /// name = "Edema"
    /// parts = [["", "mild"], ["edema", "congestion"]]
    /// "#;
    /// let positive = &Prompts::parse(text)?.classes[0].positive;
    /// assert_eq!(positive, &["edema", "congestion", "mild edema", "mild congestion"]);
    /// assert_eq!(&Prompts::parse(r#"{"Edema": [["", "mild"], ["edema", "congestion"]]}"#)?.classes[0].positive, positive);
    /// # Ok::<(), data::prompt::PromptError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, PromptError> {
        let tables = if text.trim_start().starts_with('{') { table::of_json(text)? } else { table::of_toml(text)? };
        let classes = tables.into_iter().map(ClassPrompts::try_from).collect::<Result<Vec<_>, _>>()?;
        table::check(&classes)?;
        Ok(Self { classes })
    }

    /// The built-in prompts of the phantom data, in the order of [`crate::source::phantom::CLASSES`].
    pub fn phantom() -> Self {
        PromptSet::phantom().prompts
    }

    /// Built-in prompts of the observations of CheXpert but "No Finding", in the order of [`crate::label::CHEXPERT14`].
    ///
    /// # Panics
    /// Never: a test reads the built-in text.
    #[expect(clippy::expect_used, reason = "the text is part of the program and tested")]
    pub fn observations() -> Self {
        Self::parse(include_str!("../assets/prompts/observations.toml")).expect("the built-in prompt set is valid")
    }

    /// The prompts of a class.
    pub fn class(&self, name: &str) -> Option<&ClassPrompts> {
        self.classes.iter().find(|c| c.name == name)
    }

    /// The class that stands for the absence of all others.
    pub fn normal(&self) -> Option<&ClassPrompts> {
        self.classes.iter().find(|c| c.normal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::phantom::CLASSES;

    #[test]
    fn the_built_in_prompts_cover_the_phantom_classes_in_order() {
        let prompts = Prompts::phantom();
        let names: Vec<&str> = prompts.classes.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, CLASSES);
        for class in &prompts.classes {
            assert!(class.positive.len() >= 4 && class.negative.len() >= 4, "{}", class.name);
            assert_eq!(class.queries.len(), 5, "{}", class.name);
        }
        assert_eq!(prompts.class("edema"), Some(&prompts.classes[4]));
        assert_eq!(prompts.class("fibrosis"), None);
    }

    #[test]
    fn the_built_in_prompts_of_observations_are_in_their_order() {
        let prompts = Prompts::observations();
        let names: Vec<&str> = prompts.classes.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, crate::label::CHEXPERT14[1..]);
        for class in &prompts.classes {
            assert!(class.positive.len() >= 3 && class.negative.len() >= 3, "{}", class.name);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| Prompts::parse(text).unwrap_err().to_string();
        assert!(message("[[class]]\nname = 'a'\npositive = ['x']\nquery = []").contains("query"));
        assert!(message("class = []").contains("no [[class]]"));
        assert!(message("{}").contains("no [[class]]"));
        assert!(message("[[class]]\nname = 'a'\npositive = []").contains("\"a\""));
        assert!(message("[[class]]\nname = 'a'").contains("no positive prompt"));
        assert!(message("[[class]]\nname = 'a'\npositive = [' ']").contains("blank"));
        assert!(message("[[class]]\nname = 'a'\nparts = [['x'], []]").contains("no positive prompt"));
        assert!(message("{\"a\": 3}").contains("a list of lists"), "{}", message("{\"a\": 3}"));
        assert!(message("{\"a\": [\"x\", [\"y\"]]}").contains("JSON needs"));
        assert!(message("{\"a\": [\"x\"], \"a\": [\"y\"]}").contains("twice"));
        let twice = "[[class]]\nname = 'a'\npositive = ['x']\n";
        assert!(message(&format!("{twice}{twice}")).contains("twice"));
        let normal = "[[class]]\nname = 'a'\npositive = ['x']\nnormal = true\n";
        assert!(message(&format!("{normal}{}", normal.replace("'a'", "'b'"))).contains("mark one at most"));
        let long = format!("[[class]]\nname = 'a'\nparts = [{}]", "['x', 'y'],".repeat(17));
        assert!(message(&long).contains("more than 100000 sentences"));
    }

    #[test]
    fn negatives_and_queries_may_be_left_out() {
        let prompts = Prompts::parse("[[class]]\nname = 'a'\npositive = ['An a.']").unwrap();
        assert_eq!(prompts.classes[0].positive, ["An a."]);
        assert!(prompts.classes[0].negative.is_empty() && prompts.classes[0].queries.is_empty());
        assert!(prompts.normal().is_none());
    }

    #[test]
    fn parts_follow_sentences_and_their_order() {
        let text = "[[class]]\nname = 'a'\npositive = ['one']\nparts = [['', 'p'], ['q', ''], ['', 'r']]";
        let positive = Prompts::parse(text).unwrap().classes.remove(0).positive;
        // Of eight combinations the empty one is left out.
        assert_eq!(positive, ["one", "q", "q r", "r", "p q", "p q r", "p", "p r"]);
        let object = r#"{"a": {"second": ["x", "y"], "first": ["z"]}, "b": ["s.", "t."]}"#;
        let prompts = Prompts::parse(object).unwrap();
        assert_eq!(prompts.classes[0].positive, ["x z", "y z"]);
        assert_eq!(prompts.classes[1].positive, ["s.", "t."]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let prompts = PromptSet::open("covid".as_ref()).unwrap().prompts;
        assert_eq!(Prompts::parse(&toml::to_string(&prompts).unwrap()).unwrap(), prompts);
    }
}
