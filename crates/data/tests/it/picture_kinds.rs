//! Every kind of PNG and JPEG file: what becomes of it, whole, cut short and with bytes changed.

use std::time::Instant;

use data::error::ImageFault;
use data::image::decode::decode_bytes;
use data::rng::Stream;

use crate::picture_files::{Picture, chunk, header, pictures, png};

#[test]
fn every_kind_becomes_the_grey_that_it_means() {
    let all = pictures();
    assert!(all.len() >= 24, "{}", all.len());
    for Picture { name, bytes, size, quarters, tolerance } in all {
        let image = decode_bytes(&bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!((image.width, image.height), size, "{name}");
        let (width, height) = size;
        for (i, &pixel) in image.pixels.iter().enumerate() {
            let expected = quarters[i / width / (height / 2) * 2 + i % width / (width / 2)];
            // Colour at half the resolution runs over the edges between quarters.
            let middle = width >= 8 && ((i % width).abs_diff(width / 2) < 3 || (i / width).abs_diff(height / 2) < 3);
            assert!(middle || pixel.abs_diff(expected) <= tolerance, "{name}: {pixel} at {i}, not {expected}");
        }
        let mean = |values: &[u8]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        assert!((mean(&image.pixels) - mean(&quarters)).abs() <= f64::from(tolerance) / 2.0, "{name}");
    }
}

#[test]
fn every_cut_is_called_truncated() {
    for Picture { name, bytes, .. } in pictures() {
        for i in 0..64 {
            let end = i * bytes.len() / 64;
            assert_eq!(decode_bytes(&bytes[..end]), Err(ImageFault::Truncated), "{name}: {end} of {}", bytes.len());
        }
        assert_eq!(decode_bytes(&bytes[..bytes.len() - 1]), Err(ImageFault::Truncated), "{name}");
    }
}

#[test]
fn a_png_whose_pixels_end_early_is_refused_though_its_last_chunk_is_there() {
    for rows in 0..4 {
        let short = png(&header(4, 4, 8, 0, 0), &[], &[7; 20][..rows * 5]);
        let fault = decode_bytes(&short).unwrap_err();
        assert!(["truncated", "corrupt"].contains(&fault.reason()), "{rows}: {fault}");
    }
    assert!(decode_bytes(&png(&header(4, 4, 8, 0, 0), &[], &[0; 20])).is_ok());
}

/// The chunks of a PNG with checksums that fit their content, as far as there are whole ones.
fn resealed(png: &[u8]) -> Vec<u8> {
    let mut out = png[..8].to_vec();
    let mut rest = &png[8..];
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((kind, body)) = body.split_first_chunk::<4>() else { break };
        if body.len() < length + 4 {
            break;
        }
        out.extend(chunk(*kind, &body[..length]));
        rest = &body[length + 4..];
    }
    out.extend(rest);
    out
}

#[test]
fn changed_bytes_never_panic_or_hang() {
    let mut random = Stream::new(23);
    let start = Instant::now();
    for format in ["png", "jpeg"] {
        let files: Vec<Picture> = pictures().into_iter().filter(|p| p.name.starts_with(format)).collect();
        let mut refused = 0;
        for i in 0..10_000 {
            let file = &files[random.below(files.len())];
            let mut broken = file.bytes.clone();
            for _ in 0..=random.below(4) {
                // The signature stays: without it the file is of no format at all.
                let at = 8 + random.below(broken.len() - 8);
                broken[at] = random.below(256) as u8;
            }
            // Half of the changes get past the checksums.
            if format == "png" && i % 2 == 0 {
                broken = resealed(&broken);
            }
            let decoded = decode_bytes(&broken);
            assert_ne!(decoded, Err(ImageFault::Panicked), "{}, case {i}", file.name);
            refused += usize::from(decoded.is_err());
        }
        assert!((1000..10_000).contains(&refused), "{format}: {refused}");
    }
    // 20 000 tiny files in some seconds; one that grows without bound would take minutes.
    assert!(start.elapsed().as_secs() < 600, "{:?}", start.elapsed());
}
