//! Whether, and at which rank, a ranking first holds a hit.

/// 1 if at least one of the best `k` is a hit, else 0 (also called Hit@K); `None` for `k = 0`.
///
/// `hits` are those of the ranked candidates, best first.
pub fn recall_at_k(hits: &[bool], k: usize) -> Option<f64> {
    let found = hits.iter().take(k).any(|&hit| hit);
    if k == 0 { None } else { Some(f64::from(u8::from(found))) }
}

/// The probability that a random order of `num_candidates`, of which `num_matches` are hits, has one among the best
/// `k`: one minus the hypergeometric probability of none. `None` for `k = 0` and without candidates.
pub fn chance_recall_at_k(num_matches: usize, num_candidates: usize, k: usize) -> Option<f64> {
    if k == 0 || num_candidates == 0 {
        return None;
    }
    let misses = num_candidates - num_matches.min(num_candidates);
    if k > misses {
        return Some(if num_matches == 0 { 0.0 } else { 1.0 });
    }
    // C(misses, k) / C(candidates, k), which is symmetric in k and the number of matches: take the shorter product.
    let (steps, other) = if k < num_matches { (k, num_matches) } else { (num_matches, k) };
    let none: f64 = (0..steps).map(|i| 1.0 - other as f64 / (num_candidates - i) as f64).product();
    Some(1.0 - none)
}

/// The median of ranks that count from 1, the mean of the middle two where their number is even; `None` without any.
pub fn median_rank(ranks: &[usize]) -> Option<f64> {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let low = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(low as f64, sorted[sorted.len() / 2] as f64))
}

/// The median rank of the first hit in random orders: the smallest rank that at least half of the queries reach in
/// expectation, given `(num_matches, num_candidates)` of each; queries without a match do not count, `None` without
/// any other.
pub fn chance_median_rank(queries: &[(usize, usize)]) -> Option<f64> {
    let scored: Vec<_> = queries.iter().filter(|query| query.0 > 0 && query.1 > 0).collect();
    let reached = |rank: usize| {
        let parts = scored.iter().filter_map(|query| chance_recall_at_k(query.0, query.1, rank));
        parts.sum::<f64>() >= 0.5 * scored.len() as f64
    };
    // Every query has its first hit by the last rank, and the share only grows: halve the range.
    let (mut low, mut high) = (1, scored.iter().map(|query| query.1).max()?);
    while low < high {
        let middle = usize::midpoint(low, high);
        if reached(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_hit_is_enough() {
        assert_eq!(recall_at_k(&[false, true, true], 1), Some(0.0));
        assert_eq!(recall_at_k(&[false, true, true], 2), Some(1.0));
        assert_eq!(recall_at_k(&[true], 0), None);
    }

    #[test]
    fn chance_by_hand() {
        // 2 hits among 4, best 2: 1 - C(2,2)/C(4,2) = 5/6. One hit among 10, best 3: 0.3.
        let near = |value: Option<f64>, expected: f64| assert!((value.unwrap() - expected).abs() < 1e-15, "{value:?}");
        near(chance_recall_at_k(2, 4, 2), 5.0 / 6.0);
        near(chance_recall_at_k(1, 10, 3), 0.3);
        // 3 hits among 5: any 3 of them hold one.
        assert_eq!(chance_recall_at_k(3, 5, 3), Some(1.0));
        assert_eq!(chance_recall_at_k(0, 5, 9), Some(0.0));
        assert_eq!(chance_recall_at_k(0, 5, 2), Some(0.0));
        assert_eq!(chance_recall_at_k(5, 5, 1), Some(1.0));
        assert_eq!(chance_recall_at_k(1, 0, 1), None);
    }

    #[test]
    fn medians_of_ranks() {
        assert_eq!(median_rank(&[5, 1, 9]), Some(5.0));
        assert_eq!(median_rank(&[4, 1, 9, 2]), Some(3.0));
        assert_eq!(median_rank(&[]), None);
        // One match among 100: the rank is uniform, half lie at or below 50.
        assert_eq!(chance_median_rank(&[(1, 100)]), Some(50.0));
        // 2 of 4: P(rank 1) is exactly one half.
        assert_eq!(chance_median_rank(&[(2, 4), (0, 4)]), Some(1.0));
        assert_eq!(chance_median_rank(&[(0, 4)]), None);
    }
}
