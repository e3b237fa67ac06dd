//! Signs of a run that goes wrong without an error.

use crate::fit::StepReport;

/// Updates in a row that make a sign.
const PATIENCE: u32 = 20;

/// A figure of an update that should not stay where it is.
struct Sign {
    metric: &'static str,
    is_bad: fn(f64) -> bool,
    advice: &'static str,
}

/// The mean similarity of the embeddings of different studies above which they tell nothing apart any more.
const COLLAPSED: f64 = 0.98;
/// A learned temperature at its lower bound, 1/100.
const COLD: f64 = 0.010_001;

const ALIKE: &str = "all embeddings are nearly one: lower the learning rate, or set model.projection.batch_norm";
const SIGNS: [Sign; 3] = [
    Sign { metric: "image_similarity", is_bad: |value| value > COLLAPSED, advice: ALIKE },
    Sign { metric: "text_similarity", is_bad: |value| value > COLLAPSED, advice: ALIKE },
    Sign {
        metric: "temperature",
        is_bad: |value| value < COLD,
        advice: "the temperature is at its lower bound, where single pairs rule the loss: lower the learning rate, or \
                 set objective.learn_temperature = false",
    },
];

/// Watches the figures of a run.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    in_a_row: [u32; SIGNS.len()],
}

impl Monitor {
    /// Takes one update; name and advice for each figure that has been bad for twenty in a row, told once.
    pub fn observe(&mut self, report: &StepReport) -> Vec<(&'static str, &'static str)> {
        let mut told = Vec::new();
        for (sign, in_a_row) in SIGNS.iter().zip(&mut self.in_a_row) {
            let is_bad = report.get(sign.metric).is_some_and(sign.is_bad);
            *in_a_row = if is_bad { in_a_row.saturating_add(1) } else { 0 };
            if *in_a_row == PATIENCE {
                told.push((sign.metric, sign.advice));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a figure that stays at a value is told of.
    fn told(monitor: &mut Monitor, updates: usize, metric: &str, value: f64) -> usize {
        let report = StepReport {
            step: 1,
            scalars: vec![(metric.to_owned(), value)],
            wait_seconds: 0.0,
            seconds: 0.0,
            samples: 0,
        };
        (0..updates).map(|_| monitor.observe(&report).len()).sum()
    }

    #[test]
    fn a_bad_figure_is_told_once_and_a_passing_one_is_not() {
        for (metric, bad, good) in
            [("image_similarity", 0.99, 0.5), ("text_similarity", 1.0, 0.9), ("temperature", 0.01, 0.02)]
        {
            let mut monitor = Monitor::default();
            assert_eq!(told(&mut monitor, 19, metric, bad), 0);
            assert_eq!(told(&mut monitor, 1, metric, good), 0);
            assert_eq!(told(&mut monitor, 50, metric, bad), 1);
            assert_eq!(told(&mut monitor, 5, metric, f64::NAN), 0);
            assert_eq!(told(&mut monitor, 50, metric, bad), 1, "again after it had passed");
        }
        assert_eq!(told(&mut Monitor::default(), 50, "loss", 1e9), 0);
    }
}
