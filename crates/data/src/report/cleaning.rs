//! MIMIC-CXR reports to sentences, as published methods clean them.

use serde::{Deserialize, Serialize};

use super::mimic::{LAST_PARAGRAPH, Section, last, sections};
use super::{count_tokens, sentences};

/// Whose cleaning is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleaning {
    /// Sentences as they are written, with their marks and capitals.
    ///
    /// # Source
    /// `ConVIRT`, section 4.1: findings and impression; a report of fewer than 3 tokens is dropped.
    #[default]
    Convirt,
    /// Lower-case words without marks; every full stop ends a sentence, and one of a single word is dropped. The 54
    /// studies of [`super::mimic::is_special`] have no text.
    ///
    /// # Source
    /// methods.md, section 2.4: MGCA's data set of pre-training.
    Mgca,
}

/// A section that text is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What the radiologist saw.
    Findings,
    /// What they conclude.
    Impression,
    /// What follows the first paragraph, where the report has neither of the two above.
    LastParagraph,
    /// Earlier studies; some reports hold their findings here.
    Comparison,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Findings => "findings",
            Self::Impression => "impression",
            Self::LastParagraph => LAST_PARAGRAPH,
            Self::Comparison => "comparison",
        }
    }
}

/// How a report of MIMIC-CXR becomes text to learn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportRules {
    /// Whose cleaning is followed.
    pub cleaning: Cleaning,
    /// Sections that are kept, in this order. Empty: those of the cleaning, which are findings then impression for
    /// `convirt` and impression then findings for `mgca`.
    pub sections: Vec<Part>,
    /// Sections tried one after the other where none of `sections` has text. Empty, as in both papers: such a report
    /// has no text.
    pub fallback: Vec<Part>,
    /// A report of fewer tokens has no text; with `convirt` a sentence of fewer is dropped as well, since it is drawn
    /// alone.
    pub min_tokens: usize,
    /// Whether the sentences of a report are joined into one text, as MGCA trains on them.
    pub join_sentences: bool,
}

impl Default for ReportRules {
    /// As `ConVIRT`: sentences of at least 3 tokens.
    fn default() -> Self {
        Self {
            cleaning: Cleaning::Convirt,
            sections: Vec::new(),
            fallback: Vec::new(),
            min_tokens: 3,
            join_sentences: false,
        }
    }
}

/// Text of a report after cleaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Its sentences, at least one; or one text of them all.
    pub texts: Vec<String>,
    /// How many sentences there are.
    pub sentences: usize,
    /// Their tokens: words and marks for `convirt`, words for `mgca`.
    pub tokens: usize,
}

/// Why a report has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoText {
    /// None of the sections that are kept is there, or each is blank.
    NoSection,
    /// Fewer tokens than [`ReportRules::min_tokens`].
    TooShort,
}

impl ReportRules {
    /// The text of a report whose lines end with `\n` alone.
    ///
    /// # Errors
    /// [`NoText`] where there is none.
    pub fn clean(&self, report: &str) -> Result<Cleaned, NoText> {
        let all = sections(report);
        let kept = self.kept(&all);
        if kept.is_empty() {
            return Err(NoText::NoSection);
        }
        let (sentences, tokens) = match self.cleaning {
            Cleaning::Convirt => self.convirt(&kept),
            Cleaning::Mgca => mgca_sentences(&kept.join(" ")),
        };
        if sentences.is_empty() || tokens < self.min_tokens {
            return Err(NoText::TooShort);
        }
        let count = sentences.len();
        let texts = if self.join_sentences { vec![sentences.join(" ")] } else { sentences };
        Ok(Cleaned { texts, sentences: count, tokens })
    }

