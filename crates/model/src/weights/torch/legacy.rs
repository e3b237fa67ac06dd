//! The format of `torch.save` before release 1.6: pickles one after the other, then the storages.
//!
//! The pickles are a magic number, the version of the protocol, a few facts of the machine, the object, and the keys of the
//! storages. Each storage is its length (64-bit) and its numbers.

use std::collections::HashMap;
use std::io::{BufReader, SeekFrom};

use super::Source;
use super::archive::Region;
use super::error::{Result, TorchProblem};
use super::input::Input;
use super::pickle;
use super::value::{Arena, Node, Value};

/// The first pickle.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i64 = 1001;

/// How the file starts, whatever the protocol of its pickles.
pub(super) fn starts(bytes: &[u8]) -> bool {
    // The ten bytes of the number behind the instruction LONG1; a frame can stand before it. Protocol 1 writes digits.
    const START: [u8; 12] = *b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    const DIGITS: &[u8] = b"L119547037146038801333356L\n.";
    let head = &bytes[..bytes.len().min(32)];
    let binary = head.first() == Some(&0x80) && head.windows(START.len()).any(|window| window == START);
    binary || head.starts_with(DIGITS)
}

/// The object of a file and where the storages lie by their keys.
///
/// # Errors
/// If the file is damaged or big-endian.
pub(super) fn open(source: &mut dyn Source, len: u64, arena: &mut Arena) -> Result<(Value, HashMap<String, Region>)> {
    source.rewind()?;
    let mut input = Input::new(BufReader::new(&mut *source), len);
    let magic = pickle::load(&mut input, arena)?;
    if !matches!(arena.node(magic), Some(Node::Long(MAGIC))) {
        return Err(TorchProblem::NotTorch(
            "it starts like a legacy file of torch.save, but its magic number is wrong",
        ));
    }
    if pickle::load(&mut input, arena)? != Value::Int(PROTOCOL) {
        return Err(TorchProblem::NotTorch(
            "its legacy format is of another version than 1001; save it with a newer PyTorch",
        ));
    }
    let facts = pickle::load(&mut input, arena)?;
    let little = arena.dict(facts).unwrap_or_default().iter().rev();
    let mut little = little.filter(|(key, _)| arena.text(*key) == Some("little_endian"));
    if little.next().is_some_and(|(_, little)| *little != Value::Bool(true)) {
        return Err(TorchProblem::BigEndian);
    }
    let object = pickle::load(&mut input, arena)?;
    let keys = pickle::load(&mut input, arena)?;
    let start = input.read();
    let regions = storages(source, start, len, keys, arena)?;
    Ok((object, regions))
}

fn storages(
    source: &mut dyn Source,
    start: u64,
    len: u64,
    keys: Value,
    arena: &Arena,
) -> Result<HashMap<String, Region>> {
    let Some(Node::List(keys)) = arena.node(keys) else {
        return Err(TorchProblem::Storages("the list of their keys is missing".to_owned()));
    };
    // Bytes of a number and numbers, as the tensors have them.
    let mut known = HashMap::new();
    for storage in arena.storages() {
        if *known.entry(&*storage.key).or_insert((storage.item, storage.len)) != (storage.item, storage.len) {
            return Err(TorchProblem::Storages(format!("the storage {:?} has two types or lengths", storage.key)));
        }
    }
    let mut regions = HashMap::new();
    let mut at = start;
    for key in keys {
        let key = arena.text(*key).ok_or_else(|| TorchProblem::Storages("a key is not text".to_owned()))?;
        let storage = known.get(key);
        let (item, numbers) =
            *storage.ok_or_else(|| TorchProblem::Storages(format!("{key:?} belongs to no tensor")))?;
        let cut = || TorchProblem::Storages(format!("the file ends in the storage {key:?}"));
        source.seek(SeekFrom::Start(at))?;
        let mut count = [0; 8];
        if at.checked_add(8).is_none_or(|end| end > len) {
            return Err(cut());
        }
        source.read_exact(&mut count)?;
        if u64::from_le_bytes(count) != numbers {
            return Err(TorchProblem::Storages(format!("{key:?} has another length than its tensors say")));
        }
        let bytes = numbers.checked_mul(item).ok_or_else(cut)?;
        let region = Region { start: at + 8, len: bytes };
        at = region.start.checked_add(bytes).filter(|end| *end <= len).ok_or_else(cut)?;
        if regions.insert(key.to_owned(), region).is_some() {
            return Err(TorchProblem::Storages(format!("{key:?} is there twice")));
        }
    }
    Ok(regions)
}
