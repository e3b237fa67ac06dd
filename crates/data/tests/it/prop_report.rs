//! Properties of sentence splitting.

use data::report::{TextRules, count_tokens, sections, sentences};
use data::rng::Stream;

use crate::cases::{bytes, check, gaps, text};

/// What the rules look at.
const PIECES: [&str; 20] = [
    ".",
    ". ",
    "\n",
    "\r\n\r\n",
    " ",
    "FINDINGS:",
    "IMPRESSION: ",
    "Dr. ",
    "e.g. ",
    "1. ",
    "12) ",
    "(3) ",
    "- ",
    "* ",
    "?)",
    "2.5 cm",
    "p.m. ",
    "No effusion. ",
    "\u{2022} ",
    "... ",
];

fn clinical(draws: &mut Stream) -> String {
    text(draws, &PIECES, 40)
}

/// Whether a text that belongs to no sentence holds no word: marks, space, and numbers of lists alone.
fn is_no_word(gap: &str) -> bool {
    let mut rest = gap;
    while let Some(at) = rest.find(char::is_alphanumeric) {
        let number = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = rest.len() - at - number.len();
        if !(1..=2).contains(&digits) || !number.starts_with(['.', ')']) {
            return false;
        }
        rest = number;
    }
    true
}

#[test]
fn sentences_are_parts_in_order_and_no_word_is_lost() {
    check(11, |draws| {
        let text = clinical(draws);
        let split = sentences::split(&text);
        for gap in gaps(&text, &split) {
            assert!(is_no_word(gap), "{gap:?} of {text:?}");
        }
        for sentence in &split {
            assert!(sentence.contains(char::is_alphanumeric) && sentence.trim() == *sentence, "{text:?}");
        }
    });
}

#[test]
fn a_sentence_is_one_sentence() {
    check(12, |draws| {
        let text = clinical(draws);
        for sentence in sentences::split(&text) {
            assert_eq!(sentences::split(sentence), [sentence], "{text:?}");
        }
    });
}

#[test]
fn reports_give_parts_in_order_that_are_long_enough() {
    check(13, |draws| {
        let text = clinical(draws);
        let rules = TextRules { keep_sections: true, min_tokens: draws.below(6) };
        let kept = rules.sentences(&text);
        gaps(&text, &kept);
        gaps(&text, &sections::kept(&text));
        assert!(kept.iter().all(|sentence| count_tokens(sentence) >= rules.min_tokens), "{text:?}");
    });
}

#[test]
fn any_bytes_are_split_without_a_panic() {
    let pieces = PIECES.map(str::as_bytes);
    check(14, |draws| {
        let bytes = bytes(draws, &pieces, 40);
        let text = String::from_utf8_lossy(&bytes);
        gaps(&text, &TextRules::default().sentences(&text));
    });
}
