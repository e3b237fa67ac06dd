//! Labels of reports: which findings a text names, and whether it affirms them, denies them or leaves them open.
//!
//! A text is cut into sentences and words; phrases of findings and cues of negation and uncertainty are looked up word
//! by word, and the words between a cue and a phrase decide whether the one reaches the other. All phrases are text
//! files (`rules/`), which a user can replace. `docs/labeler.md` says how well it works.
//!
//! # Source
//! The method is that of NegEx (Chapman and others, 2001) and of the CheXpert labeler (Irvin and others, 2019) without
//! a parser.

pub mod files;
pub mod names;
mod phrase;
mod report;
pub mod rules;
mod scope;
pub mod score;
mod words;

use std::ops::Range;
use std::path::Path;

pub use names::{CHEXPERT14, FindingSet, NIH14, to_chexpert14};
use phrase::Match;
use rules::{PhraseKind, Rules};
use scope::{Certainty, Cue, Verdict};

use crate::error::Result;

/// Words between a cue of uncertainty and a clinical concept ([`Labeler::concept`]) at most.
pub const NEAR: usize = 3;

/// What a text says of a finding that it mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is there.
    Positive,
    /// It is not there.
    Negative,
    /// The text leaves it open.
    Uncertain,
}

impl Status {
    /// The value in a table of labels: 1, 0 or -1.
    pub fn value(self) -> i8 {
        match self {
            Self::Positive => 1,
            Self::Negative => 0,
            Self::Uncertain => -1,
        }
    }

    /// The stronger of two statements on one finding: positive wins over uncertain, uncertain over negative.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Positive => 2,
            Self::Uncertain => 1,
            Self::Negative => 0,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// One place where a text names a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Index of the finding for [`Labeler::name`].
    pub finding: usize,
    /// What the sentence says of it.
    pub status: Status,
    /// The sentence (bytes of the text).
    pub sentence: Range<usize>,
    /// The phrase that names the finding (bytes of the text).
    pub phrase: Range<usize>,
    /// The cue that decided, `None` where the phrase stands for itself (bytes of the text).
    pub cue: Option<Range<usize>>,
}

/// The labels of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportLabels {
    /// What the text says of each finding of [`Labeler::findings`], `None` where it does not mention it.
    pub statuses: Vec<Option<Status>>,
    /// Where it says so, in the order of the text; also of findings without a column.
    pub mentions: Vec<Mention>,
}

/// Labels texts. It holds phrases alone, no state, so that threads can share one.
#[derive(Debug)]
pub struct Labeler {
    rules: Rules,
    columns: Vec<String>,
    hierarchy: bool,
}

impl Labeler {
    /// A labeler with the phrases of this crate.
    ///
    /// # Errors
    /// None that a user can cause: the files are a part of the program, and a test reads them.
    pub fn builtin(set: FindingSet) -> Result<Self> {
        Ok(Self::new(Rules::builtin(set)?))
    }

    /// A labeler with the phrases of a folder; files that it lacks are those of this crate.
    ///
    /// # Errors
    /// [`crate::error::DataError::Rules`] names file and line of what cannot be understood;
    /// [`crate::error::DataError::Io`] where the folder cannot be read.
    pub fn load(folder: &Path, set: FindingSet) -> Result<Self> {
        Ok(Self::new(Rules::load(folder, set)?))
    }

    fn new(rules: Rules) -> Self {
        let columns = rules.findings.iter().filter(|finding| finding.column).map(|finding| finding.name.clone());
        Self { columns: columns.collect(), rules, hierarchy: false }
    }

    /// The same labeler, with parents positive where a child is ([`names::HIERARCHY`]).
    #[must_use]
    pub fn with_hierarchy(self) -> Self {
        Self { hierarchy: true, ..self }
    }

    /// The findings with a column, in order.
    pub fn findings(&self) -> &[String] {
        &self.columns
    }

    /// The name of a finding, also of those without a column, whose indices follow.
    pub fn name(&self, finding: usize) -> &str {
        self.rules.findings.get(finding).map_or("", |finding| finding.name.as_str())
    }

    /// The labels of one sentence, taken whole.
    pub fn sentence(&self, text: &str) -> ReportLabels {
        let mut labels = self.none();
        if !text.contains(char::is_alphanumeric) {
            return labels;
        }
        self.add_sentence(text, 0..text.len(), &mut labels);
        self.finish(labels)
    }

    /// The labels of a report: of the findings and the impression where it has such headers, else of the whole text.
    pub fn report(&self, text: &str) -> ReportLabels {
        self.sections(text, std::slice::from_ref(&(0..text.len())))
    }

    /// As [`Labeler::report`] of a text whose parts (bytes of it) are reports or sections of their own.
    pub(crate) fn sections(&self, text: &str, parts: &[Range<usize>]) -> ReportLabels {
        let mut labels = self.none();
        let sentences: Vec<Range<usize>> =
            parts.iter().flat_map(|part| report::sentences(text, part.clone())).collect();
        if sentences.is_empty() {
            return labels;
        }
        for sentence in sentences {
            self.add_sentence(text, sentence, &mut labels);
        }
        self.finish(labels)
    }

