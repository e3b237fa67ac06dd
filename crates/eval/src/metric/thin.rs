//! Curves with too many points to be drawn.

/// Points of a curve from left to right, thinned to at most the larger of `max_points` and 4.
///
/// A curve that has no more points than that is returned whole. Otherwise `[0, 1]` is cut into a quarter as many equal
/// columns, and each keeps its first, last, lowest and highest point. What is left out lies in a column between points that
/// are kept, lower and higher ones, so no point of the whole curve is farther from the thinned one than a column is wide,
/// level with it: with 1,000 points 0.004, less than a pixel of most charts.
pub(super) fn thin<T: Copy>(points: Vec<T>, max_points: usize, xy: impl Fn(&T) -> (f64, f64)) -> Vec<T> {
    if points.len() <= max_points.max(4) {
        return points;
    }
    let columns = (max_points / 4).max(1);
    let mut kept: Vec<T> = Vec::with_capacity(4 * columns);
    for members in points.chunk_by(|a, b| column(xy(a).0, columns) == column(xy(b).0, columns)) {
        let y = |i: &usize| xy(&members[*i]).1;
        let of = |better: fn(f64, f64) -> bool| {
            (1..members.len()).fold(0, |best, i| if better(y(&i), y(&best)) { i } else { best })
        };
        let mut chosen = [0, of(|a, b| a < b), of(|a, b| a > b), members.len() - 1];
        chosen.sort_unstable();
        kept.extend(
            chosen.iter().enumerate().filter(|&(i, c)| i == 0 || chosen[i - 1] != *c).map(|(_, &c)| members[c]),
        );
    }
    kept
}

/// The column that a place in `[0, 1]` lies in.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of columns")]
fn column(x: f64, columns: usize) -> usize {
    ((x * columns as f64) as usize).min(columns - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_curves_stay_whole() {
        let points: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(i) / 8.0, 0.5)).collect();
        assert_eq!(thin(points.clone(), 9, |&p| p), points);
        assert_eq!(thin(points[..4].to_vec(), 0, |&p| p), points[..4]);
    }

    #[test]
    fn columns_keep_ends_and_extremes() {
        // One column of 5 points: the third is the highest, the fourth the lowest.
        let points = [(0.0, 0.5), (0.1, 0.6), (0.2, 0.9), (0.3, 0.1), (0.4, 0.5)];
        assert_eq!(thin(points.to_vec(), 4, |&p| p), [points[0], points[2], points[3], points[4]]);
        // Two columns; in the second the last is the highest too.
        let points: Vec<(f64, f64)> = (0..=100).map(|i| (f64::from(i) / 100.0, f64::from(i))).collect();
        let kept: Vec<f64> = thin(points, 8, |&p| p).iter().map(|p| p.1).collect();
        assert_eq!(kept, [0.0, 49.0, 50.0, 100.0]);
    }
}
