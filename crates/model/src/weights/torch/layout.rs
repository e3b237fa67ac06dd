//! Tensors as views of storages: offsets, strides and shared numbers, resolved to plain rows.

use std::io::{Read as _, SeekFrom};

use super::archive::Region;
use super::error::{Result, TorchProblem};
use super::value::{Storage, Tensor};
use super::{Source, TensorInfo};

/// Most bytes by which the tensors of a file may exceed it: views that repeat numbers (a stride of zero) and weights that
/// several names share are written out in full.
pub(super) const MAX_REPEATED: u64 = 1 << 30;

/// Where the numbers of a tensor lie; all bounds are checked.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Bytes of the file from the first number to the last.
    region: Region,
    /// Bytes of a number.
    item: usize,
    shape: Vec<usize>,
    /// Steps along the axes, in numbers.
    stride: Vec<usize>,
}

impl View {
    /// The view of a tensor whose storage lies in `region`, with its shape and type.
    ///
    /// # Errors
    /// What is wrong, if it does not fit.
    pub(super) fn new(
        tensor: &Tensor,
        storage: &Storage,
        region: Region,
    ) -> std::result::Result<(TensorInfo, Self), String> {
        let dtype = tensor.dtype.ok_or("its numbers are of no type that is read")?;
        let item = dtype.bitsize() / 8;
        let axes = |axes: &[u64]| axes.iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<usize>, _>>();
        let overflow = "its sizes are beyond all bounds";
        let shape = axes(&tensor.shape).map_err(|_| overflow)?;
        let stride = axes(&tensor.stride).map_err(|_| overflow)?;
        // Empty axes count as one here: whoever multiplies the sizes must not overflow on the way.
        let extent = shape.iter().try_fold(item, |size, n| size.checked_mul((*n).max(1)));
        let bytes = extent.filter(|bytes| isize::try_from(*bytes).is_ok()).ok_or(overflow)?;
        let empty = shape.contains(&0);
        let info = TensorInfo { dtype, shape };
        if empty {
            let region = Region { start: region.start, len: 0 };
            return Ok((info.clone(), Self { region, item, shape: info.shape, stride }));
        }
        if bytes as u64 > region.len.saturating_add(MAX_REPEATED) {
            return Err(format!("written out it takes {bytes} bytes, of which its storage has {}", region.len));
        }
        let reach = info.shape.iter().zip(&stride).try_fold(0_usize, |reach, (size, step)| {
            (size - 1).checked_mul(*step).and_then(|more| reach.checked_add(more))
        });
        let skip = storage.skip.checked_mul(storage.item);
        let start = tensor.offset.checked_mul(item as u64).zip(skip).and_then(|(a, b)| a.checked_add(b));
        let len = reach.and_then(|reach| reach.checked_add(1)).and_then(|len| len.checked_mul(item));
        let (start, len) = start.zip(len).ok_or(overflow)?;
        if start.checked_add(len as u64).is_none_or(|end| end > region.len) {
            return Err(format!("it takes {len} bytes from byte {start} of a storage of {}", region.len));
        }
        let region = Region { start: region.start + start, len: len as u64 };
        Ok((info.clone(), Self { region, item, shape: info.shape, stride }))
    }

    /// Bytes of the tensor, written out.
    pub(super) fn bytes(&self) -> u64 {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product::<usize>() as u64 * self.item as u64 }
    }

    /// The numbers, row by row.
    ///
    /// # Errors
    /// If the file cannot be read or is shorter than it was.
    pub(super) fn read(&self, source: &mut dyn Source) -> Result<Vec<u8>> {
        source.seek(SeekFrom::Start(self.region.start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.region.len).unwrap_or(0));
        source.take(self.region.len).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != self.region.len {
            return Err(TorchProblem::Storages("the file became shorter while it was read".to_owned()));
        }
        let axes = self.runs();
        if self.bytes() == 0 || axes == self.shape.len() { Ok(bytes) } else { Ok(self.gather(&bytes, axes)) }
    }

    /// Axes, from the last on, along which the numbers lie side by side in rows.
    fn runs(&self) -> usize {
        let mut run = 1;
        let axes = self.shape.iter().zip(&self.stride).rev();
        let close = axes.take_while(|(size, step)| {
            let fits = **size == 1 || **step == run;
            run *= **size;
            fits
        });
        close.count()
    }

    /// The tensor from the bytes that it spans; the last `close` axes lie in rows already.
    fn gather(&self, bytes: &[u8], close: usize) -> Vec<u8> {
        let outer = self.shape.len() - close;
        let run = self.shape[outer..].iter().product::<usize>() * self.item;
        let mut out = Vec::with_capacity(usize::try_from(self.bytes()).unwrap_or(0));
        let mut index = vec![0; outer];
        let mut at = 0;
        loop {
            out.extend_from_slice(&bytes[at..at + run]);
            // The next place, the last axis first; an axis at its end starts anew.
            let mut axis = outer;
            loop {
                let Some(next) = axis.checked_sub(1) else { return out };
                axis = next;
                let step = self.stride[axis] * self.item;
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    at += step;
                    break;
                }
                at -= (self.shape[axis] - 1) * step;
                index[axis] = 0;
            }
        }
    }
}
