//! Charts as SVG: here figures with their intervals against a count, such as quality against the number of training images;
//! in [`XyChart`] curves and points.
//!
//! A chart stands for itself: it names no file and no font but the reader's own, and equal figures give equal bytes.

mod axis;
mod xy;

use std::io;
use std::ops::Range;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::Ranged as _;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text, TriangleMarker};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle, WHITE};

use axis::{Axis, Levels};
pub use xy::{Style, XyChart, XySeries};

/// Size of a panel with its axes (px).
const PANEL: (u32, u32) = (420, 330);
/// Height of a line of the legend (px).
const LEGEND_LINE: u32 = 30;
/// Entries in a line of the legend at most, for each panel.
const LEGEND_ENTRIES: usize = 2;
/// Room for a line and its marker in the legend (px).
const SAMPLE: i32 = 34;
/// Side of text (px). A chart of two panels shown at half its size is still to be read.
const TEXT: f64 = 17.0;
/// Okabe and Ito's colours, which every kind of sight tells apart, without the yellow, which is too light for a line, and a violet.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(110, 60, 160),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const REFERENCE: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// What it was measured at; more than 0.
    pub x: f64,
    /// The figure.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
}

/// Figures that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend; series of the same name share colour and marker across panels.
    pub name: String,
    /// Its figures, from left to right.
    pub points: Vec<Point>,
}

/// A level to compare with, such as chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What stands beside its line.
    pub name: String,
    /// Where it lies.
    pub value: f64,
}

/// One pair of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What stands above.
    pub title: String,
    /// Title of the vertical axis.
    pub y_title: String,
    /// The lines.
    pub series: Vec<Series>,
    /// A level to compare with.
    pub reference: Option<Reference>,
}

/// Panels side by side under one legend.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// Title of the horizontal axis, which doubles from tick to tick.
    pub x_title: String,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
}

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// A number cannot be placed.
    #[error(
        "panel \"{panel}\" of the chart: a number of \"{name}\" cannot be drawn: leave out what is not finite, and what lies \
         at 0 or below on the horizontal axis"
    )]
    OffTheAxes {
        /// Title of the panel.
        panel: String,
        /// The series or the reference.
        name: String,
    },
    /// The drawing failed.
    #[error("the chart cannot be drawn: {0}")]
    Draw(#[from] DrawingAreaErrorKind<io::Error>),
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Pixel = (i32, i32);

impl LineChart {
    /// The chart as SVG.
    ///
    /// # Errors
    /// A number that is not finite, or at 0 or below on the horizontal axis.
    pub fn svg(&self) -> Result<String, PlotError> {
        self.panels.iter().try_for_each(Panel::check)?;
        let names = self.names();
        let columns = self.panels.len().max(1);
        let legend_lines = names.len().div_ceil(LEGEND_ENTRIES * columns);
        let top = pixels(legend_lines).cast_unsigned() * LEGEND_LINE;
        let size = (PANEL.0 * pixels(columns).cast_unsigned(), PANEL.1 + top);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&WHITE)?;
            let (strip, below) = root.split_vertically(top);
            legend(&strip, &names, LEGEND_ENTRIES * columns)?;
            for (panel, area) in self.panels.iter().zip(below.split_evenly((1, columns))) {
                panel.draw(&area, &self.x_title, &names)?;
            }
            root.present()?;
        }
        Ok(svg)
    }

    /// Every series once, in the order in which they come.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        names
    }
}

impl Panel {
    fn check(&self) -> Result<(), PlotError> {
        let off = |name: &str| Err(PlotError::OffTheAxes { panel: self.title.clone(), name: name.to_owned() });
        for series in &self.series {
            let fine = |p: &Point| p.x > 0.0 && [p.x, p.value, p.low, p.high].iter().all(|v| v.is_finite());
            if !series.points.iter().all(fine) {
                return off(&series.name);
            }
        }
        match &self.reference {
            Some(reference) if !reference.value.is_finite() => off(&reference.name),
            _ => Ok(()),
        }
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    /// The levels that are named on the vertical axis, from its lower to its upper end.
    fn levels(&self) -> Levels {
        let ends = self.points().flat_map(|p| [p.low, p.high, p.value]);
        Levels::around(ends.chain(self.reference.as_ref().map(|reference| reference.value)))
    }

    fn draw(&self, area: &Area<'_>, x_title: &str, names: &[&str]) -> Result<(), PlotError> {
        let levels = self.levels();
        let horizontal = Axis::doubling(self.points().map(|p| p.x));
        let horizontal_ends = horizontal.range();
        let titles = [self.title.as_str(), x_title, &self.y_title];
        let chart =
            axes(area, titles, (horizontal, &|x| format!("{:.0}", x.exp2())), (levels.axis(), &|y| levels.text(*y)))?;
        let place = |x: f64, y: f64| chart.backend_coord(&(x, y));
        self.draw_series(&area.use_screen_coord(), names, &horizontal_ends, &place)
    }

    /// Bands below levels below lines, all of them in pixels of the whole picture, where `place` puts them.
    fn draw_series(
        &self,
        whole: &Area<'_>,
        names: &[&str],
        ends: &Range<f64>,
        place: &dyn Fn(f64, f64) -> Pixel,
    ) -> Result<(), PlotError> {
        let number = |series: &Series| names.iter().position(|name| *name == series.name).unwrap_or(0);
        let along = |series: &Series, pick: fn(&Point) -> f64| -> Vec<Pixel> {
            series.points.iter().map(|p| place(p.x.log2(), pick(p))).collect()
        };
        for series in &self.series {
            let (over, under) = (along(series, |p| p.high), along(series, |p| p.low));
            let band: Vec<Pixel> = over.into_iter().chain(under.into_iter().rev()).collect();
            whole.draw(&Polygon::new(band, colour(number(series)).mix(0.13)))?;
        }
        if let Some(Reference { name, value }) = &self.reference {
            let (from, to) = (place(ends.start, *value), place(ends.end, *value));
            dashed_line(whole, from, to)?;
            let style = text(TEXT * 0.85, REFERENCE).pos(Pos::new(HPos::Right, VPos::Bottom));
            whole.draw(&Text::new(name.as_str(), (to.0 - 4, to.1 - 2), style))?;
        }
        for series in &self.series {
            let points = along(series, |p| p.value);
            line(whole, points.clone(), number(series))?;
            points.into_iter().try_for_each(|at| marker(whole, at, number(series)))?;
        }
        Ok(())
    }
}

/// An axis and how its ticks are written.
type Written<'a> = (Axis, &'a dyn Fn(&f64) -> String);

