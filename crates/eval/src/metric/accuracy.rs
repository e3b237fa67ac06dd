//! Share of right decisions.

use super::MetricError;

/// The share of `predicted` classes that equal their labels; `None` without items.
///
/// # Errors
/// Lengths that differ.
pub fn accuracy<T: PartialEq>(predicted: &[T], labels: &[T]) -> Result<Option<f64>, MetricError> {
    MetricError::check("predictions", labels.len(), predicted.len())?;
    let right = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
    Ok(if labels.is_empty() { None } else { Some(right as f64 / labels.len() as f64) })
}

/// The accuracy of the decision `probability >= threshold`; `None` without items.
///
/// # Errors
/// Lengths that differ, and a probability that is NaN or infinite.
pub fn binary_accuracy<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[bool],
    threshold: f64,
) -> Result<Option<f64>, MetricError> {
    let values: Vec<f64> = probabilities.iter().map(|&p| p.into()).collect();
    if let Some(index) = values.iter().position(|p| !p.is_finite()) {
        return Err(MetricError::NotFinite { index });
    }
    accuracy(&values.iter().map(|&p| p >= threshold).collect::<Vec<_>>(), labels)
}

/// The class with the highest score in every row of `scores` (`[rows, num_classes]`, row-major); the lowest class wins
/// a tie.
///
/// # Errors
/// A length that is no multiple of `num_classes`, and a score that is NaN or infinite (the index is that of its row).
///
/// # Panics
/// Panics if `num_classes` is zero.
pub fn argmax_rows<S: Copy + Into<f64>>(scores: &[S], num_classes: usize) -> Result<Vec<usize>, MetricError> {
    assert!(num_classes > 0, "a row without classes has no best class");
    let rows = scores.len().div_ceil(num_classes);
    MetricError::check("scores", rows * num_classes, scores.len())?;
    let best = |(index, row): (usize, &[S])| {
        let mut best = (0, f64::NEG_INFINITY);
        for (class, &score) in row.iter().enumerate() {
            let score: f64 = score.into();
            if !score.is_finite() {
                return Err(MetricError::NotFinite { index });
            }
            if score > best.1 {
                best = (class, score);
            }
        }
        Ok(best.0)
    };
    scores.chunks_exact(num_classes).enumerate().map(best).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_right_decisions() {
        assert_eq!(accuracy(&[0, 1, 2, 1], &[0, 1, 1, 1]).unwrap(), Some(0.75));
        assert_eq!(accuracy::<usize>(&[], &[]).unwrap(), None);
        assert!(accuracy(&[1], &[1, 2]).is_err());
        // The threshold itself is a positive decision.
        assert_eq!(binary_accuracy(&[0.5f32, 0.49], &[true, true], 0.5).unwrap(), Some(0.5));
        assert_eq!(
            binary_accuracy(&[0.1, f64::NAN], &[true, true], 0.5).unwrap_err(),
            MetricError::NotFinite { index: 1 }
        );
    }

    #[test]
    fn the_lowest_class_wins_a_tie() {
        assert_eq!(argmax_rows(&[0.1f32, 0.9, 0.3, 0.5, 0.2, 0.5], 3).unwrap(), [1, 0]);
        assert_eq!(argmax_rows::<f32>(&[], 3).unwrap(), Vec::<usize>::new());
        assert!(matches!(argmax_rows(&[0.1f32; 4], 3), Err(MetricError::Length { expected: 6, found: 4, .. })));
        assert_eq!(argmax_rows(&[0.1, 0.2, 0.3, f64::NAN], 2).unwrap_err(), MetricError::NotFinite { index: 1 });
    }
}
