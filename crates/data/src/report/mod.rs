//! Reports: the sections that are kept and their sentences.

pub mod cleaning;
pub mod counts;
pub mod mimic;
pub mod sections;
pub mod sentences;
pub mod topics;
pub mod words;

use serde::{Deserialize, Serialize};

/// Which parts of a report become sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextRules {
    /// Whether a report with headers is reduced to its findings and its impression. A text without these headers is
    /// taken whole.
    pub keep_sections: bool,
    /// Sentences of fewer tokens are dropped; words, numbers and punctuation marks count as one each.
    pub min_tokens: usize,
}

impl Default for TextRules {
    /// Findings and impression, sentences of at least 3 tokens.
    fn default() -> Self {
        Self { keep_sections: true, min_tokens: 3 }
    }
}

impl TextRules {
    /// The sentences of a report, in order, as parts of it.
    ///
    /// # Source
    /// ConVIRT, section 4.1. The paper drops a whole report of fewer than 3 tokens; here the rule holds for each
    /// sentence, since one is drawn alone ("Normal." has 2 and says nothing without its neighbours).
    pub fn sentences<'a>(&self, report: &'a str) -> Vec<&'a str> {
        let parts = if self.keep_sections { sections::kept(report) } else { vec![report] };
        let all = parts.into_iter().flat_map(sentences::split);
        all.filter(|sentence| count_tokens(sentence) >= self.min_tokens.max(1)).collect()
    }
}

/// Words, numbers and punctuation marks of a text, roughly as treebank tokenisers count them.
pub fn count_tokens(text: &str) -> usize {
    let mut count = 0;
    let mut in_word = false;
    for c in text.chars() {
        // Hyphens, decimal points and underscores join what they stand between.
        let joins = in_word && matches!(c, '-' | '.' | '_' | '\'');
        if c.is_alphanumeric() || c == '_' {
            count += usize::from(!in_word);
            in_word = true;
        } else if !joins {
            count += usize::from(!c.is_whitespace());
            in_word = false;
        }
    }
    // A joiner at the very end of a word was a mark of its own.
    let last_is_joiner = in_word && text.ends_with(['-', '.', '\'']);
    count + usize::from(last_is_joiner)
}

/// A sentence as `MedCLIP`'s published code has it: lower case, words and runs of marks apart, ASCII alone; `None`
/// where fewer than five of them remain.
///
/// # Source
/// `methods.md` 3.2.
pub fn words_apart(sentence: &str) -> Option<String> {
    const FEWEST: usize = 5;
    let mut parts: Vec<String> = Vec::new();
    let mut last = None;
    for c in sentence.to_lowercase().chars() {
        let kind = if c.is_whitespace() { None } else { Some(c.is_alphanumeric() || c == '_') };
        match (kind, parts.last_mut()) {
            (Some(_), Some(part)) if kind == last => part.push(c),
            (Some(_), _) => parts.push(c.to_string()),
            (None, _) => {}
        }
        last = kind;
    }
    let ascii = parts.iter().map(|part| part.chars().filter(char::is_ascii).collect::<String>());
    let kept: Vec<String> = ascii.filter(|part| !part.is_empty()).collect();
    (kept.len() >= FEWEST).then(|| kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_marks_are_put_apart_and_short_sentences_left_out() {
        let apart = |text| words_apart(text);
        assert_eq!(apart("Left-sided effusion, 2.5 cm."), Some("left - sided effusion , 2 . 5 cm .".to_owned()));
        assert_eq!(apart("The  heart \u{2019}is\u{2019} large..").as_deref(), Some("the heart is large .."));
        assert_eq!((apart("No effusion."), apart("")), (None, None));
    }

    #[test]
    fn tokens_are_words_and_marks() {
        let counts = [
            ("No pneumothorax.", 3),
            ("Normal.", 2),
            ("A 2.5 cm nodule", 4),
            ("left-sided effusion, small", 4),
            ("", 0),
            (" . ", 1),
        ];
        for (text, expected) in counts {
            assert_eq!(count_tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn a_report_gives_the_sentences_of_findings_and_impression() {
        let report = "INDICATION: Fever for 3 days. FINDINGS: Heart size is normal. Normal. No effusion.\n\n\
                      IMPRESSION:\n1. No acute disease.\n2. Old rib fracture";
        assert_eq!(
            TextRules::default().sentences(report),
            ["Heart size is normal.", "No effusion.", "No acute disease.", "Old rib fracture"]
        );
        let all = TextRules { keep_sections: false, min_tokens: 1 };
        assert_eq!(all.sentences(report)[0], "INDICATION: Fever for 3 days.");
        assert_eq!(all.sentences(report)[2], "Normal.");
    }

    #[test]
    fn a_report_without_kept_text_has_no_sentence() {
        for report in ["", " \n ", "FINDINGS:", "FINDINGS: Normal. INDICATION: Cough for two weeks.", "..."] {
            assert_eq!(TextRules::default().sentences(report), Vec::<&str>::new(), "{report}");
        }
    }
}
