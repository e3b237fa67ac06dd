//! Figures of a test part: AUROC by class, within strata, and between two encoders; precision, calibration and decisions.

use std::collections::BTreeMap;

use data::record::Dataset;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::subgroups::{Attribute, attributes};
use crate::error::{EvalError, Result};
use crate::metric::{
    Bootstrap, Clusters, SortedScores, by_stratum, group_mean_interval, macro_mean, mean_auroc_difference, prevalence,
    stratum_alone,
};

/// Scores of the images of a part, `[K][N]`.
pub type Scores = Vec<Vec<f32>>;

/// What one repetition gives the images of two parts: logits, or log-odds of each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Of the validation part, which chooses thresholds.
    pub validate: Scores,
    /// Of the test part, which is reported on.
    pub test: Scores,
}

/// Labels, patients and strata of the images of a part, one image for each study.
#[derive(Debug)]
pub struct TestPart {
    pub(super) classes: Vec<String>,
    /// `[K][N]`.
    pub(super) labels: Vec<Vec<Option<bool>>>,
    /// `[K][N]`, of the validation part.
    pub(super) validate: Vec<Vec<Option<bool>>>,
    pub(super) clusters: Clusters,
    /// The stratum of every image and their number; absent where nothing is stratified.
    strata: Option<(Vec<Option<usize>>, usize)>,
    pub(super) attributes: Vec<Attribute>,
}

/// The sorted scores of every class: those of all images in one group, or each stratum in its own, of every repetition.
type Sorted = Vec<Vec<SortedScores>>;

impl TestPart {
    /// The labels of the test part and of the validation part; where `stratify` names a column, [`data::record::Study::view`]
    /// holds it and is the stratum of an image, and none where it is blank.
    ///
    /// # Errors
    /// If no class has both labels.
    pub fn new(part: &Dataset, validate: &Dataset, stratify: Option<&str>) -> Result<Self> {
        let labels = labels(part);
        if !labels.iter().any(|labels| [true, false].iter().all(|&sought| labels.contains(&Some(sought)))) {
            let what = "no class has a positive and a negative image in the test part: use more patients, or give \
                        --test-data";
            return Err(EvalError::Unfit { data: part.name.clone(), what: what.to_owned() });
        }
        let patients: Vec<&str> = part.studies.iter().map(|study| study.patient_id.expose().as_str()).collect();
        Ok(Self {
            classes: part.classes.clone(),
            labels,
            validate: self::labels(validate),
            clusters: Clusters::from_keys(&patients),
            strata: stratify.map(|_| strata(part)),
            attributes: attributes(part, stratify.unwrap_or("view")),
        })
    }

