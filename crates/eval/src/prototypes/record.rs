//! What `eval prototypes` writes: numbers, a table, a sheet of images.

use std::path::Path;

use data::error::DataError;
use data::fsx;
use data::image::GrayImage;
use data::image::encode::png;
use data::image::sheet::contact_sheet;
use data::image::transform::letterbox;
use data::store::ImageStore;
use engine::table::{Align, Table, number};
use engine::upload::Preprocess;
use serde_json::{Value, json};

use super::{Prototype, Prototypes, Purity, report};
use crate::embed::{Embedded, seen};
use crate::error::{EvalError, Result};
use crate::ranking::Neighbour;

/// Side of an image on the sheet (px).
const TILE: usize = 96;
/// Most images on the sheet: a picture larger than that is refused by many programs, this one among them.
const MAX_TILES: usize = 6000;
/// Images and characters of text named in the table; the numbers have all.
const NAMED: usize = 3;
const QUOTED: usize = 60;

/// Which prototypes are written, and whether text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Prototypes, the most used first; nothing: all.
    pub count: Option<usize>,
    /// Whether reports are quoted. They are private: not by default.
    pub text: bool,
}

impl Shown {
    fn of(self, found: &Prototypes) -> &[Prototype] {
        &found.prototypes[..self.count.unwrap_or(usize::MAX).min(found.prototypes.len())]
    }
}

/// Writes `prototypes.json`, `prototypes.txt` and `prototypes.png`, a row of nearest images for each prototype; gives back the
/// numbers and the table.
///
/// # Errors
/// If there are more images than a sheet has room for, one cannot be read, or a file cannot be written.
pub fn write(
    out: &Path,
    found: &Prototypes,
    set: Embedded<'_>,
    store: &ImageStore,
    preprocess: &Preprocess,
    shown: Shown,
) -> Result<(Value, String)> {
    let prototypes = shown.of(found);
    let nearest = prototypes.iter().flat_map(|prototype| &prototype.nearest_images);
    let tiles: usize = nearest.clone().count();
    if tiles > MAX_TILES {
        let what = format!("{tiles} images on one sheet, the limit is {MAX_TILES}: lower --count or --top");
        return Err(EvalError::Unfit { data: "the contact sheet".to_owned(), what });
    }
    let tile = |neighbour: &Neighbour| -> Result<GrayImage> {
        let (study, image) = set.images[neighbour.index];
        Ok(GrayImage::from(&letterbox(&seen(store, study, image, preprocess)?, TILE)))
    };
    let tiles: Vec<GrayImage> = nearest.map(tile).collect::<Result<_>>()?;
    let columns = prototypes.first().map_or(1, |prototype| prototype.nearest_images.len());
    let sheet = png(&contact_sheet(&tiles, columns, TILE)).map_err(DataError::from)?;
    let (record, table) = (record(found, set, shown), table(found, set, shown));
    fsx::write_atomic(&out.join("prototypes.png"), &sheet)?;
    fsx::write_atomic(&out.join("prototypes.txt"), table.as_bytes())?;
    fsx::write_atomic(&out.join("prototypes.json"), format!("{record:#}\n").as_bytes())?;
    Ok((record, table))
}

/// Name of a label in a purity.
fn label(set: Embedded<'_>, purity: Purity) -> String {
    purity.label.map_or_else(|| "(none)".to_owned(), |label| set.dataset.classes[label].clone())
}

/// Row of a study in its manifest.
fn row(set: Embedded<'_>, study: usize) -> usize {
    set.dataset.studies[study].row
}

fn record(found: &Prototypes, set: Embedded<'_>, shown: Shown) -> Value {
    let of_all = |part: usize, whole: usize| super::share(part, whole);
    let image = |neighbour: &Neighbour| {
        let (study, image) = set.images[neighbour.index];
        json!({"row": row(set, study), "image": image, "cosine": neighbour.score})
    };
    let text = |neighbour: &Neighbour| {
        let study = found.reports[neighbour.index];
        let mut value = json!({"row": row(set, study), "cosine": neighbour.score});
        if shown.text {
            value["text"] = json!(report(set, study));
        }
        value
    };
    let prototype = |prototype: &Prototype| {
        let purity = prototype
            .purity
            .map(|purity| json!({"label": label(set, purity), "share": purity.share, "share_of_all": purity.base}));
        json!({
            "prototype": prototype.index,
            "images": prototype.images,
            "image_share": of_all(prototype.images, found.images),
            "reports": prototype.reports,
            "report_share": of_all(prototype.reports, found.reports.len()),
            "purity": purity,
            "nearest_images": prototype.nearest_images.iter().map(image).collect::<Vec<_>>(),
            "nearest_reports": prototype.nearest_reports.iter().map(text).collect::<Vec<_>>(),
        })
    };
    json!({
        "data": set.dataset.name,
        "images": found.images,
        "reports": found.reports.len(),
        "num_prototypes": found.prototypes.len(),
        "used_by_images": found.used(|prototype| prototype.images),
        "used_by_reports": found.used(|prototype| prototype.reports),
        "agreement": found.agreement,
        "purity": found.purity,
        "purity_by_chance": found.purity_by_chance,
        "prototypes": shown.of(found).iter().map(prototype).collect::<Vec<_>>(),
    })
}

/// The figures of all prototypes, then a line for each that is shown.
fn table(found: &Prototypes, set: Embedded<'_>, shown: Shown) -> String {
    let mut columns = vec![
        ("prototype", Align::Right),
        ("images", Align::Right),
        ("%", Align::Right),
        ("reports", Align::Right),
        ("%", Align::Right),
        ("purity", Align::Right),
        ("of all", Align::Right),
        ("label", Align::Left),
        ("nearest images: row (cosine)", Align::Left),
    ];
    if shown.text {
        columns.push(("nearest report", Align::Left));
    }
    let mut table = Table::new(&columns);
    let dash = || "-".to_owned();
    let figure = |value: Option<f64>| value.map_or_else(dash, number);
    let percent =
        |part: usize, whole: usize| super::share(part, whole).map_or_else(dash, |s| format!("{:.1}", 100.0 * s));
    for prototype in shown.of(found) {
        let named = prototype.nearest_images.iter().take(NAMED);
        let named = named.map(|n| format!("{} ({:.2})", row(set, set.images[n.index].0), n.score));
        let mut cells = vec![
            prototype.index.to_string(),
            prototype.images.to_string(),
            percent(prototype.images, found.images),
            prototype.reports.to_string(),
            percent(prototype.reports, found.reports.len()),
            figure(prototype.purity.map(|purity| purity.share)),
            figure(prototype.purity.map(|purity| purity.base)),
            prototype.purity.map_or_else(dash, |purity| label(set, purity)),
            named.collect::<Vec<_>>().join(", "),
        ];
        if shown.text {
            let nearest = prototype.nearest_reports.first();
            let quoted = nearest.map(|n| report(set, found.reports[n.index]).chars().take(QUOTED).collect());
            cells.push(quoted.unwrap_or_else(dash));
        }
        table.row(cells);
    }
    let used = (found.used(|prototype| prototype.images), found.used(|prototype| prototype.reports));
    format!(
        "{}: {} images in {} of {} prototypes, {} reports in {}; image and report agree: {}; purity {}, by chance {}\n\n{table}",
        set.dataset.name,
        found.images,
        used.0,
        found.prototypes.len(),
        found.reports.len(),
        used.1,
        figure(found.agreement),
        figure(found.purity),
        figure(found.purity_by_chance),
    )
}
