//! Scores sorted once, so that every resample of them is scored in one linear pass.

use rayon::prelude::*;

use super::{Clusters, MetricError};

/// Labels in the order of descending scores, with the ends of runs of equal scores marked.
///
/// A resample is a vector of multiplicities, one per cluster (see [`Clusters`]): every item counts as often as its
/// cluster was drawn. Sorting happens here and only here, so a statistic of a resample costs `O(n)`. All sums are
/// integers, hence exact and independent of the order inside a run of equal scores. They hold for a total weight below
/// `2^32`.
#[derive(Debug, Clone)]
pub struct SortedScores {
    clusters: Vec<u32>,
    positive: Vec<bool>,
    ends_run: Vec<bool>,
    /// The score of each run.
    thresholds: Vec<f64>,
}

/// Weight of the positive and of the negative items of one run of equal scores.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) positive: u64,
    pub(super) negative: u64,
}

impl SortedScores {
    /// The sorted form of one score and one label per item.
    ///
    /// # Errors
    /// Lengths that differ, and a score that is NaN or infinite.
    pub fn new<S: Copy + Into<f64>>(scores: &[S], labels: &[bool], clusters: &Clusters) -> Result<Self, MetricError> {
        MetricError::check("labels", scores.len(), labels.len())?;
        MetricError::check("cluster keys", scores.len(), clusters.num_items())?;
        Self::from_items(scores.iter().zip(labels).enumerate().map(|(i, (s, &l))| ((*s).into(), l, clusters.of(i))))
    }

    /// The sorted form of the items whose label is known; the others are left out.
    ///
    /// # Errors
    /// As [`SortedScores::new`]; only scores of known labels must be finite.
    pub fn with_missing<S: Copy + Into<f64>>(
        scores: &[S],
        labels: &[Option<bool>],
        clusters: &Clusters,
    ) -> Result<Self, MetricError> {
        MetricError::check("labels", scores.len(), labels.len())?;
        MetricError::check("cluster keys", scores.len(), clusters.num_items())?;
        if let Some(index) = (0..scores.len()).find(|&i| labels[i].is_some() && !scores[i].into().is_finite()) {
            return Err(MetricError::NotFinite { index });
        }
        let known = scores.iter().zip(labels).enumerate();
        Self::from_items(known.filter_map(|(i, (s, label))| label.map(|l| ((*s).into(), l, clusters.of(i)))))
    }

    fn from_items(items: impl Iterator<Item = (f64, bool, u32)>) -> Result<Self, MetricError> {
        let mut sorted = Vec::with_capacity(items.size_hint().1.unwrap_or(0));
        for (index, (score, positive, cluster)) in items.enumerate() {
            if !score.is_finite() {
                return Err(MetricError::NotFinite { index });
            }
            sorted.push((descending_key(score), cluster, positive));
        }
        sorted.par_sort_unstable_by_key(|item| item.0);
        let last = |i: usize| sorted.get(i + 1).is_none_or(|next| next.0 != sorted[i].0);
        let ends_run: Vec<bool> = (0..sorted.len()).map(last).collect();
        let ends = sorted.iter().zip(&ends_run).filter(|(_, ends)| **ends);
        Ok(Self {
            thresholds: ends.map(|(item, _)| score_of(item.0)).collect(),
            ends_run,
            clusters: sorted.iter().map(|item| item.1).collect(),
            positive: sorted.iter().map(|item| item.2).collect(),
        })
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.positive.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.positive.is_empty()
    }

    /// The distinct scores, best first.
    pub(super) fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// Weight of all positive and of all negative items under `counts`.
    pub(super) fn totals(&self, counts: Option<&[u32]>) -> (u64, u64) {
        let (mut positives, mut negatives) = (0, 0);
        self.for_each_run(counts, |run| {
            positives += run.positive;
            negatives += run.negative;
        });
        (positives, negatives)
    }

    /// Calls `visit` for every run of equal scores, best scores first, with the runs' weights under `counts`; every
    /// item weighs 1 without counts.
    pub(super) fn for_each_run(&self, counts: Option<&[u32]>, visit: impl FnMut(Run)) {
        match counts {
            Some(counts) => self.runs(|cluster| u64::from(counts[cluster as usize]), visit),
            None => self.runs(|_| 1, visit),
        }
    }

    fn runs(&self, weight: impl Fn(u32) -> u64, mut visit: impl FnMut(Run)) {
        let mut run = Run::default();
        for ((&cluster, &positive), &ends) in self.clusters.iter().zip(&self.positive).zip(&self.ends_run) {
            let weight = weight(cluster);
            // A product instead of a branch: labels are unpredictable in a good order and in a bad one.
            let part = weight * u64::from(positive);
            run.positive += part;
            run.negative += weight - part;
            if ends {
                visit(std::mem::take(&mut run));
            }
        }
    }
}

/// An integer that sorts ascending where the finite scores sort descending, equal for `0.0` and `-0.0`.
fn descending_key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { bits } else { !bits & (u64::MAX >> 1) }
}

/// The score of a [`descending_key`], with `0.0` for both zeros.
fn score_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key } else { !key & (u64::MAX >> 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_reverse_the_order_of_floats() {
        let ascending = [-1e300, -2.0, -1e-310, 0.0, 1e-310, 0.5, 1.0, 1e300];
        assert!(ascending.windows(2).all(|w| descending_key(w[0]) > descending_key(w[1])));
        assert_eq!(descending_key(0.0), descending_key(-0.0));
        assert!(ascending.iter().all(|&score| score_of(descending_key(score)).to_bits() == score.to_bits()));
    }

    #[test]
    fn runs_gather_equal_scores_and_multiplicities() {
        // Order by score: item 1 (0.9, negative), then items 0 and 2 tied at 0.5 (positive, negative).
        let sorted = SortedScores::new(&[0.5f32, 0.9, 0.5], &[true, false, false], &Clusters::singletons(3)).unwrap();
        let runs = |counts: Option<&[u32]>| {
            let mut seen = Vec::new();
            sorted.for_each_run(counts, |run| seen.push((run.positive, run.negative)));
            seen
        };
        assert_eq!(runs(None), [(0, 1), (1, 1)]);
        assert_eq!(runs(Some(&[2, 0, 3])), [(0, 0), (2, 3)]);
    }

    #[test]
    fn what_cannot_be_ranked_is_named() {
        let clusters = Clusters::singletons(2);
        let error = |scores: &[f64], labels: &[bool]| SortedScores::new(scores, labels, &clusters).unwrap_err();
        assert_eq!(error(&[0.1, f64::NAN], &[true, false]), MetricError::NotFinite { index: 1 });
        assert_eq!(error(&[f64::INFINITY, 0.0], &[true, false]), MetricError::NotFinite { index: 0 });
        assert_eq!(error(&[0.1, 0.2], &[true]), MetricError::Length { what: "labels", expected: 2, found: 1 });
        // An unknown label takes its score out of the question; a known one does not, and keeps its own position.
        let scores = [f64::NAN, 0.2];
        assert_eq!(SortedScores::with_missing(&scores, &[None, Some(true)], &clusters).unwrap().len(), 1);
        let late = SortedScores::with_missing(&[0.2, f64::NAN], &[None, Some(true)], &clusters).unwrap_err();
        assert_eq!(late, MetricError::NotFinite { index: 1 });
    }
}
