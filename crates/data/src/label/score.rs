//! How well labels agree with given ones.

use sha2::{Digest, Sha256};

use super::Status;
use super::files::verdict;

/// The part of a collection that is compared: rules are developed on one half and measured on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Every row.
    All,
    /// Rows whose id has an even SHA-256: these may be read while rules are written.
    Dev,
    /// The other rows.
    Test,
}

impl Part {
    /// Whether the rows of an id are a part of it; depends on the id alone.
    pub fn holds(self, id: &str) -> bool {
        let even = Sha256::digest(id.as_bytes()).first().is_some_and(|byte| byte % 2 == 0);
        match self {
            Self::All => true,
            Self::Dev => even,
            Self::Test => !even,
        }
    }
}

/// Agreement on one finding: a label of 1 is positive, and every other value is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Positive here and there.
    pub true_positives: usize,
    /// Positive here alone.
    pub false_positives: usize,
    /// Positive there alone.
    pub false_negatives: usize,
}

impl Counts {
    pub(super) fn add(&mut self, gold: bool, found: bool) {
        self.true_positives += usize::from(gold && found);
        self.false_positives += usize::from(!gold && found);
        self.false_negatives += usize::from(gold && !found);
    }

    /// The positives of the given labels.
    pub fn positives(&self) -> usize {
        self.true_positives + self.false_negatives
    }

    /// The part of the positives found here that are right; 0 where there is none.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// The part of the given positives that are found; 0 where there is none.
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives, self.positives())
    }

    /// The harmonic mean of precision and recall; 0 where there is no true positive.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }
}

/// Agreement on all findings.
#[derive(Debug, Clone, Default)]
pub struct Score {
    /// Rows that were compared.
    pub rows: usize,
    /// Each finding that the collection has a column of.
    pub findings: Vec<(String, Counts)>,
}

impl Score {
    /// The findings with a given positive, which alone enter the averages: a collection that never gives a finding does
    /// not know it.
    fn known(&self) -> impl Iterator<Item = &Counts> {
        self.findings.iter().map(|(_, counts)| counts).filter(|counts| counts.positives() > 0)
    }

    /// The counts of the findings with a given positive together, and thereby micro averages.
    pub fn micro(&self) -> Counts {
        self.known().fold(Counts::default(), |sum, one| Counts {
            true_positives: sum.true_positives + one.true_positives,
            false_positives: sum.false_positives + one.false_positives,
            false_negatives: sum.false_negatives + one.false_negatives,
        })
    }

    /// The mean F1 of the findings with a given positive.
    pub fn macro_f1(&self) -> f64 {
        let all: Vec<f64> = self.known().map(Counts::f1).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    }
}

/// Agreement on the status of concepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusScore {
    /// Rows that were compared.
    pub rows: usize,
    /// Rows of the same status; a status of `Possible` or none differs from both given ones.
    pub right: usize,
    /// Rows called `Possible`.
    pub possible: usize,
    /// Rows whose sentence lacks the concept.
    pub missing: usize,
    /// Agreement on `Negated`.
    pub negated: Counts,
}

impl StatusScore {
    pub(super) fn add(&mut self, gold: &str, found: Option<Status>) {
        self.rows += 1;
        self.right += usize::from(!gold.is_empty() && gold == verdict(found));
        self.possible += usize::from(found == Some(Status::Uncertain));
        self.missing += usize::from(found.is_none());
        self.negated.add(gold == verdict(Some(Status::Negative)), found == Some(Status::Negative));
    }

    /// The part of the rows with the same status.
    pub fn accuracy(&self) -> f64 {
        ratio(self.right, self.rows)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_those_of_the_counts() {
        let one = Counts { true_positives: 3, false_positives: 1, false_negatives: 2 };
        assert!((one.precision() - 0.75).abs() < 1e-12 && (one.recall() - 0.6).abs() < 1e-12);
        // 2 * 3 / (2 * 3 + 1 + 2)
        assert!((one.f1() - 6.0 / 9.0).abs() < 1e-12);
        let none = Counts { true_positives: 0, false_positives: 4, false_negatives: 0 };
        let findings = vec![("a".to_owned(), one), ("b".to_owned(), none)];
        let score = Score { rows: 9, findings };
        // The finding without a given positive does not count.
        assert_eq!(score.micro(), one);
        assert!((score.macro_f1() - 6.0 / 9.0).abs() < 1e-12);
        assert!(Counts::default().f1().abs() < 1e-12);
    }

    #[test]
    fn parts_are_two_halves() {
        let dev = (0..1000).filter(|id| Part::Dev.holds(&id.to_string())).count();
        assert!((400..600).contains(&dev), "{dev}");
        assert!((0..1000).all(|id| Part::Dev.holds(&id.to_string()) != Part::Test.holds(&id.to_string())));
    }
}
