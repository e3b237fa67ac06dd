//! Properties of the section parser and the cleaning of MIMIC-CXR reports.

use data::report::cleaning::{Cleaning, NoText, Part, ReportRules};
use data::rng::Stream;

use crate::cases::{bytes, check, pick, text};
use crate::fuzz_data::report_sections;

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

#[test]
fn sections_and_headers_are_the_whole_report_and_cleaning_keeps_its_promises() {
    check(1, |draws| report_sections(report(draws).as_bytes()));
}

#[test]
fn any_choice_of_rules_gives_texts_that_are_long_enough() {
    check(2, |draws| {
        let text = report(draws);
        let (min_tokens, join_sentences) = (draws.below(6), draws.chance(0.5));
        let cleaning = pick(draws, &[Cleaning::Convirt, Cleaning::Mgca]);
        let parts = [Part::Findings, Part::Impression, Part::LastParagraph, Part::Comparison];
        let some = |draws: &mut Stream| parts.into_iter().filter(|_| draws.chance(0.4)).collect();
        let rules = ReportRules { cleaning, sections: some(draws), fallback: some(draws), min_tokens, join_sentences };
        match rules.clean(&text) {
            Ok(cleaned) => {
                assert!(cleaned.tokens >= min_tokens && cleaned.sentences > 0);
                assert_eq!(cleaned.texts.len(), if join_sentences { 1 } else { cleaned.sentences });
            }
            Err(NoText::NoSection | NoText::TooShort) => {}
        }
    });
}

#[test]
fn any_bytes_are_a_report() {
    let pieces = PIECES.map(str::as_bytes);
    check(3, |draws| report_sections(&bytes(draws, &pieces, 40)));
}