/// Empty axes under the titles of the chart, of the horizontal and of the vertical axis.
fn axes<'a, 'b>(
    area: &'a Area<'b>,
    [title, x_title, y_title]: [&str; 3],
    (across, across_text): Written<'_>,
    (up, up_text): Written<'_>,
) -> Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>, PlotError> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(22)
        .margin_left(4)
        .margin_bottom(4)
        .caption(title, text(TEXT, INK))
        .x_label_area_size(52)
        .y_label_area_size(66)
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(TEXT * 0.9, INK))
        .axis_desc_style(text(TEXT, INK))
        .x_label_formatter(&across_text)
        .y_label_formatter(&up_text)
        .x_desc(x_title)
        .y_desc(y_title)
        .draw()?;
    Ok(chart)
}

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// A count as pixels; those of a chart are few.
fn pixels(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Text of a height (px); plotters takes more.
fn text(height: f64, colour: RGBColor) -> TextStyle<'static> {
    const PLOTTERS: f64 = 1.24;
    ("Helvetica, Arial, sans-serif", height * PLOTTERS).into_font().color(&colour)
}

fn legend(area: &Area<'_>, names: &[&str], most: usize) -> Result<(), PlotError> {
    let width = pixels(area.dim_in_pixel().0 as usize);
    let line_height = pixels(LEGEND_LINE as usize);
    let columns = pixels(most.min(names.len()).max(1));
    let cell = (width / columns).min(210);
    let left = (width - cell * columns) / 2;
    for (number, name) in names.iter().enumerate() {
        let (row, column) = (pixels(number / most), pixels(number % most));
        let (x, y) = (left + column * cell + 10, row * line_height + line_height / 2 + 4);
        line(area, vec![(x, y), (x + SAMPLE, y)], number)?;
        marker(area, (x + SAMPLE / 2, y), number)?;
        let style = text(TEXT, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(*name, (x + SAMPLE + 9, y), style))?;
    }
    Ok(())
}

fn line(area: &Area<'_>, points: Vec<Pixel>, number: usize) -> Result<(), PlotError> {
    Ok(area.draw(&PathElement::new(points, colour(number).stroke_width(2)))?)
}

/// A mark of a series. Marks differ by more than their colour, for prints without.
fn marker(area: &Area<'_>, (x, y): Pixel, number: usize) -> Result<(), PlotError> {
    let style = colour(number).filled();
    // Series of one colour have marks of their own.
    match (number + 2 * (number / COLOURS.len())) % 3 {
        0 => area.draw(&Circle::new((x, y), 5, style))?,
        1 => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], style))?,
        _ => area.draw(&TriangleMarker::new((x, y), 7, style))?,
    }
    Ok(())
}

