//! Whether probabilities can be taken at their word.

use engine::table::number;
use maud::{Markup, html};

use super::page::{Section, chart, charts, table};
use super::scored::{CURVES, square};
use super::section;
use super::subject::{Scored, Subject};
use crate::error::Result;
use crate::metric::{CALIBRATION_BINS, brier, calibration_error, chance_brier, prevalence, reliability, youden_point};
use crate::plot::{Style, XySeries};

/// Bins of the diagram: fewer than those of the error, so that a few hundred images fill them.
const BARS: usize = 10;
/// Images in a bin below which it is not drawn.
const FEWEST: u64 = 5;

pub(super) fn drawn_section(subject: &Subject) -> Result<Option<Section>> {
    let mut body = Vec::new();
    for scored in subject.scored.iter().filter(|scored| scored.are_probabilities && !scored.classes.is_empty()) {
        body.push(html! { h3 { (scored.task) } (charts(&[diagram(scored)?])) (errors(scored)?) });
    }
    let about = "A point is a tenth of the range: how often the finding is there among the images that were given such a probability. On \
                 the dashed line the two agree.";
    Ok((!body.is_empty())
        .then(|| section("calibration", "Calibration", html! { p.soft { (about) } @for part in &body { (part) } })))
}

fn diagram(scored: &Scored) -> Result<Markup> {
    let mut series = Vec::new();
    for (k, name) in scored.classes.iter().enumerate().take(CURVES) {
        let (probabilities, labels) = scored.known(k);
        let bins = reliability(&probabilities, &labels, BARS)?;
        let full = bins.iter().filter(|bin| bin.count >= FEWEST);
        let points: Vec<(f64, f64)> = full.filter_map(|bin| bin.mean_probability.zip(bin.positive_share)).collect();
        if !points.is_empty() {
            series.push(XySeries { name: name.replace('_', " "), style: Style::Marked, points });
        }
    }
    let chart_of = square("Reliability", ("mean probability", "share with the finding"), series, true);
    let caption = format!("{}: reliability. Bins of fewer than {FEWEST} images are left out.", scored.task);
    Ok(chart(&chart_of.svg()?, &caption))
}

fn errors(scored: &Scored) -> Result<Markup> {
    let mut rows = Vec::new();
    for (k, name) in scored.classes.iter().enumerate() {
        let (probabilities, labels) = scored.known(k);
        let show = |value: Option<f64>| html! { @if let Some(value) = value { (number(value)) } @else { "-" } };
        let point = youden_point(&probabilities, &labels)?;
        rows.push(vec![
            html! { (name.replace('_', " ")) },
            show(prevalence(&labels)),
            show(calibration_error(&probabilities, &labels, CALIBRATION_BINS)?),
            show(brier(&probabilities, &labels)?),
            show(chance_brier(prevalence(&labels))),
            show(point.map(|point| point.threshold)),
            show(point.map(|point| point.sensitivity)),
            show(point.map(|point| point.specificity)),
        ]);
    }
    let head = ["class", "prevalence", "ECE", "Brier", "by chance", "Youden threshold", "sensitivity", "specificity"];
    let about = "ECE has 15 bins of equal width; the Brier score by chance is that of the prevalence. The threshold is the best of these \
                 very images: on others it does less well.";
    Ok(html! { (table(&head, &[1, 2, 3, 4, 5, 6, 7], &rows)) p.soft { (about) } })
}
