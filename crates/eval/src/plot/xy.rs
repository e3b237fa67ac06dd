//! Charts of points and lines on two even axes: curves over steps, ROC and precision-recall curves, reliability, maps.

use std::ops::Range;

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::style::WHITE;

use super::axis::Levels;
use super::{Area, LEGEND_LINE, PANEL, Pixel, PlotError, axes, dashed_line, legend, line, marker, pixels};

/// Letters of a name beyond which two do not fit into a line of the legend.
const LONG: usize = 17;

/// How points of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Joined by a line.
    Line,
    /// Joined by a line, with a mark at each.
    Marked,
    /// A mark at each.
    Marks,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct XySeries {
    /// Name in the legend.
    pub name: String,
    /// How they are drawn.
    pub style: Style,
    /// Across and up, in drawing order.
    pub points: Vec<(f64, f64)>,
}

/// One pair of axes with its series.
#[derive(Debug, Clone, PartialEq)]
pub struct XyChart {
    /// What stands above.
    pub title: String,
    /// Title of the horizontal axis.
    pub x_title: String,
    /// Title of the vertical axis.
    pub y_title: String,
    /// The series.
    pub series: Vec<XySeries>,
    /// Ends of both axes; those of the points where absent.
    pub ends: Option<Range<f64>>,
    /// Whether a dashed line joins the lower left with the upper right corner of fixed ends: chance, or perfect calibration.
    pub diagonal: bool,
}

impl XyChart {
    /// The chart as SVG.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn svg(&self) -> Result<String, PlotError> {
        for series in &self.series {
            if !series.points.iter().all(|(x, y)| x.is_finite() && y.is_finite()) {
                return Err(PlotError::OffTheAxes { panel: self.title.clone(), name: series.name.clone() });
            }
        }
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        // One series needs no name: the axis has it.
        let named = if names.len() > 1 { names.as_slice() } else { &[] };
        let entries = if named.iter().any(|name| name.chars().count() > LONG) { 1 } else { 2 };
        let top = pixels(named.len().div_ceil(entries)).cast_unsigned() * LEGEND_LINE;
        // A square plot area where both axes have the same ends.
        let height = if self.ends.is_some() { PANEL.0 } else { PANEL.1 };
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (PANEL.0, height + top)).into_drawing_area();
            root.fill(&WHITE)?;
            let (strip, below) = root.split_vertically(top);
            legend(&strip, named, entries)?;
            self.draw(&below)?;
            root.present()?;
        }
        Ok(svg)
    }

    fn levels(&self) -> (Levels, Levels) {
        if let Some(ends) = &self.ends {
            let levels = Levels::around([ends.start, ends.end].into_iter());
            return (levels, levels);
        }
        let points = || self.series.iter().flat_map(|series| &series.points);
        (Levels::around(points().map(|point| point.0)), Levels::around(points().map(|point| point.1)))
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let (across, up) = self.levels();
        let titles = [self.title.as_str(), &self.x_title, &self.y_title];
        let chart = axes(area, titles, (across.axis(), &|x| across.text(*x)), (up.axis(), &|y| up.text(*y)))?;
        let place = |&(x, y): &(f64, f64)| -> Pixel { chart.backend_coord(&(x, y)) };
        let whole = area.use_screen_coord();
        if let (true, Some(ends)) = (self.diagonal, &self.ends) {
            dashed_line(&whole, place(&(ends.start, ends.start)), place(&(ends.end, ends.end)))?;
        }
        for (number, series) in self.series.iter().enumerate() {
            let points: Vec<Pixel> = series.points.iter().map(place).collect();
            if series.style != Style::Marks {
                line(&whole, points.clone(), number)?;
            }
            if series.style != Style::Line {
                points.into_iter().try_for_each(|at| marker(&whole, at, number))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn series(name: &str, style: Style, points: &[(f64, f64)]) -> XySeries {
        XySeries { name: name.to_owned(), style, points: points.to_vec() }
    }

    fn chart(series: Vec<XySeries>, ends: Option<Range<f64>>) -> XyChart {
        let [title, x_title, y_title] = ["ROC", "false positives", "true positives"].map(str::to_owned);
        XyChart { title, x_title, y_title, series, diagonal: ends.is_some(), ends }
    }

    /// The vertices of the line of two points or more that a colour draws last.
    fn last_line(svg: &str, stroke: &str) -> Vec<(f64, f64)> {
        let document = Document::parse(svg).unwrap();
        let lines = document.descendants().filter(|node| node.attribute("stroke") == Some(stroke));
        let points = lines.filter_map(|node| node.attribute("points")).next_back().unwrap().trim();
        let pair = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        points.split(' ').map(pair).collect()
    }

    #[test]
    fn points_lie_where_the_axes_say() {
        let curve = series("first", Style::Line, &[(0.0, 0.0), (0.5, 1.0), (1.0, 1.0)]);
        let svg = chart(vec![curve, series("second", Style::Marks, &[(0.5, 0.5)])], Some(0.0..1.0)).svg().unwrap();
        let points = last_line(&svg, "#0072B2");
        let (from, to) = (points[0], points[2]);
        assert!(to.0 > from.0 && to.1 < from.1, "{points:?}");
        assert!((points[1].0 - f64::midpoint(from.0, to.0)).abs() <= 1.0 && (points[1].1 - to.1).abs() < 0.5);
        // The mark of the second in the middle; the other square is that of its name in the legend.
        let document = Document::parse(&svg).unwrap();
        let squares: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("rect") && node.attribute("width") == Some("8"))
            .collect();
        assert_eq!(squares.len(), 2);
        let x: f64 = squares[1].attribute("x").unwrap().parse().unwrap();
        assert!((x + 4.0 - f64::midpoint(from.0, to.0)).abs() <= 1.0);
    }

    #[test]
    fn one_series_needs_no_legend_and_none_still_makes_a_chart() {
        let one = chart(vec![series("alone", Style::Marked, &[(1.0, 2.0), (10.0, 3.0)])], None).svg().unwrap();
        assert!(!one.contains("alone") && one.contains("false positives"));
        for chart in [chart(Vec::new(), None), chart(vec![series("a", Style::Line, &[])], Some(0.0..1.0))] {
            Document::parse(&chart.svg().unwrap()).unwrap();
        }
        let bad = chart(vec![series("a method", Style::Line, &[(0.0, f64::NAN)])], None);
        let message = bad.svg().unwrap_err().to_string();
        assert!(message.contains("a method") && message.contains("ROC"), "{message}");
    }
}
