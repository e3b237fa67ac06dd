//! How the classes of an image relate, which decides the loss of a classifier and what its logits mean.
//!
//! Shape letters: `B` images, `K` classes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::ops::{bce_with_logits, cross_entropy};

/// Whether an image has any number of the classes or exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// Any number: a sigmoid and binary cross-entropy for each class. A single class is a binary question.
    #[default]
    Multilabel,
    /// Exactly one: a softmax and cross-entropy over all classes.
    Multiclass,
}

impl LabelKind {
    /// The loss, `[1]`.
    ///
    /// # Shapes
    /// `logits`, `targets` (0 or 1), `labelled` (0 or 1): `[B, K]`; of several classes that exclude each other all are
    /// labelled and one is 1.
    pub fn loss(self, logits: Tensor<2>, targets: Tensor<2>, labelled: Tensor<2>) -> Tensor<1> {
        match self {
            Self::Multilabel => bce_with_logits(logits, targets, labelled),
            Self::Multiclass => cross_entropy(logits, targets * labelled),
        }
    }

    /// Probabilities of one image from its logits, in their order.
    pub fn probabilities(self, logits: &[f32]) -> Vec<f64> {
        let logits = logits.iter().map(|&logit| f64::from(logit));
        match self {
            Self::Multilabel => logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
            Self::Multiclass => {
                let highest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = logits.map(|logit| (logit - highest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                powers.iter().map(|power| power / sum).collect()
            }
        }
    }

    /// Log-odds of one image from its logits: the logits themselves, or what their softmax says of a class against all
    /// others. They rank images as [`LabelKind::probabilities`] do, without the ties of probabilities near 1.
    pub fn log_odds(self, logits: &[f32]) -> Vec<f64> {
        let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        if self == Self::Multilabel {
            return logits;
        }
        let against = |class: usize| {
            let others = || logits.iter().enumerate().filter(|(other, _)| *other != class).map(|(_, logit)| *logit);
            let highest = others().fold(f64::NEG_INFINITY, f64::max);
            logits[class] - highest - others().map(|logit| (logit - highest).exp()).sum::<f64>().ln()
        };
        (0..logits.len()).map(against).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_and_odds_by_hand() {
        let near = |found: Vec<f64>, wanted: &[f64]| {
            assert!(found.len() == wanted.len(), "{found:?}");
            found.iter().zip(wanted).for_each(|(a, b)| assert!((a - b).abs() < 1e-7, "{found:?} {wanted:?}"));
        };
        // Powers of e: 1, 2 and 5 of a sum of 8.
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        near(LabelKind::Multiclass.probabilities(&logits), &[0.125, 0.25, 0.625]);
        let odds = [1.0 / 7.0, 2.0 / 6.0, 5.0 / 3.0_f64].map(f64::ln);
        near(LabelKind::Multiclass.log_odds(&logits), &odds);
        near(LabelKind::Multilabel.probabilities(&logits), &[1.0 / 2.0, 2.0 / 3.0, 5.0 / 6.0]);
        near(LabelKind::Multilabel.log_odds(&logits), &logits.map(f64::from));
        // Far beyond what exp holds.
        near(LabelKind::Multiclass.probabilities(&[2000.0, 0.0]), &[1.0, 0.0]);
        near(LabelKind::Multiclass.log_odds(&[2000.0, 0.0]), &[2000.0, -2000.0]);
    }
}
