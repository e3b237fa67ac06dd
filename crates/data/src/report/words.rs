//! Words that tell reports apart: neither in nearly all of them nor in hardly any.

use std::collections::BTreeMap;

/// Token ids that occur in a share of `reports` within `[low, high]`, each with that share, by id.
///
/// `reports` holds the token ids of each sentence of each report.
pub fn telling_words(reports: &[Vec<Vec<u32>>], low: f64, high: f64) -> Vec<(u32, f64)> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for report in reports {
        for id in unique(report) {
            *counts.entry(id).or_default() += 1;
        }
    }
    let share = |count: usize| count as f64 / reports.len().max(1) as f64;
    counts.into_iter().map(|(id, count)| (id, share(count))).filter(|(_, s)| (low..=high).contains(s)).collect()
}

/// 1 for each word that a report holds, 0 for the others, in the order of `words`.
pub fn presence(report: &[Vec<u32>], words: &[(u32, f64)]) -> Vec<f32> {
    let held = unique(report);
    words.iter().map(|(id, _)| f32::from(u8::from(held.binary_search(id).is_ok()))).collect()
}

fn unique(report: &[Vec<u32>]) -> Vec<u32> {
    let mut ids: Vec<u32> = report.iter().flatten().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_and_of_few_reports_are_left_out() {
        // Token 1 is everywhere, 2 in half of the reports (twice in one of them), 3 in one of four.
        let reports = [vec![vec![1, 2], vec![2]], vec![vec![1]], vec![vec![1, 3]], vec![vec![1, 2]]];
        let words = telling_words(&reports, 0.3, 0.9);
        assert_eq!(words, [(2, 0.5)]);
        assert_eq!(presence(&reports[0], &words), [1.0]);
        assert_eq!(presence(&reports[2], &words), [0.0]);
    }
}
