//! Correlated texture: value noise on lattices in unit coordinates, and per-pixel quantum noise.

use crate::rng::Stream;

/// A smooth random field of about unit variance, sampled on a square picture.
///
/// The lattice is laid out in unit coordinates, so the field looks the same at every size.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lattice positions are small and positive")]
pub(super) fn field(size: usize, cells: usize, key: u64, out: &mut [f32], gain: f32) {
    let columns = cells + 3;
    let mut random = Stream::new(key);
    let lattice: Vec<f32> = (0..columns * columns).map(|_| random.unit() as f32 * 2.0 - 1.0).collect();
    // Uniform lattice values have variance 1/3, and interpolation halves it in each direction on average.
    let gain = gain * 2.4;
    let place = |i: usize| {
        let at = (i as f32 + 0.5) / size as f32 * cells as f32;
        let cell = at.floor();
        let t = at - cell;
        (cell as usize, t * t * (3.0 - 2.0 * t))
    };
    let across: Vec<(usize, f32)> = (0..size).map(place).collect();
    let mut row = vec![0.0_f32; columns];
    for (y, line) in out.chunks_exact_mut(size).enumerate() {
        let (cell, t) = place(y);
        let (upper, lower) = (&lattice[cell * columns..], &lattice[(cell + 1) * columns..]);
        for ((r, a), b) in row.iter_mut().zip(upper).zip(lower) {
            *r = (a + (b - a) * t) * gain;
        }
        for (value, &(cell, t)) in line.iter_mut().zip(&across) {
            *value += row[cell] + (row[cell + 1] - row[cell]) * t;
        }
    }
}

/// Nearly normal noise of unit variance from 64 random bits: the sum of four 16-bit uniforms.
pub(super) fn quantum(bits: u64) -> f32 {
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    // Four uniforms on [0, 1) have mean 2 and variance 1/3.
    (sum as f32 / 65_536.0 - 2.0) * 1.732
}

/// Smooth random function of a point, from -1 to 1, for outlines that are not round.
pub(super) fn ripple(key: u64, angle: f32) -> f32 {
    let phase = |shift: u32| (key >> shift & 0xff) as f32 / 40.0;
    (0.5 * (2.0 * angle + phase(0)).sin()
        + 0.3 * (3.0 * angle + phase(8)).sin()
        + 0.25 * (5.0 * angle + phase(16)).sin())
    .clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f32, f32) {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32)
    }

    #[test]
    fn a_field_has_about_unit_variance_and_looks_the_same_at_every_size() {
        let sample = |size: usize| {
            let mut out = vec![0.0; size * size];
            field(size, 16, 9, &mut out, 1.0);
            out
        };
        let (small, large) = (sample(64), sample(128));
        let (mean, variance) = moments(&small);
        assert!(mean.abs() < 0.15 && (0.6..1.5).contains(&variance), "{mean} {variance}");
        // A pixel of the small picture is close to the mean of its four pixels in the large one.
        for (x, y) in [(3, 5), (40, 17), (63, 63)] {
            let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| large[(2 * y + j) * 128 + 2 * x + i]);
            assert!((small[y * 64 + x] - four.iter().sum::<f32>() / 4.0).abs() < 0.08);
        }
    }

    #[test]
    fn quantum_noise_is_centred_with_unit_variance() {
        let mut random = Stream::new(1);
        let values: Vec<f32> = (0..20_000).map(|_| quantum(random.next_u64())).collect();
        let (mean, variance) = moments(&values);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
