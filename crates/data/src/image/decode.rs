//! PNG and JPEG files to 8-bit grey images, within limits that are checked before a pixel is decoded.
//!
//! | Input | Becomes |
//! |---|---|
//! | colour | ITU-R 601 luma in integers, as PIL's `L` |
//! | 16 bits | 8 bits, rescaled: `round(v * 255 / 65535)` |
//! | 1, 2 or 4 bits, a palette | 8 bits, the colours that are meant |
//! | inks (CMYK) | red, green and blue, then grey |
//! | transparency | composed over black |
//! | an EXIF orientation | upright pixels |
//! | a blank image | itself |
//! | an inverted image (black bones) | itself: neither format says so, it must be turned when it is exported |
//!
//! The first image of a process that is converted in a way that loses something, and the first blank one, is warned of.
//!
//! The format is read from the content. A file that ends early is an error even where a decoder would fill up with
//! grey, and a panic of a decoder is one too.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::codecs::{jpeg, png};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageResult, Limits};

use super::GrayImage;
use super::container::{self, Container, Payload};
use super::notice::{Notice, warn_once};
use super::scan;
use crate::error::ImageFault;

/// Largest area (px).
pub const MAX_PIXELS: u64 = 64 << 20;
/// Largest file (bytes).
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Largest decoded image (bytes).
pub const MAX_DECODED_BYTES: u64 = 256 << 20;
/// Largest ratio of the sides.
pub const MAX_ASPECT: u32 = 20;

/// Decodes an image file.
///
/// # Errors
/// [`ImageFault`] says why the file is refused; it never holds the path.
pub fn decode_file(path: &Path) -> Result<GrayImage, ImageFault> {
    decode_bytes(&read_file(path)?)
}

/// The content of an image file.
///
/// # Errors
/// [`ImageFault::Read`] and [`ImageFault::FileTooLarge`].
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ImageFault> {
    let read = |error: std::io::Error| ImageFault::Read(error.kind());
    let file = File::open(path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    if size > MAX_FILE_BYTES {
        return Err(ImageFault::FileTooLarge { bytes: size, limit: MAX_FILE_BYTES });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

/// Decodes the content of an image file.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(bytes: &[u8]) -> Result<GrayImage, ImageFault> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ImageFault::FileTooLarge { bytes: bytes.len() as u64, limit: MAX_FILE_BYTES });
    }
    let run = || {
        let container = container::inspect(bytes)?;
        check_size(container.width, container.height)?;
        if matches!(container.payload, Payload::Jpeg) {
            scan::check(bytes)?;
        }
        decode_pixels(bytes, &container)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(ImageFault::Panicked))
}

fn check_size(width: u32, height: u32) -> Result<(), ImageFault> {
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageFault::Dimensions { width, height, limit: MAX_PIXELS });
    }
    if width.max(height) > width.min(height).saturating_mul(MAX_ASPECT) {
        return Err(ImageFault::Aspect { width, height, limit: MAX_ASPECT });
    }
    Ok(())
}

fn decode_pixels(bytes: &[u8], container: &Container) -> Result<GrayImage, ImageFault> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let raw = match &container.payload {
        Payload::Jpeg => jpeg::JpegDecoder::new(Cursor::new(bytes)).and_then(|mut decoder| {
            decoder.set_limits(limits)?;
            read_raw(decoder)
        }),
        Payload::Png(chunks) => png::PngDecoder::with_limits(Cursor::new(chunks), limits).and_then(read_raw),
    };
    let raw = raw.map_err(|error| fault_of(&error))?;
    // Of two frame headers the decoder may follow the one whose size was not checked.
    if (raw.width, raw.height) != (container.width, container.height) {
        return Err(ImageFault::Corrupt("the file tells two sizes of the image".to_owned()));
    }
    let pixels = luma(&raw)?;
    notify(container, &raw, &pixels);
    let upright = image::GrayImage::from_raw(raw.width, raw.height, pixels).map(|gray| {
        let mut image = DynamicImage::ImageLuma8(gray);
        image.apply_orientation(container.orientation);
        image.into_luma8()
    });
    let upright = upright.ok_or_else(|| ImageFault::Corrupt("the pixels do not fill the image".to_owned()))?;
    let (width, height) = (upright.width() as usize, upright.height() as usize);
    Ok(GrayImage { width, height, pixels: upright.into_raw() })
}

