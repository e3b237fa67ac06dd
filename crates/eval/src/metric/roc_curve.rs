//! Points of the receiver operating characteristic.

use serde::{Deserialize, Serialize};

use super::thin::thin;
use super::{Clusters, MetricError, SortedScores};

/// What one threshold reaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RocPoint {
    /// The decision is `score >= threshold`; `None` at the start, where nothing is positive.
    pub threshold: Option<f64>,
    /// Share of negatives that are taken for positives.
    pub false_positive_rate: f64,
    /// Share of positives that are found.
    pub true_positive_rate: f64,
}

/// The curve from (0, 0) to (1, 1) with one point for each distinct score, straight between them; of more than `max_points`
/// the outline. `None` without both classes.
///
/// The whole curve is that of scikit-learn's `roc_curve` with `drop_intermediate=False`, and its area is
/// [`auroc()`](super::auroc()). A thinned curve has in each of `max_points / 4` equal columns of the false positive rate the
/// first, last, lowest and highest point, so that no point of the whole curve is farther from it than a column is wide.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
pub fn roc_curve<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    max_points: usize,
) -> Result<Option<Vec<RocPoint>>, MetricError> {
    let sorted = SortedScores::new(scores, labels, &Clusters::singletons(scores.len()))?;
    let (positives, negatives) = sorted.totals(None);
    if positives == 0 || negatives == 0 {
        return Ok(None);
    }
    let mut points = vec![RocPoint { threshold: None, false_positive_rate: 0.0, true_positive_rate: 0.0 }];
    let (mut found, mut alarms) = (0, 0);
    let mut thresholds = sorted.thresholds().iter().copied();
    sorted.for_each_run(None, |run| {
        found += run.positive;
        alarms += run.negative;
        points.push(RocPoint {
            threshold: thresholds.next(),
            false_positive_rate: alarms as f64 / negatives as f64,
            true_positive_rate: found as f64 / positives as f64,
        });
    });
    Ok(Some(thin(points, max_points, |point| (point.false_positive_rate, point.true_positive_rate))))
}
