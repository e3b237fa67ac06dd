//! Archives and pickles made by hand, so that they can lie.

/// An entry of an archive; what the directory says of it can be a lie.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) size: u32,
    pub(super) stored: u32,
    pub(super) method: u16,
    pub(super) flags: u16,
    pub(super) header: Option<u32>,
}

/// An entry of which the directory says what is true.
pub(super) fn entry(name: &str, bytes: &[u8]) -> Entry {
    let size = u32::try_from(bytes.len()).unwrap();
    Entry { name: name.to_owned(), bytes: bytes.to_vec(), size, stored: size, method: 0, flags: 0, header: None }
}

/// A zip archive; the fields that the reader does not look at are zero.
pub(super) fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let header = entry.header.unwrap_or(u32::try_from(file.len()).unwrap());
        let name = u16::try_from(entry.name.len()).unwrap().to_le_bytes();
        file.extend([b"PK\x03\x04".as_slice(), &[0; 22], &name, &[0; 2], entry.name.as_bytes(), &entry.bytes].concat());
        let (flags, method) = (entry.flags.to_le_bytes(), entry.method.to_le_bytes());
        directory.extend([b"PK\x01\x02".as_slice(), &[0; 4], &flags, &method, &[0; 8]].concat());
        directory.extend([&entry.stored.to_le_bytes()[..], &entry.size.to_le_bytes(), &name, &[0; 12]].concat());
        directory.extend([&header.to_le_bytes()[..], entry.name.as_bytes()].concat());
    }
    let start = u32::try_from(file.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    file.extend(directory);
    file.extend([b"PK\x05\x06".as_slice(), &[0; 4], &count, &count, &size, &start, &[0; 2]].concat());
    file
}

/// The archive in the form for files beyond 4 GiB: sizes and places are 64-bit numbers in fields of their own.
pub(super) fn zip_64(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let header = (file.len() as u64).to_le_bytes();
        let name = u16::try_from(entry.name.len()).unwrap().to_le_bytes();
        file.extend([b"PK\x03\x04".as_slice(), &[0; 22], &name, &[0; 2], entry.name.as_bytes(), &entry.bytes].concat());
        let size = u64::from(entry.size).to_le_bytes();
        directory.extend([b"PK\x01\x02".as_slice(), &[0; 16], &[0xff; 8], &name, &[33, 0], &[0; 10]].concat());
        // Another field stands before that of the 64-bit numbers.
        let extra = [b"FB\x01\x00x\x01\x00\x18\x00".as_slice(), &size, &size, &header].concat();
        directory.extend([&[0xff; 4], entry.name.as_bytes(), &extra].concat());
    }
    let (start, size) = ((file.len() as u64).to_le_bytes(), (directory.len() as u64).to_le_bytes());
    let count = (entries.len() as u64).to_le_bytes();
    file.extend(directory);
    let end = (file.len() as u64).to_le_bytes();
    file.extend([b"PK\x06\x06\x2c".as_slice(), &[0; 19], &count, &count, &size, &start].concat());
    file.extend([b"PK\x06\x07".as_slice(), &[0; 4], &end, &[1, 0, 0, 0]].concat());
    file.extend([b"PK\x05\x06".as_slice(), &[0; 4], &[0xff; 12], &[7, 0], b"comment"].concat());
    file
}

/// The archive of a pickle and one storage of 24 bytes.
pub(super) fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[entry("archive/data.pkl", pickle), entry("archive/data/0", &[7; 24])])
}

/// The instruction for text.
pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
}

fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08".as_slice(), &number.to_le_bytes()].concat()
}

fn tuple(members: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), members.iter().flat_map(|n| int(*n)).collect(), b"t".to_vec()].concat()
}

/// The instructions for a tensor of floats in the storage `0` of `numbers`.
pub(super) fn tensor(numbers: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    let storage = [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(numbers)].concat();
    let view = [int(offset), tuple(shape), tuple(stride)].concat();
    let head = b"ctorch._utils\n_rebuild_tensor_v2\n((".as_slice();
    [head, &storage, b"tQ", &view, b"\x89}tR"].concat()
}

/// The pickle of a dict, its values given as instructions.
pub(super) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"\x80\x02}(".as_slice(), &entries, b"u."].concat()
}
