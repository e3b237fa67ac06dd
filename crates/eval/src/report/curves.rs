//! Curves of a training.

use maud::Markup;

use super::page::{Section, chart, charts};
use super::record::Metrics;
use crate::error::Result;
use crate::plot::{Style, XyChart, XySeries};

/// Points of a curve at most: more steps are averaged, so that a long run keeps its shape and a report its size.
const POINTS: usize = 300;
/// Parts of the loss at most, so that the legend can be read.
const PARTS: usize = 10;

fn drawn(metrics: &Metrics) -> Result<Vec<Markup>> {
    let mut all = Vec::new();
    let mut add = |title: &str, y_title: &str, series: Vec<XySeries>, caption: &str| -> Result<()> {
        if !series.is_empty() {
            let svg = curve_chart(title, y_title, series).svg()?;
            all.push(chart(&svg, caption));
        }
        Ok(())
    };
    let pick = |names: &[&str]| -> Vec<XySeries> {
        names.iter().filter_map(|name| Some(curve(&short(name), metrics.get(*name)?))).collect()
    };
    let mut loss = pick(&["train/loss", "validate/loss"]);
    ["training", "validation"].iter().zip(&mut loss).for_each(|(name, series)| (*name).clone_into(&mut series.name));
    add("Loss", "loss", loss, "Loss of the training batches and, where it was asked for, of the validation part.")?;
    let parts: Vec<&str> =
        metrics.keys().map(String::as_str).filter(|name| name.starts_with("train/loss/")).take(PARTS).collect();
    add("Parts of the loss", "loss", pick(&parts), "The parts as they are before their weights.")?;
    let right = [("images", "train/accuracy"), ("sentences", "train/sentence_accuracy")];
    let right = right.iter().filter_map(|(name, metric)| Some(curve(name, metrics.get(*metric)?))).collect();
    let caption = "How often an image, or a sentence, finds its own partner among those of its batch.";
    add("Right pairs within the batch", "share", right, caption)?;
    add("Speed", "images/s", pick(&["train/images_per_second"]), "Images that training takes per second.")?;
    Ok(all)
}

pub(super) fn section(metrics: &Metrics) -> Result<Option<Section>> {
    let all = drawn(metrics)?;
    Ok((!all.is_empty()).then(|| super::section("curves", "Training", charts(&all))))
}

/// A chart of curves over steps.
pub(super) fn curve_chart(title: &str, y_title: &str, series: Vec<XySeries>) -> XyChart {
    let (title, y_title) = (title.to_owned(), y_title.to_owned());
    XyChart { title, x_title: "update".to_owned(), y_title, series, ends: None, diagonal: false }
}

/// A curve of at most [`POINTS`] points, each the mean of as many neighbours.
pub(super) fn curve(name: &str, values: &[(f64, f64)]) -> XySeries {
    let every = values.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let n = chunk.len() as f64;
        (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
    };
    XySeries { name: name.to_owned(), style: Style::Line, points: values.chunks(every).map(mean).collect() }
}

/// The last part of a name, as people write it.
fn short(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_averaged_and_keep_their_mean() {
        let values: Vec<(f64, f64)> = (0..1200).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        let series = curve("loss", &values);
        assert_eq!(series.points.len(), POINTS);
        let mean = |points: &[(f64, f64)]| points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64;
        assert!((mean(&series.points) - mean(&values)).abs() < 1e-9);
        assert_eq!(curve("loss", &values[..3]).points, &values[..3]);
    }

    #[test]
    fn what_was_logged_is_drawn() {
        let metrics = Metrics::from([
            ("train/loss".to_owned(), vec![(10.0, 3.0), (20.0, 2.0)]),
            ("validate/loss".to_owned(), vec![(20.0, 2.5)]),
            ("train/loss/token_loss".to_owned(), vec![(10.0, 1.0)]),
        ]);
        let html: String = drawn(&metrics).unwrap().into_iter().map(Markup::into_string).collect();
        assert_eq!(html.matches("<svg").count(), 2);
        assert!(html.contains("validation") && html.contains("update"));
        assert!(section(&Metrics::new()).unwrap().is_none());
    }
}
