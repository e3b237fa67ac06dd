//! Clusters of items that are resampled together, and means and medians under such resamples.

use std::collections::HashMap;
use std::hash::Hash;

use super::MetricError;

/// Which cluster (patient) every item belongs to.
///
/// Images of one patient are not independent: a bootstrap that draws images makes its interval too narrow, one that
/// draws patients does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    of_item: Vec<u32>,
    count: usize,
}

impl Clusters {
    /// `num_items` clusters of one item each: the ordinary bootstrap.
    #[expect(clippy::cast_possible_truncation, reason = "data sets hold fewer than 2^32 items")]
    pub fn singletons(num_items: usize) -> Self {
        Self { of_item: (0..num_items as u32).collect(), count: num_items }
    }

    /// One cluster per distinct key, numbered in the order of first appearance.
    #[expect(clippy::cast_possible_truncation, reason = "data sets hold fewer than 2^32 items")]
    pub fn from_keys<K: Hash + Eq>(keys: &[K]) -> Self {
        let mut numbers = HashMap::new();
        let of_item = keys.iter().map(|key| {
            let next = numbers.len() as u32;
            *numbers.entry(key).or_insert(next)
        });
        let of_item = of_item.collect();
        Self { of_item, count: numbers.len() }
    }

    /// Number of clusters.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no clusters.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of items.
    pub fn num_items(&self) -> usize {
        self.of_item.len()
    }

    /// The cluster of an item.
    ///
    /// # Panics
    /// Panics if there is no such item.
    pub fn of(&self, item: usize) -> u32 {
        self.of_item[item]
    }
}

/// The mean of one value per item, ready for resamples; items without a value are left out.
#[derive(Debug, Clone)]
pub struct ClusteredMean {
    sums: Vec<f64>,
    sizes: Vec<u32>,
}

impl ClusteredMean {
    /// Sums and sizes per cluster of one value per item.
    ///
    /// # Errors
    /// Lengths that differ.
    pub fn new(values: &[Option<f64>], clusters: &Clusters) -> Result<Self, MetricError> {
        MetricError::check("values", clusters.num_items(), values.len())?;
        let mut mean = Self { sums: vec![0.0; clusters.len()], sizes: vec![0; clusters.len()] };
        for (&cluster, value) in clusters.of_item.iter().zip(values) {
            if let Some(value) = value {
                mean.sums[cluster as usize] += value;
                mean.sizes[cluster as usize] += 1;
            }
        }
        Ok(mean)
    }

    /// The mean of a resample given as one multiplicity per cluster; `None` without a value in it.
    pub fn value(&self, counts: &[u32]) -> Option<f64> {
        let (mut sum, mut size) = (0.0, 0u64);
        for ((&count, &part), &items) in counts.iter().zip(&self.sums).zip(&self.sizes) {
            sum += f64::from(count) * part;
            size += u64::from(count) * u64::from(items);
        }
        if size == 0 { None } else { Some(sum / size as f64) }
    }
}

/// The median of one value per item, ready for resamples; items without a value are left out.
#[derive(Debug, Clone)]
pub struct ClusteredMedian {
    sorted: Vec<(f64, u32)>,
}

impl ClusteredMedian {
    /// The values in ascending order with their clusters.
    ///
    /// # Errors
    /// Lengths that differ, and a value that is NaN or infinite.
    pub fn new(values: &[Option<f64>], clusters: &Clusters) -> Result<Self, MetricError> {
        MetricError::check("values", clusters.num_items(), values.len())?;
        if let Some(index) = values.iter().position(|value| value.is_some_and(|v| !v.is_finite())) {
            return Err(MetricError::NotFinite { index });
        }
        let pairs = values.iter().zip(&clusters.of_item);
        let mut sorted: Vec<(f64, u32)> = pairs.filter_map(|(value, &cluster)| Some(((*value)?, cluster))).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(Self { sorted })
    }

    /// The median of a resample given as one multiplicity per cluster (the mean of the middle two where their number
    /// is even); `None` without a value in it.
    pub fn value(&self, counts: &[u32]) -> Option<f64> {
        let weight = |&(_, cluster): &(f64, u32)| u64::from(counts[cluster as usize]);
        let total: u64 = self.sorted.iter().map(weight).sum();
        let at = |position: u64| {
            let mut seen = 0;
            self.sorted.iter().find(|item| {
                seen += weight(item);
                seen > position
            })
        };
        let (low, high) = (at(total.checked_sub(1)? / 2)?, at(total / 2)?);
        Some(f64::midpoint(low.0, high.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_as_they_come() {
        let clusters = Clusters::from_keys(&["b", "a", "b", "c"]);
        assert_eq!((clusters.len(), clusters.num_items()), (3, 4));
        assert_eq!((0..4).map(|i| clusters.of(i)).collect::<Vec<_>>(), [0, 1, 0, 2]);
        assert_eq!(Clusters::from_keys(&[7, 8, 9]), Clusters::singletons(3));
        assert!(Clusters::from_keys::<u8>(&[]).is_empty());
    }

    #[test]
    fn means_and_medians_follow_the_multiplicities() {
        // Cluster 0 holds 1 and 5, cluster 1 holds 2, cluster 2 has no value.
        let clusters = Clusters::from_keys(&[0, 1, 0, 2]);
        let values = [Some(1.0), Some(2.0), Some(5.0), None];
        let mean = ClusteredMean::new(&values, &clusters).unwrap();
        let median = ClusteredMedian::new(&values, &clusters).unwrap();
        let both = |counts: [u32; 3]| (mean.value(&counts), median.value(&counts));
        assert_eq!(both([1, 1, 1]), (Some(8.0 / 3.0), Some(2.0)));
        assert_eq!(both([2, 0, 1]), (Some(3.0), Some(3.0))); // 1 1 5 5
        assert_eq!(both([0, 3, 0]), (Some(2.0), Some(2.0)));
        assert_eq!(both([1, 2, 0]), (Some(2.5), Some(2.0))); // 1 2 2 5
        assert_eq!(both([0, 0, 3]), (None, None));
    }
}
