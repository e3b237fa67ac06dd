//! Properties of the section parser and the cleaning of MIMIC-CXR reports.

use data::report::cleaning::{Cleaning, NoText, Part, ReportRules, mgca_sentences};
use data::report::mimic::{LAST_PARAGRAPH, last, sections};
use data::rng::Stream;

use crate::cases::{bytes, check, gaps, offset, pick, text};

/// What the rules look at.
const PIECES: [&str; 17] = [
    "\n ",
    "\n \n",
    "\n",
    "\n\n ",
    " ",
    ": ",
    ":",
    ". ",
    "___",
    "\n FINDINGS: ",
    "\n IMPRESSION:\n",
    "\n CHEST (PA/LAT): ",
    "\n ADDENDUM:\t",
    "\n WETREAD: ",
    "COMPARISON",
    "FINAL REPORT",
    "\u{fffd}\u{fffd}",
];

fn report(draws: &mut Stream) -> String {
    text(draws, &PIECES, 40)
}

/// A text without the header at its start, `None` where there is none. The line break and the blank of the first header
/// of a report belong to what is before it.
fn behind_header(text: &str) -> Option<&str> {
    let name = text.strip_prefix("\n ").unwrap_or(text);
    let rest = name.trim_start_matches(|c: char| c.is_ascii_uppercase() || " ()/,-".contains(c));
    let mut rest = rest.strip_prefix(':').filter(|_| rest.len() < name.len())?.chars();
    rest.next().filter(|c| c.is_whitespace()).map(|_| rest.as_str())
}

/// Whether text that is in no section is headers and blank space alone.
fn is_headers(gap: &str) -> bool {
    let mut rest = gap;
    while let Some(behind) = behind_header(rest) {
        rest = behind.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
        // Blank lines of a section that was left out, up to the next header.
        while rest.trim_start().len() < rest.len() && behind_header(rest).is_none() {
            rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        }
    }
    rest.trim().is_empty()
}

#[test]
fn sections_and_headers_are_the_whole_report() {
    check(1, |draws| {
        let text = report(draws);
        let all = sections(&text);
        assert!(!all.is_empty());
        let parts: Vec<&str> = all.iter().map(|section| section.text).collect();
        let gaps = gaps(&text, &parts);
        assert_eq!(gaps[0], "", "{text:?}");
        for (gap, section) in gaps[1..].iter().zip(all.iter().skip(1).map(Some).chain([None])) {
            let paragraph = section.is_some_and(|section| section.name == LAST_PARAGRAPH);
            let fine = if paragraph { gap.ends_with("\n \n") } else { is_headers(gap) };
            assert!(fine, "{gap:?} of {text:?}");
        }
    });
}

#[test]
fn names_are_normal_and_told_sections_hold_text() {
    check(2, |draws| {
        let text = report(draws);
        let all = sections(&text);
        for section in &all {
            let name = section.name.as_str();
            assert!(name.trim() == name && !name.contains(|c: char| c.is_ascii_uppercase()), "{name:?}");
            let told = ["findings", "impression"].contains(&name);
            assert!(!(told && section.text.trim().is_empty()), "{text:?}");
            assert!(offset(&text, last(&all, name).unwrap()).is_some());
            // A name that is normal already stays what it is.
            if !name.is_empty() && name != LAST_PARAGRAPH {
                let again = format!("\n {}: text", name.to_ascii_uppercase());
                assert_eq!(sections(&again)[1].name, name);
            }
        }
        let told = |name: &str| all.iter().any(|section| section.name == name);
        assert!(!(told(LAST_PARAGRAPH) && (told("findings") || told("impression"))), "{text:?}");
    });
}

#[test]
fn cleaning_keeps_its_promises() {
    check(3, |draws| {
        let text = report(draws);
        let (min_tokens, join_sentences) = (draws.below(6), draws.chance(0.5));
        let cleaning = pick(draws, &[Cleaning::Convirt, Cleaning::Mgca]);
        let fallback = vec![Part::LastParagraph, Part::Comparison];
        let rules = ReportRules { cleaning, fallback, min_tokens, join_sentences, ..ReportRules::default() };
        match rules.clean(&text) {
            Ok(cleaned) => {
                assert!(cleaned.tokens >= min_tokens && cleaned.sentences > 0);
                assert_eq!(cleaned.texts.len(), if join_sentences { 1 } else { cleaned.sentences });
                assert!(cleaned.texts.iter().all(|text| !text.contains('\n') && !text.trim().is_empty()), "{text:?}");
            }
            Err(NoText::NoSection | NoText::TooShort) => {}
        }
    });
}

#[test]
fn mgca_sentences_are_lower_case_ascii_words() {
    check(4, |draws| {
        let text = report(draws);
        let (all, words) = mgca_sentences(&text);
        assert_eq!(all.iter().map(|sentence| sentence.split(' ').count()).sum::<usize>(), words);
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ' ';
        assert!(all.iter().all(|sentence| sentence.chars().all(fine)), "{all:?} of {text:?}");
    });
}

#[test]
fn any_bytes_are_a_report() {
    let pieces = PIECES.map(str::as_bytes);
    check(5, |draws| {
        let bytes = bytes(draws, &pieces, 40);
        let text = String::from_utf8_lossy(&bytes);
        assert!(!sections(&text).is_empty());
        let _ = ReportRules::default().clean(&text);
    });
}
