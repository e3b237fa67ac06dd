//! Percentile intervals and paired differences by a bootstrap over clusters (patients).
//!
//! A resample is a vector of multiplicities, one per cluster: how often each was drawn in as many draws as there are
//! clusters. Statistics take that vector (see [`super::SortedScores`]), so nothing is copied or sorted per resample.
//! Resample `i` is a pure function of the seed and `i`, hence the same on any number of threads.

use data::rng::{self, Purpose, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Interval;

/// How resamples are drawn.
///
/// # Source
/// Number, seed and percentile positions: `CheXzero` (`rajpurkarlab/CheXzero: eval.py`, `bootstrap`). Deviations:
/// whole patients are drawn, an undefined resample is drawn again instead of failing, and the figure that is reported
/// is the statistic of the whole sample instead of the mean over resamples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples; without any the ends of an interval are missing.
    pub resamples: usize,
    /// Seed of the resamples; two statistics with one seed and the same clusters see the same resamples.
    pub seed: u64,
    /// How often one resample is drawn before a statistic that stays undefined gives up its interval.
    pub max_tries: u32,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 97, max_tries: 100 }
    }
}

/// The difference of two statistics on the same items, `None` (JSON `null`) where undefined.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// First minus second on the whole sample.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Two-sided bootstrap p-value of "no difference": twice the smaller of the shares of resamples at or below zero
    /// and at or above zero, with one added to the count and to the number of resamples, at most 1.
    pub p_value: Option<f64>,
}

impl Bootstrap {
    /// The statistic on the whole sample with its 95 % percentile interval.
    ///
    /// `statistic` takes one multiplicity per cluster. The ends are missing where fewer than two clusters leave nothing
    /// to resample, and where one resample stayed undefined for `max_tries` draws (too few positive patients, say).
    pub fn interval<F>(&self, num_clusters: usize, chance: Option<f64>, statistic: F) -> Interval
    where
        F: Fn(&[u32]) -> Option<f64> + Sync,
    {
        let value = whole(num_clusters, &statistic);
        let ends = value.and_then(|_| percentiles(&self.distribution(num_clusters, &statistic)?));
        Interval { value, low: ends.map(|e| e.0), high: ends.map(|e| e.1), chance }
    }

    /// `first - second` with the interval and p-value of the paired differences over the same resamples.
    ///
    /// Missing ends as in [`Bootstrap::interval`]; a resample counts only if both statistics are defined on it.
    pub fn difference<F, G>(&self, num_clusters: usize, first: F, second: G) -> Difference
    where
        F: Fn(&[u32]) -> Option<f64> + Sync,
        G: Fn(&[u32]) -> Option<f64> + Sync,
    {
        let statistic = |counts: &[u32]| Some(first(counts)? - second(counts)?);
        let value = whole(num_clusters, statistic);
        let distribution = value.and_then(|_| self.distribution(num_clusters, statistic));
        let distribution = distribution.unwrap_or_default();
        let ends = percentiles(&distribution);
        Difference { value, low: ends.map(|e| e.0), high: ends.map(|e| e.1), p_value: p_value(&distribution) }
    }

    /// The statistic on every resample, ascending; `None` with fewer than two clusters or where a resample stayed
    /// undefined for `max_tries` draws.
    pub fn distribution<F>(&self, num_clusters: usize, statistic: F) -> Option<Vec<f64>>
    where
        F: Fn(&[u32]) -> Option<f64> + Sync,
    {
        if num_clusters < 2 {
            return None;
        }
        let resample = |counts: &mut Vec<u32>, index: usize| {
            (0..self.max_tries).find_map(|attempt| {
                let mut stream = rng::stream(self.seed, Purpose::Bootstrap, index as u64, u64::from(attempt));
                draw(&mut stream, counts);
                defined(&statistic, counts)
            })
        };
        let values = (0..self.resamples).into_par_iter().map_init(|| vec![0; num_clusters], resample);
        let mut values = values.collect::<Option<Vec<f64>>>()?;
        values.par_sort_unstable_by(f64::total_cmp);
        Some(values)
    }
}

fn defined(statistic: impl Fn(&[u32]) -> Option<f64>, counts: &[u32]) -> Option<f64> {
    statistic(counts).filter(|value| value.is_finite())
}

fn whole(num_clusters: usize, statistic: impl Fn(&[u32]) -> Option<f64>) -> Option<f64> {
    defined(statistic, &vec![1; num_clusters])
}

