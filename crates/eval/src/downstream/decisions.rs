//! What the probabilities of a test part are worth: calibration, and decisions at a threshold that the validation part
//! chose.

use serde_json::{Map, Value, json};

use super::figures::{Scored, TestPart};
use crate::error::Result;
use crate::metric::{
    Bootstrap, CALIBRATION_BINS, ClusteredBins, ClusteredConfusion, ClusteredMean, Confusion, chance_brier,
    group_mean_interval, prevalence, reliability, squared_errors, youden_point,
};

impl TestPart {
    /// `brier` and `ece` as macro mean and of every class; `operating_point` of every class whose validation images have both
    /// labels: `thresholds`, one for each repetition, with `f1`, `sensitivity` and `specificity` on the test images;
    /// `reliability`, the bins of every class over the images of all repetitions.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub(super) fn decisions(&self, repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let (mut errors, mut bins) = (Vec::new(), Vec::new());
        let (mut points, mut diagrams) = (Map::new(), Map::new());
        for (class, name) in self.classes.iter().enumerate() {
            let of = |scored: &Scored| probabilities(&scored.test[class]);
            let test: Vec<Vec<f64>> = repetitions.iter().map(of).collect();
            let labels = &self.labels[class];
            errors.push(each(&test, |p| Ok(squared_errors(p, labels, &self.clusters)?))?);
            bins.push(each(&test, |p| Ok(ClusteredBins::new(p, labels, CALIBRATION_BINS, &self.clusters)?))?);
            let (pooled, answers): (Vec<f64>, Vec<bool>) = test.iter().flat_map(|p| known(p, labels)).unzip();
            diagrams.insert(name.clone(), json!(reliability(&pooled, &answers, CALIBRATION_BINS)?));
            if let Some(thresholds) = self.thresholds(class, repetitions)? {
                points.insert(name.clone(), self.operating_point(class, &test, &thresholds, bootstrap)?);
            }
        }
        let chance = |labels: &Vec<Option<bool>>| {
            chance_brier(prevalence(&labels.iter().copied().flatten().collect::<Vec<_>>()))
        };
        let chances: Vec<Option<f64>> = self.labels.iter().map(chance).collect();
        let brier = self.by_class(&errors, &chances, |group: &ClusteredMean, counts| group.value(counts), bootstrap);
        let none = vec![None; self.classes.len()];
        let ece = self.by_class(&bins, &none, |group: &ClusteredBins, counts| group.error(counts), bootstrap);
        let figures = [
            ("brier", brier),
            ("ece", ece),
            ("operating_point", Value::Object(points)),
            ("reliability", Value::Object(diagrams)),
        ];
        Ok(figures.map(|(name, figure)| (name.to_owned(), figure)).into_iter().collect())
    }

    /// The probability that maximises Youden's J on the validation part, of each repetition; `None` where the part lacks a
    /// label of the class.
    fn thresholds(&self, class: usize, repetitions: &[Scored]) -> Result<Option<Vec<f64>>> {
        let mut thresholds = Vec::new();
        for scored in repetitions {
            let probabilities = probabilities(&scored.validate[class]);
            let (probabilities, labels): (Vec<f64>, Vec<bool>) = known(&probabilities, &self.validate[class]).unzip();
            let Some(point) = youden_point(&probabilities, &labels)? else { return Ok(None) };
            thresholds.push(point.threshold);
        }
        Ok(Some(thresholds))
    }

    fn operating_point(
        &self,
        class: usize,
        test: &[Vec<f64>],
        thresholds: &[f64],
        bootstrap: &Bootstrap,
    ) -> Result<Value> {
        let decide = |(p, &threshold): (&Vec<f64>, &f64)| {
            ClusteredConfusion::at_threshold(p, &self.labels[class], threshold, &self.clusters)
        };
        let decided = [test.iter().zip(thresholds).map(decide).collect::<Result<Vec<_>, _>>()?];
        let interval = |figure: fn(&Confusion) -> Option<f64>| {
            let statistic = |group: &ClusteredConfusion, counts: &[u32]| figure(&group.value(counts));
            group_mean_interval(&decided, statistic, None, &self.clusters, bootstrap)
        };
        Ok(json!({
            "thresholds": thresholds,
            "f1": interval(Confusion::f1),
            "sensitivity": interval(Confusion::sensitivity),
            "specificity": interval(Confusion::specificity),
        }))
    }
}

/// The logistic function of logits.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    logits.iter().map(|&logit| 1.0 / (1.0 + (-f64::from(logit)).exp())).collect()
}

/// The values of the images that have a label.
fn known<'a>(values: &'a [f64], labels: &'a [Option<bool>]) -> impl Iterator<Item = (f64, bool)> + 'a {
    values.iter().zip(labels).filter_map(|(&value, label)| Some((value, (*label)?)))
}

fn each<T>(repetitions: &[Vec<f64>], of: impl Fn(&Vec<f64>) -> Result<T>) -> Result<Vec<T>> {
    repetitions.iter().map(of).collect()
}
