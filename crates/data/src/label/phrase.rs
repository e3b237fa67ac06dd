//! Phrases of the rules: how they are written and where they match.
//!
//! A phrase is words in lower case with spaces between. `effus*` matches every word that begins so, `is|are` either
//! word, `[very]` a word that may be missing, `..` up to three words and `...` up to eight words, the latter also past
//! commas.

use std::collections::HashMap;
use std::ops::Range;

use super::words::{Symbol, Symbols, Text};
use crate::error::RuleFault;

/// Words that `..` may skip.
const SHORT_GAP: usize = 3;
/// Words that `...` may skip.
const LONG_GAP: usize = 8;

#[derive(Debug, Clone)]
enum Element {
    Word { any_of: Vec<Symbol>, optional: bool },
    Gap { most: usize, past_commas: bool },
}

/// A phrase and what it stands for.
#[derive(Debug, Clone)]
struct Phrase {
    elements: Vec<Element>,
    meaning: usize,
}

/// Many phrases, looked up by their first word.
#[derive(Debug, Default)]
pub(super) struct Phrases {
    phrases: Vec<Phrase>,
    by_first: HashMap<Symbol, Vec<usize>>,
}

/// Where a phrase matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// The words.
    pub(super) words: Range<usize>,
    /// How many of them the phrase names.
    pub(super) named: usize,
    /// What the phrase stands for.
    pub(super) meaning: usize,
}

impl Phrases {
    /// Adds a phrase; `meaning` is told with every match.
    pub(super) fn add(&mut self, symbols: &mut Symbols, phrase: &str, meaning: usize) -> Result<(), RuleFault> {
        let elements: Vec<Element> =
            phrase.split_whitespace().map(|part| element(symbols, part)).collect::<Result<_, _>>()?;
        let Some(Element::Word { any_of, optional: false }) = elements.first() else { return Err(RuleFault::First) };
        if !matches!(elements.last(), Some(Element::Word { .. })) {
            return Err(RuleFault::Last);
        }
        for &symbol in any_of {
            self.by_first.entry(symbol).or_default().push(self.phrases.len());
        }
        self.phrases.push(Phrase { elements, meaning });
        Ok(())
    }

    /// All matches; each phrase at most once from each word, over as few words as possible.
    pub(super) fn matches(&self, text: &Text<'_>) -> Vec<Match> {
        let mut found = Vec::new();
        for start in 0..text.words.len() {
            for symbol in text.symbols(start) {
                for &index in self.by_first.get(symbol).into_iter().flatten() {
                    let phrase = &self.phrases[index];
                    if let Some((end, named)) = reach(text, &phrase.elements, start, 0) {
                        found.push(Match { words: start..end, named, meaning: phrase.meaning });
                    }
                }
            }
        }
        found
    }
}

/// The end of a match of the elements from word `at` on, and how many words were named.
fn reach(text: &Text<'_>, elements: &[Element], at: usize, named: usize) -> Option<(usize, usize)> {
    let Some((first, rest)) = elements.split_first() else { return Some((at, named)) };
    match first {
        Element::Word { any_of, optional } => {
            let here = at < text.words.len() && text.symbols(at).iter().any(|symbol| any_of.contains(symbol));
            let matched = if here { reach(text, rest, at + 1, named + 1) } else { None };
            matched.or_else(|| if *optional { reach(text, rest, at, named) } else { None })
        }
        Element::Gap { most, past_commas } => {
            let last = (at + most).min(text.words.len());
            for next in at..=last {
                if let Some(end) = reach(text, rest, next, named) {
                    return Some(end);
                }
                let word = text.words.get(next)?;
                if word.is_mark && (word.is_stop || !past_commas) {
                    return None;
                }
            }
            None
        }
    }
}

fn element(symbols: &mut Symbols, part: &str) -> Result<Element, RuleFault> {
    match part {
        ".." => return Ok(Element::Gap { most: SHORT_GAP, past_commas: false }),
        "..." => return Ok(Element::Gap { most: LONG_GAP, past_commas: true }),
        _ => {}
    }
    let inner = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let any_of = inner.unwrap_or(part).split('|').map(|word| {
        let letters = word.strip_suffix('*').unwrap_or(word);
        let is_word =
            !letters.is_empty() && letters.chars().all(|c| (c.is_alphanumeric() && !c.is_uppercase()) || c == '\'');
        let is_mark = matches!(word, "," | ":" | ";" | "(" | ")" | "?" | "/" | "+");
        if is_word || is_mark { Ok(symbols.intern(word)) } else { Err(RuleFault::Word(part.to_owned())) }
    });
    Ok(Element::Word { any_of: any_of.collect::<Result<_, _>>()?, optional: inner.is_some() })
}

