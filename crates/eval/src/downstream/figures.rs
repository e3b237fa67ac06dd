//! AUROC on a test part: by class, within strata, and between two encoders.

use std::collections::BTreeMap;

use data::record::Dataset;
use serde_json::{Map, Value, json};

use crate::error::{EvalError, Result};
use crate::metric::{Bootstrap, Clusters, SortedScores, by_stratum, mean_auroc_difference, mean_auroc_interval};

/// Scores of the images of a part, `[K][N]`.
pub type Scores = Vec<Vec<f32>>;

/// Labels, patients and strata of the images of a part, one image for each study.
#[derive(Debug)]
pub struct TestPart {
    classes: Vec<String>,
    /// `[K][N]`.
    labels: Vec<Vec<Option<bool>>>,
    clusters: Clusters,
    /// The stratum of every image and their number; absent where nothing is stratified.
    strata: Option<(Vec<Option<usize>>, usize)>,
}

/// The sorted scores of every class: those of all images in one group, or each stratum in its own, of every repetition.
type Sorted = Vec<Vec<SortedScores>>;

impl TestPart {
    /// The labels of a part; where `stratify` is set, [`data::record::Study::view`] is the stratum of an image, and none where
    /// it is blank.
    ///
    /// # Errors
    /// If no class has both labels.
    pub fn new(part: &Dataset, stratify: bool) -> Result<Self> {
        let label = |class: usize| part.studies.iter().map(|study| study.labels[class]).collect();
        let labels: Vec<Vec<Option<bool>>> = (0..part.classes.len()).map(label).collect();
        if !labels.iter().any(|labels| [true, false].iter().all(|&sought| labels.contains(&Some(sought)))) {
            let what = "no class has a positive and a negative image in the test part: use more patients, or give \
                        --test-data";
            return Err(EvalError::Unfit { data: part.name.clone(), what: what.to_owned() });
        }
        let patients: Vec<&str> = part.studies.iter().map(|study| study.patient_id.expose().as_str()).collect();
        let strata = stratify.then(|| strata(part));
        Ok(Self { classes: part.classes.clone(), labels, clusters: Clusters::from_keys(&patients), strata })
    }

    /// `auroc`, and `auroc_stratified` where strata were asked for: the macro mean and every class, each the mean over
    /// repetitions with the interval of that mean over resampled patients.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub fn figures(&self, repetitions: &[Scores], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let mut figures = Map::new();
        let mut insert = |name: &str, sorted: &Sorted| {
            let interval =
                |classes: &[Vec<SortedScores>]| json!(mean_auroc_interval(classes, &self.clusters, bootstrap));
            figures.insert(name.to_owned(), self.by_class(sorted, interval));
        };
        insert("auroc", &self.whole(repetitions)?);
        if let Some(sorted) = self.stratified(repetitions)? {
            insert("auroc_stratified", &sorted);
        }
        Ok(figures)
    }

    /// AUROC of `first` minus that of `second`, within strata where they were asked for.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub fn difference(&self, first: &[Scores], second: &[Scores], bootstrap: &Bootstrap) -> Result<Value> {
        let sorted = |scores: &[Scores]| match self.stratified(scores)? {
            Some(sorted) => Ok::<_, EvalError>(sorted),
            None => self.whole(scores),
        };
        let (first, second) = (sorted(first)?, sorted(second)?);
        let pairs: Sorted = first.iter().chain(&second).cloned().collect();
        let half = |classes: &[Vec<SortedScores>]| {
            let (first, second) = classes.split_at(classes.len() / 2);
            json!(mean_auroc_difference(first, second, &self.clusters, bootstrap))
        };
        let classes = self.classes.iter().zip(first.iter().zip(&second));
        let per_class: Map<String, Value> =
            classes.map(|(name, (first, second))| (name.clone(), half(&[first.clone(), second.clone()]))).collect();
        Ok(json!({ "macro": half(&pairs), "per_class": per_class }))
    }

    fn by_class(&self, sorted: &Sorted, figure: impl Fn(&[Vec<SortedScores>]) -> Value) -> Value {
        let of = |(name, groups): (&String, &Vec<SortedScores>)| (name.clone(), figure(std::slice::from_ref(groups)));
        let per_class: Map<String, Value> = self.classes.iter().zip(sorted).map(of).collect();
        json!({ "macro": figure(sorted), "per_class": per_class })
    }

    fn whole(&self, repetitions: &[Scores]) -> Result<Sorted> {
        let sort = |class: usize| {
            let of =
                |scores: &Scores| Ok(SortedScores::with_missing(&scores[class], &self.labels[class], &self.clusters)?);
            repetitions.iter().map(of).collect()
        };
        (0..self.classes.len()).map(sort).collect()
    }

    fn stratified(&self, repetitions: &[Scores]) -> Result<Option<Sorted>> {
        let Some((strata, count)) = &self.strata else { return Ok(None) };
        let sort = |class: usize| -> Result<Vec<SortedScores>> {
            let mut groups = Vec::new();
            for scores in repetitions {
                groups.extend(by_stratum(&scores[class], &self.labels[class], strata, *count, &self.clusters)?);
            }
            Ok(groups)
        };
        (0..self.classes.len()).map(sort).collect::<Result<_>>().map(Some)
    }
}

/// The stratum of every image, numbered in the order of their names, and how many there are.
fn strata(part: &Dataset) -> (Vec<Option<usize>>, usize) {
    let name = |study: &'_ data::record::Study| Some(study.view.clone()).filter(|view| !view.is_empty());
    let mut numbers: BTreeMap<String, usize> = part.studies.iter().filter_map(name).map(|name| (name, 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
    let count = numbers.len();
    (part.studies.iter().map(|study| numbers.get(&study.view).copied()).collect(), count)
}
