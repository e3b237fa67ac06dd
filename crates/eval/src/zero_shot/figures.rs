//! What scores are worth: AUROC by class, within views and against the view alone, accuracy, and differences of models.

use std::collections::BTreeMap;

use data::record::Dataset;
use serde_json::{Map, Value, json};

use super::matching::{Compared, labels};
use super::rule::Scores;
use crate::error::{EvalError, Result};
use crate::metric::{
    Bootstrap, ClusteredMean, Clusters, SortedScores, argmax_rows, by_stratum, macro_mean, mean_auroc_difference,
    mean_auroc_interval, stratum_alone,
};

/// Most strata that figures are printed for: more of them are no views.
const MAX_STRATA: usize = 12;

/// Sorted scores of each class that has a label: one group for each sampling.
type Sorted = Vec<Vec<SortedScores>>;

/// The images of a data set with the labels of the compared classes.
#[derive(Debug)]
pub(crate) struct Question {
    classes: Vec<Compared>,
    /// `[K][N]`.
    labels: Vec<Vec<Option<bool>>>,
    clusters: Clusters,
    /// Names of the strata and that of every image.
    strata: Option<(Vec<String>, Vec<Option<usize>>)>,
}

impl Question {
    /// The labels of images; with `stratify`, their views are their strata, and none where the view is blank.
    ///
    /// # Errors
    /// Strata that are blank everywhere or too many.
    pub(crate) fn new(
        dataset: &Dataset,
        images: &[(usize, usize)],
        classes: Vec<Compared>,
        stratify: bool,
    ) -> Result<Self> {
        let patients: Vec<&str> =
            images.iter().map(|&(study, _)| dataset.studies[study].patient_id.expose().as_str()).collect();
        let strata = stratify.then(|| strata(dataset, images)).transpose()?;
        let labels = labels(dataset, images, &classes);
        Ok(Self { classes, labels, clusters: Clusters::from_keys(&patients), strata })
    }

    /// The compared classes.
    pub(super) fn classes(&self) -> &[Compared] {
        &self.classes
    }

    /// Figures of the scores of each sampling; every figure is the mean over samplings, its interval that of this mean over
    /// resampled patients, and its deviation that of the samplings (the sum of squares over their number less 1).
    ///
    /// # Errors
    /// A score that is no finite number.
    pub(crate) fn figures(&self, samplings: &[Scores], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let mut figures = self.by_class(&self.sorted(samplings, &|_| true)?, samplings.len(), bootstrap);
        if let Some(argmax) = self.argmax(samplings, bootstrap)? {
            figures.insert("argmax".to_owned(), argmax);
        }
        if let Some((names, of_image)) = &self.strata {
            let within = self.within_strata(samplings, of_image, names.len())?;
            figures.insert("within_strata".to_owned(), Value::Object(self.by_class(&within, 1, bootstrap)));
            let mut strata = Map::new();
            for (number, name) in names.iter().enumerate() {
                let sorted = self.sorted(samplings, &|image| of_image[image] == Some(number))?;
                let of_stratum = self.by_class(&sorted, samplings.len(), bootstrap);
                strata.insert(name.clone(), Value::Object(of_stratum));
            }
            figures.insert("stratum".to_owned(), Value::Object(strata));
            let alone = self.each_class(|class| {
                Ok(vec![stratum_alone(&self.labels[class], of_image, names.len(), &self.clusters)?])
            })?;
            figures.insert("stratum_alone".to_owned(), Value::Object(self.by_class(&alone, 1, bootstrap)));
        }
        Ok(figures)
    }

