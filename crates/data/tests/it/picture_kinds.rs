//! Every kind of PNG and JPEG file: what becomes of it, whole, cut short and with bytes changed.

use std::ops::Range;
use std::time::Instant;

use data::error::ImageFault;
use data::image::decode::decode_bytes;
use data::rng::Stream;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::picture_files::{Picture, chunk, header, jpeg, pictures, png};
use crate::support::golden_path;

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

/// Where the coded data of a JPEG with one scan lie.
fn scan(jpeg: &[u8]) -> Range<usize> {
    let header = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap() + 2;
    let length = u16::from_be_bytes([jpeg[header], jpeg[header + 1]]);
    header + usize::from(length)..jpeg.len() - 2
}

const END: [u8; 2] = [0xFF, 0xD9];

#[test]
fn a_jpeg_whose_scan_ends_early_is_truncated_though_its_end_mark_is_there() {
    let pixels: Vec<u8> = (0..50 * 30).map(|i| (i * i % 253) as u8).collect();
    let mut noise = Vec::new();
    JpegEncoder::new_with_quality(&mut noise, 99).encode(&pixels, 50, 30, ExtendedColorType::L8).unwrap();
    // What a progressive scan must hold is not known from its lengths.
    let files = pictures().into_iter().filter(|p| p.name.starts_with("jpeg") && p.name != "jpeg, progressive");
    let all: Vec<(String, Vec<u8>)> = files.map(|p| (p.name, p.bytes)).chain([("noise".to_owned(), noise)]).collect();
    assert!(all.len() >= 14, "{}", all.len());
    for (name, bytes) in all {
        let data = scan(&bytes);
        assert!(decode_bytes(&[&bytes[..data.end], &END].concat()).is_ok(), "{name}");
        // Bytes between the last block and the end mark are no part of the image.
        assert!(decode_bytes(&[&bytes[..data.end], &[0, 0], &END].concat()).is_ok(), "{name}");
        for end in data.clone() {
            let cut = [&bytes[..end], &END].concat();
            assert_eq!(decode_bytes(&cut), Err(ImageFault::Truncated), "{name}: {end} of {data:?}");
        }
    }
}

#[test]
fn a_jpeg_that_lacks_a_part_or_a_component_or_holds_no_codes_is_refused() {
    let restarts = std::fs::read(golden_path("restarts.jpg")).unwrap();
    let data = scan(&restarts);
    let marks: Vec<usize> =
        data.clone().filter(|&at| restarts[at] == 0xFF && (0xD0..0xD8).contains(&restarts[at + 1])).collect();
    assert_eq!(marks.len(), 3, "four groups of blocks");
    for (from, to) in [(data.start, marks[0]), (marks[0] + 2, marks[1]), (marks[1] + 2, marks[2])] {
        let fault = decode_bytes(&[&restarts[..from], &restarts[to..]].concat()).unwrap_err();
        assert_eq!(fault, ImageFault::Corrupt("a part of a scan is missing".to_owned()));
    }
    let grey = jpeg();
    // A frame with a second component, for which there is no scan.
    let frame = grey.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let mut two = grey.clone();
    (two[frame + 3], two[frame + 9]) = (14, 2);
    two.splice(frame + 13..frame + 13, [9, 0x11, 0]);
    assert_eq!(decode_bytes(&two), Err(ImageFault::Truncated));
    // Ones alone are the code of nothing.
    let data = scan(&grey);
    let ones = [0xFF, 0].repeat(data.len());
    let fault = decode_bytes(&[&grey[..data.start], &ones, &END].concat()).unwrap_err();
    assert_eq!(fault, ImageFault::Corrupt("a scan holds an unknown code".to_owned()));
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
