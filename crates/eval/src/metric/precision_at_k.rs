//! Precision of the best `k` of a ranking.

/// Hits among the best `k` divided by `k`; `None` for `k = 0`.
///
/// `hits` are those of the ranked candidates, best first. A list shorter than `k` counts as filled up with misses.
///
/// # Source
/// ConVIRT, section 4.2 (zero-shot retrieval); methods, section 9.
///
/// # Examples
/// ```
/// assert_eq!(eval::metric::precision_at_k(&[true, false, true, true], 2), Some(0.5));
/// ```
pub fn precision_at_k(hits: &[bool], k: usize) -> Option<f64> {
    let found = hits.iter().take(k).filter(|&&hit| hit).count();
    if k == 0 { None } else { Some(found as f64 / k as f64) }
}

/// The expected precision at `k` of a random order of `num_candidates`, of which `num_matches` are hits; `None` for
/// `k = 0` and without candidates.
pub fn chance_precision_at_k(num_matches: usize, num_candidates: usize, k: usize) -> Option<f64> {
    if k == 0 || num_candidates == 0 {
        return None;
    }
    Some(num_matches as f64 / num_candidates as f64 * (k.min(num_candidates) as f64 / k as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_are_filled_with_misses() {
        assert_eq!(precision_at_k(&[true, true, false], 3), Some(2.0 / 3.0));
        assert_eq!(precision_at_k(&[true, true], 4), Some(0.5));
        assert_eq!(precision_at_k(&[true], 0), None);
        assert_eq!(chance_precision_at_k(2, 16, 5), Some(0.125));
        // Both candidates are in the best 4 in any order, one of them is a hit.
        assert_eq!(chance_precision_at_k(1, 2, 4), Some(0.25));
        assert_eq!(chance_precision_at_k(0, 0, 4), None);
    }
}
