//! AUROC per class and its mean, shared by zero-shot classification, probes and supervised models.

use data::record::Dataset;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::metric::{Bootstrap, Clusters, Interval, SortedScores, macro_auroc_interval};

/// AUROC of each class and their mean.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassFigures {
    /// Unweighted mean over classes that have positives and negatives.
    pub macro_auroc: Interval,
    /// By class, in the order of the prompts or the data set.
    pub per_class: Vec<(String, Interval)>,
}

impl Serialize for ClassFigures {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let per_class: Map<String, Value> =
            self.per_class.iter().map(|(name, auroc)| (name.clone(), json!({ "auroc": auroc }))).collect();
        json!({ "macro_auroc": self.macro_auroc, "per_class": per_class }).serialize(serializer)
    }
}

/// AUROC figures of scores, `[classes][images]`; `columns` names each class and its label column. Images whose study does
/// not label a class take no part in it. Intervals resample patients.
///
/// # Errors
/// If a score is no finite number.
pub fn class_figures(
    dataset: &Dataset,
    images: &[(usize, usize)],
    columns: &[(String, usize)],
    scores: &[Vec<f32>],
    bootstrap: &Bootstrap,
) -> Result<ClassFigures> {
    let patients: Vec<&str> = images.iter().map(|&(s, _)| dataset.studies[s].patient_id.expose().as_str()).collect();
    let clusters = Clusters::from_keys(&patients);
    let mut per_class = Vec::new();
    let mut complete = Vec::new();
    for ((name, column), scores) in columns.iter().zip(scores) {
        let label = |&(study, _): &(usize, usize)| dataset.studies[study].labels.get(*column).copied().flatten();
        let labels: Vec<Option<bool>> = images.iter().map(label).collect();
        let sorted = SortedScores::with_missing(scores, &labels, &clusters)?;
        per_class.push((name.clone(), macro_auroc_interval(std::slice::from_ref(&sorted), &clusters, bootstrap)));
        complete.push(sorted);
    }
    Ok(ClassFigures { macro_auroc: macro_auroc_interval(&complete, &clusters, bootstrap), per_class })
}
