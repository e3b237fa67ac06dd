//! AUROC averaged over groups of equal rank: strata of the images, repetitions of a training.
//!
//! A stratum is what a score must not be made of: where radiographs of the sick are taken lying (AP) and those of the well
//! standing (PA), the view alone separates them. Within one view it cannot.

use super::group_mean::{group_mean, group_mean_interval};
use super::{Bootstrap, Clusters, Difference, Interval, MetricError, SortedScores};

/// The scores of each stratum, sorted apart: `strata` has a number below `num_strata` for each item, `None` for an item that
/// belongs to none and is left out.
///
/// # Errors
/// As [`SortedScores::with_missing`].
pub fn by_stratum<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[Option<bool>],
    strata: &[Option<usize>],
    num_strata: usize,
    clusters: &Clusters,
) -> Result<Vec<SortedScores>, MetricError> {
    MetricError::check("strata", scores.len(), strata.len())?;
    let within = |stratum: usize| {
        let label = |(&label, &of): (&Option<bool>, &Option<usize>)| label.filter(|_| of == Some(stratum));
        let labels: Vec<Option<bool>> = labels.iter().zip(strata).map(label).collect();
        SortedScores::with_missing(scores, &labels, clusters)
    };
    (0..num_strata).map(within).collect()
}

/// The share of positive items in the stratum of an item as its score: as much as the strata alone can tell. Arguments as of
/// [`by_stratum`].
///
/// # Errors
/// As [`SortedScores::with_missing`].
pub fn stratum_alone(
    labels: &[Option<bool>],
    strata: &[Option<usize>],
    num_strata: usize,
    clusters: &Clusters,
) -> Result<SortedScores, MetricError> {
    let labels: Vec<Option<bool>> =
        labels.iter().zip(strata).map(|(label, of)| label.filter(|_| of.is_some())).collect();
    let (mut positive, mut known) = (vec![0.0; num_strata], vec![0.0; num_strata]);
    for (stratum, label) in strata.iter().zip(&labels).filter_map(|(stratum, label)| stratum.zip(*label)) {
        known[stratum] += 1.0;
        positive[stratum] += f64::from(u8::from(label));
    }
    let share = |stratum: usize| if known[stratum] > 0.0 { positive[stratum] / known[stratum] } else { 0.0 };
    let scores: Vec<f64> = strata.iter().map(|stratum| stratum.map_or(0.0, share)).collect();
    SortedScores::with_missing(&scores, &labels, clusters)
}

/// The mean over classes of the mean AUROC over the groups of a class, with its interval; groups and classes that the whole
/// sample does not define are left out.
///
/// All must have been sorted with the same `clusters`. A resample in which one of the remaining groups is undefined is drawn
/// again, so that every resample averages the same groups.
pub fn mean_auroc_interval(classes: &[Vec<SortedScores>], clusters: &Clusters, bootstrap: &Bootstrap) -> Interval {
    group_mean_interval(classes, area, Some(0.5), clusters, bootstrap)
}

/// The mean of `first` minus that of `second`, with a paired interval and p-value; means as in [`mean_auroc_interval`], over
/// the same labels.
pub fn mean_auroc_difference(
    first: &[Vec<SortedScores>],
    second: &[Vec<SortedScores>],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Difference {
    bootstrap.difference(clusters.len(), group_mean(first, &area, clusters), group_mean(second, &area, clusters))
}

fn area(group: &SortedScores, counts: &[u32]) -> Option<f64> {
    group.auroc(Some(counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_are_scored_apart_and_averaged() {
        // Stratum 0: positives .9 .2, negative .5: (1 + 0) / 2. Stratum 1: positive .4, negatives .1 .3: 2 / 2. Stratum 2 has
        // one class only. The last item belongs to none.
        let scores = [0.9, 0.2, 0.5, 0.4, 0.1, 0.3, 0.6, 0.0];
        let labels = [true, true, false, true, false, false, false, true].map(Some);
        let strata = [0, 0, 0, 1, 1, 1, 2, 9].map(|stratum| Some(stratum).filter(|&s| s < 9));
        let clusters = Clusters::singletons(8);
        let groups = by_stratum(&scores, &labels, &strata, 3, &clusters).unwrap();
        assert_eq!(groups.iter().map(|group| group.auroc(None)).collect::<Vec<_>>(), [Some(0.5), Some(1.0), None]);
        let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
        let one = mean_auroc_interval(std::slice::from_ref(&groups), &clusters, &bootstrap);
        assert_eq!((one.value, one.chance), (Some(0.75), Some(0.5)));
        // Scores 2/3, 1/3 and 0: of the 12 pairs 7 are in order and 4 are ties.
        let alone = stratum_alone(&labels, &strata, 3, &clusters).unwrap();
        assert_eq!(alone.auroc(None), Some(0.75));
        // A class with two groups weighs as much as one with one.
        let two = mean_auroc_interval(&[groups.clone(), groups[..1].to_vec()], &clusters, &bootstrap);
        assert_eq!(two.value, Some(0.625));
        let same =
            mean_auroc_difference(std::slice::from_ref(&groups), std::slice::from_ref(&groups), &clusters, &bootstrap);
        assert_eq!((same.value, same.low, same.high), (Some(0.0), Some(0.0), Some(0.0)));
    }

    #[test]
    fn nothing_defined_is_no_figure() {
        let clusters = Clusters::singletons(2);
        let groups = by_stratum(&[0.1, 0.2], &[Some(true); 2], &[Some(0); 2], 1, &clusters).unwrap();
        assert_eq!(mean_auroc_interval(&[groups], &clusters, &Bootstrap::default()).value, None);
        assert!(by_stratum(&[0.1], &[Some(true)], &[], 1, &Clusters::singletons(1)).is_err());
    }
}
