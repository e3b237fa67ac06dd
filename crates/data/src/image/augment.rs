//! The five augmentations of ConVIRT: what is drawn, and what it does.
//!
//! Drawing and applying are apart: [`AugmentParams::draw`] is the only random part, [`AugmentParams::apply`] is a pure
//! function, so every step can be compared with torchvision at fixed parameters.
//!
//! # Source
//! ConVIRT, section 4.1, in the order of the paper: crop, flip, affine, brightness and contrast, blur. Parameters are
//! drawn as torchvision's `RandomResizedCrop`, `RandomHorizontalFlip`, `RandomAffine`, `ColorJitter` and
//! `GaussianBlur` draw them. The paper resizes last; `RandomResizedCrop` resizes with the crop, which is the usual
//! reading and much cheaper.

use serde::{Deserialize, Serialize};

use super::Plane;
use super::blur::gaussian_blur;
use super::transform::{CropBox, Raster, resized_crop};
use super::warp::{Affine, affine};
use crate::error::{DataError, Result};
use crate::rng::Stream;

/// Ranges of the augmentations. A range is `[low, high]`; the neutral value switches a step off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Share of the image's area that a crop keeps.
    pub crop_area: [f64; 2],
    /// Width over height of a crop.
    pub crop_ratio: [f64; 2],
    /// Probability of a horizontal flip. Reports that name a side become false by a flip.
    pub flip: f64,
    /// Largest rotation to either side (degrees).
    pub rotate_degrees: f64,
    /// Largest shift, as a share of the width and of the height.
    pub translate: f64,
    /// Magnification.
    pub scale: [f64; 2],
    /// Factor of the brightness.
    pub brightness: [f64; 2],
    /// Factor of the contrast.
    pub contrast: [f64; 2],
    /// Standard deviation of the blur (px of the output); `[0, 0]` for none.
    pub blur_sigma: [f64; 2],
    /// Side of the blur's kernel (px, odd); 0 for the odd number nearest a tenth of the output's side.
    pub blur_kernel: usize,
}

impl Default for AugmentConfig {
    /// The paper's values.
    fn default() -> Self {
        Self {
            crop_area: [0.6, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            rotate_degrees: 20.0,
            translate: 0.1,
            scale: [0.95, 1.05],
            brightness: [0.6, 1.4],
            contrast: [0.6, 1.4],
            blur_sigma: [0.1, 3.0],
            blur_kernel: 0,
        }
    }
}

impl AugmentConfig {
    /// No augmentation: the whole of a square image, the central square of any other.
    pub fn none() -> Self {
        Self {
            crop_area: [1.0, 1.0],
            crop_ratio: [1.0, 1.0],
            flip: 0.0,
            rotate_degrees: 0.0,
            translate: 0.0,
            scale: [1.0, 1.0],
            brightness: [1.0, 1.0],
            contrast: [1.0, 1.0],
            blur_sigma: [0.0, 0.0],
            blur_kernel: 0,
        }
    }

    /// Checks every value for images of `size` x `size` pixels.
    ///
    /// # Errors
    /// [`DataError::Setting`] names the first value that makes no sense.
    pub fn validate(&self, size: usize) -> Result<()> {
        let refuse =
            |key, value: &dyn std::fmt::Debug, why| Err(DataError::Setting { key, value: format!("{value:?}"), why });
        let ordered = |range: [f64; 2], least: f64| range[0] >= least && range[0] <= range[1] && range[1].is_finite();
        let above_zero = f64::MIN_POSITIVE;
        if !ordered(self.crop_area, above_zero) || self.crop_area[1] > 1.0 {
            return refuse("augment.crop_area", &self.crop_area, "needs 0 < low <= high <= 1");
        }
        for (key, range) in [("augment.crop_ratio", self.crop_ratio), ("augment.scale", self.scale)] {
            if !ordered(range, above_zero) {
                return refuse(key, &range, "needs 0 < low <= high");
            }
        }
        for (key, range) in [
            ("augment.brightness", self.brightness),
            ("augment.contrast", self.contrast),
            ("augment.blur_sigma", self.blur_sigma),
        ] {
            if !ordered(range, 0.0) {
                return refuse(key, &range, "needs 0 <= low <= high");
            }
        }
        for (key, share) in [("augment.flip", self.flip), ("augment.translate", self.translate)] {
            if !(0.0..=1.0).contains(&share) {
                return refuse(key, &share, "needs a value from 0 to 1");
            }
        }
        if !(0.0..=180.0).contains(&self.rotate_degrees) {
            return refuse("augment.rotate_degrees", &self.rotate_degrees, "needs a value from 0 to 180");
        }
        let kernel = self.kernel(size);
        if kernel.is_multiple_of(2) || kernel / 2 >= size {
            return refuse("augment.blur_kernel", &kernel, "needs an odd number below twice the side of the image");
        }
        Ok(())
    }

    /// Side of the blur's kernel for an output of `size` x `size` pixels.
    pub fn kernel(&self, size: usize) -> usize {
        if self.blur_kernel > 0 {
            return self.blur_kernel;
        }
        // The odd number 2 k + 1 nearest size / 10 has k = round((size / 10 - 1) / 2) = floor(size / 20).
        2 * (size / 20) + 1
    }
}

/// Brightness and contrast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// Factor of the brightness.
    pub brightness: f64,
    /// Factor of the contrast.
    pub contrast: f64,
    /// Which of the two comes first.
    pub contrast_first: bool,
}

