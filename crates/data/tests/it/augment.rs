//! Resizing and augmentations against torchvision: `scripts/golden/augment.py`.
//!
//! Values lie in 0..1. torchvision computes in single precision; its filters sum fewer than 200 products, so 1e-5 is
//! ample. Places of samples of an affine map pass through a normalised grid, whose rounding of 2e-6 px times a slope of
//! at most one per pixel, times two for the division by a scale of 0.5, is the reason for 3e-5 there and in the chains.

use data::image::augment::{AugmentConfig, AugmentParams, Jitter, flip_horizontal};
use data::image::blur::gaussian_blur;
use data::image::transform::{CropBox, letterbox, resize, resized_crop};
use data::image::warp::{Affine, affine};
use data::image::{GrayImage, Plane};
use data::rng::{Purpose, stream};

use crate::support::Golden;

const SIZE: usize = 32;
const FILTER: f32 = 1e-5;
const WARP: f32 = 3e-5;

fn source(golden: &Golden) -> GrayImage {
    let (shape, pixels) = golden.bytes("source");
    GrayImage { width: shape[1], height: shape[0], pixels }
}

fn plane(golden: &Golden, name: &str) -> Plane {
    let (shape, data) = golden.floats(name);
    Plane { width: shape[1], height: shape[0], data }
}

fn assert_close(name: &str, got: &Plane, expected: &Plane, tolerance: f32) {
    assert_eq!((got.width, got.height), (expected.width, expected.height), "{name}");
    let worst = got.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{name}: differs by {worst}, more than {tolerance}");
}

/// Top, left, height and width.
fn crop_box(values: &[f64]) -> CropBox {
    let [top, left, height, width] = [0, 1, 2, 3].map(|i| values[i] as usize);
    CropBox { top, left, height, width }
}

/// Degrees, shift right, shift down and scale.
fn warp(values: &[f64]) -> Affine {
    Affine { degrees: values[0], shift_x: values[1], shift_y: values[2], scale: values[3] }
}

#[test]
fn resizes_and_crops() {
    let golden = Golden::read("augment");
    let image = source(&golden);
    for (name, width, height) in [("resize.down", 31, 20), ("resize.up", 70, 61), ("resize.mixed", 24, 64)] {
        assert_close(name, &resize(&image, width, height), &plane(&golden, name), FILTER);
        // A plane takes the same way as 8-bit pixels.
        assert_close(name, &resize(&Plane::from(&image), width, height), &plane(&golden, name), FILTER);
    }
    for k in 0..4 {
        let area = crop_box(&golden.doubles(&format!("crop.{k}.box")));
        let name = format!("crop.{k}");
        assert_close(&name, &resized_crop(&image, area, SIZE, SIZE), &plane(&golden, &name), FILTER);
    }
}

#[test]
fn padding_and_resizing() {
    let golden = Golden::read("augment");
    assert_close("letterbox", &letterbox(&source(&golden), SIZE), &plane(&golden, "letterbox"), FILTER);
}

#[test]
fn affine_maps() {
    let golden = Golden::read("augment");
    let image = plane(&golden, "crop.0");
    for k in 0..5 {
        let name = format!("affine.{k}");
        let map = warp(&golden.doubles(&format!("{name}.map")));
        assert_close(&name, &affine(&image, map), &plane(&golden, &name), WARP);
    }
}

#[test]
fn blurs() {
    let golden = Golden::read("augment");
    for k in 0..4 {
        let name = format!("blur.{k}");
        let kernel = golden.doubles(&format!("{name}.kernel"));
        let blurred = gaussian_blur(plane(&golden, "crop.0"), kernel[0] as usize, kernel[1]);
        assert_close(&name, &blurred, &plane(&golden, &name), FILTER);
    }
}

#[test]
fn brightness_and_contrast() {
    let golden = Golden::read("augment");
    for (k, factor) in [0.6, 1.4].into_iter().enumerate() {
        for (name, brightness, contrast) in [("brightness", factor, 1.0), ("contrast", 1.0, factor)] {
            let mut image = plane(&golden, "crop.0");
            Jitter { brightness, contrast, contrast_first: false }.apply(&mut image);
            assert_close(name, &image, &plane(&golden, &format!("{name}.{k}")), FILTER);
        }
    }
}

#[test]
fn whole_chains() {
    let golden = Golden::read("augment");
    for k in 0..2 {
        let name = format!("chain.{k}");
        let v = golden.doubles(&format!("{name}.params"));
        let params = AugmentParams {
            crop: crop_box(&v[0..4]),
            flip: v[4] != 0.0,
            affine: Some(warp(&v[5..9])),
            jitter: Some(Jitter { brightness: v[9], contrast: v[10], contrast_first: v[11] != 0.0 }),
            blur: Some((v[12] as usize, v[13])),
        };
        let image = source(&golden);
        assert_close(&name, &params.apply(&image, SIZE), &plane(&golden, &name), WARP);
        // A chain in another order must not pass.
        let other = AugmentParams { flip: !params.flip, ..params };
        let worst =
            other.apply(&image, SIZE).data.iter().zip(&plane(&golden, &name).data).any(|(a, b)| (a - b).abs() > 0.1);
        assert!(worst, "{name}: a flip makes a difference");
    }
}