    /// AUROC of `first` minus that of `second` on the same images and sentences, with paired intervals; where there are strata
    /// also within them.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub(crate) fn difference(
        &self,
        first: &[Scores],
        second: &[Scores],
        bootstrap: &Bootstrap,
    ) -> Result<Map<String, Value>> {
        let whole = |samplings: &[Scores]| self.sorted(samplings, &|_| true);
        let mut figures = self.difference_of(&whole(first)?, &whole(second)?, bootstrap);
        if let Some((names, of_image)) = &self.strata {
            let within = |samplings: &[Scores]| self.within_strata(samplings, of_image, names.len());
            let within = self.difference_of(&within(first)?, &within(second)?, bootstrap);
            figures.insert("within_strata".to_owned(), Value::Object(within));
        }
        Ok(figures)
    }

    fn difference_of(&self, first: &Sorted, second: &Sorted, bootstrap: &Bootstrap) -> Map<String, Value> {
        let difference = |first: &[Vec<SortedScores>], second: &[Vec<SortedScores>]| {
            json!(mean_auroc_difference(first, second, &self.clusters, bootstrap))
        };
        let of_class = |(name, (first, second)): (&str, (&Vec<SortedScores>, &Vec<SortedScores>))| {
            let difference = difference(std::slice::from_ref(first), std::slice::from_ref(second));
            (name.to_owned(), json!({ "auroc": difference }))
        };
        let per_class: Map<String, Value> = self.names().zip(first.iter().zip(second)).map(of_class).collect();
        let figures = [("macro_auroc", difference(first, second)), ("per_class", Value::Object(per_class))];
        figures.map(|(name, figure)| (name.to_owned(), figure)).into_iter().collect()
    }

    /// Places of the classes that have labels of their own.
    fn labelled(&self) -> impl Iterator<Item = usize> {
        (0..self.classes.len()).filter(|&class| !self.classes[class].is_derived())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.labelled().map(|class| self.classes[class].name.as_str())
    }

    fn each_class(&self, sort: impl Fn(usize) -> Result<Vec<SortedScores>>) -> Result<Sorted> {
        self.labelled().map(sort).collect()
    }

    /// The scores of some images.
    fn sorted(&self, samplings: &[Scores], counts: &dyn Fn(usize) -> bool) -> Result<Sorted> {
        self.each_class(|class| {
            let labels = self.labels[class].iter().enumerate().map(|(image, label)| label.filter(|_| counts(image)));
            let labels: Vec<Option<bool>> = labels.collect();
            let sort = |scores: &Scores| Ok(SortedScores::with_missing(&scores[class], &labels, &self.clusters)?);
            samplings.iter().map(sort).collect()
        })
    }

    /// The scores of each stratum in a group of its own, sampling after sampling.
    fn within_strata(&self, samplings: &[Scores], of_image: &[Option<usize>], count: usize) -> Result<Sorted> {
        self.each_class(|class| {
            let mut groups = Vec::new();
            for scores in samplings {
                groups.extend(by_stratum(&scores[class], &self.labels[class], of_image, count, &self.clusters)?);
            }
            Ok(groups)
        })
    }

    /// The macro mean and every class, with deviations where the groups of a class are several samplings.
    fn by_class(&self, sorted: &Sorted, samplings: usize, bootstrap: &Bootstrap) -> Map<String, Value> {
        let interval = |classes: &[Vec<SortedScores>]| json!(mean_auroc_interval(classes, &self.clusters, bootstrap));
        let of_sampling = |classes: &[Vec<SortedScores>], sampling: usize| -> Option<f64> {
            macro_mean(&classes.iter().map(|groups| groups[sampling].auroc(None)).collect::<Vec<_>>())
        };
        let spread = |classes: &[Vec<SortedScores>]| {
            let values: Option<Vec<f64>> = (0..samplings).map(|sampling| of_sampling(classes, sampling)).collect();
            values.as_deref().and_then(deviation)
        };
        let mut figures = Map::from_iter([("macro_auroc".to_owned(), interval(sorted))]);
        if samplings > 1 {
            figures.insert("macro_deviation".to_owned(), json!(spread(sorted)));
        }
        let of_class = |(name, groups): (&str, &Vec<SortedScores>)| {
            let groups = std::slice::from_ref(groups);
            let mut figure = json!({ "auroc": interval(groups) });
            if samplings > 1 {
                figure["deviation"] = json!(spread(groups));
            }
            (name.to_owned(), figure)
        };
        let per_class: Map<String, Value> = self.names().zip(sorted).map(of_class).collect();
        figures.insert("per_class".to_owned(), Value::Object(per_class));
        figures
    }

    /// Accuracy of the class with the highest score (of equal ones the first) on the images that are positive for exactly one
    /// class. Those with several or none have no right answer; they are left out and counted, as are those with an unknown
    /// label. Nothing where fewer than two classes are compared or no image is left.
    fn argmax(&self, samplings: &[Scores], bootstrap: &Bootstrap) -> Result<Option<Value>> {
        let count = self.classes.len();
        let [mut several, mut none, mut unknown] = [0; 3];
        let mut answer = |image: usize| -> Option<usize> {
            let known: Option<Vec<bool>> = self.labels.iter().map(|labels| labels[image]).collect();
            let Some(known) = known else {
                unknown += 1;
                return None;
            };
            let mut positive = (0..count).filter(|&class| known[class]);
            match (positive.next(), positive.next()) {
                (Some(only), None) => Some(only),
                (None, _) => {
                    none += 1;
                    None
                }
                _ => {
                    several += 1;
                    None
                }
            }
        };
        let answers: Vec<Option<usize>> = (0..self.clusters.num_items()).map(&mut answer).collect();
        let images = answers.iter().flatten().count();
        if count < 2 || images == 0 {
            return Ok(None);
        }
        let mut right = vec![vec![0.0; answers.len()]; samplings.len()];
        for (right, scores) in right.iter_mut().zip(samplings) {
            let rows: Vec<f64> = (0..answers.len()).flat_map(|image| scores.iter().map(move |s| s[image])).collect();
            for ((right, found), answer) in right.iter_mut().zip(argmax_rows(&rows, count)?).zip(&answers) {
                *right = f64::from(u8::from(Some(found) == *answer));
            }
        }
        let mean_of = |image: usize| right.iter().map(|right| right[image]).sum::<f64>() / right.len() as f64;
        let values: Vec<Option<f64>> =
            answers.iter().enumerate().map(|(i, answer)| answer.map(|_| mean_of(i))).collect();
        let mean = ClusteredMean::new(&values, &self.clusters)?;
        let accuracy = bootstrap.interval(self.clusters.len(), Some(1.0 / count as f64), |counts| mean.value(counts));
        let mut figures = Map::from_iter([("accuracy".to_owned(), json!(accuracy))]);
        if samplings.len() > 1 {
            let of = |right: &Vec<f64>| right.iter().sum::<f64>() / images as f64;
            figures.insert("deviation".to_owned(), json!(deviation(&right.iter().map(of).collect::<Vec<_>>())));
        }
        let counted =
            [("images", images), ("several_positive", several), ("none_positive", none), ("unknown", unknown)];
        figures.extend(counted.map(|(name, count)| (name.to_owned(), json!(count))));
        Ok(Some(Value::Object(figures)))
    }
}

