//! What the cues of a sentence make of a phrase: how far a cue reaches, and which one decides.

use std::ops::Range;

use super::words::Text;

/// Words that a cue reaches at most: longer than lists are, so that a text without stops takes linear time.
const REACH: usize = 80;

/// What a cue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CueKind {
    /// Denies what follows.
    NegationBefore,
    /// Denies what precedes.
    NegationAfter,
    /// Leaves open what follows.
    UncertainBefore,
    /// Leaves open what precedes.
    UncertainAfter,
    /// Calls what follows probable.
    LikelyBefore,
    /// Calls what precedes probable.
    LikelyAfter,
    /// Ends the reach of cues on both sides.
    End,
    /// A verb: behind a comma it begins a new statement.
    Verb,
    /// Looks like a cue and is none.
    None,
}

impl CueKind {
    /// Whether it speaks of what precedes it.
    pub(super) fn looks_back(self) -> bool {
        matches!(self, Self::NegationAfter | Self::UncertainAfter | Self::LikelyAfter)
    }
}

/// A cue in a sentence.
#[derive(Debug, Clone)]
pub(super) struct Cue {
    pub(super) words: Range<usize>,
    pub(super) kind: CueKind,
}

/// How sure a sentence is of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    Affirmed,
    Likely,
    Uncertain,
    Negated,
}

/// What a sentence says of one phrase, and the words of the cue that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) certainty: Certainty,
    pub(super) cue: Option<Range<usize>>,
}

impl Verdict {
    fn of(certainty: Certainty, cue: &Cue) -> Self {
        Self { certainty, cue: Some(cue.words.clone()) }
    }
}

/// What the cues of a sentence say of the phrase at `place`.
pub(super) fn decide(text: &Text<'_>, cues: &[Cue], place: Range<usize>) -> Verdict {
    let before = before(text, cues, &place);
    let after = after(text, cues, place.end);
    match (before, after) {
        (Some(before), Some(after)) => stronger(before, after),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Verdict { certainty: Certainty::Affirmed, cue: None },
    }
}

/// What the cues within a phrase with gaps say of it ("heart is not enlarged").
pub(super) fn within(cues: &[Cue], place: &Range<usize>) -> Option<Verdict> {
    let inside = starting_in(cues, place).iter().filter(|cue| cue.words.end <= place.end);
    inside.filter_map(|cue| Some(Verdict::of(certainty(cue.kind)?, cue))).max_by_key(|found| found.certainty as u8)
}

/// "Cannot be excluded" behind a phrase undoes a negation before it; otherwise a negation decides, then the less sure.
fn stronger(before: Verdict, after: Verdict) -> Verdict {
    let undone = before.certainty == Certainty::Negated && after.certainty == Certainty::Uncertain;
    if undone || after.certainty as u8 > before.certainty as u8 { after } else { before }
}

fn certainty(kind: CueKind) -> Option<Certainty> {
    match kind {
        CueKind::NegationBefore | CueKind::NegationAfter => Some(Certainty::Negated),
        CueKind::UncertainBefore | CueKind::UncertainAfter => Some(Certainty::Uncertain),
        CueKind::LikelyBefore | CueKind::LikelyAfter => Some(Certainty::Likely),
        CueKind::End | CueKind::Verb | CueKind::None => None,
    }
}

/// The cue before a phrase that reaches it.
fn before(text: &Text<'_>, cues: &[Cue], place: &Range<usize>) -> Option<Verdict> {
    let mut nearest: Option<(Verdict, usize)> = None;
    let earlier = &cues[..cues.partition_point(|cue| cue.words.end <= place.start)];
    for cue in earlier.iter().rev() {
        let between = cue.words.end..place.start;
        if between.len() > REACH {
            break;
        }
        if leaves_bracket(text, &between) {
            continue;
        }
        if cue.kind == CueKind::End || breaks(text, cues, &between, place) {
            break;
        }
        match cue.kind {
            CueKind::NegationBefore => {
                // "No effusion, possible oedema": the comma keeps the negation from what has a cue of its own.
                let apart = nearest.as_ref().is_some_and(|(_, start)| has_comma(text, &(cue.words.end..*start)));
                if !apart {
                    return Some(Verdict::of(Certainty::Negated, cue));
                }
                break;
            }
            CueKind::UncertainBefore | CueKind::LikelyBefore => {
                if let Some(certainty) = certainty(cue.kind) {
                    let sure = nearest.as_ref().is_none_or(|(known, _)| (known.certainty as u8) < certainty as u8);
                    if sure {
                        nearest = Some((Verdict::of(certainty, cue), cue.words.start));
                    }
                }
            }
            _ => {}
        }
    }
    nearest.map(|(verdict, _)| verdict)
}

/// Whether a cue before `between` cannot reach the phrase behind it.
fn breaks(text: &Text<'_>, cues: &[Cue], between: &Range<usize>, place: &Range<usize>) -> bool {
    if between.clone().any(|i| text.words[i].is_stop) {
        return true;
    }
    let Some(comma) = between.clone().rev().find(|&i| text.word(i) == ",") else { return false };
    let joined = text.words.get(comma + 1).is_some_and(|_| is_joint(text.word(comma + 1)));
    let clause_end = (place.start..text.words.len().min(place.start + REACH))
        .find(|&i| text.word(i) == "," || text.words[i].is_stop)
        .unwrap_or(text.words.len().min(place.start + REACH));
    let verb = |cue: &Cue| cue.kind == CueKind::Verb && cue.words.end <= clause_end;
    !joined && starting_in(cues, &(comma + 1..clause_end)).iter().any(verb)
}

/// The cues whose first word is one of some words; cues are in order.
fn starting_in<'a>(cues: &'a [Cue], words: &Range<usize>) -> &'a [Cue] {
    let first = cues.partition_point(|cue| cue.words.start < words.start);
    let last = cues.partition_point(|cue| cue.words.start < words.end);
    &cues[first..last.max(first)]
}

/// The cue behind a phrase that reaches back to it.
fn after(text: &Text<'_>, cues: &[Cue], end: usize) -> Option<Verdict> {
    for cue in starting_in(cues, &(end..text.words.len())) {
        let between = end..cue.words.start;
        if between.len() > REACH || between.clone().any(|i| text.words[i].is_stop) {
            return None;
        }
        match cue.kind {
            CueKind::NegationAfter | CueKind::UncertainAfter | CueKind::LikelyAfter => {
                // "Effusion, oedema and nodules are not seen" is a list, "effusion, oedema is not seen" is none.
                let comma = between.clone().rev().find(|&i| text.word(i) == ",");
                let listed = comma.is_none_or(|comma| (comma..cue.words.start).any(|i| is_joint(text.word(i))));
                return if listed { certainty(cue.kind).map(|sure| Verdict::of(sure, cue)) } else { None };
            }
            CueKind::None => {}
            _ => return None,
        }
    }
    None
}

/// Whether a bracket is closed that was opened before: what it holds says nothing of what is outside.
fn leaves_bracket(text: &Text<'_>, words: &Range<usize>) -> bool {
    let mut open = 0;
    words.clone().any(|i| {
        match text.word(i) {
            "(" | "[" => open += 1,
            ")" | "]" => open -= 1,
            _ => {}
        }
        open < 0
    })
}

fn has_comma(text: &Text<'_>, words: &Range<usize>) -> bool {
    words.clone().any(|i| text.word(i) == ",")
}

fn is_joint(word: &str) -> bool {
    ["and", "or", "nor"].iter().any(|joint| word.eq_ignore_ascii_case(joint))
}
