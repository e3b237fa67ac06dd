//! Grey images: 8-bit as stored, `f32` while they are transformed.

pub mod augment;
pub mod blur;
pub mod colour;
mod container;
pub mod decode;
pub mod encode;
mod notice;
mod scan;
pub mod sheet;
pub mod transform;
pub mod warp;

/// An 8-bit grey image as it is decoded, cached and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrayImage {
    /// Columns (px).
    pub width: usize,
    /// Rows (px).
    pub height: usize,
    /// Row-major, `width * height` values.
    pub pixels: Vec<u8>,
}

/// An 8-bit colour image, for pictures of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns (px).
    pub width: usize,
    /// Rows (px).
    pub height: usize,
    /// Row-major red, green and blue, `3 * width * height` values.
    pub pixels: Vec<u8>,
}

/// A grey image of `f32` values, 0 (black) to 1 (white), while it is transformed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Columns (px).
    pub width: usize,
    /// Rows (px).
    pub height: usize,
    /// Row-major, `width * height` values.
    pub data: Vec<f32>,
}

impl From<&GrayImage> for Plane {
    fn from(image: &GrayImage) -> Self {
        Self {
            width: image.width,
            height: image.height,
            data: image.pixels.iter().map(|&p| f32::from(p) / 255.0).collect(),
        }
    }
}

impl From<&Plane> for GrayImage {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255 first")]
    fn from(plane: &Plane) -> Self {
        Self {
            width: plane.width,
            height: plane.height,
            pixels: plane.data.iter().map(|&v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect(),
        }
    }
}
