//! Resizing, cropping and padding, numerically as torchvision on float tensors.
//!
//! # Source
//! torchvision `transforms.v2.functional`: `resize` and `resized_crop` with bilinear interpolation and antialiasing
//! (the triangle filter widens with the reduction), and `pad`.

use super::{GrayImage, Plane};

/// An image that can be read as `f32` values in `[0, 1]`: [`GrayImage`] or [`Plane`].
///
/// Reading 8-bit pixels in the first pass of a resize saves a copy of the whole image.
pub trait Raster {
    /// One stored pixel.
    type Value: Copy;
    /// Columns (px).
    fn width(&self) -> usize;
    /// Rows (px).
    fn height(&self) -> usize;
    /// Row-major pixels.
    fn values(&self) -> &[Self::Value];
    /// A pixel before the scale.
    fn raw(value: Self::Value) -> f32;
    /// What a raw pixel is multiplied by to lie in `[0, 1]`.
    const SCALE: f32;
}

impl Raster for GrayImage {
    type Value = u8;
    fn width(&self) -> usize {
        self.width
    }
    fn height(&self) -> usize {
        self.height
    }
    fn values(&self) -> &[u8] {
        &self.pixels
    }
    fn raw(value: u8) -> f32 {
        f32::from(value)
    }
    const SCALE: f32 = 1.0 / 255.0;
}

impl Raster for Plane {
    type Value = f32;
    fn width(&self) -> usize {
        self.width
    }
    fn height(&self) -> usize {
        self.height
    }
    fn values(&self) -> &[f32] {
        &self.data
    }
    fn raw(value: f32) -> f32 {
        value
    }
    const SCALE: f32 = 1.0;
}

/// A box of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl CropBox {
    /// The box of a whole image.
    pub fn whole(image: &impl Raster) -> Self {
        Self { top: 0, left: 0, height: image.height(), width: image.width() }
    }
}

/// The weights of one axis: for every output the first input and the weights from there on.
struct Taps {
    first: Vec<usize>,
    weights: Vec<f32>,
    /// Weights of every output; short ones are filled with zeros.
    count: usize,
}

/// The triangle filter of an antialiased bilinear resize, clipped at the borders and normalised.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions within an image")]
fn taps(input: usize, output: usize) -> Taps {
    let scale = input as f64 / output as f64;
    let support = scale.max(1.0);
    let count = (support.ceil() as usize * 2 + 1).min(input);
    let mut first = Vec::with_capacity(output);
    let mut weights = Vec::with_capacity(output * count);
    for i in 0..output {
        let center = scale * (i as f64 + 0.5);
        let low = (center - support + 0.5).max(0.0) as usize;
        let high = ((center + support + 0.5) as usize).min(input);
        let weight = |j: usize| (1.0 - ((j as f64 - center + 0.5) / support).abs()).max(0.0);
        let total: f64 = (low..high).map(weight).sum();
        // The window is moved inside so that it always has `count` inputs; what is added has the weight zero.
        let start = low.min(input - count);
        first.push(start);
        let inside = |j: usize| if (low..high).contains(&j) { (weight(j) / total) as f32 } else { 0.0 };
        weights.extend((start..start + count).map(inside));
    }
    Taps { first, weights, count }
}

/// The image resized to `out_width` x `out_height`: bilinear with antialiasing.
///
/// # Panics
/// Panics if a side of the image or of the output is zero.
pub fn resize<R: Raster>(image: &R, out_width: usize, out_height: usize) -> Plane {
    resized_crop(image, CropBox::whole(image), out_width, out_height)
}

/// A box of the image, resized as [`resize`] does; nothing outside the box has an influence.
///
/// # Panics
/// Panics if the box is empty or leaves the image, or a side of the output is zero.
pub fn resized_crop<R: Raster>(image: &R, area: CropBox, out_width: usize, out_height: usize) -> Plane {
    assert!(out_width > 0 && out_height > 0 && area.width > 0 && area.height > 0, "a resize needs pixels");
    assert!(
        area.left + area.width <= image.width() && area.top + area.height <= image.height(),
        "the box must lie in the image"
    );
    let row = |y: usize| {
        let start = (area.top + y) * image.width() + area.left;
        &image.values()[start..start + area.width]
    };
    // Rows first: whole rows are added up, which the compiler turns into vector instructions.
    let vertical = taps(area.height, out_height);
    let horizontal = taps(area.width, out_width);
    let mut sums = vec![0.0_f32; area.width];
    let mut data = vec![0.0_f32; out_width * out_height];
    for (y, out) in data.chunks_exact_mut(out_width).enumerate() {
        sums.fill(0.0);
        let weights = &vertical.weights[y * vertical.count..(y + 1) * vertical.count];
        for (t, &weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let weight = weight * R::SCALE;
            for (sum, &value) in sums.iter_mut().zip(row(vertical.first[y] + t)) {
                *sum += weight * R::raw(value);
            }
        }
        for ((value, &first), weights) in
            out.iter_mut().zip(&horizontal.first).zip(horizontal.weights.chunks_exact(horizontal.count))
        {
            *value = sums[first..first + horizontal.count].iter().zip(weights).map(|(s, w)| s * w).sum();
        }
    }
    Plane { width: out_width, height: out_height, data }
}

