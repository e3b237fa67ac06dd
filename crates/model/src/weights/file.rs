//! Safetensors files in memory: byte-for-byte reproducible when written, checked when read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::stored::{MAX_HEADER_BYTES, MAX_TENSORS, dtype_name, header};
use super::tensor::{RawTensor, TensorInfo, is_integer};
use super::{HostTensor, TensorMap};
use crate::{ModelError, Result};

/// A weights file in memory.
#[derive(Debug, Clone)]
pub struct WeightsFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Float tensors in single precision, which holds every half; integer buffers are passed over.
    pub tensors: TensorMap,
    /// The metadata of its header.
    pub metadata: BTreeMap<String, String>,
}

impl WeightsFile {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If it cannot be read, is no safetensors file, or is cut short.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    /// Parses the bytes of a safetensors file; `path` serves error messages.
    ///
    /// # Errors
    /// If the bytes are no safetensors file, or one of other numbers.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let format = |source| ModelError::Format { path: path.to_owned(), source };
        check_header_size(path, bytes)?;
        let (_, known) = SafeTensors::read_metadata(bytes).map_err(format)?;
        if known.tensors().len() > MAX_TENSORS {
            let what = format!("{} tensors, the limit is {MAX_TENSORS}", known.tensors().len());
            return Err(ModelError::Implausible { path: path.to_owned(), what });
        }
        let metadata = known.metadata().clone().unwrap_or_default().into_iter().collect();
        let view = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut tensors = TensorMap::new();
        for (name, tensor) in view.tensors() {
            let dtype = tensor.dtype();
            if is_integer(dtype) {
                continue;
            }
            let raw = RawTensor { dtype, shape: tensor.shape().to_vec(), bytes: tensor.data().to_vec() };
            let Some(data) = raw.to_f32() else {
                return Err(ModelError::Dtype { path: path.to_owned(), name, dtype: dtype_name(dtype) });
            };
            tensors.insert(name, HostTensor { shape: raw.shape, data });
        }
        Ok(Self { path: path.to_owned(), tensors, metadata })
    }

    /// A value of the metadata.
    ///
    /// # Errors
    /// If the file does not carry it.
    pub fn metadata(&self, key: &'static str) -> Result<&str> {
        let value = self.metadata.get(key).map(String::as_str);
        value.ok_or_else(|| ModelError::Metadata { path: self.path.clone(), key })
    }

    /// A value of the metadata that holds JSON.
    ///
    /// # Errors
    /// If the file does not carry it or it does not parse.
    pub fn metadata_json<T: serde::de::DeserializeOwned>(&self, key: &'static str) -> Result<T> {
        let parse = serde_json::from_str(self.metadata(key)?);
        parse.map_err(|source| ModelError::MetadataValue { path: self.path.clone(), key, source })
    }

    /// The tensors under a prefix, without it (`image_encoder.` gives torchvision's names).
    pub fn under(&self, prefix: &str) -> TensorMap {
        let strip = |(name, tensor): (&String, &HostTensor)| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.clone()))
        };
        self.tensors.iter().filter_map(strip).collect()
    }
}

/// A header that no model needs is refused before it is parsed.
fn check_header_size(path: &Path, bytes: &[u8]) -> Result<()> {
    let size = bytes.first_chunk::<8>().map_or(0, |size| u64::from_le_bytes(*size));
    if size <= MAX_HEADER_BYTES {
        return Ok(());
    }
    let what = format!("its header would take {size} bytes, the limit is {MAX_HEADER_BYTES}; is it another format?");
    Err(ModelError::Implausible { path: path.to_owned(), what })
}

/// The bytes of a safetensors file: tensors and metadata in the order of their names, nothing that varies from run to run.
///
/// `format = "pt"` is added to the metadata, which Hugging Face's loader asks for.
pub fn encode(tensors: &TensorMap, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let infos: BTreeMap<String, TensorInfo> = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone() }))
        .collect();
    let mut bytes = header(&infos, metadata);
    bytes.reserve(tensors.values().map(|tensor| 4 * tensor.data.len()).sum());
    for tensor in tensors.values() {
        bytes.extend(tensor.data.iter().flat_map(|v| v.to_le_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let tensors = TensorMap::from([
            ("b".to_owned(), HostTensor { shape: vec![2, 1], data: vec![1.5, -2.0] }),
            ("a".to_owned(), HostTensor { shape: vec![], data: vec![0.25] }),
        ]);
        let metadata = BTreeMap::from([("objective".to_owned(), "convirt".to_owned())]);
        let bytes = encode(&tensors, &metadata);
        assert_eq!(bytes, encode(&tensors, &metadata));
        let file = WeightsFile::parse(Path::new("x"), &bytes).unwrap();
        assert_eq!(file.tensors, tensors);
        assert_eq!(file.metadata("objective").unwrap(), "convirt");
        for cut in [0, 4, 20, bytes.len() - 1] {
            assert!(WeightsFile::parse(Path::new("x"), &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
