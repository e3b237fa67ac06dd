//! Right and wrong decisions at a threshold, and the shares that follow from their numbers.

use serde::{Deserialize, Serialize};

use super::{Clusters, MetricError};

/// How many decisions of each kind there are; a share of nothing is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Positives that were found.
    pub true_positives: u64,
    /// Negatives that were taken for positives.
    pub false_positives: u64,
    /// Negatives that were recognised.
    pub true_negatives: u64,
    /// Positives that were missed.
    pub false_negatives: u64,
}

impl Confusion {
    /// The share of positives that were found (recall).
    pub fn sensitivity(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// The share of negatives that were recognised.
    pub fn specificity(&self) -> Option<f64> {
        share(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// The share of right ones among the positive decisions.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// `2 TP / (2 TP + FP + FN)`, the harmonic mean of precision and sensitivity; `None` where there is neither a positive
    /// nor a positive decision.
    pub fn f1(&self) -> Option<f64> {
        let right = 2 * self.true_positives;
        share(right, right + self.false_positives + self.false_negatives)
    }

    /// Youden's J: sensitivity plus specificity minus 1; `None` without both classes.
    pub fn youden(&self) -> Option<f64> {
        Some(self.sensitivity()? + self.specificity()? - 1.0)
    }

    /// Counts one decision.
    pub(super) fn add(&mut self, decision: bool, label: bool) {
        let count = match (decision, label) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (false, true) => &mut self.false_negatives,
        };
        *count += 1;
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    if whole == 0 { None } else { Some(part as f64 / whole as f64) }
}

/// The decisions `score >= threshold` compared with the labels.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
pub fn confusion<S: Copy + Into<f64>>(scores: &[S], labels: &[bool], threshold: f64) -> Result<Confusion, MetricError> {
    let labels: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
    let clusters = Clusters::singletons(scores.len());
    let decisions = ClusteredConfusion::at_threshold(scores, &labels, threshold, &clusters)?;
    Ok(decisions.value(&vec![1; clusters.len()]))
}

/// Decisions counted for each cluster, ready for resamples; items without a label are left out.
#[derive(Debug, Clone)]
pub struct ClusteredConfusion {
    of_cluster: Vec<Confusion>,
}

impl ClusteredConfusion {
    /// Counts of one decision and one label per item.
    ///
    /// # Errors
    /// Lengths that differ.
    pub fn new(decisions: &[bool], labels: &[Option<bool>], clusters: &Clusters) -> Result<Self, MetricError> {
        MetricError::check("decisions", labels.len(), decisions.len())?;
        MetricError::check("cluster keys", labels.len(), clusters.num_items())?;
        let mut of_cluster = vec![Confusion::default(); clusters.len()];
        for (item, (&decision, label)) in decisions.iter().zip(labels).enumerate() {
            if let Some(label) = label {
                of_cluster[clusters.of(item) as usize].add(decision, *label);
            }
        }
        Ok(Self { of_cluster })
    }

    /// Counts of the decisions `score >= threshold`.
    ///
    /// # Errors
    /// Lengths that differ, and a score of a known label that is NaN or infinite.
    pub fn at_threshold<S: Copy + Into<f64>>(
        scores: &[S],
        labels: &[Option<bool>],
        threshold: f64,
        clusters: &Clusters,
    ) -> Result<Self, MetricError> {
        let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
        MetricError::check("labels", scores.len(), labels.len())?;
        if let Some(index) = (0..scores.len()).find(|&i| labels[i].is_some() && !scores[i].is_finite()) {
            return Err(MetricError::NotFinite { index });
        }
        Self::new(&scores.iter().map(|&score| score >= threshold).collect::<Vec<_>>(), labels, clusters)
    }

    /// The counts of a resample given as one multiplicity per cluster.
    pub fn value(&self, counts: &[u32]) -> Confusion {
        let mut sum = Confusion::default();
        for (&count, part) in counts.iter().zip(&self.of_cluster) {
            let count = u64::from(count);
            sum.true_positives += count * part.true_positives;
            sum.false_positives += count * part.false_positives;
            sum.true_negatives += count * part.true_negatives;
            sum.false_negatives += count * part.false_negatives;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_by_hand() {
        // At 0.5: found .9 .5, missed .2; false alarm .7, recognised .4 .1 .0.
        let (scores, labels) = ([0.9, 0.5, 0.2, 0.7, 0.4, 0.1, 0.0], [true, true, true, false, false, false, false]);
        let found = confusion(&scores, &labels, 0.5).unwrap();
        let expected = Confusion { true_positives: 2, false_positives: 1, true_negatives: 3, false_negatives: 1 };
        assert_eq!(found, expected);
        let shares = [found.sensitivity(), found.specificity(), found.precision(), found.f1()];
        assert_eq!(shares, [Some(2.0 / 3.0), Some(0.75), Some(2.0 / 3.0), Some(2.0 / 3.0)]);
        assert!((found.youden().unwrap() - (2.0 / 3.0 - 0.25)).abs() < 1e-15);
    }

    #[test]
    fn shares_of_nothing_are_undefined() {
        let nothing = confusion::<f64>(&[], &[], 0.5).unwrap();
        assert_eq!(
            (nothing.sensitivity(), nothing.specificity(), nothing.f1(), nothing.youden()),
            (None, None, None, None)
        );
        let calm = confusion(&[0.1, 0.2], &[false, false], 0.5).unwrap();
        assert_eq!(
            (calm.sensitivity(), calm.specificity(), calm.precision(), calm.f1()),
            (None, Some(1.0), None, None)
        );
        assert_eq!(confusion(&[0.1, f64::NAN], &[true, true], 0.5), Err(MetricError::NotFinite { index: 1 }));
        assert!(confusion(&[0.1], &[true, true], 0.5).is_err());
    }

    #[test]
    fn resamples_count_clusters() {
        let clusters = Clusters::from_keys(&["a", "b", "a"]);
        let labels = [Some(true), Some(false), None];
        let decisions = ClusteredConfusion::at_threshold(&[1.0, 1.0, f64::NAN], &labels, 0.5, &clusters).unwrap();
        let expected = Confusion { true_positives: 3, false_positives: 2, ..Confusion::default() };
        assert_eq!(decisions.value(&[3, 2]), expected);
    }
}