/// The image reduced so that its larger side is `size`, the ratio of the sides kept to the pixel.
///
/// An image that is already that small is returned as it is: enlarging it would store more without adding anything.
///
/// # Source
/// ConVIRT, section 4.1 ("resized such that the larger side is 256").
pub fn resize_larger_side(image: GrayImage, size: usize) -> GrayImage {
    let larger = image.width.max(image.height);
    if larger <= size {
        return image;
    }
    let scaled = |side: usize| ((side * size * 2 + larger) / (larger * 2)).max(1);
    GrayImage::from(&resize(&image, scaled(image.width), scaled(image.height)))
}

/// The image in the middle of a square of zeros (black), nearer to the upper left by half a pixel where it must be.
pub fn pad_to_square<R: Raster>(image: &R) -> Plane {
    let (width, height) = (image.width(), image.height());
    let side = width.max(height);
    let (top, left) = ((side - height) / 2, (side - width) / 2);
    let mut data = vec![0.0; side * side];
    for (y, row) in image.values().chunks_exact(width.max(1)).enumerate() {
        let start = (top + y) * side + left;
        for (value, &raw) in data[start..start + width].iter_mut().zip(row) {
            *value = R::raw(raw) * R::SCALE;
        }
    }
    Plane { width: side, height: side, data }
}

/// The image padded to a square, then resized to `size` x `size`: how images are seen when nothing is drawn at random.
///
/// # Panics
/// Panics if `size` or a side of the image is zero.
///
/// # Source
/// ConVIRT, section 4.2 (zero-padded to a square, then resized).
pub fn letterbox<R: Raster>(image: &R, size: usize) -> Plane {
    if image.width() == image.height() { resize(image, size, size) } else { resize(&pad_to_square(image), size, size) }
}

/// The centre, `size` x `size`, of an image that was scaled until its larger side (`pad`: with black around it) or its
/// shorter side is `side`. How most published encoders see images when nothing is drawn at random.
///
/// # Panics
/// Panics if `size` or a side of the image is zero, or `size` is above `side`.
pub fn centre<R: Raster>(image: &R, pad: bool, side: usize, size: usize) -> Plane {
    assert!(size <= side, "the centre is no larger than the whole");
    let scaled = if pad {
        letterbox(image, side)
    } else {
        let shorter = image.width().min(image.height());
        let scale = |length: usize| (length * side * 2 + shorter) / (shorter * 2);
        resize(image, scale(image.width()), scale(image.height()))
    };
    let (top, left) = ((scaled.height - size) / 2, (scaled.width - size) / 2);
    let rows = scaled.data.chunks_exact(scaled.width).skip(top).take(size);
    Plane { width: size, height: size, data: rows.flat_map(|row| row[left..left + size].iter().copied()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_of_a_scaled_image_is_cut_out() {
        let wide = ramp(8, 4);
        let cut = centre(&wide, false, 4, 2);
        let whole = resize(&wide, 8, 4);
        assert_eq!(cut.data, [whole.data[8 + 3], whole.data[8 + 4], whole.data[16 + 3], whole.data[16 + 4]]);
        let padded = centre(&wide, true, 8, 4);
        let square = letterbox(&wide, 8);
        assert_eq!(padded.data[..4], square.data[2 * 8 + 2..2 * 8 + 6]);
        assert_eq!((padded.width, padded.height), (4, 4));
    }

    fn ramp(width: usize, height: usize) -> Plane {
        Plane { width, height, data: (0..width * height).map(|i| i as f32).collect() }
    }

    #[test]
    fn halving_four_columns_weighs_them_as_the_triangle_does() {
        // Scale 2, support 2: centre 1 sees columns 0..3 with 1 - |j + 0.5 - 1| / 2 = 0.75, 0.75, 0.25 over 1.75.
        let out = resize(&Plane { width: 4, height: 1, data: vec![0.0, 1.0, 2.0, 3.0] }, 2, 1);
        let expected = (0.75 + 2.0 * 0.25) / 1.75;
        assert!((out.data[0] - expected).abs() < 1e-6 && (out.data[1] - (3.0 - expected)).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let plane = ramp(7, 5);
        assert_eq!(resize(&plane, 7, 5), plane);
        assert_eq!(letterbox(&ramp(5, 5), 5), ramp(5, 5));
    }

    #[test]
    fn padding_centres() {
        let square = pad_to_square(&ramp(4, 1));
        assert_eq!(square.data[..4], [0.0; 4]);
        assert_eq!(square.data[4..8], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(square.data[8..], [0.0; 8]);
        assert_eq!(pad_to_square(&ramp(1, 3)).data, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn the_larger_side_is_reduced_and_never_enlarged() {
        let image = |width, height| GrayImage { width, height, pixels: vec![7; width * height] };
        let small = resize_larger_side(image(400, 301), 256);
        assert_eq!((small.width, small.height), (256, 193));
        assert_eq!(small.pixels[100], 7);
        assert_eq!(resize_larger_side(image(20, 10), 256), image(20, 10));
        assert_eq!(resize_larger_side(image(2000, 1), 256).height, 1);
    }
}