    /// What a sentence says of any clinical concept, `None` where it does not mention it.
    ///
    /// Upper and lower case are the same, unless the sentence has the concept in capitals: then these places alone
    /// count. Of several places, one before a colon is a header and does not count; of the others positive wins over
    /// uncertain, and uncertain over negative. A sentence that was cut within the concept is judged by the part that it
    /// has.
    ///
    /// Clinical notes hedge more loosely than radiologists do: only a cue of at most [`NEAR`] words before or behind
    /// the concept makes it uncertain.
    pub fn concept(&self, sentence: &str, concept: &str) -> Option<Status> {
        let text = words::Text::new(&self.rules.symbols, sentence, 0..sentence.len());
        let places = text.places(concept);
        let is_header = |place: &Range<usize>| place.end < text.words.len() && text.word(place.end) == ":";
        let all_headers = places.iter().all(is_header);
        let counted = places.into_iter().filter(|place| all_headers || !is_header(place));
        counted.map(|place| self.status_at(&text, place)).reduce(Status::or)
    }

    fn status_at(&self, text: &words::Text<'_>, place: Range<usize>) -> Status {
        // "No change in vision" denies the concept "change in vision": its own words are no part of a cue.
        let cues = self.rules.cues_outside(text, &place);
        let verdict = scope::decide(text, &cues, place.clone());
        let far = verdict.cue.as_ref().is_some_and(|cue| {
            let gap = place.start.saturating_sub(cue.end).max(cue.start.saturating_sub(place.end));
            gap > NEAR
        });
        match verdict.certainty {
            Certainty::Affirmed | Certainty::Likely => Status::Positive,
            Certainty::Uncertain if far => Status::Positive,
            Certainty::Uncertain => Status::Uncertain,
            Certainty::Negated => Status::Negative,
        }
    }

    fn none(&self) -> ReportLabels {
        ReportLabels { statuses: vec![None; self.columns.len()], mentions: Vec::new() }
    }
}

impl Labeler {
    fn add_sentence(&self, whole: &str, sentence: Range<usize>, labels: &mut ReportLabels) {
        let text = words::Text::new(&self.rules.symbols, whole, sentence.clone());
        let mentions = self.rules.mentions(&text);
        if mentions.is_empty() {
            return;
        }
        let cues = self.rules.cues(&text);
        for (finding, kind, found) in mentions {
            let Some(verdict) = verdict(&text, &cues, kind, &found) else { continue };
            let status = self.rules.findings[finding].status(verdict.certainty);
            if let Some(known) = labels.statuses.get_mut(finding) {
                *known = Some(known.map_or(status, |known| known.or(status)));
            }
            labels.mentions.push(Mention {
                finding,
                status,
                sentence: sentence.clone(),
                phrase: text.bytes(&found.words),
                cue: verdict.cue.map(|cue| text.bytes(&cue)),
            });
        }
    }

    /// Adds the findings that follow from others.
    fn finish(&self, mut labels: ReportLabels) -> ReportLabels {
        labels.mentions.sort_by_key(|mention| (mention.phrase.start, mention.phrase.end, mention.finding));
        if self.hierarchy {
            self.add_parents(&mut labels.statuses);
        }
        for (index, finding) in self.rules.findings.iter().enumerate() {
            let (Some(others), Some(_)) = (&finding.nothing_but, labels.statuses.get(index)) else { continue };
            let speaks = |other: usize, status: Status| {
                let aside = other == index || others.iter().any(|name| name == self.name(other));
                !aside && status != Status::Negative
            };
            let found = labels.mentions.iter().any(|mention| speaks(mention.finding, mention.status));
            labels.statuses[index] = (!found).then_some(Status::Positive);
        }
        labels
    }

    fn add_parents(&self, statuses: &mut [Option<Status>]) {
        let column = |name: &str| self.columns.iter().position(|known| known == name);
        for (parent, children) in names::HIERARCHY {
            let found =
                children.iter().filter_map(|child| column(child)).any(|i| statuses[i] == Some(Status::Positive));
            if let (true, Some(parent)) = (found, column(parent)) {
                statuses[parent] = Some(Status::Positive);
            }
        }
    }
}

/// What a sentence says of a finding by one of its phrases, `None` where the phrase means something else.
fn verdict(text: &words::Text<'_>, cues: &[Cue], kind: PhraseKind, found: &Match) -> Option<Verdict> {
    let fixed = |certainty| Some(Verdict { certainty, cue: None });
    match kind {
        PhraseKind::Other => None,
        PhraseKind::Absent => fixed(Certainty::Negated),
        PhraseKind::Names | PhraseKind::Open => {
            let has_gaps = found.named < found.words.len();
            let within = if has_gaps { scope::within(cues, &found.words) } else { None };
            let verdict = within.unwrap_or_else(|| scope::decide(text, cues, found.words.clone()));
            let open = kind == PhraseKind::Open && verdict.certainty != Certainty::Negated;
            if open { fixed(Certainty::Uncertain) } else { Some(verdict) }
        }
    }
}

#[cfg(test)]
mod tests;
