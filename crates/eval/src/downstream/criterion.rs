//! What makes one epoch better than another on the validation part.

use model::head::label_kind::LabelKind;
use serde::Serialize;

use crate::error::Result;
use crate::metric::{auroc, macro_mean};
use crate::tasks::columns_of;

/// What an epoch is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Mean AUROC over the classes, each against all others.
    #[default]
    Auroc,
    /// The loss.
    Loss,
}

impl Criterion {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auroc => "AUROC",
            Self::Loss => "loss",
        }
    }

    /// How good logits are, more being better: the mean AUROC, or the loss with a minus. Nothing where no class has both
    /// labels, by which no epoch can be told from another.
    ///
    /// # Shapes
    /// `labels`, `logits`: `[K][N]`.
    ///
    /// # Errors
    /// A logit that is no finite number.
    pub fn score(self, kind: LabelKind, labels: &[Vec<Option<bool>>], logits: &[Vec<f32>]) -> Result<Option<f64>> {
        let odds = log_odds(kind, logits);
        let of = |(labels, scores): (&Vec<Option<bool>>, &Vec<f32>)| {
            let known = scores.iter().zip(labels).filter_map(|(&score, label)| Some((score, (*label)?)));
            let (scores, labels): (Vec<f32>, Vec<bool>) = known.unzip();
            auroc(&scores, &labels)
        };
        let aurocs = labels.iter().zip(&odds).map(of).collect::<Result<Vec<_>, _>>()?;
        let mean = macro_mean(&aurocs);
        Ok(match self {
            Self::Auroc => mean,
            Self::Loss => mean.map(|_| -loss(kind, labels, &odds)),
        })
    }
}

/// Log-odds of every class of every image.
pub(super) fn log_odds(kind: LabelKind, logits: &[Vec<f32>]) -> Vec<Vec<f32>> {
    if kind == LabelKind::Multilabel {
        return logits.to_vec();
    }
    columns_of(logits.len(), rows_of(logits).map(|row| kind.log_odds(&row)))
}

/// The logits of each image, one for each class.
pub(super) fn rows_of(logits: &[Vec<f32>]) -> impl Iterator<Item = Vec<f32>> {
    (0..logits.first().map_or(0, Vec::len)).map(|image| logits.iter().map(|column| column[image]).collect())
}

/// Mean over what counts of `ln(1 + exp(-x))`, where x are the log-odds of the right answer: that is binary cross-entropy over
/// all labels, and cross-entropy over the one class that is right.
fn loss(kind: LabelKind, labels: &[Vec<Option<bool>>], odds: &[Vec<f32>]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (label, odds) in labels.iter().flatten().zip(odds.iter().flatten()) {
        let right = match (label, kind) {
            (Some(true), _) => f64::from(*odds),
            (Some(false), LabelKind::Multilabel) => -f64::from(*odds),
            _ => continue,
        };
        sum += (-right).max(0.0) + (-right.abs()).exp().ln_1p();
        count += 1.0;
    }
    sum / f64::max(count, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_by_hand() {
        let [yes, no] = [Some(true), Some(false)];
        let labels = [vec![yes, no, None], vec![no, yes, yes]];
        let logits = [vec![0.0, 1.0, 5.0], vec![2.0_f32.ln(), 1.0, 0.0]];
        let score = |criterion: Criterion, kind| criterion.score(kind, &labels, &logits).unwrap().unwrap();
        // ln 2, ln(1 + e), ln 3, ln(1 + 1/e), ln 2.
        let e = std::f64::consts::E;
        let bce = (2.0 * 2.0_f64.ln() + (1.0 + e).ln() + 3.0_f64.ln() + (1.0 + 1.0 / e).ln()) / 5.0;
        assert!((score(Criterion::Loss, LabelKind::Multilabel) + bce).abs() < 1e-7);
        // -ln of 1/3, 1/2 and 1/(1 + e^5): the softmax of two logits is the sigmoid of their difference.
        let labels = [vec![yes, no, no], vec![no, yes, yes]];
        let ce = (3.0_f64.ln() + 2.0_f64.ln() + (1.0 + 5.0_f64.exp()).ln()) / 3.0;
        let found = Criterion::Loss.score(LabelKind::Multiclass, &labels, &logits).unwrap().unwrap();
        assert!((found + ce).abs() < 1e-6, "{found} {ce}");
        // Class 0: positive at log-odds -ln 2, negatives at 0 and 5.
        assert_eq!(Criterion::Auroc.score(LabelKind::Multiclass, &labels, &logits).unwrap(), Some(0.0));
        let blind = [vec![yes; 3], vec![None; 3]];
        assert_eq!(Criterion::Loss.score(LabelKind::Multilabel, &blind, &logits).unwrap(), None);
    }
}