#[test]
fn a_flip_mirrors_rows() {
    let mut image = Plane { width: 3, height: 2, data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    flip_horizontal(&mut image);
    assert_eq!(image.data, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
}

#[test]
fn crops_are_drawn_as_torchvision_draws_them() {
    let golden = Golden::read("augment");
    let cases = [
        (100, 80, [0.6, 1.0], [3.0 / 4.0, 4.0 / 3.0]),
        (40, 100, [0.6, 1.0], [3.0 / 4.0, 4.0 / 3.0]),
        (100, 60, [0.5, 0.9], [0.5, 0.8]),
    ];
    for (k, (height, width, crop_area, crop_ratio)) in cases.into_iter().enumerate() {
        let config = AugmentConfig { crop_area, crop_ratio, ..AugmentConfig::default() };
        let draws: Vec<[f64; 4]> = (0..20_000)
            .map(|i| {
                let crop =
                    AugmentParams::draw(&config, width, height, SIZE, &mut stream(3, Purpose::Augment, 0, i)).crop;
                [crop.top, crop.left, crop.height, crop.width].map(|v| v as f64)
            })
            .collect();
        let n = draws.len() as f64;
        let expected = golden.doubles(&format!("moments.{k}"));
        for part in 0..4 {
            let mean = draws.iter().map(|d| d[part]).sum::<f64>() / n;
            let deviation = (draws.iter().map(|d| (d[part] - mean).powi(2)).sum::<f64>() / n).sqrt();
            let (other_mean, other_deviation) = (expected[part], expected[4 + part]);
            // Both sides are samples: five standard errors of a difference of means; a standard deviation of these
            // distributions (kurtosis below 5) has a standard error of at most one over the root of n, relatively.
            let error = other_deviation * (2.0 / n).sqrt();
            assert!((mean - other_mean).abs() <= 5.0 * error + 1e-9, "case {k}, part {part}: {mean} {other_mean}");
            assert!((deviation - other_deviation).abs() <= 7.0 * error + 1e-9, "case {k}, part {part}: {deviation}");
        }
    }
}

#[test]
fn other_parameters_stay_in_their_ranges_and_neutral_ones_are_skipped() {
    let config = AugmentConfig::default();
    let draws: Vec<AugmentParams> = (0..2000)
        .map(|i| AugmentParams::draw(&config, 128, 128, 112, &mut stream(1, Purpose::Augment, 0, i)))
        .collect();
    let flips = draws.iter().filter(|d| d.flip).count();
    // Binomial(2000, 0.5) has a standard deviation of 22.
    assert!((890..=1110).contains(&flips), "{flips}");
    for draw in &draws {
        let (map, jitter, blur) = (draw.affine.unwrap(), draw.jitter.unwrap(), draw.blur.unwrap());
        assert!(map.degrees.abs() <= 20.0 && (0.95..=1.05).contains(&map.scale));
        // A tenth of 112 is 11.2, in whole pixels at most 11.
        assert!(map.shift_x.abs() <= 11.0 && map.shift_y.abs() <= 11.0 && map.shift_x.fract() == 0.0);
        assert!((0.6..=1.4).contains(&jitter.brightness) && (0.6..=1.4).contains(&jitter.contrast));
        assert!(blur.0 == 11 && (0.1..=3.0).contains(&blur.1));
    }
    let none = AugmentParams::draw(&AugmentConfig::none(), 128, 128, 112, &mut stream(1, Purpose::Augment, 0, 0));
    assert_eq!((none.flip, none.affine, none.jitter, none.blur), (false, None, None, None));
    assert_eq!(none.crop, CropBox { top: 0, left: 0, height: 128, width: 128 });
}

#[test]
fn settings_without_sense_are_refused_by_name() {
    AugmentConfig::default().validate(112).unwrap();
    AugmentConfig::none().validate(1).unwrap();
    let base = AugmentConfig::default;
    let cases = [
        ("crop_area", AugmentConfig { crop_area: [0.6, 1.1], ..base() }),
        ("crop_area", AugmentConfig { crop_area: [0.0, 1.0], ..base() }),
        ("crop_ratio", AugmentConfig { crop_ratio: [2.0, 1.0], ..base() }),
        ("flip", AugmentConfig { flip: 1.5, ..base() }),
        ("rotate_degrees", AugmentConfig { rotate_degrees: -1.0, ..base() }),
        ("translate", AugmentConfig { translate: f64::NAN, ..base() }),
        ("scale", AugmentConfig { scale: [0.0, 1.0], ..base() }),
        ("brightness", AugmentConfig { brightness: [-0.1, 1.0], ..base() }),
        ("contrast", AugmentConfig { contrast: [0.5, f64::INFINITY], ..base() }),
        ("blur_sigma", AugmentConfig { blur_sigma: [3.0, 0.1], ..base() }),
        ("blur_kernel", AugmentConfig { blur_kernel: 4, ..base() }),
        ("blur_kernel", AugmentConfig { blur_kernel: 225, ..base() }),
    ];
    for (key, config) in cases {
        let text = config.validate(112).unwrap_err().to_string();
        assert!(text.starts_with(&format!("augment.{key} = ")), "{key}: {text}");
    }
    assert_eq!(base().kernel(224), 23);
    assert_eq!(base().kernel(112), 11);
}