/// The matches that remain where several share a word: the one that names more words, then the shorter, then the
/// earlier. Equal ranges stay together where `keep_equal`.
pub(super) fn best(mut matches: Vec<Match>, keep_equal: bool) -> Vec<Match> {
    if matches.len() > 1 {
        matches.sort_by_key(|m| (std::cmp::Reverse(m.named), m.words.len(), m.words.start));
    }
    let words = matches.iter().map(|m| m.words.end).max().unwrap_or(0);
    // Which of the kept matches has a word.
    let mut owners: Vec<Option<usize>> = vec![None; words];
    let mut kept: Vec<Match> = Vec::new();
    for one in matches {
        let clashes = |owner: &usize| {
            let other = &kept[*owner];
            !(keep_equal && one.words == other.words && one.meaning != other.meaning)
        };
        if !owners[one.words.clone()].iter().flatten().any(clashes) {
            owners[one.words.clone()].fill(Some(kept.len()));
            kept.push(one);
        }
    }
    kept.sort_by_key(|m| (m.words.start, m.words.end));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(phrases: &[&str], text: &str) -> Vec<(usize, String)> {
        let mut symbols = Symbols::default();
        let mut all = Phrases::default();
        for (meaning, phrase) in phrases.iter().enumerate() {
            all.add(&mut symbols, phrase, meaning).unwrap();
        }
        let read = Text::new(&symbols, text, 0..text.len());
        let best = best(all.matches(&read), false);
        best.into_iter().map(|m| (m.meaning, text[read.bytes(&m.words)].to_owned())).collect()
    }

    #[test]
    fn every_sign_of_a_phrase() {
        let cases = [
            ("effus*", "Two effusions", "effusions"),
            ("heart|cardiac size", "the cardiac size", "cardiac size"),
            ("fluid [is] seen", "fluid seen", "fluid seen"),
            ("fluid [is] seen", "fluid is seen", "fluid is seen"),
            ("heart .. enlarged", "heart is now mildly enlarged", "heart is now mildly enlarged"),
            ("heart ... normal", "heart, lungs and aorta are normal", "heart, lungs and aorta are normal"),
            ("air space", "Air-space", "Air-space"),
            (", mild", "clear, mild", ", mild"),
        ];
        for (phrase, text, expected) in cases {
            assert_eq!(found(&[phrase], text), [(0, expected.to_owned())], "{phrase}");
        }
        for (phrase, text) in [
            ("heart .. enlarged", "heart is now very mildly enlarged"),
            ("heart .. enlarged", "heart, aorta enlarged"),
            ("heart ... normal", "heart; aorta normal"),
            ("effusion", "effusions"),
            ("heart .. enlarged", "heart"),
        ] {
            assert!(found(&[phrase], text).is_empty(), "{phrase}");
        }
    }

    #[test]
    fn the_phrase_that_names_more_wins() {
        let phrases = ["effusion", "pericardial effusion", "no .. change", "change"];
        let all = found(&phrases, "pericardial effusion, effusion, no great change");
        let expected = [(1, "pericardial effusion"), (0, "effusion"), (2, "no great change")];
        assert_eq!(all, expected.map(|(meaning, text)| (meaning, text.to_owned())));
    }

    #[test]
    fn phrases_that_cannot_be_read() {
        let mut symbols = Symbols::default();
        let mut add = |phrase| Phrases::default().add(&mut symbols, phrase, 0).unwrap_err();
        assert_eq!(add("[a] b"), RuleFault::First);
        assert_eq!(add(".. b"), RuleFault::First);
        assert_eq!(add(""), RuleFault::First);
        assert_eq!(add("a .."), RuleFault::Last);
        for word in ["Heart", "a|", "*", "x-ray", "a]"] {
            assert_eq!(add(word), RuleFault::Word(word.to_owned()));
        }
    }
}
