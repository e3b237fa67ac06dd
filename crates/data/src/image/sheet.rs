//! Contact sheets: many images in one picture.

use super::GrayImage;
use super::transform::letterbox;

/// Space between images (px).
const GAP: usize = 2;

/// The images, each fitted into `size` x `size` pixels, row by row in `columns` columns on white.
///
/// # Panics
/// Panics if `size` or a side of an image is zero.
pub fn contact_sheet(images: &[GrayImage], columns: usize, size: usize) -> GrayImage {
    let columns = columns.clamp(1, images.len().max(1));
    let rows = images.len().div_ceil(columns);
    let step = size + GAP;
    let (width, height) = (columns * step + GAP, rows * step + GAP);
    let mut pixels = vec![255; width * height];
    for (n, image) in images.iter().enumerate() {
        let fitted = GrayImage::from(&letterbox(image, size));
        let (left, top) = (GAP + n % columns * step, GAP + n / columns * step);
        for (y, line) in fitted.pixels.chunks_exact(size).enumerate() {
            let start = (top + y) * width + left;
            pixels[start..start + size].copy_from_slice(line);
        }
    }
    GrayImage { width, height, pixels }
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
}
