//! Signs of a run that goes wrong without an error.

/// Mean similarity of the embeddings of different studies above which they tell nothing apart any more.
const COLLAPSED: f64 = 0.98;
/// Updates in a row that make a sign.
const PATIENCE: u32 = 20;

/// Watches whether all embeddings become one.
#[derive(Debug, Clone, Default)]
pub struct CollapseMonitor {
    in_a_row: u32,
}

impl CollapseMonitor {
    /// Takes the mean similarity of one update; true once when the embeddings have been alike for twenty in a row.
    pub fn observe(&mut self, similarity: f64) -> bool {
        self.in_a_row = if similarity > COLLAPSED { self.in_a_row.saturating_add(1) } else { 0 };
        self.in_a_row == PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collapse_is_told_once_and_a_passing_one_is_not() {
        let mut monitor = CollapseMonitor::default();
        let warned = |monitor: &mut CollapseMonitor, n: usize, s: f64| (0..n).filter(|_| monitor.observe(s)).count();
        assert_eq!(warned(&mut monitor, 19, 0.99), 0);
        assert_eq!(warned(&mut monitor, 1, 0.5), 0);
        assert_eq!(warned(&mut monitor, 50, 0.99), 1);
        assert_eq!(warned(&mut monitor, 5, f64::NAN), 0);
        assert_eq!(warned(&mut monitor, 50, 1.0), 1, "again after it had passed");
    }
}
