//! The zip archive of `torch.save` since release 1.6: entries stored as they are, none inside another.
//!
//! Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3 to 4.5. Only what `torch.save` writes is read: one file, no compression,
//! no encryption; 64-bit sizes where they are needed.

use std::collections::HashMap;
use std::io::{BufReader, Read as _, SeekFrom};

use super::Source;
use super::error::{Result, TorchProblem};
use super::input::text;

/// Most entries of an archive: the tensors of a model and what its optimizer keeps of each.
const MAX_ENTRIES: u64 = 100_000;
/// Most bytes of the directory of an archive.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Sizes of the records without their names and comments.
const END: usize = 22;
const END_64: usize = 56;
const LOCATOR_64: usize = 20;
const ENTRY: usize = 46;
const LOCAL: usize = 30;

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Region {
    fn end(self) -> Result<u64> {
        self.start.checked_add(self.len).ok_or_else(|| damaged("a record ends beyond all files"))
    }
}

/// Where the entries of an archive lie.
#[derive(Debug)]
pub(super) struct Archive {
    /// Regions by the names of the entries below the top folder.
    entries: HashMap<String, Region>,
}

impl Archive {
    /// Reads the directory of an archive in a file of `len` bytes.
    ///
    /// # Errors
    /// If it is damaged, compressed, a program, or none of PyTorch's.
    pub(super) fn open(source: &mut dyn Source, len: u64) -> Result<Self> {
        let found = entries(source, len)?;
        let pickles: Vec<&str> = found.iter().filter_map(|entry| top_of(&entry.name, "data.pkl")).collect();
        let top = match *pickles.as_slice() {
            [top] => top.to_owned(),
            [] => return Err(TorchProblem::NotTorch(NO_PICKLE)),
            _ => return Err(damaged("it has more than one data.pkl")),
        };
        let below = |name: &str| Some(name.strip_prefix(&top)?.strip_prefix('/')?.to_owned());
        let program = |name: &str| name == "constants.pkl" || name.starts_with("code/");
        if found.iter().filter_map(|entry| below(&entry.name)).any(|name| program(&name)) {
            return Err(TorchProblem::TorchScript);
        }
        let mut entries = HashMap::with_capacity(found.len());
        for Entry { name, region, packed, .. } in found {
            if packed {
                return Err(TorchProblem::Compressed(name.chars().take(200).collect()));
            }
            if let Some(name) = below(&name)
                && entries.insert(name, region).is_some()
            {
                return Err(damaged("two entries have one name"));
            }
        }
        Ok(Self { entries })
    }

    pub(super) fn get(&self, name: &str) -> Option<Region> {
        self.entries.get(name).copied()
    }
}

const NO_PICKLE: &str = "it is a zip archive without data.pkl in one top folder, so torch.save did not write it; unpack it \
                         if the checkpoint is inside";

/// The top folder of an entry that lies right in it.
fn top_of<'a>(name: &'a str, file: &str) -> Option<&'a str> {
    name.strip_suffix(file)?.strip_suffix('/').filter(|top| !top.contains('/'))
}

fn damaged(what: impl Into<String>) -> TorchProblem {
    TorchProblem::Archive(what.into())
}

/// An entry of the directory.
struct Entry {
    name: String,
    /// Place of its local header.
    header: u64,
    /// Place of its bytes.
    region: Region,
    /// Whether it is compressed or encrypted.
    packed: bool,
}

/// All entries in the order of the file, none of which overlaps another.
fn entries(source: &mut dyn Source, len: u64) -> Result<Vec<Entry>> {
    let (directory, count) = find_directory(source, len)?;
    let mut entries = read_directory(source, directory, count)?;
    entries.sort_unstable_by_key(|entry| entry.header);
    let ends: Vec<u64> = entries.iter().skip(1).map(|entry| entry.header).chain([directory.start]).collect();
    let mut headers = Headers { position: 0, reader: BufReader::with_capacity(512, source) };
    headers.reader.get_mut().rewind()?;
    for (entry, end) in entries.iter_mut().zip(ends) {
        let overlap = |name: &str| damaged(format!("the entry {name:?} overlaps another or the directory"));
        // The data follow the local header, whose length it alone knows.
        let fixed = Region { start: entry.header, len: LOCAL as u64 };
        if fixed.end()? > end {
            return Err(overlap(&entry.name));
        }
        let local: [u8; LOCAL] = headers.read(entry.header)?;
        if local[..4] != *b"PK\x03\x04" {
            return Err(damaged(format!("the entry {:?} does not lie where the directory says", entry.name)));
        }
        let names = u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
        entry.region.start = fixed.end()?.saturating_add(names);
        if entry.region.end()? > end {
            return Err(overlap(&entry.name));
        }
    }
    Ok(entries)
}

