//! Whether probabilities are as high as findings are frequent.

use serde::{Deserialize, Serialize};

use super::{Bootstrap, Clusters, Interval, MetricError, check_probabilities};

/// Number of bins that [`calibration_error()`] is usually reported with.
pub const CALIBRATION_BINS: usize = 15;

/// One bar of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReliabilityBin {
    /// Lower end, which belongs to the bin below, but for 0.
    pub low: f64,
    /// Upper end, which belongs to the bin.
    pub high: f64,
    /// Number of items.
    pub count: u64,
    /// Mean probability of the items; `None` in an empty bin.
    pub mean_probability: Option<f64>,
    /// Share of positives among the items; `None` in an empty bin.
    pub positive_share: Option<f64>,
}

/// The expected calibration error: the mean over items of `|mean probability - share of positives|` of the bin that an item
/// falls into; `None` without items.
///
/// Bins are `bins` of equal width, `(low, high]`, the first with its 0. The probability is that of the positive class, over
/// all of `[0, 1]`, and not that of the class decided for, which starts at one half. Edges and figures of the bins are those
/// of scikit-learn's `calibration_curve` with `strategy="uniform"`.
///
/// # Errors
/// Lengths that differ, and a probability that is NaN or outside of `[0, 1]`.
///
/// # Panics
/// Panics if `bins` is zero.
///
/// # Source
/// Naeini et al., AAAI 2015; bins and their number as in Guo et al., ICML 2017, section 2.
pub fn calibration_error<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[bool],
    bins: usize,
) -> Result<Option<f64>, MetricError> {
    let (binned, counts) = whole(probabilities, labels, bins)?;
    Ok(binned.error(&counts))
}

/// [`calibration_error()`] with its interval over clusters (patients).
///
/// The error is a sum of magnitudes, so chance alone raises it: an interval can lie above the figure of a small sample.
///
/// # Errors
/// As [`calibration_error()`].
///
/// # Panics
/// Panics if `bins` is zero.
pub fn calibration_error_interval<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[bool],
    bins: usize,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let labels: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
    let binned = ClusteredBins::new(probabilities, &labels, bins, clusters)?;
    Ok(bootstrap.interval(clusters.len(), None, |counts| binned.error(counts)))
}

/// The bins of [`calibration_error()`], from low to high, for a reliability diagram.
///
/// # Errors
/// As [`calibration_error()`].
///
/// # Panics
/// Panics if `bins` is zero.
pub fn reliability<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[bool],
    bins: usize,
) -> Result<Vec<ReliabilityBin>, MetricError> {
    let (binned, counts) = whole(probabilities, labels, bins)?;
    Ok(binned.reliability(&counts))
}

fn whole<S: Copy + Into<f64>>(
    probabilities: &[S],
    labels: &[bool],
    bins: usize,
) -> Result<(ClusteredBins, Vec<u32>), MetricError> {
    let labels: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
    let clusters = Clusters::singletons(labels.len());
    Ok((ClusteredBins::new(probabilities, &labels, bins, &clusters)?, vec![1; clusters.len()]))
}

/// Probabilities with their bins, ready for resamples; items without a label are left out.
#[derive(Debug, Clone)]
pub struct ClusteredBins {
    bins: usize,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    cluster: u32,
    bin: usize,
    probability: f64,
    positive: bool,
}

/// What falls into one bin.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    positives: u64,
    probability: f64,
}

