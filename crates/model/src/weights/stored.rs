//! Safetensors files on disk: the header is read, tensors when they are asked for; and files written tensor by tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::{Map, Value, json};

use super::tensor::{RawTensor, TensorInfo};
use crate::{ModelError, Result};

/// Largest header of a file that is read.
pub(super) const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Most tensors of a file that is read.
pub(super) const MAX_TENSORS: usize = 20_000;
/// What precedes the header: its size.
const SIZE_BYTES: u64 = 8;

/// A safetensors file whose header was read and checked.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    file: Mutex<File>,
    tensors: BTreeMap<String, TensorInfo>,
    /// First byte of each tensor, counted from the file's beginning.
    places: BTreeMap<String, u64>,
    metadata: BTreeMap<String, String>,
}

impl SafetensorsFile {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// If it cannot be read, is no safetensors file, or is cut short.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let format = |source| ModelError::Format { path: path.to_owned(), source };
        let implausible = |what| ModelError::Implausible { path: path.to_owned(), what };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        if length < SIZE_BYTES {
            return Err(implausible(format!("it has {length} bytes")));
        }
        file.read_exact(&mut size).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER_BYTES {
            let what =
                format!("its header would take {size} bytes, the limit is {MAX_HEADER_BYTES}; is it another format?");
            return Err(implausible(what));
        }
        let start = SIZE_BYTES + size;
        if start > length {
            return Err(implausible(format!("its header would take {size} bytes, the file has {length}")));
        }
        let mut header = Vec::new();
        (&mut file).take(size).read_to_end(&mut header).map_err(io)?;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|e| format(safetensors::SafeTensorError::InvalidHeaderDeserialization(e)))?;
        let infos = header.tensors();
        if infos.len() > MAX_TENSORS {
            return Err(implausible(format!("{} tensors, the limit is {MAX_TENSORS}", infos.len())));
        }
        let end = infos.values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        if start.checked_add(end) != Some(length) {
            return Err(implausible(format!("its header tells of {end} bytes of tensors, it has {}", length - start)));
        }
        let mut tensors = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (name, info) in infos {
            tensors.insert(name.clone(), TensorInfo { dtype: info.dtype, shape: info.shape.clone() });
            places.insert(name, start + info.data_offsets.0 as u64);
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), tensors, places, metadata })
    }

    /// Its tensors.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The metadata of its header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// If the file has no such tensor or cannot be read.
    pub fn read(&self, name: &str) -> Result<RawTensor> {
        let info = self.info(name)?;
        let mut bytes = vec![0; size(info)];
        self.read_into(name, 0, &mut bytes)?;
        Ok(RawTensor { dtype: info.dtype, shape: info.shape.clone(), bytes })
    }

    /// Reads numbers of one tensor, which must be of single precision, from the one numbered `first` on.
    ///
    /// # Errors
    /// As [`SafetensorsFile::read`].
    pub(super) fn read_f32(&self, name: &str, first: usize, numbers: &mut [f32]) -> Result<()> {
        self.read_into(name, first * size_of::<f32>(), bytemuck::cast_slice_mut(numbers))?;
        if cfg!(target_endian = "big") {
            for number in numbers {
                *number = f32::from_bits(number.to_bits().swap_bytes());
            }
        }
        Ok(())
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || ModelError::NoTensor { path: self.path.clone(), name: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }

    /// Fills a buffer from a byte of the tensor on.
    fn read_into(&self, name: &str, first: usize, bytes: &mut [u8]) -> Result<()> {
        let place = self.places.get(name).copied().unwrap_or(0) + first as u64;
        read_at(&self.file, place, bytes).map_err(|source| ModelError::Io { path: self.path.clone(), source })
    }
}

/// Fills a buffer from a place of a file; several threads may do so at once.
#[cfg(unix)]
fn read_at(file: &Mutex<File>, place: u64, bytes: &mut [u8]) -> io::Result<()> {
    let same = file.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?;
    std::os::unix::fs::FileExt::read_exact_at(&same, bytes, place)
}

/// Fills a buffer from a place of a file.
#[cfg(not(unix))]
fn read_at(file: &Mutex<File>, place: u64, bytes: &mut [u8]) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(place))?;
    file.read_exact(bytes)
}

/// Writes tensors as a safetensors file, one after another: `read` gives each when its turn comes.
///
/// Tensors lie in the order of their names, whatever `tensors` held: equal contents make equal files. `format = "pt"` is
/// added to the metadata, which Hugging Face's loader asks for.
///
/// # Errors
/// What `read` and `out` return; a tensor of another size than announced.
pub fn write<E: From<io::Error>>(
    out: &mut dyn Write,
    tensors: &BTreeMap<String, TensorInfo>,
    metadata: &BTreeMap<String, String>,
    mut read: impl FnMut(&str) -> Result<RawTensor, E>,
) -> Result<(), E> {
    out.write_all(&header(tensors, metadata))?;
    for (name, info) in tensors {
        let tensor = read(name)?;
        if tensor.bytes.len() != size(info) {
            return Err(io::Error::other(format!("{name} has another size than was announced")).into());
        }
        out.write_all(&tensor.bytes)?;
    }
    Ok(())
}

/// Bytes of a tensor.
fn size(info: &TensorInfo) -> usize {
    info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8
}

/// Size and JSON of a header, padded so that tensors begin at a multiple of eight bytes.
pub(super) fn header(tensors: &BTreeMap<String, TensorInfo>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut texts: Map<String, Value> = metadata.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    texts.insert("format".to_owned(), json!("pt"));
    let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(texts))]);
    let mut offset = 0;
    for (name, info) in tensors {
        let end = offset + size(info);
        let dtype = dtype_name(info.dtype);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": info.shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

/// The name of a type in headers.
pub fn dtype_name(dtype: Dtype) -> String {
    format!("{dtype:?}")
}
