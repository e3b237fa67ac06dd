//! The threshold at which sensitivity and specificity together are highest.

use serde::{Deserialize, Serialize};

use super::{Bootstrap, Clusters, Interval, MetricError, SortedScores};

/// A threshold with what the decision `score >= threshold` reaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// A score of the sample.
    pub threshold: f64,
    /// Share of positives that are found.
    pub sensitivity: f64,
    /// Share of negatives that are recognised.
    pub specificity: f64,
}

impl OperatingPoint {
    /// Youden's J: sensitivity plus specificity minus 1, from 0 to 1 at the best threshold.
    pub fn youden(&self) -> f64 {
        self.sensitivity + self.specificity - 1.0
    }
}

/// The distinct score that maximises Youden's J as a threshold; of several the highest, which decides for the fewest
/// positives. `None` without both classes.
///
/// J of equal thresholds is compared in integers, so that rounding decides nothing. At the lowest score, where everything
/// is positive, J is 0: scores that are worse than chance end there, or at a higher score of J = 0. The threshold above all
/// scores, with which scikit-learn's `roc_curve` begins, is none of these.
///
/// Choose it on one sample and use it on another: J of the sample that it was chosen on is too high.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
///
/// # Source
/// Youden, Cancer 3 (1950); methods, section 9.
pub fn youden_point<S: Copy + Into<f64>>(scores: &[S], labels: &[bool]) -> Result<Option<OperatingPoint>, MetricError> {
    Ok(SortedScores::new(scores, labels, &Clusters::singletons(scores.len()))?.youden_point(None))
}

/// The highest J over all thresholds with its interval over clusters (patients); every resample has its own threshold.
///
/// # Errors
/// As [`youden_point()`].
pub fn youden_interval<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let sorted = SortedScores::new(scores, labels, clusters)?;
    let highest = |counts: &[u32]| sorted.youden_point(Some(counts)).map(|point| point.youden());
    Ok(bootstrap.interval(clusters.len(), None, highest))
}

impl SortedScores {
    /// [`youden_point()`] of a resample given as one multiplicity per cluster, or of the items as they are without one.
    ///
    /// # Panics
    /// Panics if `counts` has fewer entries than there are clusters.
    pub fn youden_point(&self, counts: Option<&[u32]>) -> Option<OperatingPoint> {
        let (positives, negatives) = self.totals(counts);
        if positives == 0 || negatives == 0 {
            return None;
        }
        let (mut found, mut alarms, mut number) = (0, 0, 0);
        let mut best: Option<(i128, usize, u64, u64)> = None;
        self.for_each_run(counts, |run| {
            found += run.positive;
            alarms += run.negative;
            // J times the positives times the negatives.
            let scaled = i128::from(found) * i128::from(negatives) - i128::from(alarms) * i128::from(positives);
            // A resample need not have drawn every score.
            let is_drawn = run.positive + run.negative > 0;
            if is_drawn && best.is_none_or(|(highest, ..)| scaled > highest) {
                best = Some((scaled, number, found, alarms));
            }
            number += 1;
        });
        best.map(|(_, number, found, alarms)| OperatingPoint {
            threshold: self.thresholds()[number],
            sensitivity: found as f64 / positives as f64,
            specificity: (negatives - alarms) as f64 / negatives as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scores: &[f64], labels: &[bool]) -> Option<OperatingPoint> {
        youden_point(scores, labels).unwrap()
    }

    #[test]
    fn the_highest_of_equal_thresholds() {
        // J: .9 -> 1/3, .8 -> 0, .7 -> 1/3, .6 -> 2/3, .4 -> 1/3, .1 -> 0 (methods, section 10).
        let best = point(&[0.9, 0.8, 0.7, 0.6, 0.4, 0.1], &[true, false, true, true, false, false]).unwrap();
        assert_eq!((best.threshold, best.sensitivity, best.specificity), (0.6, 1.0, 2.0 / 3.0));
        // J is 1/2 at .9 and again at .3.
        let tied = point(&[0.9, 0.5, 0.3, 0.1], &[true, false, true, false]).unwrap();
        assert_eq!((tied.threshold, tied.youden()), (0.9, 0.5));
    }

    #[test]
    fn degenerate_samples() {
        let wrong = point(&[0.2, 0.7], &[true, false]).unwrap();
        assert_eq!((wrong.threshold, wrong.youden()), (0.2, 0.0));
        let level = point(&[0.5, 0.5], &[true, false]).unwrap();
        assert_eq!((level.threshold, level.sensitivity, level.specificity), (0.5, 1.0, 0.0));
        assert_eq!(point(&[0.5, 0.1], &[true, true]), None);
        assert_eq!(point(&[], &[]), None);
    }
}