impl ClusteredBins {
    /// The items whose label is known.
    ///
    /// # Errors
    /// Lengths that differ, and a probability of a known label that is NaN or outside of `[0, 1]`.
    ///
    /// # Panics
    /// Panics if `bins` is zero.
    pub fn new<S: Copy + Into<f64>>(
        probabilities: &[S],
        labels: &[Option<bool>],
        bins: usize,
        clusters: &Clusters,
    ) -> Result<Self, MetricError> {
        assert!(bins > 0, "probabilities cannot be sorted into no bins");
        check_probabilities(probabilities, labels)?;
        MetricError::check("cluster keys", labels.len(), clusters.num_items())?;
        let edges: Vec<f64> = (1..bins).map(|number| edge(number, bins)).collect();
        let item = |(index, (&probability, label)): (usize, (&S, &Option<bool>))| {
            let (probability, positive) = (probability.into(), (*label)?);
            let bin = edges.partition_point(|&edge| edge < probability);
            Some(Item { cluster: clusters.of(index), bin, probability, positive })
        };
        let items = probabilities.iter().zip(labels).enumerate().filter_map(item).collect();
        Ok(Self { bins, items })
    }

    /// The calibration error of a resample given as one multiplicity per cluster; `None` without an item in it.
    ///
    /// # Panics
    /// Panics if `counts` has fewer entries than there are clusters.
    pub fn error(&self, counts: &[u32]) -> Option<f64> {
        let sums = self.sums(counts);
        let total: u64 = sums.iter().map(|sum| sum.count).sum();
        let gaps: f64 = sums.iter().map(|sum| (sum.probability - sum.positives as f64).abs()).sum();
        if total == 0 { None } else { Some(gaps / total as f64) }
    }

    /// The bins of a resample given as one multiplicity per cluster.
    ///
    /// # Panics
    /// Panics if `counts` has fewer entries than there are clusters.
    pub fn reliability(&self, counts: &[u32]) -> Vec<ReliabilityBin> {
        let bin = |(number, sum): (usize, &Sum)| {
            let mean = |value: f64| if sum.count == 0 { None } else { Some(value / sum.count as f64) };
            ReliabilityBin {
                low: edge(number, self.bins),
                high: if number + 1 == self.bins { 1.0 } else { edge(number + 1, self.bins) },
                count: sum.count,
                mean_probability: mean(sum.probability),
                positive_share: mean(sum.positives as f64),
            }
        };
        self.sums(counts).iter().enumerate().map(bin).collect()
    }

    fn sums(&self, counts: &[u32]) -> Vec<Sum> {
        let mut sums = vec![Sum::default(); self.bins];
        for item in &self.items {
            let count = u64::from(counts[item.cluster as usize]);
            let sum = &mut sums[item.bin];
            sum.count += count;
            sum.positives += count * u64::from(item.positive);
            sum.probability += count as f64 * item.probability;
        }
        sums
    }
}

/// Where a bin begins, rounded as `numpy.linspace` does.
fn edge(number: usize, bins: usize) -> f64 {
    number as f64 * (1.0 / bins as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_by_hand() {
        // Halves: 0, .25 and .5 with one positive: |.75 - 1| = .25; .75 and 1 with one: |1.75 - 1| = .75. Together 1 / 5.
        let (probabilities, labels) = ([0.0, 0.25, 0.5, 0.75, 1.0], [false, false, true, false, true]);
        assert_eq!(calibration_error(&probabilities, &labels, 2).unwrap(), Some(0.2));
        let bins = reliability(&probabilities, &labels, 2).unwrap();
        let figures = bins.iter().map(|bin| (bin.low, bin.high, bin.count, bin.mean_probability, bin.positive_share));
        let expected = [(0.0, 0.5, 3, Some(0.25), Some(1.0 / 3.0)), (0.5, 1.0, 2, Some(0.875), Some(0.5))];
        assert_eq!(figures.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn empty_samples_and_bins() {
        assert_eq!(calibration_error::<f64>(&[], &[], 15).unwrap(), None);
        let bins = reliability(&[0.9], &[true], 2).unwrap();
        assert_eq!((bins[0].count, bins[0].mean_probability, bins[0].positive_share), (0, None, None));
        assert_eq!(calibration_error(&[0.5, 2.0], &[true, true], 15), Err(MetricError::NotProbability { index: 1 }));
    }
}
