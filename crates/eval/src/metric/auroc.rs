//! Area under the receiver operating characteristic.

use super::{Bootstrap, Clusters, Difference, Interval, MetricError, SortedScores};

/// What scores without any knowledge reach.
const CHANCE: f64 = 0.5;

/// `P(score of a positive > score of a negative) + P(equal) / 2`; `None` without both classes.
///
/// `O(n log n)`. Equal to scikit-learn's `roc_auc_score` wherever that is defined.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
///
/// # Source
/// The rank formula with mid-ranks of Hanley and `McNeil`, Radiology 143 (1982).
///
/// # Examples
/// ```
/// let area = eval::metric::auroc(&[0.9f32, 0.8, 0.7, 0.6, 0.4, 0.1], &[true, false, true, true, false, false]);
/// assert!((area.unwrap().unwrap() - 7.0 / 9.0).abs() < 1e-12);
/// ```
pub fn auroc<S: Copy + Into<f64>>(scores: &[S], labels: &[bool]) -> Result<Option<f64>, MetricError> {
    Ok(SortedScores::new(scores, labels, &Clusters::singletons(scores.len()))?.auroc(None))
}

/// [`auroc()`] with its interval over clusters (patients).
///
/// # Errors
/// As [`auroc()`].
pub fn auroc_interval<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let sorted = SortedScores::new(scores, labels, clusters)?;
    Ok(bootstrap.interval(clusters.len(), Some(CHANCE), |counts| sorted.auroc(Some(counts))))
}

/// AUROC of `first` minus AUROC of `second` on the same items, with a paired interval and p-value.
///
/// # Errors
/// As [`auroc()`].
pub fn auroc_difference<S: Copy + Into<f64>, T: Copy + Into<f64>>(
    first: &[S],
    second: &[T],
    labels: &[bool],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Difference, MetricError> {
    let first = SortedScores::new(first, labels, clusters)?;
    let second = SortedScores::new(second, labels, clusters)?;
    Ok(bootstrap.difference(clusters.len(), |counts| first.auroc(Some(counts)), |counts| second.auroc(Some(counts))))
}

/// The mean AUROC over classes with its interval; classes that the whole sample does not define are left out.
///
/// All classes must have been sorted with the same `clusters`. A resample in which one of the remaining classes is
/// undefined is drawn again, so that every resample averages the same classes.
pub fn macro_auroc_interval(classes: &[SortedScores], clusters: &Clusters, bootstrap: &Bootstrap) -> Interval {
    bootstrap.interval(clusters.len(), Some(CHANCE), macro_auroc(classes))
}

/// Macro AUROC of `first` minus that of `second`, with a paired interval and p-value.
///
/// Classes as in [`macro_auroc_interval`]; the labels of the two must be the same.
pub fn macro_auroc_difference(
    first: &[SortedScores],
    second: &[SortedScores],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Difference {
    bootstrap.difference(clusters.len(), macro_auroc(first), macro_auroc(second))
}

fn macro_auroc(classes: &[SortedScores]) -> impl Fn(&[u32]) -> Option<f64> + Sync {
    let defined: Vec<&SortedScores> = classes.iter().filter(|class| class.auroc(None).is_some()).collect();
    move |counts| {
        let mut sum = 0.0;
        for class in &defined {
            sum += class.auroc(Some(counts))?;
        }
        if defined.is_empty() { None } else { Some(sum / defined.len() as f64) }
    }
}

impl SortedScores {
    /// The AUROC of a resample given as one multiplicity per cluster, or of the items as they are without one; `None`
    /// without both classes.
    ///
    /// # Panics
    /// Panics if `counts` has fewer entries than there are clusters.
    pub fn auroc(&self, counts: Option<&[u32]>) -> Option<f64> {
        // Twice the number of (positive, negative) pairs in the right order; a tie counts once.
        let (mut twice_ordered, mut positives, mut negatives) = (0u64, 0u64, 0u64);
        self.for_each_run(counts, |run| {
            twice_ordered += run.negative * (2 * positives + run.positive);
            positives += run.positive;
            negatives += run.negative;
        });
        let pairs = positives * negatives;
        if pairs == 0 { None } else { Some(twice_ordered as f64 / (2 * pairs) as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(scores: &[f64], labels: &[bool]) -> Option<f64> {
        auroc(scores, labels).unwrap()
    }

    #[test]
    fn hand_counted_pairs() {
        // Positives .9 .7 .6, negatives .8 .4 .1: right pairs 3 + 2 + 2 of 9 (methods, section 10).
        let labels = [true, false, true, true, false, false];
        assert_eq!(area(&[0.9, 0.8, 0.7, 0.6, 0.4, 0.1], &labels), Some(7.0 / 9.0));
        // One positive tied with one of two negatives and above the other: (0.5 + 1) / 2.
        assert_eq!(area(&[0.5, 0.5, 0.1], &[true, false, false]), Some(0.75));
        assert_eq!(area(&[2.0, 1.0], &[true, false]), Some(1.0));
        assert_eq!(area(&[1.0, 2.0], &[true, false]), Some(0.0));
        assert_eq!(area(&[0.3; 5], &[true, false, true, false, false]), Some(0.5));
    }

    #[test]
    fn one_class_is_undefined() {
        assert_eq!(area(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(area(&[0.1, 0.2], &[false, false]), None);
        assert_eq!(area(&[], &[]), None);
    }

    #[test]
    fn the_macro_mean_leaves_an_undefined_class_out() {
        let clusters = Clusters::singletons(4);
        let class = |scores: [f64; 4], labels: [bool; 4]| SortedScores::new(&scores, &labels, &clusters).unwrap();
        let classes = [
            class([0.9, 0.8, 0.2, 0.1], [true, true, false, false]), // 1
            class([0.9, 0.8, 0.2, 0.1], [false, true, true, false]), // positives .8 and .2: (1 + 1) / 4
            class([0.9, 0.8, 0.2, 0.1], [false; 4]),
        ];
        let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::default() };
        assert_eq!(macro_auroc_interval(&classes, &clusters, &bootstrap).value, Some(0.75));
        assert_eq!(macro_auroc_interval(&classes[2..], &clusters, &bootstrap).value, None);
    }
}