    /// Every figure, each the mean over repetitions with the interval of that mean over resampled patients: those of
    /// [`Self::areas`]; `auprc`, `brier` and `ece` as macro mean and of every class; `operating_point` and `reliability` of every
    /// class; `subgroups` where the part has any; where there are strata `stratum_alone`, the AUROC of the share of positive test
    /// images in the stratum of an image.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub fn figures(&self, repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let mut figures = self.areas(repetitions, bootstrap)?;
        let chance = |labels: &Vec<Option<bool>>| {
            prevalence(&labels.iter().copied().flatten().collect::<Vec<_>>()).filter(|&share| share > 0.0)
        };
        let chances: Vec<Option<f64>> = self.labels.iter().map(chance).collect();
        let precision = |group: &SortedScores, counts: &[u32]| group.auprc(Some(counts));
        let auprc = self.by_class(&self.whole(repetitions)?, &chances, precision, bootstrap);
        figures.insert("auprc".to_owned(), auprc);
        if let Some((strata, count)) = &self.strata {
            let of_class =
                |labels: &Vec<Option<bool>>| Ok(vec![stratum_alone(labels, strata, *count, &self.clusters)?]);
            let sorted: Sorted = self.labels.iter().map(of_class).collect::<Result<_>>()?;
            figures.insert("stratum_alone".to_owned(), self.area(&sorted, bootstrap));
        }
        figures.extend(self.decisions(repetitions, bootstrap)?);
        if let Some(subgroups) = self.subgroups(repetitions, bootstrap)? {
            figures.insert("subgroups".to_owned(), subgroups);
        }
        Ok(figures)
    }

    /// `auroc`, and `auroc_stratified` where strata were asked for: the macro mean and every class.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub fn areas(&self, repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let mut figures = Map::from_iter([("auroc".to_owned(), self.area(&self.whole(repetitions)?, bootstrap))]);
        if let Some(sorted) = self.stratified(repetitions)? {
            figures.insert("auroc_stratified".to_owned(), self.area(&sorted, bootstrap));
        }
        Ok(figures)
    }

    /// AUROC, the macro mean and every class.
    fn area(&self, sorted: &Sorted, bootstrap: &Bootstrap) -> Value {
        let chances = vec![Some(0.5); self.classes.len()];
        self.by_class(sorted, &chances, |group: &SortedScores, counts| group.auroc(Some(counts)), bootstrap)
    }

    /// AUROC of `first` minus that of `second`, within strata where they were asked for.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub fn difference(&self, first: &[Scored], second: &[Scored], bootstrap: &Bootstrap) -> Result<Value> {
        let sorted = |scores: &[Scored]| match self.stratified(scores)? {
            Some(sorted) => Ok::<_, EvalError>(sorted),
            None => self.whole(scores),
        };
        let (first, second) = (sorted(first)?, sorted(second)?);
        let difference = |first: &[Vec<SortedScores>], second: &[Vec<SortedScores>]| {
            json!(mean_auroc_difference(first, second, &self.clusters, bootstrap))
        };
        let of_class = |(name, (first, second)): (&String, (&Vec<SortedScores>, &Vec<SortedScores>))| {
            (name.clone(), difference(std::slice::from_ref(first), std::slice::from_ref(second)))
        };
        let per_class: Map<String, Value> = self.classes.iter().zip(first.iter().zip(&second)).map(of_class).collect();
        Ok(json!({ "macro": difference(&first, &second), "per_class": per_class }))
    }

    /// The mean over classes and every class of a statistic whose groups are the repetitions, with what chance gives each.
    pub(super) fn by_class<T: Sync>(
        &self,
        groups: &[Vec<T>],
        chances: &[Option<f64>],
        statistic: impl Fn(&T, &[u32]) -> Option<f64> + Sync,
        bootstrap: &Bootstrap,
    ) -> Value {
        let interval = |groups: &[Vec<T>], chances: &[Option<f64>]| {
            json!(group_mean_interval(groups, &statistic, macro_mean(chances), &self.clusters, bootstrap))
        };
        let of_class = |(name, (groups, chance)): (&String, (&Vec<T>, &Option<f64>))| {
            (name.clone(), interval(std::slice::from_ref(groups), std::slice::from_ref(chance)))
        };
        let per_class: Map<String, Value> = self.classes.iter().zip(groups.iter().zip(chances)).map(of_class).collect();
        json!({ "macro": interval(groups, chances), "per_class": per_class })
    }

    fn whole(&self, repetitions: &[Scored]) -> Result<Sorted> {
        let sort = |class: usize| {
            let of = |scored: &Scored| {
                Ok(SortedScores::with_missing(&scored.test[class], &self.labels[class], &self.clusters)?)
            };
            repetitions.iter().map(of).collect()
        };
        (0..self.classes.len()).map(sort).collect()
    }

    fn stratified(&self, repetitions: &[Scored]) -> Result<Option<Sorted>> {
        let Some((strata, count)) = &self.strata else { return Ok(None) };
        let sort = |class: usize| -> Result<Vec<SortedScores>> {
            let mut groups = Vec::new();
            for scored in repetitions {
                let scores = &scored.test[class];
                groups.extend(by_stratum(scores, &self.labels[class], strata, *count, &self.clusters)?);
            }
            Ok(groups)
        };
        (0..self.classes.len()).map(sort).collect::<Result<_>>().map(Some)
    }
}

/// Labels of a part, `[K][N]`.
fn labels(part: &Dataset) -> Vec<Vec<Option<bool>>> {
    let label = |class: usize| part.studies.iter().map(|study| study.labels[class]).collect();
    (0..part.classes.len()).map(label).collect()
}

/// The stratum of every image, numbered in the order of their names, and how many there are.
fn strata(part: &Dataset) -> (Vec<Option<usize>>, usize) {
    let name = |study: &'_ data::record::Study| Some(study.view.clone()).filter(|view| !view.is_empty());
    let mut numbers: BTreeMap<String, usize> = part.studies.iter().filter_map(name).map(|name| (name, 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
    let count = numbers.len();
    (part.studies.iter().map(|study| numbers.get(&study.view).copied()).collect(), count)
}
