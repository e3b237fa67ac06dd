//! The same figures within views: a model that only tells views apart is found out here.

use std::collections::BTreeMap;

use engine::table::{interval, number};
use maud::{Markup, html};

use super::page::{Section, interval_bar, table};
use super::section;
use super::subject::{Scored, Subject};
use crate::error::Result;
use crate::metric::{Interval, SortedScores, macro_auroc_interval};
use crate::tasks::Tools;

/// Groups smaller than this are marked: their intervals say little.
const SMALL: usize = 30;

pub(super) fn drawn_section(subject: &Subject, tools: &Tools) -> Result<Option<Section>> {
    let groups = groups(subject);
    if groups.len() < 2 {
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
            let head = ["view", "images", "macro AUROC", "95 % interval", ""];
            body.push(html! { h3 { (scored.task) } (table(&head, &[1, 2], &rows)) });
        }
    }
    let about = "Only classes that have both labels within a group count there.";
    let whole: Markup = html! { p.soft { (about) } @for part in &body { (part) } };
    Ok((!body.is_empty()).then(|| section("subgroups", "Subgroups", whole)))
}

/// Rows of the test images by view, where it is known.
fn groups(subject: &Subject) -> BTreeMap<String, Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (row, &study) in subject.study_of.iter().enumerate() {
        let view = &subject.test.studies[study].view;
        if !view.is_empty() {
            groups.entry(view.clone()).or_default().push(row);
        }
    }
    groups
}

fn within(subject: &Subject, scored: &Scored, members: &[usize], tools: &Tools) -> Result<Interval> {
    let mut classes = Vec::new();
    for (scores, labels) in scored.scores.iter().zip(&scored.labels) {
        let mut inside = vec![None; labels.len()];
        members.iter().for_each(|&row| inside[row] = labels[row]);
        classes.push(SortedScores::with_missing(scores, &inside, &subject.clusters)?);
    }
    Ok(macro_auroc_interval(&classes, &subject.clusters, &tools.bootstrap))
}
