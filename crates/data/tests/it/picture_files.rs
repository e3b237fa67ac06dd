//! Small PNG and JPEG files of every kind: four flat quarters each, and the grey values that they stand for.

use std::io::Write as _;

use flate2::Crc;
use flate2::write::ZlibEncoder;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::support::golden_path;

/// A file and what it shows.
pub(crate) struct Picture {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Columns and rows (px).
    pub(crate) size: (usize, usize),
    /// Grey values of the quarters: top left, top right, bottom left, bottom right.
    pub(crate) quarters: [u8; 4],
    /// Largest difference: JPEG rounds.
    pub(crate) tolerance: u8,
}

/// Colours of the quarters and their grey values: 0.299 R + 0.587 G + 0.114 B.
const COLOURS: [[u16; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 120, 200]];
const OF_COLOURS: [u8; 4] = [76, 150, 29, 120];
const GREYS: [u8; 4] = [20, 80, 140, 230];

/// The checksum and frame of a chunk.
pub(crate) fn chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), content].concat();
    let mut crc = Crc::new();
    crc.update(&body);
    let length = u32::try_from(content.len()).unwrap();
    [length.to_be_bytes().as_slice(), &body, &crc.sum().to_be_bytes()].concat()
}

/// The header of a PNG.
pub(crate) fn header(width: u32, height: u32, depth: u8, colour: u8, interlace: u8) -> Vec<u8> {
    let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(*b"IHDR", &[sizes.as_slice(), &[depth, colour, 0, 0, interlace]].concat())
}

/// A PNG of some chunks between its header and its data; `rows` are samples with a filter byte before each row.
pub(crate) fn png(header: &[u8], chunks: &[Vec<u8>], rows: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(rows).unwrap();
    let data = chunk(*b"IDAT", &zlib.finish().unwrap());
    [b"\x89PNG\r\n\x1a\n", header, &chunks.concat(), &data, &chunk(*b"IEND", b"")].concat()
}

/// Rows of 4 x 4 pixels whose quarters have the given samples, big end first, without a filter.
fn rows(depth: u8, quarters: &[Vec<u16>; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    for y in 0..4 {
        let samples: Vec<u16> = (0..4).flat_map(|x| quarters[y / 2 * 2 + x / 2].clone()).collect();
        out.push(0);
        match depth {
            16 => out.extend(samples.iter().flat_map(|v| v.to_be_bytes())),
            8 => out.extend(samples.iter().map(|&v| v as u8)),
            _ => {
                let bits = samples.iter().fold(0_u32, |bits, &v| bits << depth | u32::from(v));
                // One pixel a byte at 8 bits: the four fill half a byte, one or two.
                let used = 4 * u32::from(depth);
                let bytes = (bits << (32 - used)).to_be_bytes();
                out.extend(&bytes[..used.div_ceil(8) as usize]);
            }
        }
    }
    out
}

fn png_of(name: &str, depth: u8, colour: u8, samples: &[Vec<u16>; 4], chunks: &[Vec<u8>], grey: [u8; 4]) -> Picture {
    let bytes = png(&header(4, 4, depth, colour, 0), chunks, &rows(depth, samples));
    Picture { name: format!("png, {name}"), bytes, size: (4, 4), quarters: grey, tolerance: 0 }
}

/// Rows of a 4 x 4 picture in the seven passes of Adam7; passes two and three are empty.
fn interlaced() -> Vec<u8> {
    let passes: [(usize, usize, usize, usize); 5] =
        [(0, 8, 0, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)];
    let mut out = Vec::new();
    for (left, right, top, down) in passes {
        for y in (top..4).step_by(down) {
            out.push(0);
            out.extend((left..4).step_by(right).map(|x| GREYS[y / 2 * 2 + x / 2]));
        }
    }
    out
}

/// EXIF data of one entry: tag 0x112 (orientation), type 3 (short), count 1.
pub(crate) fn exif(orientation: u8) -> Vec<u8> {
    let mut data = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    data.extend([orientation, 0, 0, 0, 0, 0, 0]);
    data
}

fn little_endian_exif(orientation: u8) -> Vec<u8> {
    let mut data = b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    data.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    data
}

/// A JPEG with EXIF data behind its first mark.
fn with_exif(jpeg: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 8).unwrap().to_be_bytes();
    [&jpeg[..2], b"\xFF\xE1", &length, b"Exif\0\0", data, &jpeg[2..]].concat()
}

