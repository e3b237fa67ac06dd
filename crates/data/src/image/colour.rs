//! Colours of a heat map.

use super::{Plane, RgbImage};

/// Nine colours of viridis at equal steps, dark violet to yellow: equal steps of the value look equally large, and lightness
/// alone tells the order, also in grey and to people who do not tell red from green.
///
/// # Source
/// `viridis` by van der Walt and Smith, 2015 (matplotlib, `CC0`), sampled at 0, 1/8, ..., 1.
const VIRIDIS: [[u8; 3]; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2D, 0x7B],
    [0x3B, 0x52, 0x8B],
    [0x2C, 0x72, 0x8E],
    [0x21, 0x91, 0x8C],
    [0x28, 0xAE, 0x80],
    [0x5E, 0xC9, 0x62],
    [0xAD, 0xDC, 0x30],
    [0xFD, 0xE7, 0x25],
];

/// Share of the colour in an overlay; the rest is the image.
const OPACITY: f32 = 0.5;

/// The colour of a value from 0 to 1, interpolated; values outside have the colour of the nearer end, NaN that of 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is clamped first")]
pub fn viridis(value: f32) -> [u8; 3] {
    let last = VIRIDIS.len() - 1;
    let place = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) * last as f32 };
    let below = (place as usize).min(last - 1);
    let share = place - below as f32;
    std::array::from_fn(|channel| {
        let (low, high) = (f32::from(VIRIDIS[below][channel]), f32::from(VIRIDIS[below + 1][channel]));
        (low + (high - low) * share).round() as u8
    })
}

/// An image under the colours of a heat map; the least value of the map is violet, the greatest yellow.
///
/// # Panics
/// Panics if the map has another size than the image.
pub fn overlay(image: &Plane, heat: &Plane) -> RgbImage {
    assert_eq!((image.width, image.height), (heat.width, heat.height), "the map must cover the image");
    let low = heat.data.iter().copied().fold(f32::INFINITY, f32::min);
    let high = heat.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = if high > low { high - low } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of two values of a byte")]
    let mix = |grey: f32, colour: u8| {
        ((1.0 - OPACITY) * 255.0 * grey.clamp(0.0, 1.0) + OPACITY * f32::from(colour)).round() as u8
    };
    let pixels = image.data.iter().zip(&heat.data);
    let pixels = pixels.flat_map(|(&grey, &value)| viridis((value - low) / range).map(|colour| mix(grey, colour)));
    RgbImage { width: image.width, height: image.height, pixels: pixels.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_lie_between_those_of_the_table() {
        assert_eq!(viridis(0.0), VIRIDIS[0]);
        assert_eq!(viridis(1.0), VIRIDIS[8]);
        assert_eq!(viridis(0.5), VIRIDIS[4]);
        // A quarter of the way from the first to the second: 0x44 + 3/4, 0x01 + 11, 0x54 + 9.75.
        assert_eq!(viridis(1.0 / 32.0), [0x45, 12, 94]);
        assert_eq!([viridis(-1.0), viridis(f32::NAN), viridis(7.0)], [VIRIDIS[0], VIRIDIS[0], VIRIDIS[8]]);
        // Each is lighter than the one before (ITU-R 601), so that the order is seen without colours.
        let light = |[r, g, b]: [u8; 3]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b);
        assert!((1_u8..=32).all(|i| light(viridis(f32::from(i) / 32.0)) > light(viridis(f32::from(i - 1) / 32.0))));
    }

    #[test]
    fn an_overlay_is_half_image_and_half_colour() {
        let plane = |data: [f32; 2]| Plane { width: 2, height: 1, data: data.to_vec() };
        let mixed = overlay(&plane([0.0, 1.0]), &plane([-3.0, 5.0]));
        let half = |grey: f32, colour: u8| f32::midpoint(grey, f32::from(colour));
        for (channel, value) in mixed.pixels.iter().enumerate() {
            let exact = if channel < 3 { half(0.0, VIRIDIS[0][channel]) } else { half(255.0, VIRIDIS[8][channel - 3]) };
            assert!((f32::from(*value) - exact).abs() <= 0.5, "{value} for {exact}");
        }
        // A map that is the same everywhere has one colour and divides by nothing.
        assert_eq!(overlay(&plane([0.0, 0.0]), &plane([2.0, 2.0])).pixels[..3], mixed.pixels[..3]);
    }
}