/// One draw of the augmentations; a step that changes nothing is `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AugmentParams {
    /// The part of the image that is resized to the output.
    pub crop: CropBox,
    /// Whether left and right change places.
    pub flip: bool,
    /// Rotation, shift (px of the output) and scale.
    pub affine: Option<Affine>,
    /// Brightness and contrast.
    pub jitter: Option<Jitter>,
    /// Kernel (px) and standard deviation (px) of the blur.
    pub blur: Option<(usize, f64)>,
}

impl AugmentParams {
    /// Draws parameters for an image of `width` x `height` pixels and an output of `out` x `out`.
    ///
    /// The number of draws does not depend on which steps are on, so switching one off leaves the others as they were.
    pub fn draw(config: &AugmentConfig, width: usize, height: usize, out: usize, stream: &mut Stream) -> Self {
        let flip = stream.chance(config.flip);
        let range = |[low, high]: [f64; 2], stream: &mut Stream| stream.uniform(low, high);
        let degrees = stream.uniform(-config.rotate_degrees, config.rotate_degrees);
        let reach = config.translate * out as f64;
        // torchvision shifts by whole pixels.
        let shift_x = stream.uniform(-reach, reach).round_ties_even();
        let shift_y = stream.uniform(-reach, reach).round_ties_even();
        let map = Affine { degrees, shift_x, shift_y, scale: range(config.scale, stream) };
        let contrast_first = stream.chance(0.5);
        let brightness = range(config.brightness, stream);
        let jitter = Jitter { brightness, contrast: range(config.contrast, stream), contrast_first };
        let sigma = range(config.blur_sigma, stream);
        let crop = draw_crop(config, width, height, stream);
        let still = Affine { degrees: 0.0, shift_x: 0.0, shift_y: 0.0, scale: 1.0 };
        let same = Jitter { brightness: 1.0, contrast: 1.0, contrast_first };
        Self {
            crop,
            flip,
            affine: (map != still).then_some(map),
            jitter: (jitter != same).then_some(jitter),
            blur: (sigma > 0.0).then_some((config.kernel(out), sigma)),
        }
    }

    /// The augmented image, `out` x `out` values in `[0, 1]`.
    ///
    /// # Panics
    /// Panics if the crop leaves the image or the blur's kernel does not fit ([`AugmentConfig::validate`]).
    pub fn apply<R: Raster>(&self, image: &R, out: usize) -> Plane {
        let mut plane = resized_crop(image, self.crop, out, out);
        if self.flip {
            flip_horizontal(&mut plane);
        }
        if let Some(map) = self.affine {
            plane = affine(&plane, map);
        }
        if let Some(jitter) = self.jitter {
            jitter.apply(&mut plane);
        }
        if let Some((kernel, sigma)) = self.blur {
            plane = gaussian_blur(plane, kernel, sigma);
        }
        plane
    }
}

/// The crop of torchvision's `RandomResizedCrop`: ten tries, then the largest central box of an allowed ratio.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of an image")]
fn draw_crop(config: &AugmentConfig, width: usize, height: usize, stream: &mut Stream) -> CropBox {
    let area = (width * height) as f64;
    let [low, high] = config.crop_ratio;
    for _ in 0..10 {
        let target = area * stream.uniform(config.crop_area[0], config.crop_area[1]);
        let ratio = stream.uniform(low.ln(), high.ln()).exp();
        let w = (target * ratio).sqrt().round_ties_even() as usize;
        let h = (target / ratio).sqrt().round_ties_even() as usize;
        if w > 0 && w <= width && h > 0 && h <= height {
            let top = stream.below(height - h + 1);
            return CropBox { top, left: stream.below(width - w + 1), height: h, width: w };
        }
    }
    let ratio = width as f64 / height as f64;
    let (mut w, mut h) = (width, height);
    if ratio < low {
        h = ((width as f64 / low).round_ties_even() as usize).clamp(1, height);
    } else if ratio > high {
        w = ((height as f64 * high).round_ties_even() as usize).clamp(1, width);
    }
    CropBox { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

/// Left and right change places.
pub fn flip_horizontal(plane: &mut Plane) {
    for row in plane.data.chunks_exact_mut(plane.width.max(1)) {
        row.reverse();
    }
}

impl Jitter {
    /// Changes brightness and contrast in place; values are clipped to `[0, 1]` after each.
    ///
    /// # Source
    /// torchvision `adjust_brightness` and `adjust_contrast` (which blends with the mean of the image).
    pub fn apply(&self, plane: &mut Plane) {
        if self.contrast_first {
            adjust_contrast(plane, self.contrast);
            adjust_brightness(plane, self.brightness);
        } else {
            adjust_brightness(plane, self.brightness);
            adjust_contrast(plane, self.contrast);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "factors are near one")]
fn adjust_brightness(plane: &mut Plane, factor: f64) {
    let factor = factor as f32;
    for value in &mut plane.data {
        *value = (*value * factor).clamp(0.0, 1.0);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "factors are near one")]
fn adjust_contrast(plane: &mut Plane, factor: f64) {
    let (factor, offset) = (factor as f32, ((1.0 - factor) * mean(&plane.data)) as f32);
    for value in &mut plane.data {
        *value = (*value * factor + offset).clamp(0.0, 1.0);
    }
}

fn mean(values: &[f32]) -> f64 {
    // Sixteen sums side by side: the order is fixed and the compiler can use vectors.
    let mut lanes = [0.0_f32; 16];
    let chunks = values.chunks_exact(16);
    let rest: f64 = chunks.remainder().iter().map(|&v| f64::from(v)).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    (lanes.iter().map(|&v| f64::from(v)).sum::<f64>() + rest) / values.len().max(1) as f64
}
