//! Several checkpoints as one: the mean of their scores.
//!
//! Classifiers are averaged by their probabilities, pairs of towers by their zero-shot scores (`CheXzero`, section "Methods":
//! the mean of the probabilities of its checkpoints). Each member sees images and sentences as its own card says.

use data::record::Dataset;
use engine::checkpoint::{Architecture, Checkpoint};
use serde_json::{Map, Value, json};

use crate::error::{EvalError, Result};
use crate::tasks::Tools;
use crate::zero_shot::Question;
use crate::zero_shot::matching::{Compared, compared};
use crate::zero_shot::rule::Scores;
use crate::zero_shot::task::ZeroShotTask;

/// `ensemble`, the figures of the mean; `members`, those of each, by their place from 1 on; `best_member`, the one with the
/// highest macro AUROC on the same images; and `difference`, of the ensemble to it. That the best is chosen on what it is
/// compared on favours it. `zero_shot` is how pairs of towers classify.
///
/// # Errors
/// Fewer than two members, members of different kinds or classes, settings that make no sense, unreadable images, weights
/// that do not fit.
pub fn ensemble(
    members: &[Checkpoint],
    zero_shot: &ZeroShotTask,
    dataset: &Dataset,
    tools: &Tools,
) -> Result<Map<String, Value>> {
    let unfit = |what: &str| EvalError::Unfit { data: "the ensemble".to_owned(), what: what.to_owned() };
    let classifiers = members.iter().filter(|m| matches!(m.card.model, Architecture::ImageClassifier(_))).count();
    let Some(first) = members.first().filter(|_| members.len() > 1) else {
        return Err(unfit("give --weights twice at least"));
    };
    if classifiers != 0 && classifiers != members.len() {
        return Err(unfit("its members are classifiers and other weights: give those of one kind"));
    }
    let (classes, scores) = if classifiers > 0 {
        let classes = classes_of(first, dataset)?;
        let of = |member: &Checkpoint| Ok(vec![probabilities(member, &classes, dataset, tools)?]);
        let scores = members.iter().map(of).collect::<Result<Vec<_>>>()?;
        (classes, scores)
    } else {
        let classes = compared(&zero_shot.set.prompts, dataset)?;
        let scores = members.iter().map(|member| zero_shot.scores_of(member, &classes, dataset, tools));
        let scores = scores.collect::<Result<Vec<_>>>()?;
        (classes, scores)
    };
    let images = tools.open(dataset, &first.card.preprocess)?.images;
    let question = Question::new(dataset, &images, classes, zero_shot.stratify)?;
    let mean = mean(&scores);
    let figures: Vec<Map<String, Value>> =
        scores.iter().map(|scores| question.figures(scores, &tools.bootstrap)).collect::<Result<_>>()?;
    let macro_auroc = |place: &usize| figures[*place]["macro_auroc"]["value"].as_f64().unwrap_or(f64::NEG_INFINITY);
    // Of equal ones the first.
    let best = (0..figures.len()).rev().max_by(|a, b| macro_auroc(a).total_cmp(&macro_auroc(b))).unwrap_or(0);
    let difference = question.difference(&mean, &scores[best], &tools.bootstrap)?;
    let members: Map<String, Value> =
        figures.into_iter().zip(1..).map(|(figures, place)| (place.to_string(), Value::Object(figures))).collect();
    let all = [
        ("ensemble", Value::Object(question.figures(&mean, &tools.bootstrap)?)),
        ("members", Value::Object(members)),
        ("best_member", json!(best + 1)),
        ("difference", Value::Object(difference)),
    ];
    Ok(all.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}

/// The classes of a classifier, each with the label of its name.
fn classes_of(member: &Checkpoint, dataset: &Dataset) -> Result<Vec<Compared>> {
    let of = |(place, class): (usize, &String)| {
        let column = dataset.classes.iter().position(|name| name == class).ok_or_else(|| {
            let what = format!("it has no label \"{class}\", which the classifier was trained on");
            EvalError::Unfit { data: dataset.name.clone(), what }
        })?;
        Ok(Compared::with_label(place, class, column))
    };
    member.card.classes.iter().enumerate().map(of).collect()
}

/// Probabilities of the classes by one member, in their order.
fn probabilities(member: &Checkpoint, classes: &[Compared], dataset: &Dataset, tools: &Tools) -> Result<Scores> {
    let card = &member.card;
    let place = |class: &Compared| card.classes.iter().position(|name| *name == class.name);
    let places: Option<Vec<usize>> = classes.iter().map(place).collect();
    let Some(places) = places.filter(|places| places.len() == card.classes.len()) else {
        let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
        let (found, wanted) = (card.classes.join(", "), names.join(", "));
        let what = format!("a member has the classes {found}, the first one {wanted}: average those of equal classes");
        return Err(EvalError::Unfit { data: "the ensemble".to_owned(), what });
    };
    let model = member.image_classifier(&tools.device)?;
    let opened = tools.open(dataset, &card.preprocess)?;
    let (width, rows) = tools.progress(&format!("classify {}", dataset.name), opened.images.len(), |tick| {
        opened.logits(&model, &card.preprocess, tools, tick)
    })?;
    let rows: Vec<Vec<f64>> = rows.chunks_exact(width.max(1)).map(|row| card.label_kind.probabilities(row)).collect();
    Ok(places.iter().map(|&place| rows.iter().map(|row| row[place]).collect()).collect())
}

/// The mean over members of each score, sampling by sampling.
fn mean(members: &[Vec<Scores>]) -> Vec<Scores> {
    let mut mean = members[0].clone();
    let count = members.len() as f64;
    for (sampling, scores) in mean.iter_mut().enumerate() {
        for (class, scores) in scores.iter_mut().enumerate() {
            for (image, score) in scores.iter_mut().enumerate() {
                *score = members.iter().map(|member| member[sampling][class][image]).sum::<f64>() / count;
            }
        }
    }
    mean
}

#[cfg(test)]
mod tests {
    #[test]
    fn means_are_taken_score_by_score() {
        let member = |x: f64| vec![vec![vec![x, 1.0], vec![2.0 * x, 0.0]]];
        assert_eq!(super::mean(&[member(0.25), member(0.75)]), [vec![vec![0.5, 1.0], vec![1.0, 0.0]]]);
    }
}
