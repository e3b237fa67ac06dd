//! Metrics as pure functions over slices, each with a 95 % interval by a patient-level bootstrap.
//!
//! A metric that the data does not define (an AUROC without both classes, say) is `None`, written as `null`, never a
//! made-up number; means over classes leave such classes out. Scores must be finite: a NaN has no place in an order, so
//! it is a [`MetricError`] that names the item.

mod accuracy;
mod auprc;
mod auroc;
mod bootstrap;
mod brier;
mod calibration;
mod clusters;
mod confusion;
mod f1;
mod group_mean;
mod pr_curve;
mod precision_at_k;
mod recall_at_k;
pub mod retrieval;
mod roc_curve;
mod sorted_scores;
mod stratified;
mod thin;
mod youden;

use serde::{Deserialize, Serialize};

pub use accuracy::{accuracy, argmax_rows, binary_accuracy};
pub use auprc::{auprc, auprc_interval, prevalence};
pub use auroc::{auroc, auroc_difference, auroc_interval, macro_auroc_difference, macro_auroc_interval};
pub use bootstrap::{Bootstrap, Difference};
pub use brier::{brier, brier_interval, chance_brier, squared_errors};
pub use calibration::{
    CALIBRATION_BINS, ClusteredBins, ReliabilityBin, calibration_error, calibration_error_interval, reliability,
};
pub use clusters::{ClusteredMean, ClusteredMedian, Clusters};
pub use confusion::{ClusteredConfusion, Confusion, confusion};
pub use f1::{f1, f1_interval, macro_f1, macro_f1_interval};
pub use group_mean::group_mean_interval;
pub use pr_curve::{PrPoint, pr_curve};
pub use precision_at_k::{chance_precision_at_k, precision_at_k};
pub use recall_at_k::{chance_median_rank, chance_recall_at_k, median_rank, recall_at_k};
pub use retrieval::{QueryResult, repeated_precision_interval};
pub use roc_curve::{RocPoint, roc_curve};
pub use sorted_scores::SortedScores;
pub use stratified::{by_stratum, mean_auroc_difference, mean_auroc_interval, stratum_alone};
pub use youden::{OperatingPoint, youden_interval, youden_point};

/// Why a metric cannot be computed at all (as opposed to being undefined, which is `None`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// Two slices that belong together differ in length.
    #[error("{found} {what} for {expected} items: pass exactly one per item")]
    Length {
        /// What there is too much or too little of.
        what: &'static str,
        /// Number of items.
        expected: usize,
        /// Number of values found.
        found: usize,
    },
    /// A score is NaN or infinite.
    #[error(
        "the score of item {index} is NaN or infinite, so it cannot be ranked: look for an overflow in the model or \
         for damaged weights"
    )]
    NotFinite {
        /// Position of the first such score.
        index: usize,
    },
    /// A value is no probability.
    #[error("the probability of item {index} is not between 0 and 1: pass probabilities, not logits")]
    NotProbability {
        /// Position of the first such value.
        index: usize,
    },
    /// A class does not exist.
    #[error("the class of item {index} is not below {num_classes}, the number of classes")]
    NoClass {
        /// Position of the first such class.
        index: usize,
        /// Number of classes.
        num_classes: usize,
    },
}

impl MetricError {
    fn check(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }
}

/// Makes sure that every item with a label has a probability.
fn check_probabilities<S: Copy + Into<f64>>(probabilities: &[S], labels: &[Option<bool>]) -> Result<(), MetricError> {
    MetricError::check("probabilities", labels.len(), probabilities.len())?;
    let is_wrong = |(&p, label): (&S, &Option<bool>)| label.is_some() && !(0.0..=1.0).contains(&p.into());
    match probabilities.iter().zip(labels).position(is_wrong) {
        Some(index) => Err(MetricError::NotProbability { index }),
        None => Ok(()),
    }
}

/// A figure with its 95 % interval and the figure that chance would give; `None` (JSON `null`) is "undefined".
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The metric on the whole sample.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// What a model without any knowledge would reach in expectation.
    pub chance: Option<f64>,
}

/// The unweighted mean over classes, leaving out the missing ones; `None` where all are missing.
///
/// # Examples
/// ```
/// assert_eq!(eval::metric::macro_mean(&[Some(0.5), None, Some(0.75)]), Some(0.625));
/// assert_eq!(eval::metric::macro_mean(&[None, None]), None);
/// ```
pub fn macro_mean(classes: &[Option<f64>]) -> Option<f64> {
    let present: Vec<f64> = classes.iter().copied().flatten().collect();
    if present.is_empty() { None } else { Some(present.iter().sum::<f64>() / present.len() as f64) }
}
