//! Retrieval figures over queries, with intervals over clusters of queries.

use serde::{Deserialize, Serialize};

use super::{
    Bootstrap, ClusteredMean, ClusteredMedian, Clusters, Interval, MetricError, chance_median_rank,
    chance_precision_at_k, chance_recall_at_k, precision_at_k, recall_at_k,
};

/// What one query found: everything that the retrieval metrics need.
///
/// A query without a match among its candidates cannot be answered; its metrics are `None` and means leave it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryResult {
    /// Candidates (row numbers), best first, as many as were asked for or exist.
    pub top: Vec<usize>,
    /// Whether each of `top` matches the query.
    pub hits: Vec<bool>,
    /// Rank of the best match among all candidates, counted from 1; `None` without a match.
    pub first_rank: Option<usize>,
    /// Number of candidates that match.
    pub num_matches: usize,
    /// Number of candidates that were not excluded.
    pub num_candidates: usize,
}

impl QueryResult {
    /// [`precision_at_k()`] of this query; `k` must not exceed the number of candidates asked for.
    pub fn precision_at_k(&self, k: usize) -> Option<f64> {
        self.first_rank.and_then(|_| precision_at_k(&self.hits, k))
    }

    /// [`recall_at_k()`] of this query, for any `k`.
    pub fn recall_at_k(&self, k: usize) -> Option<f64> {
        let rank = self.first_rank?;
        let mut hits = vec![false; rank.min(k)];
        if rank <= k {
            hits[rank - 1] = true;
        }
        recall_at_k(&hits, k)
    }

    /// The expected precision at `k` of a random order.
    pub fn chance_precision_at_k(&self, k: usize) -> Option<f64> {
        self.first_rank.and_then(|_| chance_precision_at_k(self.num_matches, self.num_candidates, k))
    }

    /// The expected recall at `k` of a random order.
    pub fn chance_recall_at_k(&self, k: usize) -> Option<f64> {
        self.first_rank.and_then(|_| chance_recall_at_k(self.num_matches, self.num_candidates, k))
    }
}

/// Mean precision at `k` over the queries that can be answered.
///
/// The plain mean over queries equals the mean over classes of the means over their queries where classes have equally
/// many queries, as in `CheXpert` 8x200. `clusters` (patient or category of the query) are resampled; the candidates
/// stay.
///
/// # Errors
/// As many clusters' items as queries are needed.
///
/// # Source
/// ConVIRT, section 4.2.
pub fn precision_interval(
    results: &[QueryResult],
    k: usize,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    mean_interval(results, clusters, bootstrap, |r| r.precision_at_k(k), |r| r.chance_precision_at_k(k))
}

/// [`precision_interval`] of the mean over repetitions, such as models of several seeds, that were asked the same queries.
///
/// # Errors
/// As [`precision_interval`]; repetitions of different length.
pub fn repeated_precision_interval(
    repetitions: &[Vec<QueryResult>],
    k: usize,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let queries = repetitions.first().map_or(0, Vec::len);
    for repetition in repetitions {
        MetricError::check("queries of a repetition", queries, repetition.len())?;
    }
    let mean = |query: usize, value: fn(&QueryResult, usize) -> Option<f64>| {
        let values: Option<Vec<f64>> = repetitions.iter().map(|results| value(&results[query], k)).collect();
        values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
    };
    let values = |value| (0..queries).map(|query| mean(query, value)).collect::<Vec<Option<f64>>>();
    let chance = super::macro_mean(&values(QueryResult::chance_precision_at_k));
    let mean = ClusteredMean::new(&values(QueryResult::precision_at_k), clusters)?;
    Ok(bootstrap.interval(clusters.len(), chance, |counts| mean.value(counts)))
}

/// Mean recall at `k` (the share of answerable queries with a match among the best `k`), otherwise as
/// [`precision_interval`].
///
/// # Errors
/// As [`precision_interval`].
pub fn recall_interval(
    results: &[QueryResult],
    k: usize,
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    mean_interval(results, clusters, bootstrap, |r| r.recall_at_k(k), |r| r.chance_recall_at_k(k))
}

/// Median over the answerable queries of the rank of the best match, otherwise as [`precision_interval`].
///
/// # Errors
/// As [`precision_interval`].
pub fn median_rank_interval(
    results: &[QueryResult],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
) -> Result<Interval, MetricError> {
    let ranks: Vec<Option<f64>> = results.iter().map(|result| result.first_rank.map(|rank| rank as f64)).collect();
    let median = ClusteredMedian::new(&ranks, clusters)?;
    let sizes: Vec<_> = results.iter().map(|result| (result.num_matches, result.num_candidates)).collect();
    Ok(bootstrap.interval(clusters.len(), chance_median_rank(&sizes), |counts| median.value(counts)))
}

fn mean_interval(
    results: &[QueryResult],
    clusters: &Clusters,
    bootstrap: &Bootstrap,
    value: impl Fn(&QueryResult) -> Option<f64>,
    chance: impl Fn(&QueryResult) -> Option<f64>,
) -> Result<Interval, MetricError> {
    let mean = ClusteredMean::new(&results.iter().map(value).collect::<Vec<_>>(), clusters)?;
    let chance = super::macro_mean(&results.iter().map(chance).collect::<Vec<_>>());
    Ok(bootstrap.interval(clusters.len(), chance, |counts| mean.value(counts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(hits: &[bool], first_rank: Option<usize>, num_matches: usize) -> QueryResult {
        QueryResult { top: (0..hits.len()).collect(), hits: hits.to_vec(), first_rank, num_matches, num_candidates: 10 }
    }

    #[test]
    fn figures_of_three_queries_by_hand() {
        let results = [
            query(&[true, false], Some(1), 4),
            query(&[false, false], Some(7), 2),
            query(&[false, false], None, 0), // cannot be answered
        ];
        let clusters = Clusters::singletons(3);
        let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
        let precision = precision_interval(&results, 2, &clusters, &bootstrap).unwrap();
        assert_eq!((precision.value, precision.low, precision.high), (Some(0.25), Some(0.0), Some(0.5)));
        assert!((precision.chance.unwrap() - 0.3).abs() < 1e-15); // (4/10 + 2/10) / 2
        // The second repetition finds twice what the first found.
        let better = results.clone().map(|r| QueryResult { hits: vec![r.hits[0]; 2], ..r }).to_vec();
        let both = [results.to_vec(), better];
        let repeated = repeated_precision_interval(&both, 2, &clusters, &bootstrap).unwrap();
        assert_eq!((repeated.value, repeated.chance), (Some(0.375), precision.chance));
        assert!(repeated_precision_interval(&[results.to_vec(), vec![]], 2, &clusters, &bootstrap).is_err());
        let recall = recall_interval(&results, 7, &clusters, &bootstrap).unwrap();
        assert_eq!((recall.value, recall.low, recall.high), (Some(1.0), Some(1.0), Some(1.0)));
        assert_eq!(recall_interval(&results, 6, &clusters, &bootstrap).unwrap().value, Some(0.5));
        assert_eq!(median_rank_interval(&results, &clusters, &bootstrap).unwrap().value, Some(4.0));
        assert!(precision_interval(&results, 2, &Clusters::singletons(2), &bootstrap).is_err());
    }
}
