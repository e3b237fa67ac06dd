//! Properties of sentence splitting.

use data::report::{TextRules, count_tokens, sections, sentences};
use proptest::prelude::*;

/// Text that is rich in what the rules look at.
fn clinical() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z]{1,6}",
        "[0-9]{1,3}",
        Just(".".to_owned()),
        Just(". ".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just(" ".to_owned()),
        Just("FINDINGS:".to_owned()),
        Just("IMPRESSION: ".to_owned()),
        Just("Dr. ".to_owned()),
        Just("e.g. ".to_owned()),
        Just("1. ".to_owned()),
        Just("- ".to_owned()),
        Just("?)".to_owned()),
        "\\PC{0,3}",
    ];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

/// Position of `part` in `whole`, of which it is a slice.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Checks that the parts are slices of the text, in order and apart.
fn assert_in_order(text: &str, parts: &[&str]) -> Result<(), TestCaseError> {
    let mut end = 0;
    for part in parts {
        let start = offset(text, part);
        prop_assert!(start >= end && start + part.len() <= text.len());
        prop_assert_eq!(&text[start..start + part.len()], *part);
        end = start + part.len();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn sentences_are_parts_in_order(text in clinical()) {
        let split = sentences::split(&text);
        assert_in_order(&text, &split)?;
        for sentence in &split {
            prop_assert!(sentence.contains(char::is_alphanumeric) && sentence.trim() == *sentence);
        }
    }

    #[test]
    fn no_letter_is_lost(text in clinical()) {
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
        let kept: String = sentences::split(&text).into_iter().map(letters).collect();
        prop_assert_eq!(kept, letters(&text));
    }

    #[test]
    fn reports_give_parts_in_order_that_are_long_enough(text in clinical(), min_tokens in 0_usize..6) {
        let rules = TextRules { keep_sections: true, min_tokens };
        let kept = rules.sentences(&text);
        assert_in_order(&text, &kept)?;
        assert_in_order(&text, &sections::kept(&text))?;
        prop_assert!(kept.iter().all(|sentence| count_tokens(sentence) >= min_tokens));
    }

    #[test]
    fn any_text_is_split_without_a_panic(text in "\\PC{0,80}|[\\s\\S]{0,80}") {
        let _ = TextRules::default().sentences(&text);
    }
}
