//! Prompt sets: the sentences that stand for a class in zero-shot classification and in retrieval.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is wrong with a prompt set.
#[derive(Debug, Error)]
pub enum PromptError {
    /// The text is no TOML, or a key is missing, unknown or of the wrong type.
    #[error("the prompt set cannot be read: {0}; it needs [[class]] tables with name, positive, negative and queries")]
    Syntax(#[from] toml::de::Error),
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
}

/// The sentences of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrompts {
    /// Name of the class, as in [`crate::record::Dataset::classes`].
    pub name: String,
    /// Sentences that say that the finding is there.
    pub positive: Vec<String>,
    /// Sentences that say that it is not; may be empty.
    #[serde(default)]
    pub negative: Vec<String>,
    /// Retrieval queries; may be empty.
    #[serde(default)]
    pub queries: Vec<String>,
}

/// A prompt set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// The classes, in the order of the file.
    #[serde(rename = "class")]
    pub classes: Vec<ClassPrompts>,
}

impl Prompts {
    /// Reads a prompt set from TOML text.
    ///
    /// # Errors
    /// Names the key or the class that is wrong.
    pub fn parse(text: &str) -> Result<Self, PromptError> {
        let prompts: Self = toml::from_str(text)?;
        if prompts.classes.is_empty() {
            return Err(PromptError::Empty);
        }
        let mut names = BTreeSet::new();
        for class in &prompts.classes {
            if !names.insert(&class.name) {
                return Err(PromptError::Twice { name: class.name.clone() });
            }
            if class.positive.is_empty() {
                return Err(PromptError::NoPositive { name: class.name.clone() });
            }
        }
        Ok(prompts)
    }

    /// The built-in prompts of the phantom data, in the order of [`crate::source::phantom::CLASSES`].
    ///
    /// # Panics
    /// Never: a test reads the built-in text.
    #[expect(clippy::expect_used, reason = "the text is part of the program and tested")]
    pub fn phantom() -> Self {
        Self::parse(include_str!("../assets/prompts/phantom.toml")).expect("the built-in prompt set is valid")
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
        assert!(message("[[class]]\nname = 'a'\npositive = []").contains("\"a\""));
        let twice = "[[class]]\nname = 'a'\npositive = ['x']\n";
        assert!(message(&format!("{twice}{twice}")).contains("twice"));
    }

    #[test]
    fn negatives_and_queries_may_be_left_out() {
        let prompts = Prompts::parse("[[class]]\nname = 'a'\npositive = ['An a.']").unwrap();
        assert_eq!(prompts.classes[0].positive, ["An a."]);
        assert!(prompts.classes[0].negative.is_empty() && prompts.classes[0].queries.is_empty());
    }
}
