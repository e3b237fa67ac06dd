//! The files of rules: findings with their phrases, and cues.
//!
//! A file is lines. `#` begins a comment, `[Name]` a section, `key = value` sets an option of the section, and every
//! other line is one phrase ([`super::phrase`] says how phrases are written).

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::phrase::{Match, Phrases, best};
use super::scope::{Certainty, Cue, CueKind};
use super::words::{Symbols, Text};
use super::{FindingSet, Status};
use crate::error::{DataError, Result, RuleFault};
use crate::fsx;

/// The files of this crate by name: the cues, the phrases of observations, and the findings of each set.
pub const FILES: [(&str, &str); 4] = [
    (CUES, include_str!("rules/cues.txt")),
    (OBSERVATIONS, include_str!("rules/observations.txt")),
    ("chexpert14.txt", include_str!("rules/chexpert14.txt")),
    ("nih14.txt", include_str!("rules/nih14.txt")),
];
const CUES: &str = "cues.txt";
const OBSERVATIONS: &str = "observations.txt";
/// Largest accepted file (bytes).
const MAX_BYTES: u64 = 1 << 22;

/// The sections of the cues.
const KINDS: [(&str, CueKind); 9] = [
    ("negation before", CueKind::NegationBefore),
    ("negation after", CueKind::NegationAfter),
    ("uncertain before", CueKind::UncertainBefore),
    ("uncertain after", CueKind::UncertainAfter),
    ("likely before", CueKind::LikelyBefore),
    ("likely after", CueKind::LikelyAfter),
    ("end of reach", CueKind::End),
    ("verbs", CueKind::Verb),
    ("no cue", CueKind::None),
];

/// What a phrase says of its finding on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhraseKind {
    /// Names it: cues decide.
    Names,
    /// `-`: it is absent.
    Absent,
    /// `?`: it is uncertain.
    Open,
    /// `!`: looks like the finding and is something else.
    Other,
}

const PHRASE_KINDS: [PhraseKind; 4] = [PhraseKind::Names, PhraseKind::Absent, PhraseKind::Open, PhraseKind::Other];

/// A finding of a set.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) name: String,
    /// Whether it has a column.
    pub(super) column: bool,
    /// What a probable finding is taken for.
    pub(super) likely: Certainty,
    /// What an uncertain finding is taken for.
    pub(super) uncertain: Certainty,
    /// Positive where no finding but these is positive or uncertain.
    pub(super) nothing_but: Option<Vec<String>>,
}

impl Finding {
    /// What a sentence's certainty is in the terms of this set.
    pub(super) fn status(&self, certainty: Certainty) -> Status {
        let taken = match certainty {
            Certainty::Likely => self.likely,
            Certainty::Uncertain => self.uncertain,
            sure => sure,
        };
        match taken {
            Certainty::Affirmed | Certainty::Likely => Status::Positive,
            Certainty::Uncertain => Status::Uncertain,
            Certainty::Negated => Status::Negative,
        }
    }
}

/// All rules of a set of findings.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) symbols: Symbols,
    /// Those with a column first.
    pub(super) findings: Vec<Finding>,
    phrases: Phrases,
    cues: Phrases,
}

/// Writes the files of this crate into a folder, to be edited; files of these names that exist are an error.
///
/// # Errors
/// [`DataError::Io`] where the folder cannot be written or has one of the files already.
pub fn write(folder: &Path) -> Result<()> {
    fsx::create_dir_all(folder)?;
    if let Some(path) = FILES.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists()) {
        let why = "the file exists already: name an empty folder, so that no edited rule is lost";
        let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, why);
        return Err(DataError::Io { action: "write", path, source });
    }
    FILES.iter().try_for_each(|(name, content)| fsx::write_atomic(&folder.join(name), content.as_bytes()))
}

impl Rules {
    pub(super) fn builtin(set: FindingSet) -> Result<Self> {
        Self::parse(set, &|name| Ok((Path::new("builtin").join(name), builtin(name).to_owned())))
    }