    /// The sections to clean, in order; blank ones are left out.
    fn kept<'a>(&self, all: &[Section<'a>]) -> Vec<&'a str> {
        let text = |part: &Part| last(all, part.name()).filter(|text| !text.is_empty());
        let usual = match self.cleaning {
            Cleaning::Convirt => [Part::Findings, Part::Impression],
            Cleaning::Mgca => [Part::Impression, Part::Findings],
        };
        let wanted = if self.sections.is_empty() { &usual[..] } else { &self.sections[..] };
        let kept: Vec<&str> = wanted.iter().filter_map(text).collect();
        if kept.is_empty() { self.fallback.iter().find_map(text).into_iter().collect() } else { kept }
    }

    fn convirt(&self, kept: &[&str]) -> (Vec<String>, usize) {
        let mut total = 0;
        let mut all = Vec::new();
        for sentence in kept.iter().flat_map(|text| sentences::split(text)) {
            let tokens = count_tokens(sentence);
            if tokens >= self.min_tokens {
                total += tokens;
                // A wrapped line holds a line break and the indent of the next line.
                all.push(sentence.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        (all, total)
    }
}

/// The sentences of a text as MGCA cleans them, and the number of their words.
///
/// # Source
/// methods.md, section 2.4, steps 1 to 3.
pub fn mgca_sentences(text: &str) -> (Vec<String>, usize) {
    let mut total = 0;
    let mut all = Vec::new();
    for part in without_numbers(text).split('.') {
        let lower = part.replace("\u{fffd}\u{fffd}", " ").to_lowercase();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let words: Vec<&str> = lower.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
        if words.len() <= 1 {
            continue;
        }
        // A word may consist of foreign letters alone.
        let ascii = words.iter().map(|word| word.chars().filter(char::is_ascii).collect::<String>());
        let kept: Vec<String> = ascii.filter(|word| !word.is_empty()).collect();
        if !kept.is_empty() {
            total += kept.len();
            all.push(kept.join(" "));
        }
    }
    (all, total)
}

/// The text with a lone full stop for each number that a full stop follows. This cuts "2.5" too, as the original does.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '.' {
            out.truncate(out.trim_end_matches(|d: char| d.is_ascii_digit()).len());
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n \
                          INDICATION:  ___ year old with cough.\n \n FINDINGS: \n \n The heart is\n mildly enlarged.  \
                          Normal.\n No effusion. A 2.5 cm nodule.\n \n IMPRESSION: \n \n 1. No acute disease. \n 2. \
                          Stable.\n";

    fn mgca() -> ReportRules {
        ReportRules { cleaning: Cleaning::Mgca, ..ReportRules::default() }
    }

    #[test]
    fn convirt_keeps_sentences_as_they_are() {
        let cleaned = ReportRules::default().clean(REPORT).unwrap();
        let expected = ["The heart is mildly enlarged.", "No effusion.", "A 2.5 cm nodule.", "No acute disease."]
            .map(str::to_owned);
        assert_eq!(cleaned, Cleaned { texts: expected.to_vec(), sentences: 4, tokens: 6 + 3 + 5 + 4 });
    }

    #[test]
    fn mgca_puts_the_impression_first_and_cuts_numbers() {
        let cleaned = mgca().clean(REPORT).unwrap();
        // "A 2.5 cm" loses its 2 with the stop, and "A", "Normal" and "Stable" are alone.
        let expected = ["no acute disease", "the heart is mildly enlarged", "no effusion", "5 cm nodule"];
        assert_eq!(cleaned, Cleaned { texts: expected.map(str::to_owned).to_vec(), sentences: 4, tokens: 13 });
        let joined = ReportRules { join_sentences: true, ..mgca() }.clean(REPORT).unwrap();
        assert_eq!(joined.texts, ["no acute disease the heart is mildly enlarged no effusion 5 cm nodule"]);
        assert_eq!((joined.sentences, joined.tokens), (4, 13));
    }

    // "per sentence: replace the two-character sequence U+FFFD U+FFFD by blank, lower-case, keep regex `\w+` tokens,
    // drop the sentence if it has <= 1 token, strip non-ASCII characters from tokens, drop empty tokens"
    #[test]
    fn mgca_cleans_by_the_letter() {
        let all = |text| mgca_sentences(text).0;
        assert_eq!(all("Clear\u{fffd}\u{fffd}lungs"), ["clear lungs"]);
        assert_eq!(all("na\u{ef}ve A\u{e9}rt\u{e9}re \u{3b1}"), ["nave artre"]);
        assert_eq!(all("as of ___, left-sided"), ["as of ___ left sided"]);
        assert_eq!(all("\u{3b1} \u{3b2}. One. 12. Two words"), ["two words"]);
        assert_eq!(all("T12. v1.25.3 a b"), ["3 a b"]);
        assert_eq!(mgca_sentences(""), (Vec::new(), 0));
    }

    // "drop the report if the total number of kept tokens is < 3"
    #[test]
    fn short_and_missing_texts_are_told_apart() {
        for rules in [ReportRules::default(), mgca()] {
            assert_eq!(rules.clean("\n FINDINGS: Normal.\n"), Err(NoText::TooShort));
            assert_eq!(rules.clean("\n FINDINGS: \n\n IMPRESSION: ___\n").map(|c| c.tokens), Err(NoText::TooShort));
            assert_eq!(rules.clean("\n HISTORY: Cough for two weeks.\n"), Err(NoText::NoSection));
            assert_eq!(rules.clean("").map(|c| c.tokens), Err(NoText::NoSection));
        }
        assert_eq!(mgca().clean("\n FINDINGS: No effusion.\n"), Err(NoText::TooShort));
        assert_eq!(mgca().clean("\n FINDINGS: No large effusion.\n").unwrap().tokens, 3);
        assert_eq!(ReportRules::default().clean("\n FINDINGS: No effusion.\n").unwrap().tokens, 3);
    }

    #[test]
    fn sections_and_fallbacks_are_a_choice() {
        let impression = ReportRules { sections: vec![Part::Impression], ..ReportRules::default() };
        assert_eq!(impression.clean(REPORT).unwrap().texts, ["No acute disease."]);
        let fallback = vec![Part::LastParagraph, Part::Comparison];
        let rules = ReportRules { fallback, ..ReportRules::default() };
        let paragraph = "\n COMPARISON: None at all here.\n \n The lungs are clear.\n";
        assert_eq!(rules.clean(paragraph).unwrap().texts, ["The lungs are clear."]);
        assert_eq!(rules.clean("\n COMPARISON: The lungs are clear.\n").unwrap().texts, ["The lungs are clear."]);
        assert_eq!(rules.clean(REPORT), ReportRules::default().clean(REPORT), "a fallback is not an addition");
    }
}