/// Decoded samples in the order and depth of the file.
struct Raw {
    width: u32,
    height: u32,
    color: ColorType,
    bytes: Vec<u8>,
}

fn read_raw(decoder: impl ImageDecoder) -> ImageResult<Raw> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let total = decoder.total_bytes();
    if total > MAX_DECODED_BYTES {
        let kind = image::error::LimitErrorKind::InsufficientMemory;
        return Err(image::ImageError::Limits(image::error::LimitError::from_kind(kind)));
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_DECODED_BYTES")]
    let mut bytes = vec![0; total as usize];
    decoder.read_image(&mut bytes)?;
    Ok(Raw { width, height, color, bytes })
}

/// Warns of what is unusual about an image.
fn notify(container: &Container, raw: &Raw, pixels: &[u8]) {
    let is_deep = raw.color.bytes_per_pixel() > raw.color.channel_count();
    // Colours that are grey lose nothing.
    let step = usize::from(raw.color.bytes_per_pixel());
    let width = step / usize::from(raw.color.channel_count());
    let coloured =
        |pixel: &[u8]| pixel[..width] != pixel[width..2 * width] || pixel[..width] != pixel[2 * width..3 * width];
    let lucid = |pixel: &[u8]| pixel[step - width..].iter().any(|&byte| byte != u8::MAX);
    let met = [
        (Notice::Deep, is_deep),
        (Notice::Inks, container.inks),
        (Notice::Colour, !container.inks && raw.color.has_color() && raw.bytes.chunks_exact(step).any(coloured)),
        (Notice::Transparent, raw.color.has_alpha() && raw.bytes.chunks_exact(step).any(lucid)),
        (Notice::Turned, container.orientation != Orientation::NoTransforms),
        (Notice::Blank, pixels.windows(2).all(|pair| pair[0] == pair[1])),
    ];
    met.into_iter().filter(|(_, is_met)| *is_met).for_each(|(notice, _)| warn_once(notice));
}

