//! The pointing game: whether the highest cell of the map of a sentence lies on the finding that the sentence is about.
//!
//! Zhang et al., "Top-down neural attention by excitation backprop", 2016, section 4.1, with cells in the place of their margin of
//! 15 pixels. A hit is the middle of the highest cell within the box of the finding or, of a box smaller than a cell, the middle of
//! the box within that cell. Cases are phantoms with one finding in one place; two controls see the same images: the sentence of
//! another finding, and another model.

use std::collections::BTreeMap;

use data::image::GrayImage;
use data::record::{Dataset, ImageSource};
use data::source::phantom::CLASSES;
use engine::upload::Preprocess;
use serde::Serialize;

use crate::embed::framed;
use crate::error::{EvalError, Result};
use crate::explain::frame::Frame;
use crate::explain::{Explainer, Grid};
use crate::metric::{ClusteredMean, Clusters, Difference, Interval};
use crate::tasks::Tools;

/// An image with one finding in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its place in the data set.
    pub study: usize,
    /// Class of the finding, an index into [`CLASSES`].
    pub class: usize,
    /// What the report says of it.
    pub statement: String,
    /// Left, top, right and bottom of its box as fractions of the picture.
    pub corners: [f32; 4],
}

impl Case {
    /// Share of the picture that the box takes.
    pub fn area(&self) -> f64 {
        let [left, top, right, bottom] = self.corners.map(|corner| f64::from(corner.clamp(0.0, 1.0)));
        (right - left).max(0.0) * (bottom - top).max(0.0)
    }

    /// Whether the highest cell of a map is a hit.
    pub(crate) fn is_pointed_at(&self, map: &Grid, image: &GrayImage, preprocess: &Preprocess) -> bool {
        self.is_hit_by(Placed::new(image, preprocess).cell(map, map.highest()))
    }

    /// Whether a cell (left, top, right and bottom as fractions of the picture) hits the box: the middle of one lies in the other.
    fn is_hit_by(&self, cell: [f64; 4]) -> bool {
        let within = |[left, top, right, bottom]: [f64; 4], [x, y]: [f64; 2]| {
            (left..=right).contains(&x) && (top..=bottom).contains(&y)
        };
        let middle = |[left, top, right, bottom]: [f64; 4]| [f64::midpoint(left, right), f64::midpoint(top, bottom)];
        let place = self.corners.map(f64::from);
        within(place, middle(cell)) || within(cell, middle(place))
    }
}

/// The phantoms of a data set with one finding in one place: those with an edema or effusions on both sides are none.
pub fn cases(dataset: &Dataset) -> Vec<Case> {
    let case = |(study, found): (usize, &data::record::Study)| {
        let [ImageSource::Phantom(key)] = found.images[..] else { return None };
        let phantom = key.study();
        let ([place], [statement]) = (&phantom.boxes()[..], &phantom.statements[..]) else { return None };
        Some(Case { study, class: place.class, statement: statement.clone(), corners: place.corners })
    };
    dataset.studies.iter().enumerate().filter_map(case).collect()
}

/// How often a model points at findings, and how often its controls do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointingFigures {
    /// Images.
    pub num_cases: usize,
    /// Rows and columns of the maps.
    pub grid: [usize; 2],
    /// Mean area of the boxes, as a share of the picture.
    pub box_area: f64,
    /// Share of hits; chance: the share of cells that would be hits, which is about the area of the boxes.
    pub hits: Interval,
    /// The same for each class.
    pub per_class: BTreeMap<&'static str, Interval>,
    /// Share of hits with the sentence of another case, whose finding is of another class.
    pub other_sentence: Interval,
    /// Hits more than those, over the same images.
    pub over_other_sentence: Difference,
    /// Share of hits of another model, its maps interpolated to the same grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_model: Option<Interval>,
    /// Hits more than those, over the same images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_other_model: Option<Difference>,
}

