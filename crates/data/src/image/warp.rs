//! Rotation, translation and scale of a plane.

use super::Plane;

/// Samples this close to the last pixel are left to the careful code (px).
const MARGIN: f64 = 1e-3;

/// A rotation, translation and scale about the centre of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Counter-clockwise turn in torchvision's sense of `affine` (degrees).
    pub degrees: f64,
    /// Shift to the right (px).
    pub shift_x: f64,
    /// Shift downwards (px).
    pub shift_y: f64,
    /// Magnification.
    pub scale: f64,
}

/// The map from an output pixel `(x, y)` to its place in the input: `(a x + b y + c, d x + e y + f)`.
struct Inverse {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
    e: f64,
    f: f64,
}

impl Inverse {
    fn new(affine: Affine, width: usize, height: usize) -> Self {
        let (sin, cos) = affine.degrees.to_radians().sin_cos();
        let (a, b) = (cos / affine.scale, sin / affine.scale);
        let (d, e) = (-b, a);
        // Pixel centres lie at whole numbers, the centre of the image between them.
        let (mid_x, mid_y) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
        let (from_x, from_y) = (mid_x + affine.shift_x, mid_y + affine.shift_y);
        Self { a, b, c: mid_x - a * from_x - b * from_y, d, e, f: mid_y - d * from_x - e * from_y }
    }
}

/// The plane turned, shifted and scaled: bilinear, black outside.
///
/// # Source
/// torchvision `affine` with `interpolation=bilinear, fill=0`. Its fill blends with the share of the four
/// neighbours that lie inside, on top of `grid_sample`'s zero padding, so the last half pixel of a border fades twice.
pub fn affine(plane: &Plane, affine: Affine) -> Plane {
    let (width, height) = (plane.width, plane.height);
    let inverse = Inverse::new(affine, width, height);
    let mut data = vec![0.0_f32; width * height];
    for (y, out) in data.chunks_exact_mut(width.max(1)).enumerate() {
        let (start_x, start_y) = (inverse.b * y as f64 + inverse.c, inverse.e * y as f64 + inverse.f);
        let range = |low: f64, high: f64| {
            let x = linear_range(start_x, inverse.a, low, width as f64 + high, width);
            let y = linear_range(start_y, inverse.d, low, height as f64 + high, width);
            (x.0.max(y.0), x.1.min(y.1))
        };
        // Beyond one pixel from the image there is nothing to sample; the margins are for rounding.
        let (first, last) = range(-1.0, 0.0);
        let last = last.max(first);
        let (low, high) = range(MARGIN, -1.0 - MARGIN);
        let low = low.clamp(first, last);
        let high = high.clamp(low, last);
        for x in (first..low).chain(high..last) {
            out[x] = border_sample(plane, start_x + inverse.a * x as f64, start_y + inverse.d * x as f64);
        }
        interior_samples(plane, &mut out[low..high], low, (start_x, inverse.a), (start_y, inverse.d));
    }
    Plane { width, height, data }
}

/// The outputs `x` in `0..count` for which `start + step * x` lies from `least` to `most`, as a range.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=count")]
fn linear_range(start: f64, step: f64, least: f64, most: f64, count: usize) -> (usize, usize) {
    if step.abs() < 1e-9 {
        return if start >= least && start <= most { (0, count) } else { (0, 0) };
    }
    let (one, other) = ((least - start) / step, (most - start) / step);
    let clamp = |value: f64| value.clamp(0.0, count as f64) as usize;
    // The last output inside is floor(max), so the range ends one behind it.
    (clamp(one.min(other).ceil()), clamp((one.max(other) + 1.0).floor()))
}

/// A position in units of 2^-32 px: stepping along a row is exact, and its whole and broken parts cost no rounding.
#[expect(clippy::cast_possible_truncation, reason = "images have far fewer than 2^31 columns")]
fn fixed(value: f64) -> i64 {
    (value * 4_294_967_296.0) as i64
}

/// The part of a position after the point, in `[0, 1)`.
#[expect(clippy::cast_possible_truncation, reason = "24 bits are kept, which f32 holds exactly")]
fn fraction(position: i64) -> f32 {
    ((position >> 8) as i32 & 0x00FF_FFFF) as f32 * (1.0 / 16_777_216.0)
}