/// Replaces `counts` by the multiplicities of as many uniform draws as there are clusters.
#[expect(clippy::cast_possible_truncation, reason = "data sets hold fewer than 2^32 clusters; halves are 32 bits")]
fn draw(stream: &mut Stream, counts: &mut [u32]) {
    counts.fill(0);
    let clusters = counts.len() as u32;
    // Lemire's multiplication as in `Stream::below`, with two draws per 64 bits and the division out of the loop: a
    // million-item bootstrap draws a billion of these.
    let threshold = clusters.wrapping_neg() % clusters;
    let mut left = clusters;
    while left > 0 {
        let bits = stream.next_u64();
        for half in [bits as u32, (bits >> 32) as u32] {
            let wide = u64::from(half) * u64::from(clusters);
            if wide as u32 >= threshold && left > 0 {
                counts[(wide >> 32) as usize] += 1;
                left -= 1;
            }
        }
    }
}

/// Values at positions `int(0.025 n) - 1` and `int(0.975 n) - 1` of `n` ascending ones, not below the first; `None` for
/// an empty list. For 1,000 resamples these are the 25th and the 975th.
fn percentiles(ascending: &[f64]) -> Option<(f64, f64)> {
    let n = ascending.len();
    let at = |per_mille: usize| ascending.get((n * per_mille / 1000).saturating_sub(1)).copied();
    Some((at(25)?, at(975)?))
}

fn p_value(ascending: &[f64]) -> Option<f64> {
    if ascending.is_empty() {
        return None;
    }
    let n = ascending.len();
    let not_above = ascending.partition_point(|&value| value <= 0.0);
    let not_below = n - ascending.partition_point(|&value| value < 0.0);
    Some((2.0 * (not_above.min(not_below) + 1) as f64 / (n + 1) as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_chexzero() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(percentiles(&values), Some((24.0, 974.0)));
        assert_eq!(percentiles(&values[..200]), Some((4.0, 194.0)));
        // int(0.25) - 1 would be the last value in Python; the first is meant.
        assert_eq!(percentiles(&values[..10]), Some((0.0, 8.0)));
        assert_eq!(percentiles(&values[..1]), Some((0.0, 0.0)));
        assert_eq!(percentiles(&[]), None);
    }

    #[test]
    fn draws_are_uniform_and_as_many_as_clusters() {
        // 7 clusters in 20,000 resamples: each is drawn 20,000 times in expectation, standard deviation 131.
        let mut totals = [0u32; 7];
        for index in 0..20_000 {
            let mut counts = [9; 7];
            draw(&mut rng::stream(1, Purpose::Bootstrap, index, 0), &mut counts);
            assert_eq!(counts.iter().sum::<u32>(), 7);
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        assert!(totals.iter().all(|&total| total.abs_diff(20_000) < 700), "{totals:?}");
    }

    #[test]
    fn p_values_by_hand() {
        // 1 of 4 at or below zero, 3 at or above: 2 * (1 + 1) / 5.
        assert_eq!(p_value(&[-1.0, 1.0, 2.0, 3.0]), Some(0.8));
        // A zero counts on both sides: 2 at or below, 3 at or above.
        assert_eq!(p_value(&[-1.0, 0.0, 2.0, 3.0]), Some(1.0));
        assert_eq!(p_value(&[0.0; 9]), Some(1.0));
        assert_eq!(p_value(&[1.0; 99]), Some(0.02));
        assert_eq!(p_value(&[]), None);
    }

    #[test]
    fn undefined_resamples_are_drawn_again_within_bounds() {
        // Defined only where cluster 0 was drawn: 1 - (4/5)^5 = 67 % of the resamples.
        let statistic = |counts: &[u32]| if counts[0] > 0 { Some(f64::from(counts[0])) } else { None };
        let bootstrap = Bootstrap { resamples: 500, ..Bootstrap::default() };
        let values = bootstrap.distribution(5, statistic).unwrap();
        assert!(values.len() == 500 && values.iter().all(|&value| value >= 1.0));
        let once = Bootstrap { max_tries: 1, ..bootstrap };
        assert_eq!(once.distribution(5, statistic), None);
        let interval = once.interval(5, Some(0.5), statistic);
        assert_eq!(interval, Interval { value: Some(1.0), low: None, high: None, chance: Some(0.5) });
    }

    #[test]
    fn nothing_to_resample_gives_no_ends() {
        let one = |counts: &[u32]| counts.first().map(|&count| f64::from(count));
        let bootstrap = Bootstrap::default();
        assert_eq!(bootstrap.interval(1, None, one), Interval { value: Some(1.0), ..Interval::default() });
        assert_eq!(bootstrap.interval(0, None, one), Interval::default());
        let without = Bootstrap { resamples: 0, ..bootstrap };
        assert_eq!(without.interval(3, None, one), Interval { value: Some(1.0), ..Interval::default() });
        assert_eq!(without.difference(3, one, one).p_value, None);
    }
}
