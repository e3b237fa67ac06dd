//! A sentence as words, each with the symbols of the phrases that it matches.

use std::collections::HashMap;
use std::ops::Range;

/// A word or a beginning of words that some phrase names.
pub(super) type Symbol = u32;

/// Every word and beginning of words of the rules.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    words: HashMap<String, Symbol>,
    beginnings: HashMap<String, Symbol>,
    /// Bytes of the shortest beginning.
    shortest: usize,
    count: Symbol,
}

impl Symbols {
    /// The symbol of a word of a phrase; `*` at its end stands for any ending.
    pub(super) fn intern(&mut self, word: &str) -> Symbol {
        let (map, key) = match word.strip_suffix('*') {
            Some(beginning) => {
                let known = if self.beginnings.is_empty() { usize::MAX } else { self.shortest };
                self.shortest = known.min(beginning.len());
                (&mut self.beginnings, beginning)
            }
            None => (&mut self.words, word),
        };
        if let Some(&known) = map.get(key) {
            return known;
        }
        self.count += 1;
        map.insert(key.to_owned(), self.count);
        self.count
    }

    /// Adds the symbols that a lower-case word matches.
    fn of(&self, word: &str, found: &mut Vec<Symbol>) {
        found.extend(self.words.get(word));
        for end in self.shortest.max(1)..=word.len() {
            if word.is_char_boundary(end) {
                found.extend(self.beginnings.get(&word[..end]));
            }
        }
    }
}

/// One word, number or punctuation mark.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// Where it stands (bytes of the text).
    pub(super) span: Range<usize>,
    symbols: Range<usize>,
    /// Whether it is a mark such as a comma.
    pub(super) is_mark: bool,
    /// Whether it separates clauses whatever stands around it.
    pub(super) is_stop: bool,
}

/// The words of a part of a text.
#[derive(Debug)]
pub(super) struct Text<'a> {
    whole: &'a str,
    pub(super) words: Vec<Word>,
    symbols: Vec<Symbol>,
}

impl<'a> Text<'a> {
    /// Splits the bytes `part` of a text, which lie on boundaries of characters.
    ///
    /// Letters and digits make words; hyphens and slashes separate them as a space does; commas, colons, semicolons,
    /// stops, question marks and brackets are words of their own.
    pub(super) fn new(known: &Symbols, whole: &'a str, part: Range<usize>) -> Self {
        let mut text = Self { whole, words: Vec::new(), symbols: Vec::new() };
        let offset = part.start;
        let mut lower = String::new();
        let mut start = None;
        let inner = &whole[part];
        let ends = inner.char_indices().chain([(inner.len(), ' ')]);
        for (at, c) in ends {
            if c.is_alphanumeric() || (c == '\'' && start.is_some()) {
                start.get_or_insert(at);
                lower.extend(c.to_lowercase());
                continue;
            }
            if let Some(start) = start.take() {
                text.push(known, offset + start..offset + at, &lower, false);
                lower.clear();
            }
            if matches!(c, ',' | ':' | ';' | '.' | '?' | '(' | ')' | '[' | ']' | '/' | '+') {
                let mut mark = [0; 4];
                text.push(known, offset + at..offset + at + c.len_utf8(), c.encode_utf8(&mut mark), true);
            }
        }
        text
    }

    fn push(&mut self, known: &Symbols, span: Range<usize>, lower: &str, is_mark: bool) {
        let start = self.symbols.len();
        known.of(lower, &mut self.symbols);
        let is_stop = matches!(lower, ";" | "." | "?");
        self.words.push(Word { span, symbols: start..self.symbols.len(), is_mark, is_stop });
    }

    /// The symbols of a word.
    pub(super) fn symbols(&self, word: usize) -> &[Symbol] {
        &self.symbols[self.words[word].symbols.clone()]
    }

    /// The word as the text has it.
    pub(super) fn word(&self, word: usize) -> &str {
        &self.whole[self.words[word].span.clone()]
    }

    /// The bytes from the first to the last of some words.
    pub(super) fn bytes(&self, words: &Range<usize>) -> Range<usize> {
        self.words[words.start].span.start..self.words[words.end - 1].span.end
    }

    /// Where a concept stands, as ranges of words: in capitals, or else in any case. Where the text lacks it, the
    /// longest part from its start or to its end that the text has.
    pub(super) fn places(&self, concept: &str) -> Vec<Range<usize>> {
        let wanted = Text::new(&Symbols::default(), concept, 0..concept.len());
        let wanted: Vec<&str> = (0..wanted.words.len()).map(|i| &concept[wanted.words[i].span.clone()]).collect();
        let parts = (1..=wanted.len()).rev().flat_map(|length| {
            let first = wanted.get(..length).unwrap_or_default();
            let last = wanted.get(wanted.len() - length..).unwrap_or_default();
            [first, last]
        });
        // A short word such as "of" is no part that tells anything.
        let telling = parts.filter(|part| part.len() == wanted.len() || part.concat().len() >= 5);
        let found = telling.map(|part| self.places_of(part)).find(|places| !places.is_empty());
        let all = found.unwrap_or_default();
        let in_capitals =
            |place: &Range<usize>| place.clone().all(|i| !self.word(i).contains(|c: char| c.is_lowercase()));
        let capitals: Vec<Range<usize>> = all.iter().filter(|place| in_capitals(place)).cloned().collect();
        if capitals.is_empty() { all } else { capitals }
    }

    fn places_of(&self, wanted: &[&str]) -> Vec<Range<usize>> {
        let same = |a: &str, b: &str| a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase));
        let starts = 0..(self.words.len() + 1).saturating_sub(wanted.len());
        let stands = |at: &usize| wanted.iter().zip(*at..).all(|(word, i)| same(self.word(i), word));
        starts.filter(stands).map(|at| at..at + wanted.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        let known = Symbols::default();
        Text::new(&known, text, 0..text.len()).words.iter().map(|word| &text[word.span.clone()]).collect()
    }

    #[test]
    fn words_and_marks() {
        assert_eq!(
            split("Air-space disease, (2.5 cm)?"),
            ["Air", "space", "disease", ",", "(", "2", ".", "5", "cm", ")", "?"]
        );
        assert_eq!(split("isn't 'clear'"), ["isn't", "clear'"]);
        assert_eq!(split(" \u{e9}t\u{e9}\u{4e2d} - "), ["\u{e9}t\u{e9}\u{4e2d}"]);
        assert!(split("").is_empty());
    }

    #[test]
    fn symbols_of_words_and_beginnings() {
        let mut known = Symbols::default();
        let [edema, pneumo, effusion] = ["edema", "pneumo*", "effusion*"].map(|word| known.intern(word));
        assert_eq!(known.intern("pneumo*"), pneumo);
        let text = "Edema pneumothorax EFFUSIONS effus \u{130}pneumo";
        let read = Text::new(&known, text, 0..text.len());
        let symbols: Vec<&[Symbol]> = (0..5).map(|word| read.symbols(word)).collect();
        assert_eq!(symbols, [&[edema][..], &[pneumo], &[effusion], &[], &[]]);
    }

    #[test]
    fn places_in_capitals_come_first() {
        let known = Symbols::default();
        let text = "No edema now, but EDEMA of the legs.";
        let read = Text::new(&known, text, 0..text.len());
        assert_eq!(read.places("edema"), [5..6]);
        assert_eq!(read.places("The Legs"), [7..9]);
        assert!(read.places("").is_empty() && read.places("cough").is_empty());
    }
}
