//! A sentence in slightly other words, for a second view of it that keeps its labels.
//!
//! One of three changes, each as likely: a word or phrase gets another of the same meaning, two words change places, or
//! words are left out at random. Words that deny are never touched but by an exchange: without "no" a sentence says the
//! contrary.
//!
//! # Source
//! Wei and Zou, "EDA: easy data augmentation techniques", 2019, as `MedCLIP` uses it; synonyms are a list of this crate
//! instead of WordNet, which knows few of the words of radiology.

use std::sync::LazyLock;

use crate::rng::Stream;

/// Groups of words and phrases of the same meaning, in lower case.
const SYNONYMS: &str = include_str!("../../assets/synonyms.txt");
/// Words that turn a statement into its contrary.
const DENIALS: [&str; 12] =
    ["no", "not", "without", "nor", "neither", "never", "free", "absence", "absent", "negative", "clear", "normal"];
/// Chance with which each word is left out.
const LEFT_OUT: f64 = 0.1;

/// The groups, each of at least two.
static GROUPS: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| {
    let lines = SYNONYMS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split('|').map(str::trim).collect()).collect()
});

/// The sentence after one random change. A sentence of one word, or one without a word that has synonyms, may stay.
pub fn reworded(sentence: &str, random: &mut Stream) -> String {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    if words.len() < 2 {
        return sentence.to_owned();
    }
    match random.below(3) {
        0 => with_synonym(&words, random),
        1 => exchanged(&words, random),
        _ => thinned(&words, random),
    }
}

/// A word without the marks around it.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// One word or phrase replaced by another of its group; the same where there is none.
fn with_synonym(words: &[&str], random: &mut Stream) -> String {
    let plain: Vec<String> = words.iter().map(|word| bare(word)).collect();
    let mut places = Vec::new();
    for (group, members) in GROUPS.iter().enumerate() {
        for (member, phrase) in members.iter().enumerate() {
            let parts: Vec<&str> = phrase.split(' ').collect();
            let starts = (0..plain.len()).filter(|&at| plain[at..].len() >= parts.len());
            let found = starts.filter(|&at| parts.iter().zip(&plain[at..]).all(|(part, word)| part == word));
            places.extend(found.map(|at| (at, parts.len(), group, member)));
        }
    }
    let Some(&(at, length, group, member)) = random.pick(&places) else { return words.join(" ") };
    let other = (member + 1 + random.below(GROUPS[group].len() - 1)) % GROUPS[group].len();
    let replaced = &words[at..at + length];
    let text = framed(GROUPS[group][other], replaced);
    [&words[..at], &[text.as_str()], &words[at + length..]].concat().join(" ")
}

/// A phrase with the capital and the marks of what it replaces.
fn framed(phrase: &str, replaced: &[&str]) -> String {
    let (Some(first), Some(last)) = (replaced.first(), replaced.last()) else { return phrase.to_owned() };
    let is_mark = |c: char| !c.is_alphanumeric();
    let before = &first[..first.len() - first.trim_start_matches(is_mark).len()];
    let after = &last[last.trim_end_matches(is_mark).len()..];
    let capital = first.trim_start_matches(is_mark).starts_with(char::is_uppercase);
    let mut letters = phrase.chars();
    let body: String = match letters.next().filter(|_| capital) {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => phrase.to_owned(),
    };
    format!("{before}{body}{after}")
}

/// Two words in each other's place.
fn exchanged(words: &[&str], random: &mut Stream) -> String {
    let mut words = words.to_vec();
    let first = random.below(words.len());
    let second = (first + 1 + random.below(words.len() - 1)) % words.len();
    words.swap(first, second);
    words.join(" ")
}

/// Each word left out with a small chance; words that deny stay, and one word at least does.
fn thinned(words: &[&str], random: &mut Stream) -> String {
    let mut stays = |word: &&&str| !random.chance(LEFT_OUT) || DENIALS.contains(&bare(word).as_str());
    let left: Vec<&str> = words.iter().filter(&mut stays).copied().collect();
    if left.is_empty() { words[0].to_owned() } else { left.join(" ") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_has_groups_of_different_phrases_in_lower_case() {
        let mut all = BTreeSet::new();
        assert!(GROUPS.len() >= 30, "{}", GROUPS.len());
        for group in GROUPS.iter() {
            assert!(group.len() >= 2, "{group:?}");
            for phrase in group {
                assert!(all.insert(*phrase), "{phrase} is twice in the list");
                assert!(!phrase.is_empty() && phrase.to_lowercase() == *phrase, "{phrase}");
                assert!(phrase.split(' ').all(|word| !word.is_empty() && bare(word) == word), "{phrase}");
                assert!(phrase.split(' ').all(|word| !DENIALS.contains(&word)), "{phrase} denies");
            }
        }
    }

    #[test]
    fn a_synonym_takes_the_place_with_its_marks_and_capital() {
        let words = ["Small", "effusion", "(seen)", "again."];
        let mut found = BTreeSet::new();
        for key in 0..200 {
            found.insert(with_synonym(&words, &mut Stream::new(key)));
        }
        assert!(found.contains("Tiny effusion (seen) again."), "{found:?}");
        assert!(found.contains("Small effusion (noted) again."), "{found:?}");
        assert!(!found.contains("Small effusion (seen) again."), "{found:?}");
        assert_eq!(with_synonym(&["Quite", "alone"], &mut Stream::new(1)), "Quite alone");
    }

    #[test]
    fn phrases_of_several_words_are_replaced_whole() {
        let found: BTreeSet<String> = (0..100)
            .map(|key| with_synonym(&["Changes", "consistent", "with", "edema."], &mut Stream::new(key)))
            .collect();
        assert!(found.contains("Changes compatible with edema."), "{found:?}");
        assert!(found.iter().all(|text| text.ends_with("edema.") || text.ends_with("oedema.")), "{found:?}");
    }

    #[test]
    fn nothing_is_left_out_that_denies_and_something_always_stays() {
        for key in 0..2000 {
            let thin = thinned(&["No", "effusion"], &mut Stream::new(key));
            assert!(thin.starts_with("No"), "{thin}");
            assert!(!thinned(&["lungs", "inflated"], &mut Stream::new(key)).is_empty());
        }
    }

    #[test]
    fn a_change_is_a_function_of_its_key_and_all_three_occur() {
        let sentence = "There is a small left pleural effusion with basal atelectasis.";
        let of = |key| reworded(sentence, &mut Stream::new(key));
        let (mut swapped, mut shorter, mut other) = (0, 0, 0);
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        for key in 0..600 {
            assert_eq!(of(key), of(key));
            let (before, after) = (sorted(sentence), sorted(&of(key)));
            swapped += usize::from(before == after && of(key) != sentence);
            shorter += usize::from(after.len() < before.len() && after.iter().all(|word| before.contains(word)));
            other += usize::from(after.iter().any(|word| !before.contains(word)));
        }
        assert!(swapped > 150 && shorter > 60 && other > 150, "{swapped} {shorter} {other}");
        assert_eq!(reworded("Cardiomegaly.", &mut Stream::new(0)), "Cardiomegaly.");
    }
}
