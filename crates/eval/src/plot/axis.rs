//! Where the ticks of a chart lie.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Evenly spaced numbers that are easy to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    /// The lowest, in steps.
    first: f64,
    /// The highest, in steps.
    last: f64,
    /// Distance of two levels: 1, 2 or 5 times a power of ten.
    step: f64,
}

impl Levels {
    /// About five levels that enclose every value.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // Where all values are one, a distance that still can be added to it.
        let rough = ((high - low) / 5.0).max(low.abs().max(high.abs()) * 1e-6).max(1e-300);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].into_iter().find(|&m| m * power >= rough * 0.999).unwrap_or(10.0) * power;
        let first = (low / step + 1e-6).floor();
        Self { first, last: (high / step - 1e-6).ceil().max(first + 1.0), step }
    }

    pub(super) fn axis(self) -> Axis {
        let steps = std::iter::successors(Some(self.first), |steps| Some(steps + 1.0));
        let ticks = steps.take_while(|steps| *steps <= self.last).take(20).map(|steps| steps * self.step).collect();
        Axis { ends: self.first * self.step..self.last * self.step, ticks }
    }

    /// A level with the decimals that tell it from the next.
    pub(super) fn text(self, level: f64) -> String {
        const MOST: usize = 12;
        let steps = std::iter::successors(Some(self.step), |step| Some(step * 10.0));
        let decimals = steps.take(MOST).take_while(|step| *step < 0.999).count();
        format!("{level:.decimals$}")
    }
}

/// An axis with ticks at given places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    ends: Range<f64>,
    ticks: Vec<f64>,
}

impl Axis {
    /// The logarithms to the base 2 of what occurs, with ticks there, or at every so many where they would meet.
    pub(super) fn doubling(xs: impl Iterator<Item = f64>) -> Self {
        const MOST: usize = 7;
        let mut ticks: Vec<f64> = xs.map(f64::log2).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let (first, last) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
        let every = ticks.len().div_ceil(MOST).max(1);
        let margin = ((last - first) * 0.06).max(0.1);
        Self { ends: first - margin..last + margin, ticks: ticks.into_iter().step_by(every).collect() }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture, or far outside of it")]
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.ends.start) / (self.ends.end - self.ends.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Lines between the ticks are not wanted.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.ends.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_round_and_enclose_all() {
        let texts = |values: &[f64]| -> Vec<String> {
            let levels = Levels::around(values.iter().copied());
            levels.axis().ticks.into_iter().map(|level| levels.text(level)).collect()
        };
        // 0.21 / 5 is 0.042, so the step is 0.05.
        assert_eq!(texts(&[0.52, 0.73]), ["0.50", "0.55", "0.60", "0.65", "0.70", "0.75"]);
        assert_eq!(texts(&[]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(&[-3.0, 41.0]), ["-10", "0", "10", "20", "30", "40", "50"]);
        assert_eq!(texts(&[0.5, 0.5]).len(), 2);
    }

    #[test]
    fn ticks_never_meet() {
        let axis = Axis::doubling([4.0, 1.0, 2.0, 2.0].into_iter());
        assert_eq!(axis.ticks, [0.0, 1.0, 2.0]);
        assert!(axis.ends.start < 0.0 && axis.ends.end > 2.0);
        assert_eq!(Axis::doubling((1..=40).map(f64::from)).ticks.len(), 7);
    }
}
