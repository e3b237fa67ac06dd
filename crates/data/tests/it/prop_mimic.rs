//! Properties of the section parser and the cleaning of MIMIC-CXR reports.

use data::report::cleaning::{Cleaning, NoText, Part, ReportRules, mgca_sentences};
use data::report::mimic::{last, sections};
use proptest::prelude::*;

/// Text that is rich in what the rules look at.
fn report() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z]{1,6}",
        "[0-9]{1,3}\\.?",
        Just("\n ".to_owned()),
        Just("\n \n".to_owned()),
        Just("\n".to_owned()),
        Just(" ".to_owned()),
        Just(": ".to_owned()),
        Just(":".to_owned()),
        Just(". ".to_owned()),
        Just("___".to_owned()),
        Just("\n FINDINGS: ".to_owned()),
        Just("\n IMPRESSION:\n".to_owned()),
        Just("\n CHEST (PA/LAT): ".to_owned()),
        Just("COMPARISON".to_owned()),
        Just("\u{fffd}\u{fffd}".to_owned()),
        "[\\s\\S]{0,3}",
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Position of `part` in `whole`, `None` where it is not a slice of it.
fn offset(whole: &str, part: &str) -> Option<usize> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (whole.get(start..start + part.len())? == part).then_some(start)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn sections_are_slices_in_order(text in report()) {
        let all = sections(&text);
        prop_assert!(!all.is_empty());
        let mut end = 0;
        for section in &all {
            let start = offset(&text, section.text);
            prop_assert!(start.is_some_and(|start| start >= end), "{:?} of {:?}", section, text);
            end = start.unwrap() + section.text.len();
            prop_assert!(!section.name.contains(|c: char| c.is_ascii_uppercase()));
            let blank = section.text.trim().is_empty();
            prop_assert!(!(blank && ["findings", "impression"].contains(&section.name.as_str())));
            prop_assert!(offset(&text, last(&all, &section.name).unwrap()).is_some());
        }
        let told = |name: &str| all.iter().any(|section| section.name == name);
        prop_assert!(!(told("last_paragraph") && (told("findings") || told("impression"))));
    }

    #[test]
    fn cleaning_keeps_its_promises(text in report(), min_tokens in 0_usize..6, join_sentences: bool, mgca: bool) {
        let cleaning = if mgca { Cleaning::Mgca } else { Cleaning::Convirt };
        let fallback = vec![Part::LastParagraph, Part::Comparison];
        let rules = ReportRules { cleaning, fallback, min_tokens, join_sentences, ..ReportRules::default() };
        match rules.clean(&text) {
            Ok(cleaned) => {
                prop_assert!(cleaned.tokens >= min_tokens && cleaned.sentences > 0);
                prop_assert_eq!(cleaned.texts.len(), if join_sentences { 1 } else { cleaned.sentences });
                for text in &cleaned.texts {
                    prop_assert!(!text.contains('\n') && !text.trim().is_empty());
                }
            }
            Err(NoText::NoSection | NoText::TooShort) => {}
        }
    }

    #[test]
    fn mgca_sentences_are_lower_case_ascii_words(text in "[\\s\\S]{0,60}|[a-cA-C0-9 ._\u{e9}\u{fffd}]{0,60}") {
        let (all, words) = mgca_sentences(&text);
        prop_assert_eq!(all.iter().map(|sentence| sentence.split(' ').count()).sum::<usize>(), words);
        for sentence in &all {
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ' ';
            prop_assert!(sentence.chars().all(fine), "{:?}", sentence);
        }
    }
}