/// A grey JPEG of 32 x 16 pixels: its quarters are whole blocks, which JPEG keeps nearly as they are.
pub(crate) fn jpeg() -> Vec<u8> {
    let pixels: Vec<u8> = (0..16 * 32).map(|i| GREYS[i / 32 / 8 * 2 + i % 32 / 16]).collect();
    encode(&pixels, ExtendedColorType::L8)
}

fn encode(pixels: &[u8], colour: ExtendedColorType) -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 95).encode(pixels, 32, 16, colour).unwrap();
    out
}

fn pngs() -> Vec<Picture> {
    let one = |values: [u16; 4]| values.map(|v| vec![v]);
    let two = |values: [[u16; 2]; 4]| values.map(|v| v.to_vec());
    let colours = |scale: u16| COLOURS.map(|rgb| rgb.map(|v| v * scale).to_vec());
    let seen = |scale: u16, alpha: [u16; 4]| {
        let mut all = colours(scale);
        all.iter_mut().zip(alpha).for_each(|(pixel, alpha)| pixel.push(alpha * scale));
        all
    };
    let palette = chunk(*b"PLTE", &COLOURS.concat().iter().map(|&v| v as u8).collect::<Vec<u8>>());
    let half = [76, 75, 0, 120];
    let alpha = [255, 128, 0, 255];
    let text = chunk(*b"tEXt", b"Comment\0four quarters");
    let profile = chunk(*b"iCCP", b"not a profile");
    let eight = GREYS.map(u16::from);
    vec![
        png_of("1 bit", 1, 0, &one([0, 1, 1, 0]), &[], [0, 255, 255, 0]),
        png_of("2 bits", 2, 0, &one([0, 1, 2, 3]), &[], [0, 85, 170, 255]),
        png_of("4 bits", 4, 0, &one([0, 5, 10, 15]), &[], [0, 85, 170, 255]),
        png_of("8 bits", 8, 0, &one(eight), &[], GREYS),
        // 25700 = 100 * 257; 30000 / 257 = 116.7.
        png_of("16 bits", 16, 0, &one([0, 25_700, 30_000, 65_535]), &[], [0, 100, 117, 255]),
        // 200 * 128 / 255 = 100.4.
        png_of("grey and alpha", 8, 4, &two([[200, 255], [200, 128], [255, 0], [50, 255]]), &[], [200, 100, 0, 50]),
        png_of(
            "grey and alpha of 16 bits",
            16,
            4,
            &two([[0x8080, 65_535], [65_535, 0x8080], [25_700, 0], [65_535, 65_535]]),
            &[],
            [128, 128, 0, 255],
        ),
        png_of("colour", 8, 2, &colours(1), &[], OF_COLOURS),
        png_of("colour of 16 bits", 16, 2, &colours(257), &[], OF_COLOURS),
        // Half of the green is 128, whose grey is 75.1.
        png_of("colour and alpha", 8, 6, &seen(1, alpha), &[], half),
        png_of("colour and alpha of 16 bits", 16, 6, &seen(257, alpha), &[], half),
        png_of("palette", 8, 3, &one([0, 1, 2, 3]), std::slice::from_ref(&palette), OF_COLOURS),
        png_of("palette of 4 bits", 4, 3, &one([3, 2, 1, 0]), std::slice::from_ref(&palette), [120, 29, 150, 76]),
        png_of("palette of 1 bit", 1, 3, &one([0, 1, 1, 0]), std::slice::from_ref(&palette), [76, 150, 150, 76]),
        png_of("palette and alpha", 8, 3, &one([0, 1, 2, 3]), &[palette, chunk(*b"tRNS", &[255, 128, 0])], half),
        png_of("a grey that is transparent", 8, 0, &one(eight), &[chunk(*b"tRNS", &[0, 140])], [20, 80, 0, 230]),
        png_of(
            "a colour that is transparent",
            8,
            2,
            &colours(1),
            &[chunk(*b"tRNS", &[0, 0, 0, 255, 0, 0])],
            [76, 0, 29, 120],
        ),
        png_of("black", 8, 0, &one([0; 4]), &[], [0; 4]),
        png_of("white", 8, 0, &one([255; 4]), &[], [255; 4]),
        // No format says that a picture is inverted: it stays so.
        png_of("inverted", 8, 0, &one(eight.map(|v| 255 - v)), &[], [235, 175, 115, 25]),
        png_of("text and a broken profile", 8, 0, &one(eight), &[text, profile], GREYS),
        // Turned right to view: what was at the bottom left is at the top left.
        png_of("turned", 8, 0, &one(eight), &[chunk(*b"eXIf", &exif(6))], [140, 20, 230, 80]),
        Picture {
            name: "png, interlaced".to_owned(),
            bytes: png(&header(4, 4, 8, 0, 1), &[], &interlaced()),
            size: (4, 4),
            quarters: GREYS,
            tolerance: 0,
        },
    ]
}

