//! Whether the coded data of a JPEG holds every block of the image.
//!
//! Decoders fill what a scan lacks with grey and say nothing, where an end mark was put behind the cut. The walk reads
//! the lengths of the codes alone: no coefficient is computed. It follows sequential images, the usual ones; what a
//! progressive scan must hold depends on the values of the scans before, and those are left to the decoder.
//!
//! # Source
//! ITU-T T.81: annex B (segments), C (codes), F.2 (sequential decoding), A.2 (order of blocks).

use super::container::{next_mark, segments};
use crate::error::ImageFault;

/// Walks the scans of a JPEG file, in time of its length.
///
/// # Errors
/// [`ImageFault::Truncated`] where the data of a scan end before its last block or a component is in no scan,
/// [`ImageFault::Corrupt`] where the data hold no code, or a part of them between two marks is short.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageFault> {
    let mut scans = Scans::default();
    segments(bytes, |marker, segment, rest| {
        scans.segment(marker, segment);
        if marker == 0xDA { scans.scan(segment, rest) } else { Ok(()) }
    })?;
    scans.finish()
}

/// What is known of the image when a scan begins.
#[derive(Debug, Default)]
struct Scans {
    /// Of a sequential image; nothing is known of others.
    frame: Option<Frame>,
    /// Codes of the first coefficient of a block, by number.
    dc: [Option<Codes>; 4],
    /// Codes of the other 63.
    ac: [Option<Codes>; 4],
    /// Groups of blocks between two restart marks; 0 for none.
    interval: usize,
}

#[derive(Debug)]
struct Frame {
    width: usize,
    height: usize,
    components: Vec<Component>,
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// Blocks of a group, horizontally and vertically.
    blocks: [usize; 2],
    was_scanned: bool,
}

/// Why a block cannot be read.
enum Stop {
    /// The data end.
    End,
    /// The data hold a code that is in no table.
    Unknown,
}

impl Scans {
    /// Takes in a segment (from its length on) that scans depend on; others are passed over.
    fn segment(&mut self, marker: u8, segment: &[u8]) {
        let body = segment.get(2..).unwrap_or_default();
        match marker {
            0xC0 | 0xC1 => self.frame = Frame::read(body),
            0xC2..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => self.frame = None,
            0xC4 => self.codes(body),
            0xDD => self.interval = body.get(..2).map_or(0, |b| usize::from(b[0]) << 8 | usize::from(b[1])),
            _ => {}
        }
    }

    fn codes(&mut self, mut body: &[u8]) {
        while let Some((&[kind, ref lengths @ ..], rest)) = body.split_first_chunk::<17>() {
            let total = lengths.iter().map(|&count| usize::from(count)).sum();
            let Some((symbols, next)) = rest.split_at_checked(total) else { return };
            let (tables, part): (_, fn(u8) -> Part) =
                if kind >> 4 == 0 { (&mut self.dc, Part::first) } else { (&mut self.ac, Part::other) };
            if let Some(table) = tables.get_mut(usize::from(kind & 15)) {
                *table = Some(Codes::new(lengths, symbols.iter().map(|&symbol| part(symbol)).collect()));
            }
            body = next;
        }
    }

    /// Walks the scan whose header is `segment` and whose data begin `data`.
    fn scan(&mut self, segment: &[u8], data: &[u8]) -> Result<(), ImageFault> {
        // What follows nothing that is known here is the decoder's to judge.
        let Some((groups, blocks)) = self.plan(segment) else { return Ok(()) };
        let (dc, ac) = (&self.dc, &self.ac);
        let tables = blocks.iter().map(|&[d, a]| dc.get(d)?.as_ref().zip(ac.get(a)?.as_ref()));
        let Some(tables) = tables.collect::<Option<Vec<_>>>() else { return Ok(()) };
        let mut bits = Bits { data, at: 0, buffer: 0, count: 0 };
        for group in 0..groups {
            if self.interval > 0 && group > 0 && group.is_multiple_of(self.interval) && !bits.restart() {
                return Err(ImageFault::Truncated);
            }
            for (dc, ac) in &tables {
                match bits.skip_block(dc, ac) {
                    Ok(()) => {}
                    Err(Stop::Unknown) => return Err(ImageFault::Corrupt("a scan holds an unknown code".to_owned())),
                    Err(Stop::End) if bits.restart() => {
                        return Err(ImageFault::Corrupt("a part of a scan is missing".to_owned()));
                    }
                    Err(Stop::End) => return Err(ImageFault::Truncated),
                }
            }
        }
        Ok(())
    }

