//! Mean squared error of probabilities.

use super::{Bootstrap, ClusteredMean, Clusters, Interval, MetricError, check_probabilities, prevalence};

/// The mean of `(probability - label)^2`, from 0 (certain and right) to 1; `None` without items.
///
/// Equal to scikit-learn's `brier_score_loss`.
///
/// # Errors
/// Lengths that differ, and a probability that is NaN or outside of `[0, 1]`.
///
/// # Source
/// Brier, Monthly Weather Review 78 (1950), for two classes halved as is usual.
pub fn brier<S: Copy + Into<f64>>(probabilities: &[S], labels: &[bool]) -> Result<Option<f64>, MetricError> {
    let labels: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
    let clusters = Clusters::singletons(labels.len());
    Ok(squared_errors(probabilities, &labels, &clusters)?.value(&vec![1; clusters.len()]))
}

/// [`brier()`] with its interval over clusters (patients); chance is what the prevalence scores as everyone's probability,
/// `prevalence * (1 - prevalence)`.
///
/// # Errors
/// As [`brier()`].
pub fn brier_interval<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[bool],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let chance = chance_brier(prevalence(labels));
    let labels: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
    let errors = squared_errors(probabilities, &labels, clusters)?;
    Ok(bootstrap.interval(clusters.len(), chance, |counts| errors.value(counts)))
}

/// The Brier score of the prevalence as everyone's probability: the lowest that knows nothing of the items.
pub fn chance_brier(prevalence: Option<f64>) -> Option<f64> {
    prevalence.map(|share| share * (1.0 - share))
}

/// `(probability - label)^2` of every item that has a label, ready for resamples.
///
/// # Errors
/// Lengths that differ, and a probability of a known label that is NaN or outside of `[0, 1]`.
pub fn squared_errors<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[Option<bool>],
    clusters: &Clusters,
) -> Result<ClusteredMean, MetricError> {
    check_probabilities(probabilities, labels)?;
    let error = |(&p, label): (&S, &Option<bool>)| label.map(|y| (p.into() - f64::from(u8::from(y))).powi(2));
    ClusteredMean::new(&probabilities.iter().zip(labels).map(error).collect::<Vec<_>>(), clusters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_by_hand() {
        // (0.25 + 0 + 1) / 3.
        assert_eq!(brier(&[0.5, 1.0, 1.0], &[true, true, false]).unwrap(), Some(1.25 / 3.0));
        assert_eq!(brier::<f64>(&[], &[]).unwrap(), None);
        assert_eq!(chance_brier(Some(0.25)), Some(0.1875));
    }

    #[test]
    fn what_is_no_probability_is_named() {
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert_eq!(brier(&[0.5, wrong], &[true, true]), Err(MetricError::NotProbability { index: 1 }));
        }
        assert!(brier(&[0.5], &[true, true]).is_err());
    }
}