/// The directory and the number of its entries, from the records at the end of the file.
fn find_directory(source: &mut dyn Source, len: u64) -> Result<(Region, u64)> {
    // A comment of up to 65535 bytes can follow.
    let tail_len = len.min(65535 + (END + LOCATOR_64) as u64);
    let tail_start = len - tail_len;
    let tail = read(source, Region { start: tail_start, len: tail_len })?;
    let comment_fits = |at: usize| usize::from(u16_at(&tail, at + 20)) == tail.len() - at - END;
    let starts = (0..(tail.len() + 1).saturating_sub(END)).rev();
    let mut starts = starts.filter(|at| tail[*at..*at + 4] == *b"PK\x05\x06" && comment_fits(*at));
    let at = starts.next().ok_or_else(|| damaged("its end is missing, so it was cut short"))?;
    let (mut count, mut size) = (u64::from(u16_at(&tail, at + 10)), u64::from(u32_at(&tail, at + 12)));
    let mut start = u64::from(u32_at(&tail, at + 16));
    let mut limit = tail_start + at as u64;
    let locator = at.checked_sub(LOCATOR_64).filter(|at| tail[*at..*at + 4] == *b"PK\x06\x07");
    if let Some(locator) = locator
        && (count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff)
    {
        let wide = Region { start: u64_at(&tail, locator + 8), len: END_64 as u64 };
        if wide.end()? > limit {
            return Err(damaged("its 64-bit end lies outside it"));
        }
        limit = wide.start;
        let wide = read(source, wide)?;
        if wide[..4] != *b"PK\x06\x06" {
            return Err(damaged("its 64-bit end is missing"));
        }
        (count, size, start) = (u64_at(&wide, 32), u64_at(&wide, 40), u64_at(&wide, 48));
    }
    let directory = Region { start, len: size };
    if directory.end()? > limit {
        return Err(damaged("its directory lies outside it"));
    }
    if count > MAX_ENTRIES {
        return Err(TorchProblem::TooMuch { what: "entries in its zip archive", limit: MAX_ENTRIES });
    }
    if size > MAX_DIRECTORY {
        return Err(TorchProblem::TooMuch { what: "bytes in the directory of its zip archive", limit: MAX_DIRECTORY });
    }
    Ok((directory, count))
}

fn read_directory(source: &mut dyn Source, directory: Region, count: u64) -> Result<Vec<Entry>> {
    let bytes = read(source, directory)?;
    let mut rest = bytes.as_slice();
    let mut entries = Vec::new();
    for _ in 0..count {
        let (entry, after) = read_entry(rest)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(damaged("its directory has more entries than it says")) }
}

/// The first entry of a part of the directory, and what comes after it.
fn read_entry(bytes: &[u8]) -> Result<(Entry, &[u8])> {
    let short = || damaged("its directory ends too early");
    let (fixed, rest) = bytes.split_at_checked(ENTRY).ok_or_else(short)?;
    if fixed[..4] != *b"PK\x01\x02" {
        return Err(damaged("its directory holds something else than entries"));
    }
    let (name, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 28))).ok_or_else(short)?;
    let (extra, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 30))).ok_or_else(short)?;
    let (_comment, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 32))).ok_or_else(short)?;
    let name = text(name.to_vec());
    let packed = u16_at(fixed, 8) & 1 != 0 || u16_at(fixed, 10) != 0;
    // Numbers that do not fit are in a field of their own, in this order.
    let mut wide = wide_numbers(extra).chunks_exact(8).map(|bytes| u64_at(bytes, 0));
    let mut number = |at: usize| match u32_at(fixed, at) {
        u32::MAX => wide.next().ok_or_else(|| damaged(format!("the entry {name:?} lacks its 64-bit numbers"))),
        number => Ok(u64::from(number)),
    };
    let (len, stored, header) = (number(24)?, number(20)?, number(42)?);
    if len != stored && !packed {
        return Err(damaged(format!("the entry {name:?} has two sizes, {len} and {stored}")));
    }
    Ok((Entry { name, header, region: Region { start: header, len: stored }, packed }, rest))
}

/// The contents of the field of 64-bit numbers.
fn wide_numbers(mut extra: &[u8]) -> &[u8] {
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((field, rest)) = rest.split_at_checked(usize::from(u16_at(head, 2))) else { break };
        if u16_at(head, 0) == 1 {
            return field;
        }
        extra = rest;
    }
    &[]
}

/// A part of the file that is known to lie in it.
fn read(source: &mut dyn Source, region: Region) -> Result<Vec<u8>> {
    source.seek(SeekFrom::Start(region.start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(region.len).unwrap_or(0));
    source.take(region.len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == region.len { Ok(bytes) } else { Err(damaged("the file became shorter while it was read")) }
}

/// Local headers in the order of the file; those that lie close together are read at once.
struct Headers<'a> {
    position: u64,
    reader: BufReader<&'a mut dyn Source>,
}

impl Headers<'_> {
    fn read<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        let way = at.checked_sub(self.position).and_then(|way| i64::try_from(way).ok());
        match way {
            Some(way) => self.reader.seek_relative(way)?,
            None => drop(std::io::Seek::seek(&mut self.reader, SeekFrom::Start(at))?),
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.position = at + N as u64;
        Ok(bytes)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
