//! What the bodies for the CPU share: whether they run, memory, threads, vector instructions and matrix products.
//!
//! Everything here and in the bodies is deterministic: which thread computes a value may change, the order of the additions
//! that make it does not.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::DispatchDevice;
use burn::tensor::{Bytes, DType, Device, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};
use gemm::Parallelism;
use rayon::prelude::*;

static IS_ON: AtomicBool = AtomicBool::new(true);

/// Whether operations use their bodies for the CPU there, or the plain ones that every other device uses. They do from the
/// start; what was recorded before keeps its gradient.
pub fn set_fused(on: bool) {
    IS_ON.store(on, Ordering::Relaxed);
}

/// Whether a device is the CPU, and its bodies are on.
pub(super) fn is_on_cpu(device: &Device) -> bool {
    let device = device.clone().without_autodiff();
    IS_ON.load(Ordering::Relaxed) && matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether a tensor is one that the bodies for the CPU take.
pub(super) fn is_fused<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is_on_cpu(&x.device())
}

/// Single-precision values in their order in memory.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    let all: &[f32] = tensor.storage();
    match tensor.layout().contiguous_offsets() {
        Some((start, end)) => &all[start..end],
        None => unreachable!("bodies make their inputs contiguous"),
    }
}

/// A tensor of values in row-major order.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// A vector of `len` values that `fill` writes. The memory is not cleared before: on large tensors that would be one more pass.
///
/// # Safety
/// `fill` writes every value, and reads none that it has not written.
#[expect(unsafe_code, reason = "memory that is not cleared")]
pub(super) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    if cfg!(debug_assertions) {
        // What was forgotten shows.
        let mut values = vec![f32::NAN; len];
        fill(&mut values);
        return values;
    }
    let mut values: Vec<MaybeUninit<f32>> = Vec::with_capacity(len);
    let memory = values.spare_capacity_mut().as_mut_ptr().cast::<f32>();
    // SAFETY: the capacity is at least `len`, and by the contract nothing is read before it is written.
    fill(unsafe { std::slice::from_raw_parts_mut(memory, len) });
    let mut values = std::mem::ManuallyDrop::new(values);
    // SAFETY: the parts of a vector of a type of the same layout, of which `len` values are written.
    unsafe { Vec::from_raw_parts(values.as_mut_ptr().cast(), len, values.capacity()) }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` values of any content. The memory is the thread's, which keeps it.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // While `work` has it, work of the same thread that is nested in it gets memory of its own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = work(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}

/// Tells the allocator of the programs to keep the memory of tensors that are gone for those that come. Else it gives it back
/// after a second, and a long step faults in page by page what the one before it had: up to a quarter of its time.
#[expect(unsafe_code, reason = "the allocator is written in C")]
pub fn keep_memory() {
    // SAFETY: sets a number that the allocator reads when it frees memory.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}

/// `mi_option_purge_delay` of the allocator's header.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Runs `work` as compiled for the vector instructions that this processor has. Loops in it are vectorised for them if they
/// are inlined into it; sums stay in the order that they are written in, so that all processors agree.
#[inline(always)]
#[expect(clippy::inline_always, reason = "else it would be compiled for the oldest processor")]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> pulp::WithSimd for Work<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Work(work))
}

/// Values below which another thread costs more than it brings.
const SMALL: usize = 1 << 14;

/// How many of `rows` of `width` values are one piece of work.
pub(super) fn piece(rows: usize, width: usize) -> usize {
    let threads = rayon::current_num_threads();
    rows.div_ceil(4 * threads).max(SMALL.div_ceil(width.max(1))).max(1)
}

/// Calls `work` with the number of the first row and pieces of `out`, rows of `width` values, from several threads.
pub(super) fn for_rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = piece(out.len() / width.max(1), width);
    if out.len() <= rows * width {
        return work(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(i, piece)| work(i * rows, piece));
}

/// [`for_rows`] over two tensors and a value for each row.
pub(super) fn for_rows_of_three(
    [a, b]: [&mut [f32]; 2],
    width: usize,
    each: &mut [f32],
    work: impl Fn(usize, &mut [f32], &mut [f32], &mut [f32]) + Sync,
) {
    let rows = piece(each.len(), width);
    if each.len() <= rows {
        return work(0, a, b, each);
    }
    let pieces = a.par_chunks_mut(rows * width).zip(b.par_chunks_mut(rows * width)).zip(each.par_chunks_mut(rows));
    pieces.enumerate().for_each(|(i, ((a, b), each))| work(i * rows, a, b, each));
}

/// The sum of a function of values, as sixteen sums that are added up at the end: the order that vector instructions take.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a loop to be vectorised")]
pub(super) fn lanes(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; 16];
    let chunks = values.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|value| of(*value)).sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// [`lanes`] of two rows.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a loop to be vectorised")]
pub(super) fn lanes_of_two(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| of(*a, *b)).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += of(*a, *b);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Sums over rows of `width` values: `add` adds some rows, given by their range, to `N` sums of that width. Pieces have a
/// fixed number of rows and are added up in double precision and in order.
pub(super) fn sums<const N: usize>(
    rows: usize,
    width: usize,
    add: impl Fn(std::ops::Range<usize>, &mut [Vec<f32>; N]) + Sync,
) -> [Vec<f64>; N] {
    const ROWS: usize = 256;
    let part = |i: usize| {
        let mut part = std::array::from_fn(|_| vec![0.0; width]);
        add(i * ROWS..rows.min((i + 1) * ROWS), &mut part);
        part
    };
    let pieces = rows.div_ceil(ROWS);
    let parts: Vec<[Vec<f32>; N]> = if rows * width <= SMALL {
        (0..pieces).map(part).collect()
    } else {
        (0..pieces).into_par_iter().map(part).collect()
    };
    let mut total: [Vec<f64>; N] = std::array::from_fn(|_| vec![0.0; width]);
    for part in &parts {
        for (total, part) in total.iter_mut().zip(part) {
            for (total, part) in total.iter_mut().zip(part) {
                *total += f64::from(*part);
            }
        }
    }
    total
}

/// A matrix within a slice: element `(i, j)` is at `i * strides[0] + j * strides[1]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Rows one after another.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, shape: [rows, columns], strides: [columns, 1] }
    }

    /// Rows that begin `stride` values after each other.
    pub(super) fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { values, shape: [rows, columns], strides: [stride, 1] }
    }

    /// Rows as columns.
    pub(super) fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { values: self.values, shape: [columns, rows], strides: [right, down] }
    }
}