/// A straight line of dashes.
fn dashed_line(area: &Area<'_>, from: Pixel, to: Pixel) -> Result<(), PlotError> {
    const DASH: f64 = 6.0;
    let (across, up) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = across.hypot(up);
    let at = |distance: f64| {
        let share = (distance / length).min(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "between two pixels")]
        let part = |side: f64| (side * share).round() as i32;
        (from.0 + part(across), from.1 + part(up))
    };
    let mut distance = 0.0;
    while distance < length {
        let dash = vec![at(distance), at(distance + DASH)];
        area.draw(&PathElement::new(dash, REFERENCE.stroke_width(1)))?;
        distance += 2.0 * DASH;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn series(name: &str, values: &[f64]) -> Series {
        let point = |(i, &value): (usize, &f64)| Point {
            x: 128.0 * 2_f64.powi(i32::try_from(i).unwrap()),
            value,
            low: value - 0.02,
            high: value + 0.03,
        };
        Series { name: name.to_owned(), points: values.iter().enumerate().map(point).collect() }
    }

    fn panel(series: Vec<Series>) -> Panel {
        let reference = Some(Reference { name: "chance".to_owned(), value: 0.5 });
        Panel { title: "Linear probe".to_owned(), y_title: "macro AUROC".to_owned(), series, reference }
    }

    fn chart(panels: Vec<Panel>) -> LineChart {
        LineChart { x_title: "training images".to_owned(), panels }
    }

    /// Every text of a picture.
    fn texts(svg: &str) -> Vec<String> {
        let document = Document::parse(svg).unwrap();
        let texts = document.descendants().filter(|node| node.has_tag_name("text"));
        texts.map(|node| node.text().unwrap().trim().to_owned()).collect()
    }

    #[test]
    fn a_chart_names_all_that_it_shows_and_nothing_outside() {
        let left = panel(vec![series("a < b & \"c\"", &[0.55, 0.6, 0.7]), series("second", &[0.5, 0.52, 0.6])]);
        let right = panel(vec![series("second", &[0.7, 0.72, 0.73]), series("third", &[0.8, 0.81, 0.85])]);
        let chart = chart(vec![left, right]);
        let svg = chart.svg().unwrap();
        assert_eq!(svg, chart.svg().unwrap());
        let texts = texts(&svg);
        let count = |text: &str| texts.iter().filter(|t| *t == text).count();
        // The legend names a series once, the axes are named on either panel.
        for name in ["a < b & \"c\"", "second", "third"] {
            assert_eq!(count(name), 1, "{name}: {texts:?}");
        }
        for name in ["training images", "macro AUROC", "Linear probe", "chance", "128", "256", "512"] {
            assert_eq!(count(name), 2, "{name}: {texts:?}");
        }
        let document = Document::parse(&svg).unwrap();
        let attributes: Vec<_> = document.descendants().flat_map(|node| node.attributes()).collect();
        assert!(attributes.iter().all(|a| !["href", "src", "style"].contains(&a.name())), "{svg}");
        assert!(
            attributes.iter().all(|a| !["NaN", "inf", "url", "://"].iter().any(|w| a.value().contains(w))),
            "{svg}"
        );
        assert_eq!(svg.matches("://").count(), 1, "the namespace alone");
    }

    #[test]
    fn a_series_has_one_colour_across_panels() {
        let first = panel(vec![series("a", &[0.6, 0.7]), series("b", &[0.7, 0.6])]);
        let svg = chart(vec![first, panel(vec![series("b", &[0.7, 0.7])])]).svg().unwrap();
        // Lines of two points: in the legend and on each panel that has the series.
        let document = Document::parse(&svg).unwrap();
        let lines = |colour: &str| {
            let strokes =
                document.descendants().filter_map(|node| node.attribute("stroke").zip(node.attribute("points")));
            strokes.filter(|(stroke, points)| *stroke == colour && points.trim().split(' ').count() == 2).count()
        };
        assert_eq!((lines("#0072B2"), lines("#D55E00"), lines("#009E73")), (2, 3, 0));
    }

    #[test]
    fn higher_figures_lie_higher_and_larger_counts_farther_right() {
        let svg = chart(vec![panel(vec![series("a", &[0.6, 0.9])])]).svg().unwrap();
        let document = Document::parse(&svg).unwrap();
        let circles = document.descendants().filter(|node| node.has_tag_name("circle")).map(|node| {
            let get = |name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
            (get("cx"), get("cy"))
        });
        let circles: Vec<_> = circles.collect();
        // The first is that of the legend.
        assert!(circles.len() == 3 && circles[2].0 > circles[1].0 && circles[2].1 < circles[1].1, "{circles:?}");
    }

    #[test]
    fn little_or_nothing_still_makes_a_chart() {
        let flat = Series { points: vec![Point { x: 64.0, value: 0.5, low: 0.5, high: 0.5 }], name: "one".to_owned() };
        for chart in [
            chart(Vec::new()),
            chart(vec![panel(Vec::new())]),
            chart(vec![panel(vec![series("none", &[]), flat])]),
            chart(vec![Panel { reference: None, ..panel(vec![series("none", &[])]) }]),
            chart(vec![panel((0..9).map(|i| series(&format!("s{i}"), &[0.6; 9])).collect())]),
        ] {
            let svg = chart.svg().unwrap();
            Document::parse(&svg).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let good = Point { x: 2.0, value: 0.5, low: 0.4, high: 0.6 };
        for bad in [Point { x: 0.0, ..good }, Point { value: f64::NAN, ..good }, Point { high: f64::INFINITY, ..good }]
        {
            let series = Series { name: "a method".to_owned(), points: vec![good, bad] };
            let message = chart(vec![panel(vec![series])]).svg().unwrap_err().to_string();
            assert!(message.contains("a method") && message.contains("Linear probe"), "{message}");
        }
        let reference = Some(Reference { name: "chance".to_owned(), value: f64::NAN });
        assert!(chart(vec![Panel { reference, ..panel(Vec::new()) }]).svg().is_err());
    }
}
