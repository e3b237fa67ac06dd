//! Points of the precision-recall curve.

use serde::{Deserialize, Serialize};

use super::thin::thin;
use super::{Clusters, MetricError, SortedScores};

/// What one threshold reaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrPoint {
    /// The decision is `score >= threshold`.
    pub threshold: f64,
    /// Share of positives that are found.
    pub recall: f64,
    /// Share of right ones among the positive decisions.
    pub precision: f64,
}

/// The curve from the highest score to the lowest, where the recall is 1, with one point for each distinct score; of more
/// than `max_points` the outline. `None` without a positive.
///
/// The whole curve is that of scikit-learn's `precision_recall_curve` in reverse, without the end that it adds at recall 0
/// and precision 1: no threshold has it. Between two points the precision is that of the one on the right: these steps have
/// the area [`auprc()`](super::auprc()). A thinned curve has in each of `max_points / 4` equal columns of the recall the first,
/// last, lowest and highest point, so that no point of the whole curve is farther from it than a column is wide.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
pub fn pr_curve<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    max_points: usize,
) -> Result<Option<Vec<PrPoint>>, MetricError> {
    let sorted = SortedScores::new(scores, labels, &Clusters::singletons(scores.len()))?;
    let (positives, _) = sorted.totals(None);
    if positives == 0 {
        return Ok(None);
    }
    let mut points = Vec::with_capacity(sorted.thresholds().len());
    let (mut found, mut selected) = (0, 0);
    let mut thresholds = sorted.thresholds().iter();
    sorted.for_each_run(None, |run| {
        found += run.positive;
        selected += run.positive + run.negative;
        points.extend(thresholds.next().map(|&threshold| PrPoint {
            threshold,
            recall: found as f64 / positives as f64,
            precision: found as f64 / selected as f64,
        }));
    });
    Ok(Some(thin(points, max_points, |point| (point.recall, point.precision))))
}