/// [`matmul`] whose rows have the same bits however many there are: what an image or a text gets does not depend on how many
/// others are computed with it. The library adds in another order where a product is small, so that small ones get more rows.
///
/// `rows` and `out` are row-major with as many rows; columns of `b` are those of `out`.
pub(super) fn matmul_by_row(out: &mut [f32], rows: &[f32], b: Matrix<'_>, add: bool, by: By) {
    let [k, n] = b.shape;
    let m = out.len() / n.max(1);
    // Above 64 rows, and 256 values of the result, the order is that of large products.
    let enough = 65.max(256 / n.max(1) + 1);
    if m >= enough || m == 0 {
        return matmul(out, n, Matrix::new(rows, m, k), b, 1.0, add, by);
    }
    let mut more = vec![0.0; enough * (k + n)];
    let (more_rows, more_out) = more.split_at_mut(enough * k);
    more_rows[..rows.len()].copy_from_slice(rows);
    if add {
        more_out[..out.len()].copy_from_slice(out);
    }
    matmul(more_out, n, Matrix::new(more_rows, enough, k), b, 1.0, add, by);
    out.copy_from_slice(&more_out[..out.len()]);
}

/// Who multiplies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The thread that calls.
    Caller,
    /// All threads.
    All,
}

/// `out = scale a b`, or `out += scale a b`; rows of `out` begin `stride` values after each other.
///
/// # Panics
/// If the shapes do not fit, or a matrix does not fit into its slice.
#[expect(unsafe_code, reason = "the interface of the library is of pointers")]
pub(super) fn matmul(out: &mut [f32], stride: usize, a: Matrix<'_>, b: Matrix<'_>, scale: f32, add: bool, by: By) {
    let ([m, k], [k_b, n]) = (a.shape, b.shape);
    assert_eq!(k, k_b, "inner sizes of a matrix product");
    if m == 0 || n == 0 {
        return;
    }
    let fits = |len: usize, [rows, columns]: [usize; 2], [down, right]: [usize; 2]| {
        rows == 0 || columns == 0 || (rows - 1) * down + (columns - 1) * right < len
    };
    assert!(fits(out.len(), [m, n], [stride, 1]) && stride >= n, "the product does not fit");
    assert!(
        fits(a.values.len(), a.shape, a.strides) && fits(b.values.len(), b.shape, b.strides),
        "a factor does not fit"
    );
    let step = usize::cast_signed;
    let parallelism = if by == By::All { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: every element that the strides reach lies in its slice, as was just checked; `out` is borrowed alone and its
    // elements are distinct, as a row is not longer than the stride. Without `add`, `out` is not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            step(stride),
            add,
            a.values.as_ptr(),
            step(a.strides[1]),
            step(a.strides[0]),
            b.values.as_ptr(),
            step(b.strides[1]),
            step(b.strides[0]),
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The exponential to within a few units of the last place, in instructions that vectorise (Cephes); 0 below -87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding it rounds to whole numbers, which then stand in the last bits.
    const ROUND: f32 = 12_582_912.0;
    let top = if x > 88.0 { 88.0 } else { x };
    let bounded = if top < -87.0 { -87.0 } else { top };
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = bounded - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    let y = (p * r * r + r + 1.0) * power;
    if x < -87.0 { 0.0 } else { y }
}
