//! Means over classes of means over groups: strata of the images, repetitions of a training.

use super::{Bootstrap, Clusters, Interval};

/// The mean over classes of the mean of a statistic over the groups of a class, with its interval; groups and classes that
/// the whole sample does not define are left out.
///
/// `statistic` takes one multiplicity per cluster. A resample in which one of the remaining groups is undefined is drawn
/// again, so that every resample averages the same groups.
pub fn group_mean_interval<T: Sync>(
    classes: &[Vec<T>],
    statistic: impl Fn(&T, &[u32]) -> Option<f64> + Sync,
    chance: Option<f64>,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Interval {
    bootstrap.interval(clusters.len(), chance, group_mean(classes, &statistic, clusters))
}

/// The mean of a resample, over the groups that are defined on the whole sample.
pub(super) fn group_mean<'a, T: Sync, S: Fn(&T, &[u32]) -> Option<f64> + Sync>(
    classes: &'a [Vec<T>],
    statistic: &'a S,
    clusters: &Clusters,
) -> impl Fn(&[u32]) -> Option<f64> + Sync + use<'a, T, S> {
    let once = vec![1; clusters.len()];
    let defined = |groups: &'a Vec<T>| -> Vec<&'a T> {
        groups.iter().filter(|group| statistic(group, &once).is_some()).collect()
    };
    let classes: Vec<Vec<&T>> = classes.iter().map(defined).filter(|groups| !groups.is_empty()).collect();
    move |counts| {
        let mut sum = 0.0;
        for groups in &classes {
            let mut of_class = 0.0;
            for group in groups {
                of_class += statistic(group, counts)?;
            }
            sum += of_class / groups.len() as f64;
        }
        if classes.is_empty() { None } else { Some(sum / classes.len() as f64) }
    }
}
