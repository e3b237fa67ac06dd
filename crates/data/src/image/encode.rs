//! Grey images to PNG, for contact sheets and tests.

use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use super::GrayImage;
use crate::error::ImageFault;

/// The bytes of a PNG file of the image.
///
/// # Errors
/// [`ImageFault::Corrupt`] where the pixels do not fill the image or a side is zero.
pub fn png(image: &GrayImage) -> Result<Vec<u8>, ImageFault> {
    let wrong = || ImageFault::Corrupt("the pixels do not fill the image".to_owned());
    let (width, height) = u32::try_from(image.width).ok().zip(u32::try_from(image.height).ok()).ok_or_else(wrong)?;
    if image.pixels.is_empty() || image.pixels.len() != image.width * image.height {
        return Err(wrong());
    }
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&image.pixels, width, height, image::ExtendedColorType::L8)
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
    }
}
