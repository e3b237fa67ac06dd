//! Tensors as they lie in files: type, shape and bytes.

use half::{bf16, f16};
use safetensors::Dtype;

/// Type and shape of a tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Sizes of the axes, slowest first.
    pub shape: Vec<usize>,
}

/// A tensor of a file: row-major, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Sizes of the axes, slowest first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// The numbers in single precision, which holds every half; nothing for other types.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        Some(match self.dtype {
            Dtype::F32 => self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => self.bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => self.bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            _ => return None,
        })
    }
}

/// Whether numbers of a type become parameters.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Counters and masks, which no module of ours holds.
pub(super) fn is_integer(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | U8 | I8 | I16 | U16 | I32 | U32 | I64 | U64)
}
