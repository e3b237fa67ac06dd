//! ROC and precision-recall curves of every task that was scored for the report.

use maud::{Markup, html};

use super::page::{Section, chart, charts};
use super::section;
use super::subject::{Scored, Subject};
use crate::error::Result;
use crate::metric::{auprc, auroc, pr_curve, roc_curve};
use crate::plot::{Style, XyChart, XySeries};

/// Points of a curve at most.
const POINTS: usize = 200;
/// Curves in a chart at most: more cannot be told apart by their colours.
pub(super) const CURVES: usize = 8;

pub(super) fn drawn_section(subject: &Subject) -> Result<Option<Section>> {
    let mut body = Vec::new();
    for scored in &subject.scored {
        let drawn = curves(scored)?;
        if !drawn.is_empty() {
            body.push(html! { h3 { (scored.task) } (charts(&drawn)) });
        }
    }
    let about = "Of the test images, computed for this report; the area under each curve stands in the legend. A class without both \
                 labels has no curve.";
    Ok((!body.is_empty()).then(|| {
        section("scores", "ROC and precision-recall", html! { p.soft { (about) } @for part in &body { (part) } })
    }))
}

fn curves(scored: &Scored) -> Result<Vec<Markup>> {
    let (mut roc, mut pr) = (Vec::new(), Vec::new());
    for (k, name) in scored.classes.iter().enumerate() {
        let (scores, labels) = scored.known(k);
        let name = name.replace('_', " ");
        let named = |area: f64| format!("{name} {area:.3}");
        if let (Some(points), Some(area)) = (roc_curve(&scores, &labels, POINTS)?, auroc(&scores, &labels)?) {
            let points = points.iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
            roc.push(XySeries { name: named(area), style: Style::Line, points });
            if let (Some(points), Some(area)) = (pr_curve(&scores, &labels, POINTS)?, auprc(&scores, &labels)?) {
                // Between two points the precision is that of the one on the right.
                let mut steps = Vec::new();
                let mut recall = 0.0;
                for point in &points {
                    steps.extend([(recall, point.precision), (point.recall, point.precision)]);
                    recall = point.recall;
                }
                pr.push(XySeries { name: named(area), style: Style::Line, points: steps });
            }
        }
    }
    if roc.is_empty() {
        return Ok(Vec::new());
    }
    let more = roc.len().saturating_sub(CURVES);
    roc.truncate(CURVES);
    pr.truncate(CURVES);
    let rest = if more > 0 { format!(" {more} more classes are in the figures.") } else { String::new() };
    let roc = square("ROC", ("false positive rate", "true positive rate"), roc, true);
    let pr = square("Precision and recall", ("recall", "precision"), pr, false);
    Ok(vec![
        chart(&roc.svg()?, &format!("{}: ROC curves, with AUROC. The dashed line is chance.{rest}", scored.task)),
        chart(&pr.svg()?, &format!("{}: precision-recall curves, with average precision.{rest}", scored.task)),
    ])
}

/// A chart on the unit square.
pub(super) fn square(title: &str, axes: (&str, &str), series: Vec<XySeries>, diagonal: bool) -> XyChart {
    let (x_title, y_title) = (axes.0.to_owned(), axes.1.to_owned());
    XyChart { title: title.to_owned(), x_title, y_title, series, ends: Some(0.0..1.0), diagonal }
}

impl Scored {
    /// Scores and labels of the images that a class labels.
    pub(super) fn known(&self, class: usize) -> (Vec<f32>, Vec<bool>) {
        let pairs = self.scores[class].iter().zip(&self.labels[class]);
        pairs.filter_map(|(&score, label)| Some((score, (*label)?))).unzip()
    }
}