    pub(super) fn load(folder: &Path, set: FindingSet) -> Result<Self> {
        if !FILES.iter().any(|(name, _)| folder.join(name).is_file()) {
            let why = "it holds none of cues.txt, observations.txt, chexpert14.txt and nih14.txt; \
                       `data label --print-rules DIR` writes them";
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, why);
            return Err(DataError::Io { action: "read rules from", path: folder.to_path_buf(), source });
        }
        Self::parse(set, &|name| {
            let path = folder.join(name);
            if !path.is_file() {
                return Ok((Path::new("builtin").join(name), builtin(name).to_owned()));
            }
            let text = String::from_utf8(fsx::read_capped(&path, MAX_BYTES)?);
            text.map_err(|_| rule_error(&path, 0, RuleFault::NotUtf8)).map(|text| (path, text))
        })
    }

    fn parse(set: FindingSet, file: &dyn Fn(&str) -> Result<(PathBuf, String)>) -> Result<Self> {
        let mut rules = Self {
            symbols: Symbols::default(),
            findings: Vec::new(),
            phrases: Phrases::default(),
            cues: Phrases::default(),
        };
        let (path, text) = file(CUES)?;
        rules.add_cues(&path, &sections(&path, &text)?)?;
        let (path, text) = file(OBSERVATIONS)?;
        let observations = File { sections: sections(&path, &text)?, path };
        let (path, text) = file(&format!("{}.txt", set.name()))?;
        let mut all = sections(&path, &text)?;
        // Findings without a column come last, so that an index below the number of columns is that of a column.
        all.sort_by_key(|section| section.option("column").is_some_and(|(value, _)| value == "no"));
        let set = File { path, sections: all };
        rules.add_findings(&set, &observations)?;
        rules.check_names(&set)?;
        Ok(rules)
    }

    fn add_cues(&mut self, path: &Path, sections: &[Section]) -> Result<()> {
        for section in sections {
            let kind = KINDS.iter().position(|(name, _)| *name == section.name);
            let known = || KINDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("], [");
            let kind = kind.ok_or_else(|| rule_error(path, section.line, RuleFault::Section(known())))?;
            if let Some((_, _, line)) = section.options.first() {
                return Err(rule_error(path, *line, RuleFault::Key("none: cues have no options".to_owned())));
            }
            for (phrase, line) in &section.phrases {
                let added = self.cues.add(&mut self.symbols, phrase, kind);
                added.map_err(|fault| rule_error(path, *line, fault))?;
            }
        }
        Ok(())
    }

    fn add_findings(&mut self, set: &File, observations: &File) -> Result<()> {
        for section in &set.sections {
            let index = self.findings.len();
            if self.findings.iter().any(|known| known.name == section.name) {
                return Err(rule_error(&set.path, section.line, RuleFault::Repeated));
            }
            self.findings.push(finding(&set.path, section)?);
            self.add_phrases(&set.path, section, index)?;
            let Some((names, line)) = section.option("use") else { continue };
            for name in names.split(',').map(str::trim) {
                let used = observations.sections.iter().find(|known| known.name == name);
                let used = used.ok_or_else(|| rule_error(&set.path, line, RuleFault::Unknown(name.to_owned())))?;
                self.add_phrases(&observations.path, used, index)?;
            }
        }
        Ok(())
    }

    /// Refuses names of findings that the set lacks.
    fn check_names(&self, set: &File) -> Result<()> {
        for section in &set.sections {
            let Some((names, line)) = section.option("nothing_but") else { continue };
            let unknown =
                names.split(',').map(str::trim).find(|name| self.findings.iter().all(|known| known.name != *name));
            if let Some(name) = unknown {
                return Err(rule_error(&set.path, line, RuleFault::UnknownFinding(name.to_owned())));
            }
        }
        Ok(())
    }

    fn add_phrases(&mut self, path: &Path, section: &Section, finding: usize) -> Result<()> {
        for (phrase, line) in &section.phrases {
            let (kind, rest) = match phrase.split_once(' ') {
                Some(("-", rest)) => (1, rest),
                Some(("?", rest)) => (2, rest),
                Some(("!", rest)) => (3, rest),
                _ => (0, phrase.as_str()),
            };
            let added = self.phrases.add(&mut self.symbols, rest, finding * PHRASE_KINDS.len() + kind);
            added.map_err(|fault| rule_error(path, *line, fault))?;
        }
        Ok(())
    }

    /// The cues of a sentence, in order.
    pub(super) fn cues(&self, text: &Text<'_>) -> Vec<Cue> {
        self.cues_outside(text, &(0..0))
    }

    /// The cues of a sentence that share no word with `place`, in order.
    pub(super) fn cues_outside(&self, text: &Text<'_>, place: &Range<usize>) -> Vec<Cue> {
        let mut matches = self.cues.matches(text);
        matches.retain(|m| m.words.end <= place.start || place.end <= m.words.start);
        let mut matches = best(matches, true);
        // A phrase with two meanings: the search to the right meets the one that looks back first, and the search to
        // the left the other.
        matches.sort_by_key(|m| (m.words.start, m.words.end, !KINDS[m.meaning].1.looks_back()));
        matches.into_iter().map(|m| Cue { words: m.words, kind: KINDS[m.meaning].1 }).collect()
    }

    /// The phrases of findings in a sentence: those of a finding do not overlap.
    pub(super) fn mentions(&self, text: &Text<'_>) -> Vec<(usize, PhraseKind, Match)> {
        let mut all = self.phrases.matches(text);
        all.sort_by_key(|m| m.meaning / PHRASE_KINDS.len());
        let groups = all.chunk_by(|a, b| a.meaning / PHRASE_KINDS.len() == b.meaning / PHRASE_KINDS.len());
        let kept = groups.flat_map(|group| best(group.to_vec(), false));
        kept.map(|m| (m.meaning / PHRASE_KINDS.len(), PHRASE_KINDS[m.meaning % PHRASE_KINDS.len()], m)).collect()
    }
}

