//! What an [`Alignment`](super::Alignment) was trained with, as far as its use depends on it.

use serde::{Deserialize, Serialize};

use super::Alignment;
use super::attend::Gather;
use crate::text::words::WordRules;

/// How words and patches met in training. A checkpoint carries it: no tensor tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlignmentRules {
    /// Whether words and patches saw each other by learned maps.
    pub learned_attention: bool,
    /// Temperature of attention by cosines.
    pub token_temperature: f64,
    /// What counted as a word.
    pub words: WordRules,
}

impl AlignmentRules {
    /// Those of the published code, which made the published weights.
    ///
    /// # Source
    /// `methods.md` 2.3 and 2.5.
    pub const PUBLISHED: Self = Self {
        learned_attention: false,
        token_temperature: 0.1,
        words: WordRules { separator_is_word: true, full_text_truncated: true },
    };

    /// How a word gathers what it sees of the patches; nothing where learned maps are asked for that the model lacks.
    pub fn words_see(&self, alignment: &Alignment) -> Option<Gather> {
        if self.learned_attention {
            let maps = alignment.word_attention.as_ref()?.maps();
            return Some(Gather::Learned(Box::new(maps)));
        }
        Some(Gather::Similarity(self.token_temperature))
    }
}
