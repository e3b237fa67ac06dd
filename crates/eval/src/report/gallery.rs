//! What queries find first.

use maud::{Markup, html};

use super::ReportOptions;
use super::page::{Section, picture};
use super::section;
use super::subject::{Found, Query, Subject};
use crate::error::Result;

pub(super) fn drawn_section(subject: &Subject, options: &ReportOptions) -> Result<Option<Section>> {
    if subject.queries.is_empty() {
        return Ok(None);
    }
    let mut body = Vec::new();
    for query in &subject.queries {
        body.push(drawn(query, options)?);
    }
    let about = "The images that the first query sentence of each class finds, best first. A green frame is a hit: an image with the \
                 finding. Numbers are rows of the data and cosines.";
    Ok(Some(section("retrieval", "Retrieval", html! { p.soft { (about) } @for part in &body { (part) } })))
}

fn drawn(query: &Query, options: &ReportOptions) -> Result<Markup> {
    let hits = query.found.iter().filter(|found| found.is_hit).count();
    let mut shown = Vec::new();
    for found in &query.found {
        shown.push(one(found)?);
    }
    Ok(html! {
        h3 { (query.class.replace('_', " ")) ": " (hits) " of " (query.found.len()) " (" (format!("{:.0}", 100.0 * query.share)) " % of all)" }
        @if options.include_texts { p.soft { "“" (query.sentence) "”" } }
        div.pictures { @for figure in &shown { (figure) } }
    })
}

fn one(found: &Found) -> Result<Markup> {
    let labels = if found.labels.is_empty() { "no finding".to_owned() } else { found.labels.join(", ") };
    let description = format!("{}, row {}", if found.is_hit { "hit" } else { "miss" }, found.row);
    let class = if found.is_hit { "hit" } else { "miss" };
    let image = if let Some(image) = &found.picture {
        let png = data::image::encode::png(image).map_err(data::error::DataError::from)?;
        html! { div class=(class) { (picture(&png, &description)) } }
    } else {
        html! {
            svg viewBox="0 0 96 40" class=(class) role="img" aria-label=(description) {
                text x="48" y="25" text-anchor="middle" font-size="14" fill="#1d2329" { (if found.is_hit { "hit" } else { "miss" }) }
            }
        }
    };
    Ok(
        html! { figure { (image) figcaption { (found.row) " (" (format!("{:.2}", found.score)) ")" br; (labels.replace('_', " ")) } } },
    )
}