/// The deviation of some values, of a sample; nothing of fewer than two.
fn deviation(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt())
}

/// Names of the strata, in their order, and that of every image.
fn strata(dataset: &Dataset, images: &[(usize, usize)]) -> Result<(Vec<String>, Vec<Option<usize>>)> {
    let view = |&(study, _): &(usize, usize)| dataset.studies[study].view.trim().to_owned();
    let views: Vec<String> = images.iter().map(view).collect();
    let mut numbers: BTreeMap<&str, usize> =
        views.iter().filter(|view| !view.is_empty()).map(|view| (view.as_str(), 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
    if numbers.is_empty() || numbers.len() > MAX_STRATA {
        let what = format!(
            "the column of --stratify has {} values, from 1 to {MAX_STRATA} are compared: name a column such as view",
            numbers.len()
        );
        return Err(EvalError::Unfit { data: dataset.name.clone(), what });
    }
    let of_image = views.iter().map(|view| numbers.get(view.as_str()).copied()).collect();
    Ok((numbers.keys().map(|&name| name.to_owned()).collect(), of_image))
}

#[cfg(test)]
mod tests {
    use data::demographics::Demographics;
    use data::prompt::Prompts;
    use data::record::{Phi, Split, Study};

    use super::super::matching::compared;
    use super::*;

    /// A data set with the classes `a` and `b` of labels `rows` with their views.
    fn question(rows: &[(&str, [Option<bool>; 2])], stratify: bool) -> Result<Question> {
        let study = |(row, (view, labels)): (usize, &(&str, [Option<bool>; 2]))| Study {
            patient_id: Phi::new(row.to_string()),
            study_id: Phi::new(row.to_string()),
            images: Vec::new(),
            sentences: Vec::new(),
            labels: labels.to_vec(),
            view: (*view).to_owned(),
            demographics: Demographics::default(),
            split: Split::Test,
            row,
        };
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let studies = rows.iter().enumerate().map(study).collect();
        let data = Dataset { name: "six".to_owned(), classes, studies };
        let text = "[[class]]\nname = 'a'\npositive = ['x']\n[[class]]\nname = 'b'\npositive = ['y']";
        let classes = compared(&Prompts::parse(text).unwrap(), &data).unwrap();
        let images: Vec<(usize, usize)> = (0..rows.len()).map(|study| (study, 0)).collect();
        Question::new(&data, &images, classes, stratify)
    }

    const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 50, seed: 1, max_tries: 100 };

    fn value(figures: &Value, path: &str) -> f64 {
        let found = path.split('.').fold(figures, |value, key| &value[key]);
        found.as_f64().or(found["value"].as_f64()).unwrap_or_else(|| panic!("no {path} in {figures:#}"))
    }

    #[test]
    fn accuracy_leaves_out_what_has_no_single_answer() {
        let [yes, no] = [Some(true), Some(false)];
        let rows = [
            ("", [yes, no]),
            ("", [no, yes]),
            ("", [yes, no]),
            ("", [no, yes]),
            ("", [yes, yes]),
            ("", [no, no]),
            ("", [yes, None]),
        ];
        let question = question(&rows, false).unwrap();
        // Right, wrong, right because the first of equal ones wins, wrong for the same reason; the others do not count.
        let first = vec![vec![0.9, 0.8, 0.5, 0.5, 0.1, 0.2, 0.3], vec![0.1, 0.2, 0.5, 0.5, 0.9, 0.8, 0.7]];
        let all_right = vec![vec![1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]];
        let one = Value::Object(question.figures(std::slice::from_ref(&first), &BOOTSTRAP).unwrap());
        assert!((value(&one, "argmax.accuracy") - 0.5).abs() < 1e-12, "{one:#}");
        for (name, count) in [("images", 4.0), ("several_positive", 1.0), ("none_positive", 1.0), ("unknown", 1.0)] {
            assert!((value(&one, &format!("argmax.{name}")) - count).abs() < 1e-12, "{name}");
        }
        assert!(one.get("macro_deviation").is_none() && one["argmax"].get("deviation").is_none());
        // Two samplings: the mean of 0.5 and 1, whose deviation is 0.5 / sqrt 2.
        let two = Value::Object(question.figures(&[first, all_right], &BOOTSTRAP).unwrap());
        assert!((value(&two, "argmax.accuracy") - 0.75).abs() < 1e-12);
        assert!((value(&two, "argmax.deviation") - 0.125_f64.sqrt()).abs() < 1e-12);
        assert!(value(&two, "macro_deviation") > 0.0 && value(&two, "per_class.a.deviation") > 0.0);
    }

    #[test]
    fn strata_are_scored_apart_and_alone() {
        let [yes, no] = [Some(true), Some(false)];
        let label = |view, a| (view, [a, None]);
        let rows = [
            label("AP", yes),
            label("AP", yes),
            label("AP", no),
            label("PA", yes),
            label("PA", no),
            label("PA", no),
            label("", yes),
        ];
        let question = question(&rows, true).unwrap();
        // Within AP 1 of 2 pairs is in order, within PA 2 of 2.
        let scores = vec![vec![0.9, 0.2, 0.5, 0.4, 0.1, 0.3, 0.0], vec![0.0; 7]];
        let figures = Value::Object(question.figures(std::slice::from_ref(&scores), &BOOTSTRAP).unwrap());
        assert!((value(&figures, "stratum.AP.per_class.a.auroc") - 0.5).abs() < 1e-12, "{figures:#}");
        assert!((value(&figures, "stratum.PA.macro_auroc") - 1.0).abs() < 1e-12);
        assert!((value(&figures, "within_strata.per_class.a.auroc") - 0.75).abs() < 1e-12);
        // Of nine pairs 4 have the positive in AP and the negative in PA, 1 the other way, the other 4 are ties.
        assert!((value(&figures, "stratum_alone.per_class.a.auroc") - 6.0 / 9.0).abs() < 1e-12);
        assert!(figures["per_class"]["b"]["auroc"]["value"].is_null());
        let message = |rows: &[(&str, [Option<bool>; 2])]| super::tests::question(rows, true).unwrap_err().to_string();
        assert!(message(&[("", [yes, no])]).contains("has 0 values"));
    }

    #[test]
    fn differences_are_paired() {
        let rows: Vec<(&str, [Option<bool>; 2])> =
            (0..20).map(|row| ("", [Some(row % 2 == 0), Some(row % 3 == 0)])).collect();
        let question = question(&rows, false).unwrap();
        let perfect: Scores = [2, 3].map(|n| (0..20).map(|row| f64::from(u8::from(row % n == 0))).collect()).to_vec();
        let reversed: Scores = perfect.iter().map(|scores| scores.iter().map(|score| -score).collect()).collect();
        let difference =
            Value::Object(question.difference(std::slice::from_ref(&perfect), &[reversed], &BOOTSTRAP).unwrap());
        assert!((value(&difference, "macro_auroc") - 1.0).abs() < 1e-12, "{difference:#}");
        let same =
            question.difference(std::slice::from_ref(&perfect), std::slice::from_ref(&perfect), &BOOTSTRAP).unwrap();
        let figure = &same["per_class"]["b"]["auroc"];
        assert_eq!(
            (figure["value"].as_f64(), figure["low"].as_f64(), figure["high"].as_f64()),
            (Some(0.0), Some(0.0), Some(0.0))
        );
    }
}
