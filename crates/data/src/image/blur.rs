//! Gaussian blur of a plane.

use super::Plane;

/// Weights below this are left out: together they are less than a rounding error of the sum.
const NEGLIGIBLE: f64 = 1e-9;

/// The plane blurred with a kernel of `kernel` x `kernel` weights and standard deviation `sigma` (px); borders are
/// mirrored without repeating the edge.
///
/// A kernel of 1 or a `sigma` of 0 changes nothing.
///
/// # Source
/// torchvision `gaussian_blur`; its two-dimensional kernel is the product of the two passes used here.
///
/// # Panics
/// Panics if `kernel` is even, or reaches further than the mirrored image.
pub fn gaussian_blur(plane: Plane, kernel: usize, sigma: f64) -> Plane {
    assert!(kernel % 2 == 1 && kernel / 2 < plane.width.min(plane.height), "the kernel must be odd and fit");
    let weights = half_kernel(kernel / 2, sigma);
    if weights.len() == 1 {
        return plane;
    }
    let (width, height) = (plane.width, plane.height);
    let mut passed = vec![0.0_f32; width * height];
    for (y, out) in passed.chunks_exact_mut(width).enumerate() {
        let row = |y: usize| &plane.data[y * width..(y + 1) * width];
        for (value, &center) in out.iter_mut().zip(row(y)) {
            *value = weights[0] * center;
        }
        for (reach, &weight) in weights.iter().enumerate().skip(1) {
            let (above, below) = (row(mirror_low(y, reach)), row(mirror_high(y, reach, height)));
            for ((value, &a), &b) in out.iter_mut().zip(above).zip(below) {
                *value += weight * (a + b);
            }
        }
    }
    let reach = weights.len() - 1;
    let mut data = plane.data;
    let mut padded = vec![0.0_f32; width + 2 * reach];
    for (out, row) in data.chunks_exact_mut(width).zip(passed.chunks_exact(width)) {
        padded[reach..reach + width].copy_from_slice(row);
        for k in 1..=reach {
            padded[reach - k] = row[k];
            padded[reach + width - 1 + k] = row[width - 1 - k];
        }
        for (value, &center) in out.iter_mut().zip(row) {
            *value = weights[0] * center;
        }
        for (k, &weight) in weights.iter().enumerate().skip(1) {
            let (left, right) = (&padded[reach - k..], &padded[reach + k..]);
            for ((value, &a), &b) in out.iter_mut().zip(left).zip(right) {
                *value += weight * (a + b);
            }
        }
    }
    Plane { width, height, data }
}

fn mirror_low(at: usize, reach: usize) -> usize {
    at.abs_diff(reach)
}

fn mirror_high(at: usize, reach: usize, size: usize) -> usize {
    let sum = at + reach;
    if sum < size { sum } else { 2 * (size - 1) - sum }
}

/// The weights at distance 0, 1, ... of a normalised symmetric kernel, without the negligible ones at its end.
#[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
fn half_kernel(reach: usize, sigma: f64) -> Vec<f32> {
    if sigma <= 0.0 {
        return vec![1.0];
    }
    let raw: Vec<f64> = (0..=reach).map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp()).collect();
    let total = raw[0] + 2.0 * raw[1..].iter().sum::<f64>();
    raw.iter().map(|w| w / total).take_while(|&w| w > NEGLIGIBLE).map(|w| w as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_kernel() {
        let mut plane = Plane { width: 9, height: 9, data: vec![0.0; 81] };
        plane.data[40] = 1.0;
        let out = gaussian_blur(plane, 3, 1.0);
        // exp(-1/2) = 0.6065; 1 / (1 + 2 * 0.6065) = 0.4519, 0.6065 * 0.4519 = 0.2741.
        assert!((out.data[40] - 0.4519_f32.powi(2)).abs() < 1e-4);
        assert!((out.data[41] - 0.4519 * 0.2741).abs() < 1e-4 && (out.data[31] - out.data[41]).abs() < 1e-7);
        assert!(out.data[42].abs() < f32::EPSILON);
    }

    #[test]
    fn a_constant_stays_and_small_sigmas_change_nothing() {
        let plane = Plane { width: 8, height: 7, data: vec![0.25; 56] };
        assert!(gaussian_blur(plane.clone(), 13, 3.0).data.iter().all(|v| (v - 0.25).abs() < 1e-6));
        let mut ramp = plane;
        ramp.data.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        assert_eq!(gaussian_blur(ramp.clone(), 13, 0.1), ramp);
        assert_eq!(gaussian_blur(ramp.clone(), 1, 3.0), ramp);
        assert_eq!(gaussian_blur(ramp.clone(), 13, 0.0), ramp);
    }
}
