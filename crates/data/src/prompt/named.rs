//! Prompt sets by name or file, with what tells one version from another.

use std::path::Path;

use super::{PromptError, Prompts};
use crate::error::DataError;
use crate::fsx;

/// Largest file of a prompt set (bytes).
const MAX_BYTES: u64 = 1 << 20;

/// Names of the sets that are part of the program, described in `datasets/prompts/README.md`.
pub const BUILTIN_SETS: [&str; 5] = ["phantom", "chexpert", "rsna", "covid", "gloria"];

/// A prompt set with its name and the hash of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSet {
    /// Name of a built-in set, or the file's without its folder.
    pub name: String,
    /// SHA-256 of the text, in hexadecimal digits.
    pub sha256: String,
    /// The classes.
    pub prompts: Prompts,
}

/// The text of a built-in set.
fn text_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "phantom" => include_str!("../../assets/prompts/phantom.toml"),
        "chexpert" => include_str!("../../assets/prompts/chexpert.toml"),
        "rsna" => include_str!("../../assets/prompts/rsna.toml"),
        "covid" => include_str!("../../assets/prompts/covid.toml"),
        "gloria" => include_str!("../../assets/prompts/gloria.toml"),
        _ => return None,
    })
}

impl PromptSet {
    /// A built-in set by its name, else a file, TOML or JSON as [`Prompts::parse`] reads them.
    ///
    /// # Errors
    /// If there is neither, or the file is no prompt set.
    pub fn open(name_or_file: &Path) -> Result<Self, DataError> {
        if let Some(name) = name_or_file.to_str()
            && let Some(text) = text_of(name)
        {
            return Ok(Self::of(name, text)?);
        }
        if !name_or_file.exists() {
            return Err(PromptError::Unknown { path: name_or_file.to_owned() }.into());
        }
        let bytes = fsx::read_capped(name_or_file, MAX_BYTES)?;
        let name = name_or_file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self::of(&name, &String::from_utf8_lossy(&bytes))?)
    }

    /// The built-in prompts of the phantom data.
    ///
    /// # Panics
    /// Never: a test reads the built-in text.
    #[expect(clippy::expect_used, reason = "the text is part of the program and tested")]
    pub fn phantom() -> Self {
        Self::of("phantom", include_str!("../../assets/prompts/phantom.toml"))
            .expect("the built-in prompt set is valid")
    }

    fn of(name: &str, text: &str) -> Result<Self, PromptError> {
        let prompts = Prompts::parse(text)?;
        Ok(Self { name: name.to_owned(), sha256: fsx::sha256_hex(text.as_bytes()), prompts })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(name: &str) -> Prompts {
        PromptSet::open(name.as_ref()).unwrap().prompts
    }

    fn positive(set: &Prompts, class: &str) -> Vec<String> {
        set.class(class).unwrap_or_else(|| panic!("no {class}")).positive.clone()
    }

    #[test]
    fn every_built_in_set_is_valid_and_of_ascii() {
        for name in BUILTIN_SETS {
            let set = PromptSet::open(name.as_ref()).unwrap();
            assert_eq!((set.name.as_str(), set.sha256.len()), (name, 64));
            assert!(text_of(name).unwrap().is_ascii());
        }
    }

    #[test]
    fn gloria_has_as_many_sentences_as_its_authors_count() {
        let gloria = set("gloria");
        // Methods, section 3.6: 3 x 7 x 10, 15, 4 x 6 x 8, 6 x 3 and 6 x 3 x 3.
        let counts = [
            ("Atelectasis", 210),
            ("Cardiomegaly", 15),
            ("Consolidation", 192),
            ("Edema", 18),
            ("Pleural Effusion", 54),
        ];
        for (class, count) in counts {
            assert_eq!(positive(&gloria, class).len(), count, "{class}");
        }
        assert_eq!(gloria.classes.len(), 5);
        let distinct = |class: &str| positive(&gloria, class).into_iter().collect::<BTreeSet<_>>().len();
        assert_eq!(distinct("Pleural Effusion"), 36, "one of three entries is listed twice");
        assert_eq!(distinct("Atelectasis"), 210);
        assert_eq!(positive(&gloria, "Atelectasis")[0], "subsegmental atelectasis at the mid lung zone");
        assert_eq!(positive(&gloria, "Pleural Effusion")[4], "right subpulmonic pleural effusion");
        // Spelt as its authors spell it.
        assert!(positive(&gloria, "Consolidation").iter().any(|text| text.contains("at the right uppper lobe")));
    }

    #[test]
    fn the_chexpert_set_has_all_observations_with_both_sides() {
        let chexpert = set("chexpert");
        let names: Vec<&str> = chexpert.classes.iter().map(|class| class.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Atelectasis",
                "Cardiomegaly",
                "Consolidation",
                "Edema",
                "Pleural Effusion",
                "No Finding",
                "Enlarged Cardiomediastinum",
                "Lung Lesion",
                "Lung Opacity",
                "Pneumonia",
                "Pneumothorax",
                "Pleural Other",
                "Fracture",
                "Support Devices",
            ]
        );
        for class in &chexpert.classes {
            assert!(class.positive.len() >= 6 && class.negative.len() >= 4, "{}", class.name);
            let all: Vec<&String> = class.positive.iter().chain(&class.negative).collect();
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{} repeats itself", class.name);
        }
    }

    #[test]
    fn sets_of_two_classes_have_a_normal_one_first() {
        for (name, finding) in [("rsna", "Pneumonia"), ("covid", "COVID-19")] {
            let set = set(name);
            assert_eq!(set.classes.len(), 2);
            // Index 0 is the negative class (methods, section 3.6).
            assert!(set.classes[0].normal && set.classes[0].name == "Normal");
            assert_eq!(set.normal(), Some(&set.classes[0]));
            assert!(set.classes[1].name == finding && set.classes[0].positive.len() >= 10);
            assert!(set.classes[1].positive.len() >= 10);
        }
    }

    #[test]
    fn an_unknown_set_is_told_the_known_ones() {
        let error = PromptSet::open("chexprt".as_ref()).unwrap_err();
        let message = error.to_string();
        assert!(BUILTIN_SETS.iter().all(|name| message.contains(name)), "{message}");
        assert_eq!(error.exit_code(), 2);
    }
}
