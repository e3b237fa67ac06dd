//! Where sentences are found in images, with the places of the findings where these are known.

use data::image::RgbImage;
use data::image::colour::{overlay, viridis};
use data::image::encode::png_rgb;
use maud::{Markup, html};

use super::ReportOptions;
use super::page::{Section, picture};
use super::section;
use super::subject::{HeatMap, Subject};
use crate::error::Result;

/// Side of a map without an image (px).
const SIDE: usize = 112;

pub(super) fn drawn_section(subject: &Subject, options: &ReportOptions) -> Result<Option<Section>> {
    if subject.heat.is_empty() {
        return Ok(None);
    }
    let mut shown = Vec::new();
    for map in &subject.heat {
        shown.push(drawn(map, options)?);
    }
    let hits: Vec<bool> = subject.heat.iter().filter_map(|map| map.is_hit).collect();
    let hit = hits.iter().filter(|hit| **hit).count();
    let about = "Cosine of each cell with the sentence of a finding: violet is the least, yellow the greatest of a map. A frame is \
                 the place of the finding.";
    Ok(Some(section(
        "maps",
        "Heat maps",
        html! {
            p.soft { (about) @if !hits.is_empty() { " The highest cell lies in the frame in " (hit) " of these " (hits.len()) "; `eval pointing` counts all." } }
            div.pictures { @for figure in &shown { (figure) } }
        },
    )))
}

fn drawn(map: &HeatMap, options: &ReportOptions) -> Result<Markup> {
    let (low, high) = map.grid.scale();
    let picture_of = if let Some(seen) = &map.seen {
        overlay(seen, &map.grid.enlarged(seen.width))
    } else {
        let heat = map.grid.enlarged(SIDE);
        let range = if high > low { high - low } else { 1.0 };
        let pixels = heat.data.iter().flat_map(|&value| viridis((value - low) / range)).collect();
        RgbImage { width: SIDE, height: SIDE, pixels }
    };
    let png = png_rgb(&picture_of).map_err(data::error::DataError::from)?;
    let description = format!("heat map of {}, row {}", map.class, map.row);
    Ok(html! {
        figure {
            div style="position: relative" {
                (picture(&png, &description))
                @if let Some([left, top, right, bottom]) = map.place {
                    svg viewBox="0 0 1 1" preserveAspectRatio="none" style="position: absolute; inset: 0; width: 100%; height: 100%" aria-hidden="true" {
                        rect x=(left) y=(top) width=(right - left) height=(bottom - top) fill="none" stroke="#fff" stroke-width="0.02" {}
                    }
                }
            }
            figcaption {
                (map.class.replace('_', " ")) ", row " (map.row) @if let Some(hit) = map.is_hit { (if hit { ": hit" } else { ": miss" }) }
                @if options.include_texts { br; "“" (map.sentence) "”" }
            }
        }
    })
}