    /// Number of groups of blocks in a scan, and the numbers of both tables for each block of a group.
    fn plan(&mut self, segment: &[u8]) -> Option<(usize, Vec<[usize; 2]>)> {
        let frame = self.frame.as_mut()?;
        let most = |axis: usize| frame.components.iter().map(|c| c.blocks[axis]).max();
        let most = [most(0)?, most(1)?];
        let size = [frame.width, frame.height];
        let selectors = segment.get(3..3 + 2 * usize::from(*segment.get(2)?))?;
        let is_alone = selectors.len() == 2;
        let mut blocks = Vec::new();
        let mut groups = [0, 1].map(|axis: usize| size[axis].div_ceil(8 * most[axis]));
        for selector in selectors.chunks_exact(2) {
            let component = frame.components.iter_mut().find(|component| component.id == selector[0])?;
            component.was_scanned = true;
            let tables = [selector[1] >> 4, selector[1] & 15].map(usize::from);
            // A component alone has no blocks beyond its own edge.
            let of = component.blocks;
            if is_alone {
                groups = [0, 1].map(|axis: usize| (size[axis] * of[axis]).div_ceil(most[axis]).div_ceil(8));
            }
            blocks.extend(std::iter::repeat_n(tables, if is_alone { 1 } else { of[0] * of[1] }));
        }
        (!blocks.is_empty()).then_some((groups[0] * groups[1], blocks))
    }

    /// Whether every component was in a scan.
    fn finish(&self) -> Result<(), ImageFault> {
        let is_missing = |frame: &Frame| frame.components.iter().any(|component| !component.was_scanned);
        if self.frame.as_ref().is_some_and(is_missing) { Err(ImageFault::Truncated) } else { Ok(()) }
    }
}

impl Frame {
    fn read(body: &[u8]) -> Option<Self> {
        let (&[_, h1, h0, w1, w0, count], rest) = body.split_first_chunk::<6>()?;
        let component = |part: &[u8]| {
            let blocks = [part[1] >> 4, part[1] & 15].map(usize::from);
            let is_valid = blocks.iter().all(|count| (1..=4).contains(count));
            is_valid.then_some(Component { id: part[0], blocks, was_scanned: false })
        };
        let parts = rest.get(..3 * usize::from(count))?.chunks_exact(3);
        let components = parts.map(component).collect::<Option<Vec<_>>>()?;
        let size = |high: u8, low: u8| usize::from(high) << 8 | usize::from(low);
        Some(Self { width: size(w1, w0), height: size(h1, h0), components })
    }
}

/// What a code stands for.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Bits of the value behind it, and of the code itself where that is known.
    bits: u8,
    /// Coefficients that it tells.
    coefficients: u8,
}

impl Part {
    /// By the symbol of a first coefficient.
    fn first(symbol: u8) -> Self {
        Self { bits: symbol.min(16), coefficients: 1 }
    }

    /// By the symbol of another coefficient and the zeros before it.
    fn other(symbol: u8) -> Self {
        let (zeros, bits) = (symbol >> 4, symbol & 15);
        // The rest of the block is zero.
        let is_last = bits == 0 && zeros < 15;
        Self { bits, coefficients: if is_last { 64 } else { 1 + zeros } }
    }
}

/// Bits that are looked up at once; longer codes are rare.
const SHORT: usize = 9;

/// Huffman codes.
#[derive(Debug)]
struct Codes {
    /// What the code that a number of [`SHORT`] bits begins with stands for, its own bits counted; 0 for longer ones.
    short: Vec<Part>,
    /// For each longer length: the code behind its last, in 16 bits, and what gives the place of a part by its code.
    long: Vec<(u32, u8, i32)>,
    parts: Vec<Part>,
}

