//! What logits on the test part are worth: AUROC, accuracy where exactly one class is right, by image or by study.

use data::record::Dataset;
use model::head::label_kind::LabelKind;
use serde_json::{Map, Value, json};

use super::criterion::{log_odds, rows_of};
use super::figures::{Scored, Scores, TestPart};
use super::labelled::{Labelled, Studies};
use crate::error::{EvalError, Result};
use crate::metric::{Bootstrap, ClusteredMean, Clusters, argmax_rows};
use crate::tasks::columns_of;

/// The test part and what is asked of it.
#[derive(Debug)]
pub struct Judge {
    kind: LabelKind,
    part: TestPart,
    /// Images of each study, where studies are scored.
    studies: Option<Studies>,
    /// The right class of each image or study, where there is exactly one.
    answers: Vec<usize>,
    clusters: Clusters,
    num_classes: usize,
}

impl Judge {
    /// The test part of labelled images; with `stratify` as [`TestPart::new`].
    ///
    /// # Errors
    /// If no class has both labels, or one study has two classes that exclude each other.
    pub fn new(labelled: &Labelled, stratify: Option<&str>) -> Result<Self> {
        let (kind, studies) = (labelled.kind, labelled.studies.clone());
        let (validate, test) = match &studies {
            Some(studies) => {
                (&by_study(&labelled.validate, &studies.validate), &by_study(&labelled.test, &studies.test))
            }
            None => (&labelled.validate, &labelled.test),
        };
        let part = TestPart::new(test, validate, stratify)?;
        let answer = |study: &data::record::Study| {
            let mut right = (0..test.classes.len()).filter(|&class| study.labels[class] == Some(true));
            match (right.next(), right.next()) {
                (Some(class), None) => Ok(class),
                _ => Err(EvalError::Unfit {
                    data: test.name.clone(),
                    what: format!("the images of the study of row {} are of several classes: correct them", study.row),
                }),
            }
        };
        let answers = match kind {
            LabelKind::Multilabel => Vec::new(),
            LabelKind::Multiclass => test.studies.iter().map(answer).collect::<Result<_>>()?,
        };
        let patients: Vec<&str> = test.studies.iter().map(|study| study.patient_id.expose().as_str()).collect();
        let clusters = Clusters::from_keys(&patients);
        Ok(Self { kind, part, studies, answers, clusters, num_classes: test.classes.len() })
    }

    /// The figures of [`TestPart::figures`], each class against all others; of classes that exclude each other also
    /// `accuracy`, of the most probable one.
    ///
    /// # Errors
    /// A logit that is no finite number.
    pub fn figures(&self, repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let scored = self.scored(repetitions);
        let mut figures = self.part.figures(&scored, bootstrap)?;
        figures.extend(self.accuracy(&scored, bootstrap)?);
        Ok(figures)
    }

    /// The figures of [`TestPart::areas`], and `accuracy` as [`Self::figures`] has it: what others are compared by.
    ///
    /// # Errors
    /// A logit that is no finite number.
    pub fn areas(&self, repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Map<String, Value>> {
        let scored = self.scored(repetitions);
        let mut figures = self.part.areas(&scored, bootstrap)?;
        figures.extend(self.accuracy(&scored, bootstrap)?);
        Ok(figures)
    }

    fn accuracy(&self, scored: &[Scored], bootstrap: &Bootstrap) -> Result<Option<(String, Value)>> {
        let Some(right) = self.right(scored)? else { return Ok(None) };
        let chance = Some(1.0 / self.num_classes as f64);
        let accuracy = bootstrap.interval(self.clusters.len(), chance, |counts| right.value(counts));
        Ok(Some(("accuracy".to_owned(), json!(accuracy))))
    }

    /// Figures of `first` minus those of `second`, paired.
    ///
    /// # Errors
    /// A logit that is no finite number.
    pub fn difference(&self, first: &[Scored], second: &[Scored], bootstrap: &Bootstrap) -> Result<Value> {
        let [first, second] = [first, second].map(|all| self.scored(all));
        let mut difference = self.part.difference(&first, &second, bootstrap)?;
        if let (Some(a), Some(b)) = (self.right(&first)?, self.right(&second)?) {
            let of_accuracy = bootstrap.difference(self.clusters.len(), |c| a.value(c), |c| b.value(c));
            difference["accuracy"] = json!(of_accuracy);
        }
        Ok(difference)
    }

    /// What items are ranked and decided by, of logits.
    fn scored(&self, repetitions: &[Scored]) -> Vec<Scored> {
        let of = |scored: &Scored| match &self.studies {
            None => Scored { validate: log_odds(self.kind, &scored.validate), test: log_odds(self.kind, &scored.test) },
            Some(studies) => Scored {
                validate: self.of_studies(&scored.validate, &studies.validate),
                test: self.of_studies(&scored.test, &studies.test),
            },
        };
        repetitions.iter().map(of).collect()
    }

    /// Log-odds of the mean over the images of a study of their probabilities.
    fn of_studies(&self, logits: &Scores, studies: &[Vec<usize>]) -> Scores {
        let probabilities: Vec<Vec<f64>> = rows_of(logits).map(|row| self.kind.probabilities(&row)).collect();
        let odds = |p: f64| {
            let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            (p / (1.0 - p)).ln()
        };
        let mean = |images: &Vec<usize>| -> Vec<f64> {
            let of = |class: usize| images.iter().map(|&image| probabilities[image][class]).sum::<f64>();
            (0..self.num_classes).map(|class| odds(of(class) / images.len() as f64)).collect()
        };
        columns_of(self.num_classes, studies.iter().map(mean))
    }

    /// Whether the highest score is that of the right class, averaged over repetitions; nothing where several can be right.
    fn right(&self, repetitions: &[Scored]) -> Result<Option<ClusteredMean>> {
        if self.answers.is_empty() {
            return Ok(None);
        }
        let mut right = vec![0.0; self.answers.len()];
        for scored in repetitions {
            let rows: Vec<f32> = rows_of(&scored.test).flatten().collect();
            for ((right, found), answer) in
                right.iter_mut().zip(argmax_rows(&rows, self.num_classes)?).zip(&self.answers)
            {
                *right += f64::from(u8::from(found == *answer)) / repetitions.len() as f64;
            }
        }
        Ok(Some(ClusteredMean::new(&right.into_iter().map(Some).collect::<Vec<_>>(), &self.clusters)?))
    }
}

/// One entry for each study: a finding in one of its images is a finding of the study.
fn by_study(test: &Dataset, studies: &[Vec<usize>]) -> Dataset {
    let whole = |images: &Vec<usize>| {
        let mut study = test.studies[images[0]].clone();
        for &image in &images[1..] {
            for (merged, label) in study.labels.iter_mut().zip(&test.studies[image].labels) {
                *merged = match (*merged, *label) {
                    (Some(a), Some(b)) => Some(a || b),
                    (known, other) => known.or(other),
                };
            }
        }
        study
    };
    Dataset { studies: studies.iter().map(whole).collect(), ..test.clone() }
}