fn fault_of(error: &image::ImageError) -> ImageFault {
    match error {
        image::ImageError::IoError(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => ImageFault::Truncated,
        image::ImageError::Limits(_) => ImageFault::Memory { limit: MAX_DECODED_BYTES },
        other => ImageFault::Corrupt(other.to_string()),
    }
}

/// Grey values of decoded samples.
fn luma(raw: &Raw) -> Result<Vec<u8>, ImageFault> {
    let narrow: Vec<u8>;
    let samples = if raw.color.bytes_per_pixel() > raw.color.channel_count() {
        narrow = raw.bytes.chunks_exact(2).map(|pair| narrow_sample(u16::from_ne_bytes([pair[0], pair[1]]))).collect();
        &narrow
    } else {
        &raw.bytes
    };
    Ok(match raw.color {
        ColorType::L8 | ColorType::L16 => samples.clone(),
        ColorType::La8 | ColorType::La16 => samples.chunks_exact(2).map(|p| over_black(p[0], p[1])).collect(),
        ColorType::Rgb8 | ColorType::Rgb16 => samples.chunks_exact(3).map(|p| luma_601(p[0], p[1], p[2])).collect(),
        ColorType::Rgba8 | ColorType::Rgba16 => samples
            .chunks_exact(4)
            .map(|p| luma_601(over_black(p[0], p[3]), over_black(p[1], p[3]), over_black(p[2], p[3])))
            .collect(),
        _ => return Err(ImageFault::Corrupt("an unknown colour type".to_owned())),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "65535 becomes 255")]
fn narrow_sample(value: u16) -> u8 {
    // 257 = 65535 / 255, so this is round(v * 255 / 65535).
    ((u32::from(value) + 128) / 257) as u8
}

#[expect(clippy::cast_possible_truncation, reason = "a product of two bytes over 255 is a byte")]
fn over_black(value: u8, alpha: u8) -> u8 {
    ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8
}

/// ITU-R 601 luma with the integer weights of PIL (they sum to 65536).
#[expect(clippy::cast_possible_truncation, reason = "the weights sum to one")]
fn luma_601(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageEncoder;

    fn png_of(width: u32, height: u32, color: image::ExtendedColorType, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        png::PngEncoder::new(&mut out).write_image(bytes, width, height, color).unwrap();
        out
    }

    #[test]
    fn colours_depths_and_transparency_become_grey() {
        use image::ExtendedColorType::{L8, L16, La8, Rgb8, Rgba8, Rgba16};
        let pixel = |color, bytes: &[u8]| decode_bytes(&png_of(1, 1, color, bytes)).unwrap().pixels[0];
        assert_eq!(pixel(L8, &[77]), 77);
        // 0x8080 = 128 * 257; 300 / 257 = 1.17.
        assert_eq!(pixel(L16, &0x8080_u16.to_ne_bytes()), 128);
        assert_eq!(pixel(L16, &300_u16.to_ne_bytes()), 1);
        // 200 * 128 / 255 = 100.4.
        assert_eq!(pixel(La8, &[200, 128]), 100);
        // 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.07.
        assert_eq!(pixel(Rgb8, &[255, 0, 0]), 76);
        assert_eq!(pixel(Rgb8, &[0, 255, 0]), 150);
        assert_eq!(pixel(Rgb8, &[0, 0, 255]), 29);
        assert_eq!(pixel(Rgba8, &[255, 255, 255, 0]), 0);
        let wide: Vec<u8> = [65535_u16, 65535, 65535, 32896].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(pixel(Rgba16, &wide), 128);
    }

    fn jpeg_of(side: u16) -> Vec<u8> {
        let pixels: Vec<u8> = (0..u32::from(side).pow(2)).map(|i| (i * 7 % 251) as u8).collect();
        let mut out = Vec::new();
        jpeg::JpegEncoder::new_with_quality(&mut out, 90)
            .encode(&pixels, side.into(), side.into(), image::ExtendedColorType::L8)
            .unwrap();
        out
    }

    #[test]
    fn every_cut_of_a_file_is_an_error() {
        for file in [jpeg_of(40), png_of(16, 16, image::ExtendedColorType::L8, &[9; 256])] {
            assert!(decode_bytes(&file).is_ok());
            for end in 0..file.len() {
                assert!(decode_bytes(&file[..end]).is_err(), "{end} of {}", file.len());
            }
        }
    }

    #[test]
    fn an_orientation_turns_the_pixels_upright() {
        let plain = jpeg_of(16);
        // APP1 with one entry: tag 0x112 (orientation), type 3 (short), count 1, value 6 (turn right to view).
        let mut exif = b"\xFF\xE1\x00\x22Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0".to_vec();
        exif.extend([0; 4]);
        let turned = [&plain[..2], &exif, &plain[2..]].concat();
        let (plain, turned) = (decode_bytes(&plain).unwrap(), decode_bytes(&turned).unwrap());
        for y in 0..16 {
            for x in 0..16 {
                assert_eq!(turned.pixels[y * 16 + x], plain.pixels[(15 - x) * 16 + y]);
            }
        }
    }

    #[test]
    fn bombs_are_refused_from_their_header() {
        let mut png = png_of(1, 1, image::ExtendedColorType::L8, &[0]);
        png[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
        assert!(matches!(decode_bytes(&png), Err(ImageFault::Dimensions { width: 100_000, .. })));
        let thin = png_of(21, 1, image::ExtendedColorType::L8, &[0; 21]);
        assert!(matches!(decode_bytes(&thin), Err(ImageFault::Aspect { .. })));
        assert_eq!(decode_bytes(b"GIF89a..").unwrap_err(), ImageFault::Format);
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let mut stream = crate::rng::Stream::new(5);
        for file in [jpeg_of(24), png_of(16, 16, image::ExtendedColorType::L8, &[9; 256])] {
            for _ in 0..2000 {
                let mut broken = file.clone();
                for _ in 0..=stream.below(3) {
                    let at = stream.below(broken.len());
                    broken[at] ^= 1 << stream.below(8);
                }
                assert_ne!(decode_bytes(&broken), Err(ImageFault::Panicked));
            }
        }
    }
}