/// Plays the game with the cases of a data set.
///
/// # Errors
/// If there are fewer than two classes among the cases, or an image cannot be read.
pub fn pointing(
    explainer: &Explainer,
    other: Option<&Explainer>,
    dataset: &Dataset,
    tools: &Tools,
) -> Result<PointingFigures> {
    let cases = cases(dataset);
    let own: Vec<&str> = cases.iter().map(|case| case.statement.as_str()).collect();
    let strange = sentences_of_others(&cases).ok_or_else(|| {
        let what = "it has no phantoms of two classes with one finding in one place".to_owned();
        EvalError::Unfit { data: dataset.name.clone(), what }
    })?;
    let found = look(explainer, &cases, &[&own, &strange], dataset, tools)?;
    let like = &found[0].maps[0];
    let [hits, strange] = [0, 1].map(|sentences| hits(&cases, &found, sentences, like));
    let other = other.map(|other| look(other, &cases, &[&own], dataset, tools)).transpose()?;
    let other = other.map(|found| self::hits(&cases, &found, 0, like));
    // Each phantom is a patient of its own.
    let clusters = Clusters::singletons(cases.len());
    let mean_of = |value: &dyn Fn(usize) -> f64, of: &dyn Fn(&Case) -> bool| {
        let values: Vec<f64> = (0..cases.len()).filter(|&case| of(&cases[case])).map(value).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let chance =
        |of: &dyn Fn(&Case) -> bool| mean_of(&|case| share_of_hits(&cases[case], &found[case].placed, like), of);
    let mean = |values: &[Option<f64>]| ClusteredMean::new(values, &clusters);
    let interval = |values: &[Option<f64>], chance: f64| -> Result<Interval> {
        let mean = mean(values)?;
        Ok(tools.bootstrap.interval(clusters.len(), Some(chance), |counts| mean.value(counts)))
    };
    let difference = |control: &[Option<f64>]| -> Result<Difference> {
        let (first, second) = (mean(&hits)?, mean(control)?);
        Ok(tools.bootstrap.difference(clusters.len(), |counts| first.value(counts), |counts| second.value(counts)))
    };
    let mut per_class = BTreeMap::new();
    for (class, name) in CLASSES.into_iter().enumerate() {
        let of_class = |case: &Case| case.class == class;
        let values: Vec<Option<f64>> =
            cases.iter().zip(&hits).map(|(case, hit)| hit.filter(|_| of_class(case))).collect();
        if values.iter().any(Option::is_some) {
            per_class.insert(name, interval(&values, chance(&of_class))?);
        }
    }
    let by_chance = chance(&|_| true);
    Ok(PointingFigures {
        num_cases: cases.len(),
        box_area: mean_of(&|case| cases[case].area(), &|_| true),
        grid: [like.rows, like.columns],
        hits: interval(&hits, by_chance)?,
        per_class,
        other_sentence: interval(&strange, by_chance)?,
        over_other_sentence: difference(&strange)?,
        other_model: other.as_ref().map(|other| interval(other, by_chance)).transpose()?,
        over_other_model: other.as_ref().map(|other| difference(other)).transpose()?,
    })
}

/// For each case the sentence of the next one of another class; nothing where all are of one class.
fn sentences_of_others(cases: &[Case]) -> Option<Vec<&str>> {
    let of_other = |(place, case): (usize, &Case)| {
        let next = cases[place..].iter().chain(cases).find(|next| next.class != case.class)?;
        Some(next.statement.as_str())
    };
    if cases.is_empty() { None } else { cases.iter().enumerate().map(of_other).collect() }
}

/// What a model makes of one image.
#[derive(Debug, Clone)]
struct Seen {
    placed: Placed,
    /// One for each list of sentences.
    maps: Vec<Grid>,
}

/// Shows each case to a model once, with a sentence of each list.
fn look(
    explainer: &Explainer,
    cases: &[Case],
    sentences: &[&[&str]],
    dataset: &Dataset,
    tools: &Tools,
) -> Result<Vec<Seen>> {
    let preprocess = &explainer.preprocess;
    let opened = tools.open(dataset, preprocess)?;
    tools.progress("maps", cases.len(), |tick| {
        let mut found = Vec::with_capacity(cases.len());
        for batch in cases.chunks(tools.batch_size) {
            let first = found.len();
            let mut planes = Vec::with_capacity(batch.len());
            for case in batch {
                let image = opened.store.load(case.study, 0)?;
                planes.push(framed(&image, preprocess));
                found.push(Seen { placed: Placed::new(&image, preprocess), maps: Vec::new() });
            }
            let cells = explainer.cells(explainer.images(&planes))?;
            for list in sentences {
                let maps = explainer.sentence_maps(&cells, &list[first..first + batch.len()])?;
                found[first..].iter_mut().zip(maps).for_each(|(seen, map)| seen.maps.push(map));
            }
            tick(found.len())?;
        }
        Ok(found)
    })
}

/// Where the square that a network sees lies in its picture.
#[derive(Debug, Clone, Copy)]
struct Placed {
    frame: Frame,
    width: f64,
    height: f64,
}

impl Placed {
    fn new(image: &GrayImage, preprocess: &Preprocess) -> Self {
        let frame = Frame::new(image.width, image.height, preprocess);
        Self { frame, width: image.width as f64, height: image.height as f64 }
    }

    /// Left, top, right and bottom of a cell as fractions of the picture.
    fn cell(&self, grid: &Grid, cell: (usize, usize)) -> [f64; 4] {
        let [left, top, right, bottom] = self.frame.cell(grid, cell);
        [left / self.width, top / self.height, right / self.width, bottom / self.height]
    }
}

/// The share of all cells that would be hits.
fn share_of_hits(case: &Case, placed: &Placed, grid: &Grid) -> f64 {
    let cells = (0..grid.rows).flat_map(|row| (0..grid.columns).map(move |column| (row, column)));
    let hits = cells.filter(|&cell| case.is_hit_by(placed.cell(grid, cell))).count();
    hits as f64 / (grid.rows * grid.columns) as f64
}

/// 1 for each case whose map for one of the lists, on the grid of another, is highest where the finding is; else 0.
fn hits(cases: &[Case], found: &[Seen], list: usize, like: &Grid) -> Vec<Option<f64>> {
    let hit = |(case, seen): (&Case, &Seen)| {
        let map = seen.maps[list].on(like.rows, like.columns, like.cells);
        Some(f64::from(case.is_hit_by(seen.placed.cell(&map, map.highest()))))
    };
    cases.iter().zip(found).map(hit).collect()
}

#[cfg(test)]
mod tests {
    use data::source::parts::PhantomSource;
    use model::image::Cells;

    use super::*;

    fn candidates() -> Vec<Case> {
        cases(&PhantomSource { candidates_per_class: 16, ..PhantomSource::default() }.candidates())
    }

    #[test]
    fn cases_have_one_finding_in_one_place() {
        let cases = candidates();
        let count = |class: &str| cases.iter().filter(|case| CLASSES[case.class] == class).count();
        assert_eq!((count("edema"), count("nodule"), count("consolidation")), (0, 16, 16));
        // Three of ten effusions are on both sides.
        assert!((6..16).contains(&count("pleural_effusion")));
        for case in &cases {
            assert!(!case.statement.is_empty() && case.area() > 0.0 && case.area() < 0.5, "{case:?}");
        }
        let others = sentences_of_others(&cases).unwrap();
        let said = |sentence: &str| cases.iter().find(|case| case.statement == sentence).unwrap().class;
        assert!(cases.iter().zip(&others).all(|(case, sentence)| said(sentence) != case.class));
        let of_one: Vec<Case> = cases.into_iter().filter(|case| case.class == 5).collect();
        assert_eq!((sentences_of_others(&of_one), sentences_of_others(&[])), (None, None));
    }

    #[test]
    fn a_hit_is_the_middle_of_one_within_the_other() {
        const SIDE: usize = 28;
        let image = GrayImage { width: 128, height: 128, pixels: vec![0; 128 * 128] };
        let placed = Placed::new(&image, &Preprocess::imagenet(112, 128, 1));
        let like = Grid { rows: SIDE, columns: SIDE, values: vec![0.0; SIDE * SIDE], cells: Cells::tiles(SIDE) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cell of the grid")]
        let pointing_at = |x: f32, y: f32| {
            let mut map = like.clone();
            map.values[(y * SIDE as f32) as usize * SIDE + (x * SIDE as f32) as usize] = 1.0;
            Seen { placed, maps: vec![map] }
        };
        let cases = candidates();
        let share = |at: &dyn Fn([f32; 4]) -> (f32, f32)| {
            let found: Vec<Seen> = cases
                .iter()
                .map(|case| {
                    let (x, y) = at(case.corners);
                    pointing_at(x.clamp(0.0, 0.999), y.clamp(0.0, 0.999))
                })
                .collect();
            hits(&cases, &found, 0, &like).into_iter().flatten().sum::<f64>() / cases.len() as f64
        };
        let middle = share(&|[left, top, right, bottom]| (f32::midpoint(left, right), f32::midpoint(top, bottom)));
        assert!(middle > 0.999, "{middle}");
        assert!(share(&|[left, top, _, bottom]| (left - 0.04, f32::midpoint(top, bottom))) < 1e-9);
        assert!(share(&|[left, _, right, bottom]| (f32::midpoint(left, right), bottom + 0.04)) < 1e-9);
        // A map as flat as can be points at its first cell, where no finding is.
        assert!(share(&|_| (0.0, 0.0)) < 0.05);
        // Chance is about the area of the box, and a cell at least.
        for case in &cases {
            let chance = share_of_hits(case, &placed, &like);
            let cell = 1.0 / (SIDE * SIDE) as f64;
            assert!(chance >= 0.99 * cell && (chance - case.area()).abs() < 0.3 * case.area() + 3.5 * cell, "{case:?}");
        }
    }
}
