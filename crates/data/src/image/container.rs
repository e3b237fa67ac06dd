//! What a PNG or JPEG file says of itself, read without decoding a pixel.
//!
//! The walk over chunks and segments answers three questions before any memory is spent: how large is the image, is
//! the file complete, and how is it oriented. Decoders are lenient about the second one; [`super::scan`] looks closer at
//! the data of a JPEG.

use image::metadata::Orientation;

use crate::error::ImageFault;

/// Header facts of an image file.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    /// Whether it is a JPEG of four channels: inks instead of lights.
    pub(crate) inks: bool,
    pub(crate) payload: Payload,
}

/// Bytes for the decoder.
#[derive(Debug)]
pub(crate) enum Payload {
    /// The file as it is.
    Jpeg,
    /// The chunks that matter: text and colour profiles are dropped, so that nobody inflates them.
    Png(Vec<u8>),
}

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Reads the container of a PNG or JPEG file; the content decides which, never the file's name.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Container, ImageFault> {
    if bytes.starts_with(PNG_SIGNATURE) {
        inspect_png(bytes)
    } else if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        inspect_jpeg(bytes)
    } else if bytes.is_empty() || PNG_SIGNATURE.starts_with(bytes) || [0xFF, 0xD8, 0xFF].starts_with(bytes) {
        Err(ImageFault::Truncated)
    } else {
        Err(ImageFault::Format)
    }
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn inspect_png(bytes: &[u8]) -> Result<Container, ImageFault> {
    let mut kept = Vec::with_capacity(bytes.len());
    kept.extend_from_slice(PNG_SIGNATURE);
    let mut size = None;
    let mut orientation = Orientation::NoTransforms;
    let mut at = PNG_SIGNATURE.len();
    loop {
        let length = be_u32(bytes, at).ok_or(ImageFault::Truncated)? as usize;
        // Length, type and checksum take four bytes each.
        let end = at.checked_add(12).and_then(|e| e.checked_add(length)).ok_or(ImageFault::Truncated)?;
        let chunk = bytes.get(at..end).ok_or(ImageFault::Truncated)?;
        let content = &chunk[8..8 + length];
        let kind = &chunk[4..8];
        match kind {
            b"IHDR" => size = be_u32(content, 0).zip(be_u32(content, 4)),
            b"eXIf" => orientation = Orientation::from_exif_chunk(content).unwrap_or(orientation),
            _ => {}
        }
        if matches!(kind, b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"IEND") {
            kept.extend_from_slice(chunk);
        }
        if kind == b"IEND" {
            let (width, height) = size.ok_or_else(|| ImageFault::Corrupt("no header chunk".to_owned()))?;
            return Ok(Container { width, height, orientation, inks: false, payload: Payload::Png(kept) });
        }
        at = end;
    }
}

fn inspect_jpeg(bytes: &[u8]) -> Result<Container, ImageFault> {
    let mut size = None;
    let mut channels = None;
    let mut has_scan = false;
    let mut orientation = Orientation::NoTransforms;
    segments(bytes, |marker, segment, _| {
        match marker {
            // Frame headers; C4, C8 and CC are tables and extensions.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                size = be_u16(segment, 5).zip(be_u16(segment, 3));
                channels = segment.get(7).copied();
            }
            0xE1 => {
                let exif = segment.get(2..).and_then(|s| s.strip_prefix(b"Exif\0\0"));
                orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(orientation);
            }
            0xDA => has_scan = true,
            _ => {}
        }
        Ok(())
    })?;
    match size {
        Some((width, height)) if has_scan => {
            let (width, height) = (width.into(), height.into());
            Ok(Container { width, height, orientation, inks: channels == Some(4), payload: Payload::Jpeg })
        }
        _ => Err(ImageFault::Corrupt("no image before the end mark".to_owned())),
    }
}

/// Shows the segments of a JPEG up to the end mark: marker, content from the length on, and what follows. A scan that
/// stops before a marker means that the file was cut.
pub(super) fn segments<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(u8, &'a [u8], &'a [u8]) -> Result<(), ImageFault>,
) -> Result<(), ImageFault> {
    let mut at = 2;
    loop {
        let (marker, body) = next_marker(bytes, at).ok_or(ImageFault::Truncated)?;
        at = body;
        match marker {
            // Marks without a body.
            0x01 | 0xD0..=0xD8 => continue,
            0xD9 => return Ok(()),
            _ => {}
        }
        let length = usize::from(be_u16(bytes, body).ok_or(ImageFault::Truncated)?);
        let (segment, rest) = bytes[body..].split_at_checked(length).ok_or(ImageFault::Truncated)?;
        visit(marker, segment, rest)?;
        at += length;
    }
}

/// The next marker at or after `at` and the position behind it; coded data and its restart marks are skipped.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        let (marker, behind) = next_mark(bytes, at)?;
        if !matches!(marker, 0xD0..=0xD7) {
            return Some((marker, behind));
        }
        at = behind;
    }
}

/// The next marker of any kind at or after `at` and the position behind it; coded data is skipped.
pub(super) fn next_mark(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(at..)?;
    let found = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF))?;
    Some((rest[found + 1], at + found + 2))
}
