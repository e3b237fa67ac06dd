//! Properties of sentence splitting.

use crate::cases::{bytes, check, text};
use crate::fuzz_data::sentence_split;

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

#[test]
fn sentences_are_parts_in_order_and_no_word_is_lost() {
    check(11, |draws| sentence_split(text(draws, &PIECES, 40).as_bytes()));
}

#[test]
fn any_bytes_are_split_without_a_panic() {
    let pieces = PIECES.map(str::as_bytes);
    check(12, |draws| sentence_split(&bytes(draws, &pieces, 40)));
}
