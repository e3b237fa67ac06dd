//! "Did you mean": reads what serde says about an unknown name and finds the nearest valid one.

/// What serde says about a name that it does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownName<'a> {
    /// The name that was met.
    pub(super) name: &'a str,
    /// Every name that is valid there.
    pub(super) valid: Vec<&'a str>,
}

/// Reads "unknown field `x`, expected one of `a`, `b`" (or "unknown variant ..."), in every form that serde derives
/// write; `None` for other messages.
pub(super) fn parse_unknown<'a>(message: &'a str, what: &str) -> Option<UnknownName<'a>> {
    let rest = message.strip_prefix("unknown ")?.strip_prefix(what)?.strip_prefix(" `")?;
    // The name may hold a backtick, the list of the derive never does.
    let (name, expected) = rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no "))?;
    let valid = expected.split('`').skip(1).step_by(2).collect();
    Some(UnknownName { name, valid })
}

/// The candidate that is most like `name` and how alike they are, from 0 to 1; the first of equals.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, f64)> {
    let mut best: Option<(&str, f64)> = None;
    for candidate in candidates {
        let score = likeness(name, candidate);
        if best.is_none_or(|(_, top)| score > top) {
            best = Some((candidate, score));
        }
    }
    best
}

/// How alike two names are, from 0 to 1. Case and the kind of separator do not count.
fn likeness(a: &str, b: &str) -> f64 {
    let plain = |s: &str| s.to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    let (a, b) = (plain(a), plain(b));
    // The first is right for slips of the finger anywhere, the second for names that were cut short, the third for
    // words too many or too few.
    let shared_words = if has_words(&a, &b) || has_words(&b, &a) { 0.8 } else { 0.0 };
    strsim::normalized_damerau_levenshtein(&a, &b).max(0.95 * strsim::jaro_winkler(&a, &b)).max(shared_words)
}

/// Whether `long` is `short` with more words before or after.
fn has_words(long: &str, short: &str) -> bool {
    !short.is_empty()
        && (long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
            || long.strip_suffix(short).is_some_and(|rest| rest.ends_with('_')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are read")]
    struct Three {
        a: i32,
        bb: i32,
        ccc: i32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Adam,
        Sgd,
    }

    #[derive(Debug, Deserialize)]
    struct Holder {
        kind: Kind,
    }

    /// The words of serde are no stable interface: this test says when they change.
    #[test]
    fn messages_of_serde_are_understood() {
        let message = |text| toml::from_str::<Three>(text).unwrap_err().message().to_owned();
        let text = message("x = 1");
        assert_eq!(parse_unknown(&text, "field"), Some(UnknownName { name: "x", valid: vec!["a", "bb", "ccc"] }));
        let text = message("'odd`, expected `name' = 1");
        assert_eq!(parse_unknown(&text, "field").unwrap().name, "odd`, expected `name");
        assert_eq!(parse_unknown(&message("a = 'text'"), "field"), None);
        let text = toml::from_str::<Nothing>("x = 1").unwrap_err().message().to_owned();
        assert_eq!(parse_unknown(&text, "field"), Some(UnknownName { name: "x", valid: vec![] }));
        let text = toml::from_str::<Holder>("kind = 'adm'").unwrap_err().message().to_owned();
        assert_eq!(parse_unknown(&text, "variant"), Some(UnknownName { name: "adm", valid: vec!["adam", "sgd"] }));
        assert!(matches!(toml::from_str::<Holder>("kind = 'adam'").unwrap().kind, Kind::Adam));
        assert!(matches!(toml::from_str::<Holder>("kind = 'sgd'").unwrap().kind, Kind::Sgd));
    }

    #[test]
    fn likeness_ignores_case_and_separators() {
        assert_eq!(nearest("Batch-Size", ["batch_size", "batch"]), Some(("batch_size", 1.0)));
        // One of five letters is missing: 1 - 1/5.
        let (name, score) = nearest("step", ["steps", "seed"]).unwrap();
        assert_eq!(name, "steps");
        assert!(score >= 0.8, "{score}");
        assert!(nearest("temp", ["temperature"]).unwrap().1 > 0.8);
        assert_eq!(nearest("num_steps", ["name", "steps"]), Some(("steps", 0.8)));
        assert!(nearest("blur", ["weight_decay"]).unwrap().1 < 0.6);
        assert_eq!(nearest("x", []), None);
    }
}
