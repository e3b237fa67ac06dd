//! F1 of decisions: of one class at a threshold, and the mean over the classes of an argmax.

use super::{Bootstrap, ClusteredConfusion, Clusters, Interval, MetricError, confusion};

/// F1 of the decisions `score >= threshold`; `None` where there is neither a positive nor a positive decision.
///
/// Equal to scikit-learn's `f1_score` with `zero_division=np.nan`.
///
/// # Errors
/// Lengths that differ, and a score that is NaN or infinite.
pub fn f1<S: Copy + Into<f64>>(scores: &[S], labels: &[bool], threshold: f64) -> Result<Option<f64>, MetricError> {
    Ok(confusion(scores, labels, threshold)?.f1())
}

/// [`f1()`] with its interval over clusters (patients).
///
/// # Errors
/// As [`f1()`].
pub fn f1_interval<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    threshold: f64,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let labels: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
    let decisions = ClusteredConfusion::at_threshold(scores, &labels, threshold, clusters)?;
    Ok(bootstrap.interval(clusters.len(), None, |counts| decisions.value(counts).f1()))
}

/// The unweighted mean over all `num_classes` of the F1 of each against the others, where an undefined one counts as 0;
/// `None` without items.
///
/// Equal to scikit-learn's `f1_score` with `average="macro"`, `labels=range(num_classes)` and `zero_division=0`.
///
/// # Errors
/// Lengths that differ, and a class that is not below `num_classes`.
pub fn macro_f1(predicted: &[usize], labels: &[usize], num_classes: usize) -> Result<Option<f64>, MetricError> {
    let clusters = Clusters::singletons(labels.len());
    let classes = one_against_others(predicted, labels, num_classes, &clusters)?;
    Ok(if labels.is_empty() { None } else { mean_f1(&classes, &vec![1; clusters.len()]) })
}

/// [`macro_f1()`] with its interval over clusters (patients).
///
/// # Errors
/// As [`macro_f1()`].
pub fn macro_f1_interval(
    predicted: &[usize],
    labels: &[usize],
    num_classes: usize,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let classes = one_against_others(predicted, labels, num_classes, clusters)?;
    Ok(bootstrap.interval(clusters.len(), None, |counts| mean_f1(&classes, counts).filter(|_| !labels.is_empty())))
}

fn one_against_others(
    predicted: &[usize],
    labels: &[usize],
    num_classes: usize,
    clusters: &Clusters,
) -> Result<Vec<ClusteredConfusion>, MetricError> {
    MetricError::check("predictions", labels.len(), predicted.len())?;
    for classes in [predicted, labels] {
        if let Some(index) = classes.iter().position(|&class| class >= num_classes) {
            return Err(MetricError::NoClass { index, num_classes });
        }
    }
    let of = |class: usize| {
        let decisions: Vec<bool> = predicted.iter().map(|&found| found == class).collect();
        let labels: Vec<Option<bool>> = labels.iter().map(|&label| Some(label == class)).collect();
        ClusteredConfusion::new(&decisions, &labels, clusters)
    };
    (0..num_classes).map(of).collect()
}

fn mean_f1(classes: &[ClusteredConfusion], counts: &[u32]) -> Option<f64> {
    let sum: f64 = classes.iter().map(|class| class.value(counts).f1().unwrap_or(0.0)).sum();
    if classes.is_empty() { None } else { Some(sum / classes.len() as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmonic_means_by_hand() {
        // One of two positives found, one false alarm: 2 / (2 + 1 + 1).
        assert_eq!(f1(&[0.9, 0.1, 0.8], &[true, true, false], 0.5).unwrap(), Some(0.5));
        assert_eq!(f1(&[0.1], &[false], 0.5).unwrap(), None);
        assert_eq!(f1(&[0.9], &[false], 0.5).unwrap(), Some(0.0));
    }

    #[test]
    fn an_undefined_class_counts_as_zero() {
        // Class 0: 2 right; class 1: missed once, taken never; class 2: taken once, wrongly; class 3: absent.
        let (predicted, labels) = ([0, 0, 2], [0, 0, 1]);
        assert_eq!(macro_f1(&predicted, &labels, 4).unwrap(), Some(0.25));
        assert_eq!(macro_f1(&[], &[], 4).unwrap(), None);
        assert_eq!(macro_f1(&[0, 4], &[0, 0], 4), Err(MetricError::NoClass { index: 1, num_classes: 4 }));
        let interval =
            macro_f1_interval(&predicted, &labels, 4, &Clusters::singletons(3), &Bootstrap::default()).unwrap();
        assert_eq!((interval.value, interval.high), (Some(0.25), Some(0.25)));
    }
}
