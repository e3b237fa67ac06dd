//! Images to PNG, for contact sheets, heat maps and tests.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{GrayImage, RgbImage};
use crate::error::ImageFault;

/// The bytes of a PNG file of the image.
///
/// # Errors
/// [`ImageFault::Corrupt`] where the pixels do not fill the image or a side is zero.
pub fn png(image: &GrayImage) -> Result<Vec<u8>, ImageFault> {
    encode(&image.pixels, (image.width, image.height), (1, ExtendedColorType::L8))
}

/// The same of a colour image.
///
/// # Errors
/// As [`png`].
pub fn png_rgb(image: &RgbImage) -> Result<Vec<u8>, ImageFault> {
    encode(&image.pixels, (image.width, image.height), (3, ExtendedColorType::Rgb8))
}

fn encode(
    pixels: &[u8],
    (width, height): (usize, usize),
    (channels, kind): (usize, ExtendedColorType),
) -> Result<Vec<u8>, ImageFault> {
    let wrong = || ImageFault::Corrupt("the pixels do not fill the image".to_owned());
    if pixels.is_empty() || pixels.len() != channels * width * height {
        return Err(wrong());
    }
    let (width, height) = u32::try_from(width).ok().zip(u32::try_from(height).ok()).ok_or_else(wrong)?;
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(pixels, width, height, kind)
        .map_err(|error| ImageFault::Corrupt(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::decode::decode_bytes;

    #[test]
    fn decoding_gives_the_image_back() {
        let image = GrayImage { width: 5, height: 3, pixels: (0..15).map(|v| v * 17).collect() };
        assert_eq!(decode_bytes(&png(&image).unwrap()).unwrap(), image);
        assert!(png(&GrayImage { width: 5, height: 4, pixels: vec![0; 15] }).is_err());
        assert!(png(&GrayImage { width: 0, height: 4, pixels: vec![] }).is_err());
        // White and red; of colours a decoder keeps the luma: 255, and 299 of 1000 parts of it.
        let colours = RgbImage { width: 2, height: 1, pixels: vec![255, 255, 255, 255, 0, 0] };
        let expected = GrayImage { width: 2, height: 1, pixels: vec![255, 76] };
        assert_eq!(decode_bytes(&png_rgb(&colours).unwrap()).unwrap(), expected);
        assert!(png_rgb(&RgbImage { width: 2, height: 1, pixels: vec![0; 2] }).is_err());
    }
}
