//! The same figures within views, sexes and age bands: a model that only tells views apart is found out here.

use std::collections::BTreeMap;

use data::record::Study;
use engine::table::{interval, number};
use maud::{Markup, html};

use super::page::{Section, interval_bar, table};
use super::section;
use super::subject::{Scored, Subject};
use crate::error::Result;
use crate::metric::{Interval, SortedScores, macro_auroc_interval};
use crate::tasks::Tools;

/// Groups of an attribute at most: a column with more values parts the images into no subgroups.
const MOST: usize = 12;
/// Groups smaller than this are marked: their intervals say little.
const SMALL: usize = 30;

pub(super) fn drawn_section(subject: &Subject, tools: &Tools) -> Result<Option<Section>> {
    let groups = groups(subject);
    if groups.is_empty() {
        return Ok(None);
    }
    let mut body = Vec::new();
    for scored in &subject.scored {
        let mut rows = Vec::new();
        for (name, members) in &groups {
            let figure = within(subject, scored, members, tools)?;
            if let (Some(value), ends) = (figure.value, figure.low.zip(figure.high)) {
                rows.push(vec![
                    html! { (name) @if members.len() < SMALL { " (few)" } },
                    html! { (members.len()) },
                    html! { (number(value)) },
                    html! { @if let Some((low, high)) = ends { (interval(low, high)) } },
                    interval_bar(value, ends, figure.chance),
                ]);
            }
        }
        if !rows.is_empty() {
            let head = ["group", "images", "macro AUROC", "95 % interval", ""];
            body.push(html! { h3 { (scored.task) } (table(&head, &[1, 2], &rows)) });
        }
    }
    let about = "Only classes that have both labels within a group count there.";
    let whole: Markup = html! { p.soft { (about) } @for part in &body { (part) } };
    Ok((!body.is_empty()).then(|| section("subgroups", "Subgroups", whole)))
}

/// Rows of the test images by view, sex and age band, where these are known; attributes that all share are left out.
fn groups(subject: &Subject) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let of_attribute = |name: &str, group: &dyn Fn(&Study) -> Option<(usize, String)>| {
        let mut groups: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
        for (row, &study) in subject.study_of.iter().enumerate() {
            if let Some(key) = group(&subject.test.studies[study]) {
                groups.entry(key).or_default().push(row);
            }
        }
        let several = (2..=MOST).contains(&groups.len());
        let named = groups.into_iter().map(|((_, group), rows)| (format!("{name} {group}"), rows));
        if several { named.collect() } else { Vec::new() }
    };
    all.extend(of_attribute("view", &|study| {
        Some((0, study.view.trim().to_owned())).filter(|(_, view)| !view.is_empty())
    }));
    all.extend(of_attribute("sex", &|study| study.demographics.sex.map(|sex| (0, sex.name().to_owned()))));
    // In the order of the bands, not of their names.
    all.extend(of_attribute("age", &|study| study.demographics.age.map(|age| (age as usize, age.name().to_owned()))));
    all
}

fn within(subject: &Subject, scored: &Scored, members: &[usize], tools: &Tools) -> Result<Interval> {
    let mut classes = Vec::new();
    for (scores, labels) in scored.scores.iter().zip(&scored.labels) {
        let mut inside = vec![None; labels.len()];
        for &row in members {
            inside[row] = labels[row];
        }
        classes.push(SortedScores::with_missing(scores, &inside, &subject.clusters)?);
    }
    Ok(macro_auroc_interval(&classes, &subject.clusters, &tools.bootstrap))
}
