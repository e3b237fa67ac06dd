//! Sentences of a clinical text.
//!
//! A full stop ends a sentence unless it belongs to a number, an abbreviation, an initial or the number of a list. A
//! line break ends one where a blank line, a list or a finished sentence makes it clear; otherwise it is a wrapped
//! line.

/// Abbreviations whose stop never ends a sentence.
const OPEN_ABBREVIATIONS: [&str; 24] = [
    "al", "approx", "ca", "cf", "dr", "e.g", "eg", "esp", "fig", "i.e", "ie", "incl", "mr", "mrs", "ms", "pg", "prof",
    "resp", "sec", "st", "temp", "viz", "vol", "vs",
];
/// Abbreviations whose stop ends a sentence if a capital follows.
const CLOSING_ABBREVIATIONS: [&str; 6] = ["a.m", "dept", "etc", "inc", "p.m", "u.s"];
/// Signs that open an item of a list.
const BULLETS: [char; 4] = ['-', '*', '\u{2022}', '\u{b7}'];

/// The sentences of a text, in order, as parts of it; without surrounding space and without the marks of lists.
pub fn split(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        if at < start {
            continue;
        }
        let end = match c {
            '.' | '!' | '?' if ends_here(text, start, at, c) => at + run_length(&text[at..]),
            '\n' if breaks_here(text, start, at) => at,
            _ => continue,
        };
        push(&mut sentences, &text[start..end]);
        start = end;
    }
    push(&mut sentences, &text[start..]);
    sentences
}

/// Adds a sentence that has a letter or a digit.
fn push<'a>(sentences: &mut Vec<&'a str>, part: &'a str) {
    let sentence = without_marker(part.trim());
    if sentence.contains(char::is_alphanumeric) {
        sentences.push(sentence);
    }
}

/// Bytes of the closing marks that belong to a sentence: repeated stops, quotes and brackets.
fn run_length(tail: &str) -> usize {
    tail.find(|c| !is_closing(c)).unwrap_or(tail.len())
}

fn is_closing(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '"' | '\'' | ')' | ']' | '\u{201d}' | '\u{2019}')
}

/// Whether the mark `c` at `at` ends the sentence that began at `start`.
fn ends_here(text: &str, start: usize, at: usize, c: char) -> bool {
    let before = &text[start..at];
    let after = &text[at + run_length(&text[at..])..];
    let previous = before.chars().next_back();
    let Some(next) = after.chars().next() else { return true };
    if !next.is_whitespace() {
        // "effusion.No" lacks a space; "2.5", "e.g." and "SARS.CoV" do not.
        let glued = before.chars().rev().take(2).filter(|p| p.is_lowercase()).count() == 2;
        let mut following = after.chars();
        return c == '.'
            && glued
            && following.next().is_some_and(char::is_uppercase)
            && following.next().is_some_and(|f| f.is_lowercase() || f.is_whitespace());
    }
    if c != '.' {
        // "39? C": a sign that an export lost.
        return c == '!' || !previous.is_some_and(|p| p.is_ascii_digit());
    }
    if without_marker(text[start..=at].trim()).is_empty() {
        return false;
    }
    let word = before.rsplit(|w: char| w.is_whitespace() || matches!(w, '(' | '[' | ',' | ';' | '/')).next();
    let word = word.unwrap_or_default().to_lowercase();
    let capital_follows = after.trim_start().chars().next().is_some_and(|f| !f.is_lowercase());
    let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    let known = |list: &[&str]| list.contains(&word.as_str());
    !(initial || known(&OPEN_ABBREVIATIONS) || (known(&CLOSING_ABBREVIATIONS) && !capital_follows))
}

/// Whether the line break at `at` ends the sentence that began at `start`.
fn breaks_here(text: &str, start: usize, at: usize) -> bool {
    let line = text[start..at].trim();
    let rest = &text[at + 1..];
    let next = rest.split('\n').next().unwrap_or_default().trim();
    let is_item = without_marker(next).len() < next.len();
    next.is_empty() || is_item || line.ends_with(['.', '!', '?', ':'])
}

/// The text behind the marks of a list: "1.", "2)", "(3)", "-", "*", or several ("1. - ").
fn without_marker(text: &str) -> &str {
    let mut rest = text;
    while let Some(behind) = behind_marker(rest) {
        rest = behind;
    }
    rest
}

/// The text behind one mark, `None` where there is none.
fn behind_marker(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(BULLETS).or_else(|| {
        let inner = text.strip_prefix('(').unwrap_or(text);
        let rest = inner.trim_start_matches(|c: char| c.is_ascii_digit());
        (1..=2).contains(&(inner.len() - rest.len())).then(|| rest.strip_prefix(['.', ')'])).flatten()
    })?;
    // "-5" is a number, "- no" an item.
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_that_end_a_sentence() {
        let cases: [(&str, &[&str]); 8] = [
            ("Clear lungs. No effusion.", &["Clear lungs.", "No effusion."]),
            ("clear lungs. no effusion", &["clear lungs.", "no effusion"]),
            ("Stable!  Is it? Yes.", &["Stable!", "Is it?", "Yes."]),
            ("Lungs are clear.No effusion.", &["Lungs are clear.", "No effusion."]),
            ("He said \"clear.\" Then left.", &["He said \"clear.\"", "Then left."]),
            ("Ruled out neoplasm.. Imaging shows it.. ", &["Ruled out neoplasm..", "Imaging shows it.."]),
            ("No mass ( CT ). . Stable.", &["No mass ( CT ).", "Stable."]),
            ("Seen at 5 p.m. The chest is clear.", &["Seen at 5 p.m.", "The chest is clear."]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn stops_that_do_not() {
        for text in [
            "A 2.5 cm nodule of approx. 3 months vs. a scar.",
            "Seen by Dr. J. Smith at 5 p.m. today, e.g. the apex.",
            "A temperature of 39? C and cough.",
            "Version 1.2.3 of SARS.CoV is here.",
            "Noted (cf. fig. 2) in the film",
        ] {
            assert_eq!(split(text), [text]);
        }
    }

    #[test]
    fn lists_lose_their_marks() {
        let text = "1. Clear lungs. 2. Old fracture of rib 5. 3) No effusion\n- stable heart\n* (4) -5 HU";
        assert_eq!(split(text), ["Clear lungs.", "Old fracture of rib 5.", "No effusion", "stable heart", "-5 HU"]);
        // A sentence on its own is that sentence again, or a text that was prepared would lose more marks.
        assert_eq!(split("- * Clear lungs.\n1. 2. Old fracture"), ["Clear lungs.", "Old fracture"]);
        assert_eq!(split("1.\n2.\n(3)"), Vec::<&str>::new());
    }

    #[test]
    fn line_breaks_wrap_or_separate() {
        let text = "The heart is\n  enlarged.\nNo effusion\n\nStable\r\n\r\nFindings:\nclear";
        assert_eq!(split(text), ["The heart is\n  enlarged.", "No effusion", "Stable", "Findings:", "clear"]);
    }
}
