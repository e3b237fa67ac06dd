//! AUROC of the images of a view, a sex or an age band.

use std::collections::{BTreeMap, HashSet};

use data::demographics::{AgeBand, Sex};
use data::record::{Dataset, Study};
use serde_json::{Map, Value, json};

use super::figures::{Scored, TestPart};
use crate::error::Result;
use crate::metric::{Bootstrap, SortedScores, group_mean_interval};

/// Most groups of an attribute: a column with more values parts the images into no subgroups.
const MAX_GROUPS: usize = 12;

/// What parts the images of a set into groups.
#[derive(Debug)]
pub(super) struct Attribute {
    name: String,
    /// Names of the groups, in their order.
    groups: Vec<String>,
    /// The group of every image.
    of_image: Vec<Option<usize>>,
}

/// The attributes of a part that has at least two groups of them: `view` names what [`Study::view`] holds.
pub(super) fn attributes(part: &Dataset, view: &str) -> Vec<Attribute> {
    let views = |study: &Study| Some(study.view.trim().to_owned()).filter(|view| !view.is_empty());
    let sexes = |study: &Study| study.demographics.sex;
    let ages = |study: &Study| study.demographics.age;
    let found = [
        attribute(view, part, views, Clone::clone),
        attribute("sex", part, sexes, |sex: &Sex| sex.name().to_owned()),
        attribute("age", part, ages, |age: &AgeBand| age.name().to_owned()),
    ];
    found.into_iter().filter(|attribute| (2..=MAX_GROUPS).contains(&attribute.groups.len())).collect()
}

fn attribute<K: Ord>(
    name: &str,
    part: &Dataset,
    of: impl Fn(&Study) -> Option<K>,
    title: impl Fn(&K) -> String,
) -> Attribute {
    let mut numbers: BTreeMap<K, usize> = part.studies.iter().filter_map(&of).map(|key| (key, 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
    let of_image = part.studies.iter().map(|study| of(study).and_then(|key| numbers.get(&key).copied())).collect();
    Attribute { name: name.to_owned(), groups: numbers.keys().map(title).collect(), of_image }
}

impl TestPart {
    /// For each attribute and group with both labels of a class: `images` and `patients` of the group, and AUROC as the macro
    /// mean over such classes and of each, with its images. Nothing where no attribute parts the images.
    ///
    /// # Errors
    /// A score that is no finite number.
    pub(super) fn subgroups(&self, repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Option<Value>> {
        let mut attributes = Map::new();
        for attribute in &self.attributes {
            let mut groups = Map::new();
            for (number, name) in attribute.groups.iter().enumerate() {
                let members: Vec<bool> = attribute.of_image.iter().map(|of| *of == Some(number)).collect();
                if let Some(figures) = self.subgroup(&members, repetitions, bootstrap)? {
                    groups.insert(name.clone(), figures);
                }
            }
            attributes.insert(attribute.name.clone(), Value::Object(groups));
        }
        Ok(if attributes.is_empty() { None } else { Some(Value::Object(attributes)) })
    }

    fn subgroup(&self, members: &[bool], repetitions: &[Scored], bootstrap: &Bootstrap) -> Result<Option<Value>> {
        let interval = |classes: &[Vec<SortedScores>]| {
            let area = |group: &SortedScores, counts: &[u32]| group.auroc(Some(counts));
            group_mean_interval(classes, area, Some(0.5), &self.clusters, bootstrap)
        };
        let (mut classes, mut per_class) = (Vec::new(), Map::new());
        for (class, name) in self.classes.iter().enumerate() {
            let label = |(label, &member): (&Option<bool>, &bool)| label.filter(|_| member);
            let labels: Vec<Option<bool>> = self.labels[class].iter().zip(members).map(label).collect();
            let count = |sought: bool| labels.iter().filter(|label| **label == Some(sought)).count();
            let (positive, negative) = (count(true), count(false));
            if positive == 0 || negative == 0 {
                continue;
            }
            let sort = |scored: &Scored| SortedScores::with_missing(&scored.test[class], &labels, &self.clusters);
            let sorted: Vec<SortedScores> = repetitions.iter().map(sort).collect::<Result<_, _>>()?;
            let auroc = interval(std::slice::from_ref(&sorted));
            let figure = json!({ "images": positive + negative, "positive": positive, "auroc": auroc });
            per_class.insert(name.clone(), figure);
            classes.push(sorted);
        }
        if classes.is_empty() {
            return Ok(None);
        }
        let images = (0..members.len()).filter(|&image| members[image]);
        let patients: HashSet<u32> = images.clone().map(|image| self.clusters.of(image)).collect();
        Ok(Some(json!({
            "images": images.count(),
            "patients": patients.len(),
            "macro": interval(&classes),
            "per_class": per_class,
        })))
    }
}