fn builtin(name: &str) -> &'static str {
    FILES.iter().find(|(known, _)| *known == name).map_or("", |(_, content)| content)
}

fn rule_error(path: &Path, line: usize, fault: RuleFault) -> DataError {
    DataError::Rules { file: path.to_path_buf(), line, fault }
}

struct File {
    path: PathBuf,
    sections: Vec<Section>,
}

struct Section {
    name: String,
    line: usize,
    options: Vec<(String, String, usize)>,
    phrases: Vec<(String, usize)>,
}

impl Section {
    fn option(&self, key: &str) -> Option<(&str, usize)> {
        self.options.iter().find(|(known, ..)| known == key).map(|(_, value, line)| (value.as_str(), *line))
    }
}

fn sections(path: &Path, text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, content) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let content = content.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        // A phrase may begin with a word that can be missing: that is a fault of the phrase, not a section.
        let name =
            content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|name| !name.contains(['[', ']']));
        if let Some(name) = name {
            let (name, options, phrases) = (name.trim().to_owned(), Vec::new(), Vec::new());
            sections.push(Section { name, line, options, phrases });
            continue;
        }
        let Some(section) = sections.last_mut() else { return Err(rule_error(path, line, RuleFault::NoSection)) };
        match content.split_once('=') {
            Some((key, value)) => section.options.push((key.trim().to_owned(), value.trim().to_owned(), line)),
            None => section.phrases.push((content.to_owned(), line)),
        }
    }
    Ok(sections)
}

/// The options of a finding.
fn finding(path: &Path, section: &Section) -> Result<Finding> {
    let mut finding = Finding {
        name: section.name.clone(),
        column: true,
        likely: Certainty::Uncertain,
        uncertain: Certainty::Uncertain,
        nothing_but: None,
    };
    for (key, value, line) in &section.options {
        let bad = |accepted: &str| rule_error(path, *line, RuleFault::Value(accepted.to_owned()));
        let certainty = || match value.as_str() {
            "positive" => Ok(Certainty::Affirmed),
            "uncertain" => Ok(Certainty::Uncertain),
            "negative" => Ok(Certainty::Negated),
            _ => Err(bad("positive, uncertain or negative")),
        };
        match key.as_str() {
            "use" => {}
            "likely" => finding.likely = certainty()?,
            "uncertain" => finding.uncertain = certainty()?,
            "column" => match value.as_str() {
                "yes" => {}
                "no" => finding.column = false,
                _ => return Err(bad("yes or no")),
            },
            "nothing_but" => finding.nothing_but = Some(value.split(',').map(|name| name.trim().to_owned()).collect()),
            _ => {
                let known = "use, likely, uncertain, column or nothing_but".to_owned();
                return Err(rule_error(path, *line, RuleFault::Key(known)));
            }
        }
    }
    Ok(finding)
}
