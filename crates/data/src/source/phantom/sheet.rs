//! Contact sheets: many phantoms in one picture.

use super::PhantomKey;
use crate::image::GrayImage;

/// Space between pictures (px).
const GAP: usize = 2;

/// The phantoms of `keys`, each `size` by `size` pixels, row by row in `columns` columns.
pub fn contact_sheet(keys: &[PhantomKey], columns: usize, size: usize) -> GrayImage {
    let columns = columns.max(1);
    let rows = keys.len().div_ceil(columns);
    let step = size + GAP;
    let (width, height) = (columns * step + GAP, rows * step + GAP);
    let mut pixels = vec![255; width * height];
    for (n, key) in keys.iter().enumerate() {
        let picture = key.study().render(size);
        let (left, top) = (GAP + n % columns * step, GAP + n / columns * step);
        for (y, line) in picture.pixels.chunks_exact(size).enumerate() {
            let start = (top + y) * width + left;
            pixels[start..start + size].copy_from_slice(line);
        }
    }
    GrayImage { width, height, pixels }
}
