//! Learned positions for images of another size.

/// Positions of a square grid of patches as those of another, the class token's as it was.
///
/// Bicubic (`a = -0.75`), grids laid over each other edge to edge, without smoothing: what Hugging Face does for `DINOv2`
/// (`interpolate` with `align_corners = false`).
///
/// # Shapes
/// `positions`: `[1 + from * from, width]`, row-major; the result: `[1 + to * to, width]`.
pub(super) fn resample(positions: &[f32], width: usize, from: usize, to: usize) -> Vec<f32> {
    let (class, grid) = positions.split_at(width);
    let weights = taps(from, to);
    let mut rows = vec![0.0_f32; to * from * width]; // [to, from, width]
    for (out, taps) in rows.chunks_exact_mut(from * width).zip(&weights) {
        for &(row, weight) in taps {
            let line = &grid[row * from * width..(row + 1) * from * width];
            out.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    let mut resampled = class.to_vec();
    for line in rows.chunks_exact(from * width) {
        for taps in &weights {
            let mut cell = vec![0.0_f32; width];
            for &(column, weight) in taps {
                let values = &line[column * width..(column + 1) * width];
                cell.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
            }
            resampled.extend(cell);
        }
    }
    resampled
}

/// For each new place, four old ones with their weights; places over the edge are those at it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "places within a grid"
)]
fn taps(from: usize, to: usize) -> Vec<[(usize, f32); 4]> {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let of = |place: usize| {
        let at = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let (low, part) = (at.floor(), at - at.floor());
        let weights = [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)];
        let old = |i: usize| (low as i64 + i as i64 - 1).clamp(0, from as i64 - 1) as usize;
        [0, 1, 2, 3].map(|i| (old(i), weights[i] as f32))
    };
    (0..to).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_resampled_as_torch_does() {
        // torch.nn.functional.interpolate(grid, size, mode="bicubic", align_corners=False), single precision.
        let grid = [0.0, 1.0, 4.0, 2.0, -3.0, 5.0, 1.0, 0.0, -2.0];
        let larger = [
            -0.246_244, 0.481_406, 2.396_016, 4.117_795, 1.624_399, -1.508_846, 0.381_197, 5.932_442, 2.162_116,
            -1.381_879, -1.039_55, 2.942_399, 0.979_392, 0.770_807, -0.842_342, -2.697_516,
        ];
        let smaller = [0.217_346, 3.439_087, 0.801_682, -0.553_345];
        let positions: Vec<f32> = [9.0].into_iter().chain(grid).collect();
        for want in [&larger[..], &smaller] {
            let got = resample(&positions, 1, 3, want.len().isqrt());
            assert_eq!((got.len(), got[0].to_bits()), (1 + want.len(), 9.0_f32.to_bits()));
            for (got, want) in got[1..].iter().zip(want) {
                // Four products of single precision, twice.
                assert!((got - want).abs() < 2e-6, "{got} and {want}");
            }
        }
        assert_eq!(resample(&positions, 1, 3, 3), positions);
    }
}