fn jpegs() -> Vec<Picture> {
    let [a, b, c, d] = GREYS;
    // Corners by orientation: as it is, mirrored, upside down, mirrored upside down; then with sides exchanged.
    let turned = [
        [a, b, c, d],
        [b, a, d, c],
        [d, c, b, a],
        [c, d, a, b],
        [a, c, b, d],
        [c, a, d, b],
        [d, b, c, a],
        [b, d, a, c],
    ];
    let picture = |name: &str, bytes: Vec<u8>, size, quarters, tolerance| Picture {
        name: format!("jpeg, {name}"),
        bytes,
        size,
        quarters,
        tolerance,
    };
    let grey = jpeg();
    let mut all: Vec<Picture> = (1_u8..)
        .zip(turned)
        .map(|(orientation, quarters)| {
            let size = if orientation < 5 { (32, 16) } else { (16, 32) };
            picture(&format!("orientation {orientation}"), with_exif(&grey, &exif(orientation)), size, quarters, 2)
        })
        .collect();
    let little = with_exif(&grey, &little_endian_exif(3));
    let unknown = with_exif(&grey, &exif(9));
    let colours: Vec<u8> = (0..16 * 32).flat_map(|i| COLOURS[i / 32 / 8 * 2 + i % 32 / 16].map(|v| v as u8)).collect();
    let golden = |name: &str| std::fs::read(golden_path(&format!("{name}.jpg"))).unwrap();
    all.extend([
        picture("grey", grey, (32, 16), GREYS, 2),
        picture("orientation 3, little end first", little, (32, 16), [d, c, b, a], 2),
        picture("an unknown orientation", unknown, (32, 16), GREYS, 2),
        picture("colour", encode(&colours, ExtendedColorType::Rgb8), (32, 16), OF_COLOURS, 3),
        // These four as PIL reads them: scripts/golden/jpeg_kinds.py.
        picture("inks", golden("cmyk"), (32, 32), [255, 179, 135, 0], 3),
        picture("progressive", golden("progressive"), (32, 32), GREYS, 2),
        picture("colour at half the resolution", golden("subsampled"), (32, 32), OF_COLOURS, 3),
        picture("restart marks", golden("restarts"), (32, 32), OF_COLOURS, 3),
    ]);
    all
}

/// All files.
pub(crate) fn pictures() -> Vec<Picture> {
    let mut all = pngs();
    all.extend(jpegs());
    all
}
