//! Area under the precision-recall curve as average precision.

use super::{Bootstrap, Clusters, Interval, MetricError, SortedScores};

/// `sum over descending distinct scores of (R_k - R_{k-1}) * P_k`, without interpolation; `None` without a positive.
///
/// Equal to scikit-learn's `average_precision_score` where there is a positive (without one, that gives 0 and a
/// warning; here the class is missing). Without a negative it is 1 in both.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
///
/// # Source
/// `scikit-learn: sklearn/metrics/_ranking.py`, `average_precision_score`.
pub fn auprc<S: Copy + Into<f64>>(scores: &[S], labels: &[bool]) -> Result<Option<f64>, MetricError> {
    Ok(SortedScores::new(scores, labels, &Clusters::singletons(scores.len()))?.auprc(None))
}

/// [`auprc()`] with its interval over clusters (patients); chance is the [`prevalence`].
///
/// # Errors
/// As [`auprc()`].
pub fn auprc_interval<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let sorted = SortedScores::new(scores, labels, clusters)?;
    Ok(bootstrap.interval(clusters.len(), prevalence(labels), |counts| sorted.auprc(Some(counts))))
}

/// The share of positives, which is the average precision of scores that are all equal; `None` without items.
pub fn prevalence(labels: &[bool]) -> Option<f64> {
    let positives = labels.iter().filter(|&&label| label).count();
    if labels.is_empty() { None } else { Some(positives as f64 / labels.len() as f64) }
}

impl SortedScores {
    /// The average precision of a resample given as one multiplicity per cluster, or of the items as they are without
    /// one; `None` without a positive.
    ///
    /// # Panics
    /// Panics if `counts` has fewer entries than there are clusters.
    pub fn auprc(&self, counts: Option<&[u32]>) -> Option<f64> {
        let (mut area, mut positives, mut selected) = (0.0, 0u64, 0u64);
        self.for_each_run(counts, |run| {
            positives += run.positive;
            selected += run.positive + run.negative;
            if run.positive > 0 {
                area += run.positive as f64 * (positives as f64 / selected as f64);
            }
        });
        if positives == 0 { None } else { Some(area / positives as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(scores: &[f64], labels: &[bool]) -> Option<f64> {
        auprc(scores, labels).unwrap()
    }

    #[test]
    fn hand_summed_precisions() {
        // Positives at ranks 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3 = 29/36 (methods, section 10).
        let labels = [true, false, true, true, false, false];
        let value = area(&[0.9, 0.8, 0.7, 0.6, 0.4, 0.1], &labels).unwrap();
        assert!((value - 29.0 / 36.0).abs() < 1e-15, "{value}");
        // A run of equal scores is one threshold: precision 1/2 at the first, 2/3 at the second.
        let value = area(&[0.5, 0.5, 0.1], &[true, false, true]).unwrap();
        assert!((value - 0.5 * (1.0 / 2.0 + 2.0 / 3.0)).abs() < 1e-15, "{value}");
    }

    #[test]
    fn degenerate_samples() {
        assert_eq!(area(&[0.2; 4], &[true, false, false, false]), Some(0.25));
        assert_eq!(area(&[0.1, 0.7], &[true, true]), Some(1.0));
        assert_eq!(area(&[0.1, 0.7], &[false, false]), None);
        assert_eq!(area(&[], &[]), None);
        assert_eq!(prevalence(&[]), None);
        assert_eq!(prevalence(&[true, false, false, false]), Some(0.25));
    }
}
