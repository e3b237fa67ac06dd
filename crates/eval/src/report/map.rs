//! The test images as points: the two directions in which their embeddings differ most.

use nalgebra::DMatrix;

use super::page::{Section, chart, charts};
use super::section;
use super::subject::Subject;
use crate::error::Result;
use crate::plot::{Style, XyChart, XySeries};
use crate::ranking::Embeddings;

/// Points at most.
const POINTS: usize = 1000;
/// Classes with marks of their own; images of others count as having several findings.
const CLASSES: usize = 10;

pub(super) fn drawn_section(subject: &Subject) -> Result<Option<Section>> {
    let Some(vectors) = subject.vectors.as_ref().filter(|vectors| vectors.rows() > 2) else { return Ok(None) };
    let (points, shares) = principal(vectors);
    let every = points.len().div_ceil(POINTS).max(1);
    let mut series: Vec<XySeries> = Vec::new();
    for (row, &point) in points.iter().enumerate().step_by(every) {
        let name = kind(subject, row);
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(XySeries { name, style: Style::Marks, points: vec![point] }),
        }
    }
    // In the order of the classes, whichever comes first in the data.
    let place = |name: &str| subject.test.classes.iter().position(|class| *class == name).unwrap_or(usize::MAX);
    series.sort_by(|a, b| place(&a.name).cmp(&place(&b.name)).then_with(|| a.name.cmp(&b.name)));
    for series in &mut series {
        series.name = series.name.replace('_', " ");
    }
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let svg = XyChart {
        title: "Test images".to_owned(),
        x_title: format!("first component ({})", percent(shares[0])),
        y_title: format!("second ({})", percent(shares[1])),
        series,
        ends: None,
        diagonal: false,
    }
    .svg()?;
    let caption = "Embeddings of the test images by their findings, along the two principal components; their shares of the variance \
                   stand at the axes.";
    Ok(Some(section("map", "Embedding map", charts(&[chart(&svg, caption)]))))
}

/// The finding of an image that has one, or that it has none or several.
fn kind(subject: &Subject, row: usize) -> String {
    let labels = &subject.test.studies[subject.study_of[row]].labels;
    let positive: Vec<usize> = (0..labels.len()).filter(|&class| labels[class] == Some(true)).collect();
    match positive[..] {
        [] => "no finding".to_owned(),
        [class] if class < CLASSES => subject.test.classes[class].clone(),
        _ => "several findings".to_owned(),
    }
}

/// Rows along their first two principal components, and the share of the variance that each takes. The sign is such that the
/// largest entry of a component is positive, so that a map does not turn between two runs.
fn principal(vectors: &Embeddings) -> (Vec<(f64, f64)>, [f64; 2]) {
    let (n, d) = (vectors.rows(), vectors.dim());
    let mut rows = DMatrix::from_row_iterator(n, d, vectors.data().iter().map(|&value| f64::from(value)));
    let mean = rows.row_mean();
    rows.row_iter_mut().for_each(|mut row| row -= &mean);
    let eigen = (rows.transpose() * &rows).symmetric_eigen();
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let total: f64 = eigen.eigenvalues.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let along = |place: usize| -> (Vec<f64>, f64) {
        let Some(&column) = order.get(place) else { return (vec![0.0; n], 0.0) };
        let direction = eigen.eigenvectors.column(column);
        let sign = direction[direction.icamax()].signum();
        ((&rows * direction * sign).iter().copied().collect(), eigen.eigenvalues[column].max(0.0) / total)
    };
    let ((x, of_x), (y, of_y)) = (along(0), along(1));
    (x.into_iter().zip(y).collect(), [of_x, of_y])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_component_is_the_direction_of_most_variance() {
        // Unit vectors on an arc of the first two axes, with a little of the third.
        let angle = |i: i16| f32::from(i) * 0.1;
        let row = |i: i16| [angle(i).cos(), angle(i).sin(), if i % 2 == 0 { 0.01 } else { -0.01 }];
        let data: Vec<f32> = (-8..=8).flat_map(row).collect();
        let (points, shares) = principal(&Embeddings::new(17, 3, data).unwrap());
        assert!(shares[0] > 0.9 && shares[0] + shares[1] <= 1.0 + 1e-12, "{shares:?}");
        // Along the second axis, upwards.
        assert!(points.windows(2).all(|pair| pair[1].0 > pair[0].0), "{points:?}");
        assert!(points.iter().map(|p| p.0).sum::<f64>().abs() < 1e-6);
        let flat = principal(&Embeddings::new(3, 1, vec![1.0; 3]).unwrap());
        assert_eq!(flat.0, [(0.0, 0.0); 3]);
    }
}
