//! Which parts of a report are labelled.

use std::ops::Range;

use crate::report::{sections, sentences};

/// The sentences of a part of a text (bytes of the text): of its findings and its impression where it has such headers.
pub(super) fn sentences(text: &str, part: Range<usize>) -> Vec<Range<usize>> {
    let parts = sections::kept(&text[part]).into_iter().flat_map(sentences::split);
    // All parts are slices of the text, so that addresses tell where they stand.
    let start = |sentence: &str| sentence.as_ptr().addr() - text.as_ptr().addr();
    parts.map(|sentence| start(sentence)..start(sentence) + sentence.len()).collect()
}
