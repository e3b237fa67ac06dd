//! What is wrong with a file of the labeler's rules.

use thiserror::Error;

/// Why a line of a file of rules is refused. Rules are no patient data, so that messages may quote them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleFault {
    /// The file is not text.
    #[error("the file is not UTF-8 text: save it as plain text")]
    NotUtf8,
    /// A line stands before the first section.
    #[error("the line stands before the first section: put a line such as [Edema] above it")]
    NoSection,
    /// A section has an unknown name.
    #[error("no such section; the sections of this file are [{0}]")]
    Section(String),
    /// A finding has two sections.
    #[error("the finding has a section above already: join the two")]
    Repeated,
    /// An option has an unknown name.
    #[error("no such option; the options here are {0}")]
    Key(String),
    /// An option has an unknown value.
    #[error("the value must be {0}")]
    Value(String),
    /// A section of the observations is used that does not exist.
    #[error("observations.txt has no section [{0}]: add it, or correct the name")]
    Unknown(String),
    /// A finding is named that does not exist.
    #[error("the file has no finding [{0}]: add it, or correct the name")]
    UnknownFinding(String),
    /// A phrase begins with what need not be there.
    #[error("a phrase must begin with a word, not with a gap or a word that may be missing")]
    First,
    /// A phrase ends with a gap.
    #[error("a phrase must end with a word, not with a gap")]
    Last,
    /// A part of a phrase is no word.
    #[error(
        "\"{0}\" is no word of a phrase: words are letters and digits in lower case, a hyphen becomes a space, and \
         word*, one|other, [word], .. and ... are the signs"
    )]
    Word(String),
}
