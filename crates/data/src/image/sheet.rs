//! Contact sheets: many images in one picture.

use super::transform::letterbox;
use super::{GrayImage, RgbImage};

/// Space between images (px).
const GAP: usize = 2;

/// The images, each fitted into `size` x `size` pixels, row by row in `columns` columns on white.
///
/// # Panics
/// Panics if `size` or a side of an image is zero.
pub fn contact_sheet(images: &[GrayImage], columns: usize, size: usize) -> GrayImage {
    let fitted = images.iter().map(|image| GrayImage::from(&letterbox(image, size)).pixels);
    let (width, height, pixels) = lay_out(fitted, images.len(), columns, size, 1);
    GrayImage { width, height, pixels }
}

/// Square colour images of one size, row by row in `columns` columns on white.
///
/// # Panics
/// Panics if they are of several sizes or not square.
pub fn colour_sheet(images: &[RgbImage], columns: usize) -> RgbImage {
    let size = images.first().map_or(0, |image| image.width);
    assert!(images.iter().all(|image| (image.width, image.height) == (size, size)), "tiles of a sheet have one size");
    let (width, height, pixels) =
        lay_out(images.iter().map(|image| image.pixels.clone()), images.len(), columns, size, 3);
    RgbImage { width, height, pixels }
}

/// Width and height of a sheet of `count` images, and its pixels.
fn lay_out(
    images: impl Iterator<Item = Vec<u8>>,
    count: usize,
    columns: usize,
    size: usize,
    channels: usize,
) -> (usize, usize, Vec<u8>) {
    let columns = columns.clamp(1, count.max(1));
    let step = size + GAP;
    let (width, height) = (columns * step + GAP, count.div_ceil(columns) * step + GAP);
    let mut pixels = vec![255; channels * width * height];
    for (n, image) in images.enumerate() {
        let (left, top) = (GAP + n % columns * step, GAP + n / columns * step);
        for (y, line) in image.chunks_exact(channels * size).enumerate() {
            let start = channels * ((top + y) * width + left);
            pixels[start..start + channels * size].copy_from_slice(line);
        }
    }
    (width, height, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_rows_with_gaps_between() {
        let images: Vec<GrayImage> = (1..=3).map(|v| GrayImage { width: 4, height: 4, pixels: vec![v; 16] }).collect();
        let sheet = contact_sheet(&images, 2, 4);
        assert_eq!((sheet.width, sheet.height), (14, 14));
        let at = |x: usize, y: usize| sheet.pixels[y * 14 + x];
        assert_eq!([at(2, 2), at(8, 2), at(2, 8), at(8, 8), at(6, 2), at(0, 0)], [1, 2, 3, 255, 255, 255]);
    }

    #[test]
    fn colours_stand_as_grey_images_do() {
        let tile = |v: u8| RgbImage { width: 4, height: 4, pixels: [v, v + 1, v + 2].repeat(16) };
        let sheet = colour_sheet(&[tile(1), tile(11), tile(21)], 2);
        assert_eq!((sheet.width, sheet.height), (14, 14));
        let at = |x: usize, y: usize| &sheet.pixels[3 * (y * 14 + x)..][..3];
        assert_eq!([at(2, 2), at(8, 2), at(2, 8), at(8, 8)], [[1, 2, 3], [11, 12, 13], [21, 22, 23], [255; 3]]);
    }
}