/// Samples whose four neighbours all exist.
#[expect(clippy::cast_sign_loss, reason = "positions within the image")]
fn interior_samples(plane: &Plane, out: &mut [f32], first: usize, (start_x, a): (f64, f64), (start_y, d): (f64, f64)) {
    let width = plane.width;
    let (mut x, mut y) = (fixed(start_x + a * first as f64), fixed(start_y + d * first as f64));
    let (step_x, step_y) = (fixed(a), fixed(d));
    for value in out {
        let start = (y >> 32) as usize * width + (x >> 32) as usize;
        let (share_x, share_y) = (fraction(x), fraction(y));
        let near = &plane.data[start..start + width + 2];
        let upper = near[0] + (near[1] - near[0]) * share_x;
        let lower = near[width] + (near[width + 1] - near[width]) * share_x;
        *value = upper + (lower - upper) * share_y;
        x += step_x;
        y += step_y;
    }
}

/// A sample that may lie outside: what is inside, weighted by how much of it is inside once more.
#[expect(clippy::cast_possible_truncation, reason = "positions near the image")]
fn border_sample(plane: &Plane, x: f64, y: f64) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (share_x, share_y) = ((x - left) as f32, (y - top) as f32);
    let (mut sum, mut inside) = (0.0, 0.0);
    for (step_y, weight_y) in [(0.0, 1.0 - share_y), (1.0, share_y)] {
        for (step_x, weight_x) in [(0.0, 1.0 - share_x), (1.0, share_x)] {
            if let Some(value) = pixel(plane, left + step_x, top + step_y) {
                sum += value * weight_x * weight_y;
                inside += weight_x * weight_y;
            }
        }
    }
    sum * inside
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the size first")]
fn pixel(plane: &Plane, x: f64, y: f64) -> Option<f32> {
    let inside = x >= 0.0 && y >= 0.0 && x < plane.width as f64 && y < plane.height as f64;
    inside.then(|| plane.data[y as usize * plane.width + x as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Plane {
        Plane { width, height, data: (0..width * height).map(|i| i as f32).collect() }
    }

    #[test]
    fn a_shift_moves_right_and_down_and_fills_with_black() {
        let moved = affine(&ramp(3, 3), Affine { degrees: 0.0, shift_x: 1.0, shift_y: 1.0, scale: 1.0 });
        assert_eq!(moved.data, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn four_quarter_turns_are_none() {
        let plane = ramp(8, 8);
        let turn = Affine { degrees: 90.0, shift_x: 0.0, shift_y: 0.0, scale: 1.0 };
        let once = affine(&plane, turn);
        // torchvision turns clockwise for a positive angle: the upper left pixel goes to the upper right.
        assert!((once.data[7] - plane.data[0]).abs() < 1e-3, "{}", once.data[7]);
        let back = (0..3).fold(once, |p, _| affine(&p, turn));
        for (a, b) in back.data.iter().zip(&plane.data) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "random values for an image of f32")]
    fn the_fast_and_the_careful_samples_agree() {
        let mut stream = crate::rng::Stream::new(3);
        let plane = Plane { width: 19, height: 13, data: (0..19 * 13).map(|_| stream.unit() as f32).collect() };
        for _ in 0..200 {
            let map = Affine {
                degrees: stream.uniform(-180.0, 180.0),
                shift_x: stream.uniform(-6.0, 6.0),
                shift_y: stream.uniform(-6.0, 6.0),
                scale: stream.uniform(0.3, 3.0),
            };
            let inverse = Inverse::new(map, 19, 13);
            let fast = affine(&plane, map);
            for y in 0..13 {
                for x in 0..19 {
                    let (at_x, at_y) = (x as f64, y as f64);
                    let from_x = inverse.a * at_x + inverse.b * at_y + inverse.c;
                    let from_y = inverse.d * at_x + inverse.e * at_y + inverse.f;
                    let careful = border_sample(&plane, from_x, from_y);
                    // f32 positions of at most 20 px are exact to 2e-6 and slopes are at most 1 per px.
                    assert!((fast.data[y * 19 + x] - careful).abs() < 1e-5, "{map:?} {x} {y}");
                }
            }
        }
    }
}
