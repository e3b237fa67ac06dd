//! From the square that a network sees back to the pixels of the image.

use model::card::{Fit, Framing, Preprocess};

use super::Grid;

/// Where the square of a network lies in the decoded image.
///
/// What scaling an image down before it is framed rounds away, less than a pixel of the network, is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Image pixels per network pixel, across and down.
    step: (f64, f64),
    /// The upper left corner of the square in the image (px).
    corner: (f64, f64),
    /// Side of the square (network pixels).
    side: usize,
}

impl Frame {
    /// The square of an image of `width` x `height` pixels.
    pub fn new(width: usize, height: usize, preprocess: &Preprocess) -> Self {
        let size = preprocess.image_size;
        let framing = preprocess.framing.unwrap_or(Framing { fit: Fit::Pad, side: size });
        let scaled = framing.side.max(size);
        let (step, padding, scaled) = match framing.fit {
            Fit::Pad => {
                let square = width.max(height);
                let step = square as f64 / scaled as f64;
                ((step, step), ((square - width) / 2, (square - height) / 2), (scaled, scaled))
            }
            Fit::Crop => {
                let shorter = width.min(height);
                let scale = |length: usize| (length * scaled * 2 + shorter) / (shorter * 2);
                let (across, down) = (scale(width), scale(height));
                ((width as f64 / across as f64, height as f64 / down as f64), (0, 0), (across, down))
            }
        };
        let corner = |scaled: usize, step: f64, padding: usize| ((scaled - size) / 2) as f64 * step - padding as f64;
        let corner = (corner(scaled.0, step.0, padding.0), corner(scaled.1, step.1, padding.1));
        Self { step, corner, side: size }
    }

    /// Left, top, right and bottom of a cell of a grid on the square (px of the image). It may lie outside, in the padding.
    pub fn cell(&self, grid: &Grid, (row, column): (usize, usize)) -> [f64; 4] {
        let side = self.side as f64;
        let half = grid.cells.step / 2.0;
        let across = |part: f64| self.corner.0 + self.step.0 * side * part;
        let down = |part: f64| self.corner.1 + self.step.1 * side * part;
        let (x, y) = (grid.cells.middle(column), grid.cells.middle(row));
        [across(x - half), down(y - half), across(x + half), down(y + half)]
    }
}

#[cfg(test)]
mod tests {
    use data::image::GrayImage;
    use model::image::Cells;

    use super::*;
    use crate::embed::framed;

    /// A black image with one white rectangle, framed; the brightest cell must lie where the rectangle is.
    fn assert_finds(framing: Option<Framing>, (width, height): (usize, usize), (left, top): (usize, usize)) {
        const BRIGHT: usize = 24;
        let mut image = GrayImage { width, height, pixels: vec![0; width * height] };
        for y in top..top + BRIGHT {
            image.pixels[y * width + left..][..BRIGHT].fill(255);
        }
        let preprocess = Preprocess { framing, ..Preprocess::imagenet(64, 256, 1) };
        let seen = framed(&image, &preprocess);
        // Cells of 4 x 4 pixels of the network.
        let mean = |cell: usize| -> f32 {
            let (row, column) = (cell / 16 * 4, cell % 16 * 4);
            (0..16).map(|i| seen.data[(row + i / 4) * 64 + column + i % 4]).sum::<f32>() / 16.0
        };
        let grid = Grid { rows: 16, columns: 16, values: (0..256).map(mean).collect(), cells: Cells::tiles(16) };
        let (row, column) = grid.highest();
        assert!(grid.values[row * 16 + column] > 0.9, "no cell lies wholly in the rectangle: {framing:?}");
        let frame = Frame::new(width, height, &preprocess);
        let cell = frame.cell(&grid, (row, column));
        let inside = |value: f64, from: usize| value >= from as f64 - 1.0 && value <= (from + BRIGHT) as f64 + 1.0;
        assert!(
            inside(cell[0], left) && inside(cell[2], left) && inside(cell[1], top) && inside(cell[3], top),
            "{framing:?}: {cell:?} for {left}, {top}"
        );
    }

    #[test]
    fn cells_lie_where_the_network_saw_them() {
        for shape in [(160, 120), (120, 160), (128, 128)] {
            for corner in [(40, 44), (64, 48)] {
                assert_finds(None, shape, corner);
                for fit in [Fit::Pad, Fit::Crop] {
                    assert_finds(Some(Framing { fit, side: 73 }), shape, corner);
                }
            }
        }
    }

    #[test]
    fn the_padding_lies_outside_of_the_image() {
        let preprocess = Preprocess::imagenet(64, 256, 1);
        let grid = Grid { rows: 4, columns: 4, values: vec![0.0; 16], cells: Cells::tiles(4) };
        // 200 x 100 stands in a square of 200 with 50 rows of black above.
        let frame = Frame::new(200, 100, &preprocess);
        for (cell, wanted) in [((0, 0), [0.0, -50.0, 50.0, 0.0]), ((3, 3), [150.0, 100.0, 200.0, 150.0])] {
            let found = frame.cell(&grid, cell);
            assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-9), "{found:?}");
        }
    }
}
