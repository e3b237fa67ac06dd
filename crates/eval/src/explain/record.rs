//! What `eval explain` writes: overlays and the numbers behind them.

use std::path::Path;

use data::error::DataError;
use data::fsx;
use data::image::colour::overlay;
use data::image::encode::png_rgb;
use data::image::sheet::colour_sheet;
use data::image::transform::resize_larger_side;
use data::image::{GrayImage, Plane, RgbImage};
use serde_json::{Value, json};

use super::frame::Frame;
use super::{Explained, Explainer, Grid, WordMap};
use crate::embed::framed;
use crate::error::Result;

/// Columns of the sheet of words at most.
const COLUMNS: usize = 6;
/// Longest part of a word in the name of a file.
const NAMED: usize = 32;

/// What is written besides the map of the sentence, and whether it may hold text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Whether there is no map for each word.
    pub sentence_only: bool,
    /// Whether words stand in names of files and in numbers. A report is private: not by default.
    pub text: bool,
}

/// Explains a decoded image and writes `sentence.png`, `word-01.png` and so on, `words.png` with all of them, and
/// `weights.json`, whose content it gives back.
///
/// # Errors
/// If the text has no word, or a file cannot be written.
pub fn explain_to(out: &Path, explainer: &Explainer, image: &GrayImage, text: &str, shown: Shown) -> Result<Value> {
    let source = resize_larger_side(image.clone(), explainer.preprocess.source_size);
    let seen = framed(&source, &explainer.preprocess);
    let mut explained = explainer.explain(&seen, text)?;
    if shown.sentence_only {
        explained.words = None;
    }
    let frame = Frame::new(image.width, image.height, &explainer.preprocess);
    let sentence = overlaid(&seen, &explained.sentence);
    write(&out.join("sentence.png"), &sentence)?;
    let words = explained.words.as_deref().unwrap_or_default();
    let pictures: Vec<RgbImage> = words.iter().map(|word| overlaid(&seen, &word.grid)).collect();
    let names: Vec<String> =
        (1..).zip(words).map(|(number, word)| file_name(number, words.len(), word, shown)).collect();
    for (picture, name) in pictures.iter().zip(&names) {
        write(&out.join(name), picture)?;
    }
    if !pictures.is_empty() {
        write(&out.join("words.png"), &colour_sheet(&pictures, COLUMNS))?;
    }
    let record = record(explainer, &explained, &frame, (image.width, image.height), &names, shown.text.then_some(text));
    fsx::write_atomic(&out.join("weights.json"), format!("{record:#}\n").as_bytes())?;
    Ok(record)
}

fn overlaid(seen: &Plane, grid: &Grid) -> RgbImage {
    overlay(seen, &grid.enlarged(seen.width))
}

fn write(path: &Path, picture: &RgbImage) -> Result<()> {
    let bytes = png_rgb(picture).map_err(DataError::from)?;
    Ok(fsx::write_atomic(path, &bytes)?)
}

/// `word-07.png`, or `word-07-effusion.png` where words may be shown.
fn file_name(number: usize, count: usize, word: &WordMap, shown: Shown) -> String {
    let digits = count.to_string().len().max(2);
    let mut name = format!("word-{number:0digits$}");
    let plain: String = word.text.expose().chars().filter(char::is_ascii_alphanumeric).take(NAMED).collect();
    if shown.text && !plain.is_empty() {
        name = format!("{name}-{}", plain.to_lowercase());
    }
    name + ".png"
}

fn record(
    explainer: &Explainer,
    explained: &Explained,
    frame: &Frame,
    (width, height): (usize, usize),
    names: &[String],
    text: Option<&str>,
) -> Value {
    let attention = explainer.rules.map(|rules| {
        if rules.learned_attention {
            json!({"kind": "learned"})
        } else {
            json!({"kind": "similarity", "temperature": rules.token_temperature})
        }
    });
    let map = |grid: &Grid, file: &str, text: Option<&str>| {
        let mut value = json!({
            "file": file,
            "scale": [grid.scale().0, grid.scale().1],
            "highest": highest(grid, frame),
            "values": grid.values,
        });
        if let Some(text) = text {
            value["text"] = json!(text);
        }
        value
    };
    let mut sentence = map(&explained.sentence, "sentence.png", text);
    sentence["compared_as"] = json!(explainer.sentence);
    let words = explained.words.as_ref().map(|words| {
        let words = words.iter().zip(names).map(|(word, name)| {
            let mut value = map(&word.grid, name, text.map(|_| word.text.expose().as_str()));
            value["separator"] = json!(word.is_separator);
            value
        });
        words.collect::<Vec<Value>>()
    });
    json!({
        "image": {"width": width, "height": height},
        "input_size": explainer.preprocess.image_size,
        "grid": {"rows": explained.sentence.rows, "columns": explained.sentence.columns},
        "method": if explainer.rules.is_some() { "local_heads" } else { "class_activation" },
        "attention": attention,
        "text_was_cut": explained.is_cut,
        "sentence": sentence,
        "words": words,
    })
}

/// The highest cell: in the grid, its middle and its sides in pixels of the image.
fn highest(grid: &Grid, frame: &Frame) -> Value {
    let (row, column) = grid.highest();
    let [left, top, right, bottom] = frame.cell(grid, (row, column));
    json!({
        "row": row,
        "column": column,
        "value": grid.values[row * grid.columns + column],
        "pixel": {"x": f64::midpoint(left, right), "y": f64::midpoint(top, bottom)},
        "box": {"left": left, "top": top, "right": right, "bottom": bottom},
    })
}