impl Codes {
    /// Codes by the number of them for each length from 1 to 16, and what they stand for.
    fn new(lengths: &[u8], parts: Vec<Part>) -> Self {
        let mut short = vec![Part::default(); 1 << SHORT];
        let mut long = Vec::new();
        let (mut code, mut place) = (0_usize, 0_usize);
        for (length, &count) in (1..=16_u8).zip(lengths) {
            let offset = i32::try_from(place).unwrap_or(0) - i32::try_from(code).unwrap_or(0);
            let width = usize::from(length);
            for _ in 0..count {
                if width <= SHORT {
                    let part = Part { bits: parts[place].bits + length, ..parts[place] };
                    // More codes than there is room for: the decoder refuses such a table.
                    short.iter_mut().skip(code << (SHORT - width)).take(1 << (SHORT - width)).for_each(|p| *p = part);
                }
                code += 1;
                place += 1;
            }
            if width > SHORT && count > 0 {
                long.push((u32::try_from(code << (16 - width)).unwrap_or(u32::MAX), length, offset));
            }
            code <<= 1;
        }
        Self { short, long, parts }
    }

    /// What the code that 16 bits begin with stands for, its own bits counted.
    fn find(&self, bits: u16) -> Option<Part> {
        let part = self.short[usize::from(bits) >> (16 - SHORT)];
        if part.bits > 0 {
            return Some(part);
        }
        let (_, length, offset) = self.long.iter().find(|(end, ..)| u32::from(bits) < *end)?;
        let place = i32::from(bits >> (16 - length)) + offset;
        let part = self.parts.get(usize::try_from(place).ok()?)?;
        Some(Part { bits: part.bits + length, ..*part })
    }
}

/// The bits of a scan up to the next mark.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// Bits that were read and not used, from the highest on. What stands behind them is nothing or what follows them.
    buffer: u64,
    count: u8,
}

impl Bits<'_> {
    fn fill(&mut self) {
        if let Some((next, _)) = self.data.get(self.at..).and_then(<[u8]>::split_first_chunk::<8>)
            && !next.contains(&0xFF)
        {
            let bytes = (63 - self.count) / 8;
            self.buffer |= u64::from_be_bytes(*next) >> self.count;
            self.at += usize::from(bytes);
            self.count += 8 * bytes;
            return;
        }
        while self.count <= 48 {
            let Some(&byte) = self.data.get(self.at) else { return };
            // Behind a byte of ones stands a zero, or it begins a mark.
            if byte == 0xFF && self.data.get(self.at + 1) != Some(&0) {
                return;
            }
            self.at += 1 + usize::from(byte == 0xFF);
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Passes over one code and the value behind it; returns how many coefficients they tell.
    fn skip_part(&mut self, codes: &Codes) -> Result<u8, Stop> {
        // A code has at most 16 bits, and so has the value behind it.
        if self.count < 32 {
            self.fill();
        }
        let found = codes.find((self.buffer >> 48) as u16);
        match found {
            Some(part) if part.bits <= self.count => {
                self.buffer <<= part.bits;
                self.count -= part.bits;
                Ok(part.coefficients)
            }
            None if self.count >= 16 => Err(Stop::Unknown),
            _ => Err(Stop::End),
        }
    }

    /// Passes over one block.
    fn skip_block(&mut self, first: &Codes, others: &Codes) -> Result<(), Stop> {
        let mut coefficients = self.skip_part(first)?;
        while coefficients < 64 {
            coefficients += self.skip_part(others)?;
        }
        Ok(())
    }

    /// Goes on behind the next mark, if it is one of a restart.
    fn restart(&mut self) -> bool {
        let Some((marker, behind)) = next_mark(self.data, self.at) else { return false };
        let is_restart = matches!(marker, 0xD0..=0xD7);
        if is_restart {
            (self.at, self.buffer, self.count) = (behind, 0, 0);
        }
        is_restart
    }
}
