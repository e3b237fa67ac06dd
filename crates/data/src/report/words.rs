//! Words that tell reports apart: neither in nearly all of them nor in hardly any, and apart where a report denies them.
//!
//! "No pleural effusion" says the contrary of "pleural effusion". As Das and Chen (2001) and Pang et al. (2002) do for
//! opinions, a word after a denial counts as another word.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::text::Tokenizer;

/// What denies the words after it. Not "free" alone: free air is there.
const DENIALS: [&str; 9] = ["no", "not", "without", "nor", "neither", "never", "free of", "absence of", "negative for"];
/// What a denial does not reach beyond. A comma is none of them: denials come as lists.
const BOUNDARIES: [&str; 5] = [".", ";", "but", "however", "although"];

/// A token id, and whether it is denied.
pub type Word = (u32, bool);

/// A word that tells reports apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TellingWord {
    /// Which word.
    pub word: Word,
    /// Share of the reports that hold it, between 0 and 1.
    pub share: f64,
}

/// The denials in the ids of one tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denials {
    cues: Vec<Vec<u32>>,
    boundaries: Vec<Vec<u32>>,
}

impl Denials {
    /// English denials as this tokenizer writes them.
    ///
    /// # Errors
    /// If the tokenizer's library fails.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let all = |texts: &[&str]| texts.iter().map(|text| tokenizer.pieces(text)).collect::<Result<Vec<_>>>();
        Ok(Self { cues: all(&DENIALS)?, boundaries: all(&BOUNDARIES)? })
    }

    /// The distinct words of sentences (token ids of each), in order.
    pub fn words<'a>(&self, sentences: impl IntoIterator<Item = &'a Vec<u32>>) -> Vec<Word> {
        let mut words = Vec::new();
        for sentence in sentences {
            let mut denied = false;
            for (i, &id) in sentence.iter().enumerate() {
                let starts = |phrases: &[Vec<u32>]| phrases.iter().any(|phrase| sentence[i..].starts_with(phrase));
                denied = (denied || starts(&self.cues)) && !starts(&self.boundaries);
                words.push((id, denied));
            }
        }
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Words that occur in a share of `reports` within `[low, high]`, by id.
    ///
    /// `reports` holds the token ids of each sentence of each report.
    pub fn telling_words(&self, reports: &[Vec<Vec<u32>>], low: f64, high: f64) -> Vec<TellingWord> {
        let mut counts: BTreeMap<Word, usize> = BTreeMap::new();
        for report in reports {
            for word in self.words(report) {
                *counts.entry(word).or_default() += 1;
            }
        }
        let share = |count: usize| count as f64 / reports.len().max(1) as f64;
        let words = counts.into_iter().map(|(word, count)| TellingWord { word, share: share(count) });
        words.filter(|w| (low..=high).contains(&w.share)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: Denials = Denials { cues: Vec::new(), boundaries: Vec::new() };

    #[test]
    fn words_of_all_and_of_few_reports_are_left_out() {
        // Token 1 is everywhere, 2 in half of the reports (twice in one of them), 3 in one of four.
        let reports = [vec![vec![1, 2], vec![2]], vec![vec![1]], vec![vec![1, 3]], vec![vec![1, 2]]];
        let words = DENY.telling_words(&reports, 0.3, 0.9);
        assert_eq!(words, [TellingWord { word: (2, false), share: 0.5 }]);
    }

    /// The words of a sentence, the denied ones in capitals.
    fn marked(sentence: &str) -> String {
        let tokenizer = Tokenizer::builtin().unwrap();
        let denials = Denials::new(&tokenizer).unwrap();
        let held = denials.words([&tokenizer.pieces(sentence).unwrap()]);
        let denied = |word: &str| tokenizer.id(word).is_some_and(|id| held.contains(&(id, true)));
        let words = sentence.split_whitespace().map(|word| word.trim_matches(['.', ',', ';']));
        words
            .map(|w| if denied(&w.to_lowercase()) { w.to_uppercase() } else { w.to_lowercase() })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_denial_reaches_over_a_list_to_the_end_of_its_clause() {
        assert_eq!(marked("There is no effusion, edema or nodule."), "there is NO EFFUSION EDEMA OR NODULE");
        assert_eq!(marked("No effusion; heart enlarged."), "NO EFFUSION heart enlarged");
        assert_eq!(marked("Fracture without pneumothorax but edema."), "fracture WITHOUT PNEUMOTHORAX but edema");
        assert_eq!(marked("The lungs are free of consolidation."), "the lungs are FREE OF CONSOLIDATION");
        assert_eq!(marked("Free air is seen."), "free air is seen");
    }

    #[test]
    fn a_denied_word_is_another_word() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let denials = Denials::new(&tokenizer).unwrap();
        let report = |text: &str| vec![tokenizer.pieces(text).unwrap()];
        let reports = [report("There is an effusion."), report("There is no effusion.")];
        let effusion = tokenizer.id("effusion").unwrap();
        let words = denials.telling_words(&reports, 0.5, 0.5);
        for denied in [false, true] {
            assert!(words.contains(&TellingWord { word: (effusion, denied), share: 0.5 }), "{denied}");
        }
    }
}
