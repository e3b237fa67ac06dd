//! Convolutions without groups and dilation, with what follows them.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d as burn_conv2d;
use burn::tensor::ops::ConvOptions;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::channels_last::{Map, as_map, channels_last};
use super::cpu::{
    By, Matrix, filled, for_rows, is_fused, matmul, matmul_by_row, tensor, values, vectorised, with_scratch,
};

/// A convolution without bias.
///
/// # Shapes
/// `x`: `[B, C, H, W]`; `weight`: `[O, C, k, k]`; the result: `[B, O, H', W']` with `H' = (H + 2 padding - k) / stride + 1`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    if is_fused(&x) {
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as ConvOps>::fused_conv2d(x, weight, stride, padding));
    }
    reference(x, weight, stride, padding)
}

pub(super) fn reference(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    burn_conv2d(x, weight, None, options)
}

/// A convolution, then `scale y + shift` for each channel, the sum with a shortcut, and a rectifier: a layer of a network with
/// fixed normalisation in one pass. It has no gradient.
///
/// # Shapes
/// As [`conv2d`]; `scale` and `shift`: `[O]`; `shortcut`: `[B, O, H', W']`.
pub fn conv2d_affine(
    x: Tensor<4>,
    weight: Tensor<4>,
    [stride, padding]: [usize; 2],
    [scale, shift]: [Tensor<1>; 2],
    shortcut: Option<Tensor<4>>,
    rectify: bool,
) -> Tensor<4> {
    let plain = |tensor: Tensor<4>| tensor.without_autodiff();
    let (x, weight, shortcut) = (plain(x), plain(weight), shortcut.map(plain));
    let [scale, shift] = [scale, shift].map(Tensor::without_autodiff);
    if is_fused(&x) {
        let cpu = |tensor: Tensor<4>| tensor.try_into_primitive::<Flex>();
        let row = |tensor: Tensor<1>| tensor.try_into_primitive::<Flex>().map(|row| row.to_contiguous());
        if let (Ok(x), Ok(weight), Ok(scale), Ok(shift), Ok(shortcut)) = (
            cpu(x.clone()),
            cpu(weight.clone()),
            row(scale.clone()),
            row(shift.clone()),
            shortcut.clone().map(cpu).transpose(),
        ) {
            let shortcut = shortcut.as_ref().map(channels_last);
            let after = After {
                scale: values(&scale),
                shift: values(&shift),
                shortcut: shortcut.as_ref().map(values),
                rectify,
            };
            return Tensor::from_primitive::<Flex>(forward(&x, &weight, stride, padding, Some(&after)));
        }
    }
    let y = reference(x, weight, stride, padding);
    let y = y * scale.reshape([1, -1, 1, 1]) + shift.reshape([1, -1, 1, 1]);
    let y = match shortcut {
        Some(shortcut) => y + shortcut,
        None => y,
    };
    if rectify { relu(y) } else { y }
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait ConvOps: Backend {
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;
}

impl ConvOps for Flex {
    fn fused_conv2d(x: FlexTensor, weight: FlexTensor, stride: usize, padding: usize) -> FlexTensor {
        forward(&x, &weight, stride, padding, None)
    }
}

impl<C: CheckpointStrategy> ConvOps for Autodiff<Flex, C> {
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 2> for Step {
            type State = (FlexTensor, FlexTensor, usize, usize);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [of_x, of_weight] = ops.parents;
                let (x, weight, stride, padding) = ops.state;
                let dy = channels_last(&grads.consume::<Flex>(&ops.node));
                let windows = Windows::new(Map::of(&x), &weight, stride, padding);
                if let Some(node) = of_weight {
                    let x = channels_last(&x);
                    grads.register::<Flex>(node.id, weight_gradient(values(&x), values(&dy), &windows));
                }
                if let Some(node) = of_x {
                    let weight = weight.to_contiguous();
                    grads.register::<Flex>(node.id, input_gradient(values(&dy), values(&weight), &windows));
                }
            }
        }
        let ((x, of_x), (weight, of_weight)) = (x.into_parts(), weight.into_parts());
        match Step.prepare::<C>([of_x, of_weight]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let y = forward(&x, &weight, stride, padding, None);
                step.finish((x, weight, stride, padding), y)
            }
            OpsKind::UnTracked(step) => step.finish(forward(&x, &weight, stride, padding, None)),
        }
    }
}

/// What follows a convolution at once.
struct After<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    /// Channels last.
    shortcut: Option<&'a [f32]>,
    rectify: bool,
}

impl After<'_> {
    /// Acts on rows of outputs, of which the first has the number `first`.
    fn apply(&self, first: usize, rows: &mut [f32]) {
        let n = self.scale.len();
        let floor = if self.rectify { 0.0 } else { f32::NEG_INFINITY };
        vectorised(
            #[inline(always)]
            || {
                let Some(shortcut) = self.shortcut else {
                    for row in rows.chunks_exact_mut(n) {
                        for ((y, scale), shift) in row.iter_mut().zip(self.scale).zip(self.shift) {
                            *y = at_least(*y * scale + shift, floor);
                        }
                    }
                    return;
                };
                let shortcut = &shortcut[first * n..first * n + rows.len()];
                for (row, shortcut) in rows.chunks_exact_mut(n).zip(shortcut.chunks_exact(n)) {
                    for (((y, scale), shift), shortcut) in row.iter_mut().zip(self.scale).zip(self.shift).zip(shortcut)
                    {
                        *y = at_least(*y * scale + shift + shortcut, floor);
                    }
                }
            },
        );
    }
}

/// The greater of the two; what is not a number stays.
#[inline]
fn at_least(value: f32, floor: f32) -> f32 {
    if value < floor { floor } else { value }
}

/// How a kernel moves over a map, and what a product of matrices sees of it: a window of the map for each place of the output.
#[derive(Debug, Clone, Copy)]
struct Windows {
    map: Map,
    out: Map,
    k: usize,
    stride: usize,
    padding: usize,
}

/// Values of unfolded windows at once: they should stay within the cache.
const TILE: usize = 1 << 20;

impl Windows {
    fn new(map: Map, weight: &FlexTensor, stride: usize, padding: usize) -> Self {
        let shape = weight.layout().shape();
        let (channels, k) = (shape[0], shape[2]);
        assert_eq!(shape[1], map.channels, "channels of a convolution");
        let side = |n: usize| (n + 2 * padding - k) / stride + 1;
        let out = Map { channels, height: side(map.height), width: side(map.width), ..map };
        Self { map, out, k, stride, padding }
    }

    /// Values of a window.
    fn len(&self) -> usize {
        self.k * self.k * self.map.channels
    }

    /// Whether windows are the places of the map itself.
    fn are_places(&self) -> bool {
        self.k == 1 && self.stride == 1 && self.padding == 0
    }

    /// How many windows are unfolded at once: enough for a matrix product, and work for every thread.
    fn tile(&self) -> usize {
        let threads = rayon::current_num_threads();
        let fair = self.out.places().div_ceil(threads * (self.out.places() / (4 * threads * 256)).clamp(1, 4));
        (TILE / self.len().max(self.out.channels)).max(192).min(fair).max(1)
    }

    /// Calls `work` with `rows` windows of the map, of which the first has the number `first`.
    fn with_rows(&self, map: &[f32], first: usize, rows: usize, work: impl FnOnce(&[f32])) {
        let len = self.len();
        if self.are_places() {
            return work(&map[first * len..(first + rows) * len]);
        }
        with_scratch(rows * len, |windows| {
            self.unfold(map, first, windows);
            work(windows);
        });
    }

    /// Copies windows of the map, of which the first has the number `first`; values beyond the edge are 0.
    fn unfold(&self, map: &[f32], first: usize, windows: &mut [f32]) {
        let Self { map: Map { channels: c, height, width, .. }, out, k, stride, padding } = *self;
        let places = out.height * out.width;
        for (number, window) in (first..).zip(windows.chunks_exact_mut(self.len())) {
            let (image, place) = (number / places, number % places);
            let (top, left) = (place / out.width * stride, place % out.width * stride);
            // Columns of the window that lie within the map.
            let from = padding.saturating_sub(left).min(k);
            let to = (width + padding).saturating_sub(left).min(k).max(from);
            for (i, target) in window.chunks_exact_mut(k * c).enumerate() {
                if top + i < padding || top + i >= height + padding {
                    target.fill(0.0);
                    continue;
                }
                target[..from * c].fill(0.0);
                target[to * c..].fill(0.0);
                if from < to {
                    let at = ((image * height + top + i - padding) * width + left + from - padding) * c;
                    target[from * c..to * c].copy_from_slice(&map[at..at + (to - from) * c]);
                }
            }
        }
    }

    /// Adds windows to the map of one image that they are windows of: the transpose of [`Windows::unfold`].
    fn fold(&self, windows: &[f32], first: usize, map: &mut [f32]) {
        let Self { map: Map { channels: c, height, width, .. }, out, k, stride, padding } = *self;
        for (place, window) in (first..).zip(windows.chunks_exact(self.len())) {
            let (top, left) = (place / out.width * stride, place % out.width * stride);
            let from = padding.saturating_sub(left).min(k);
            let to = (width + padding).saturating_sub(left).min(k);
            for (i, source) in window.chunks_exact(k * c).enumerate() {
                if from >= to || top + i < padding || top + i >= height + padding {
                    continue;
                }
                let at = ((top + i - padding) * width + left + from - padding) * c;
                let target = &mut map[at..at + (to - from) * c];
                let source = &source[from * c..to * c];
                vectorised(
                    #[inline(always)]
                    || target.iter_mut().zip(source).for_each(|(sum, value)| *sum += value),
                );
            }
        }
    }
}

/// Weights with their input channels last, `[O, k, k, C]`, from `[O, C, k, k]`.
fn weight_channels_last(weight: &[f32], c: usize, k: usize) -> Vec<f32> {
    let mut turned = vec![0.0; weight.len()];
    let kk = k * k;
    for_rows(&mut turned, kk * c, |first, out| {
        for (of, out) in (first..).zip(out.chunks_exact_mut(kk * c)) {
            let from = &weight[of * kk * c..(of + 1) * kk * c];
            for (i, out) in out.chunks_exact_mut(c).enumerate() {
                for (value, from) in out.iter_mut().zip(from[i..].iter().step_by(kk)) {
                    *value = *from;
                }
            }
        }
    });
    turned
}

/// Weights of the convolution that takes a gradient back, `[C, k, k, O]`, turned by half a turn, from `[O, C, k, k]`.
fn weight_turned(weight: &[f32], o: usize, c: usize, k: usize) -> Vec<f32> {
    let mut turned = vec![0.0; weight.len()];
    let kk = k * k;
    for_rows(&mut turned, kk * o, |first, out| {
        for (channel, out) in (first..).zip(out.chunks_exact_mut(kk * o)) {
            for (i, out) in out.chunks_exact_mut(o).enumerate() {
                for (of, value) in out.iter_mut().enumerate() {
                    *value = weight[(of * c + channel) * kk + kk - 1 - i];
                }
            }
        }
    });
    turned
}

fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    stride: usize,
    padding: usize,
    after: Option<&After<'_>>,
) -> FlexTensor {
    let windows = Windows::new(Map::of(x), weight, stride, padding);
    let (x, weight) = (channels_last(x), weight.to_contiguous());
    let (x, weight) = (values(&x), values(&weight));
    let k = windows.k;
    if k == 1 {
        return as_map(correlate(x, weight, &windows, after), windows.out);
    }
    as_map(correlate(x, &weight_channels_last(weight, windows.map.channels, k), &windows, after), windows.out)
}

/// Products of windows with rows of weights, `[O, k * k * C]`: channels last.
#[expect(unsafe_code, reason = "memory that is not cleared")]
fn correlate(x: &[f32], weight: &[f32], windows: &Windows, after: Option<&After<'_>>) -> Vec<f32> {
    let (n, len, tile) = (windows.out.channels, windows.len(), windows.tile());
    let weight = Matrix::new(weight, n, len).transposed();
    // SAFETY: tiles cover all places, and a product writes its tile whole.
    unsafe {
        filled(windows.out.len(), |out| {
            out.par_chunks_mut(tile * n).enumerate().for_each(|(i, out)| {
                let (first, rows) = (i * tile, out.len() / n);
                windows.with_rows(x, first, rows, |rows_of_x| matmul_by_row(out, rows_of_x, weight, false, By::Caller));
                if let Some(after) = after {
                    after.apply(first, out);
                }
            });
        })
    }
}

/// The gradient of the input: `dy` is channels last, `weight` is `[O, C, k, k]`.
fn input_gradient(dy: &[f32], weight: &[f32], windows: &Windows) -> FlexTensor {
    let Windows { map, out, k, stride, padding } = *windows;
    if windows.are_places() {
        let back = Windows { map: out, out: map, ..*windows };
        let turned = weight_turned(weight, out.channels, map.channels, 1);
        return as_map(correlate(dy, &turned, &back, None), map);
    }
    if stride == 1 && padding < k {
        let back = Windows { map: out, out: map, k, stride, padding: k - 1 - padding };
        return as_map(correlate(dy, &weight_turned(weight, out.channels, map.channels, k), &back, None), map);
    }
    let (len, n) = (windows.len(), out.channels);
    let turned;
    let weight = if k == 1 {
        weight
    } else {
        turned = weight_channels_last(weight, map.channels, k);
        &turned
    };
    let weight = Matrix::new(weight, n, len);
    let places = out.height * out.width;
    let tile = (TILE / len).max(192).min(places);
    let mut dx = vec![0.0; map.len()];
    let image = map.height * map.width * map.channels;
    dx.par_chunks_mut(image.max(1)).zip(dy.par_chunks(places * n)).for_each(|(dx, dy)| {
        with_scratch(tile * len, |unfolded| {
            for (i, dy) in dy.chunks(tile * n).enumerate() {
                let rows = dy.len() / n;
                matmul(unfolded, len, Matrix::new(dy, rows, n), weight, 1.0, false, By::Caller);
                windows.fold(&unfolded[..rows * len], i * tile, dx);
            }
        });
    });
    as_map(dx, map)
}

/// The gradient of the weight, `[O, C, k, k]`: `x` and `dy` are channels last. One product of matrices over all places, instead
/// of Burn's convolution with a kernel as large as the output.
fn weight_gradient(x: &[f32], dy: &[f32], windows: &Windows) -> FlexTensor {
    /// Weights of which partial sums are cheap.
    const FEW: usize = 1 << 16;
    let (len, n, places) = (windows.len(), windows.out.channels, windows.out.places());
    let (channels, k) = (windows.map.channels, windows.k);
    let mut dw = vec![0.0; n * len];
    if n * len <= FEW {
        weight_gradient_in_parts(&mut dw, x, dy, windows);
    } else if windows.are_places() {
        add_products(&mut dw, x, dy, n, By::All);
    } else {
        let tile = (2 * TILE / len).clamp(1, places.max(1));
        with_scratch(tile * len, |unfolded| {
            for (first, dy) in (0..).step_by(tile).zip(dy.chunks(tile * n)) {
                let rows_of_x = &mut unfolded[..dy.len() / n * len];
                for_rows(rows_of_x, len, |at, rows| windows.unfold(x, first + at, rows));
                add_products(&mut dw, rows_of_x, dy, n, By::All);
            }
        });
    }
    if k == 1 {
        return tensor(dw, [n, channels, 1, 1]);
    }
    tensor(channels_first(&dw, channels, k), [n, channels, k, k])
}

/// A thread for some places; the parts are fixed and added in order, so that the sum is the same on every machine.
fn weight_gradient_in_parts(dw: &mut [f32], x: &[f32], dy: &[f32], windows: &Windows) {
    const PARTS: usize = 16;
    let (len, n, places) = (windows.len(), windows.out.channels, windows.out.places());
    let part = places.div_ceil(PARTS).max(1);
    let tile = (TILE / len).clamp(1, part);
    let parts: Vec<Vec<f32>> = dy
        .par_chunks(part * n)
        .enumerate()
        .map(|(i, dy)| {
            let mut sum = vec![0.0; n * len];
            for (first, dy) in (i * part..).step_by(tile).zip(dy.chunks(tile * n)) {
                windows.with_rows(x, first, dy.len() / n, |rows| add_products(&mut sum, rows, dy, n, By::Caller));
            }
            sum
        })
        .collect();
    for part in &parts {
        dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
}

/// Adds the products of every row of `dy`, `n` values, with its row of `x`: `dw += dy^T x`.
fn add_products(dw: &mut [f32], x: &[f32], dy: &[f32], n: usize, by: By) {
    let (rows, len) = (dy.len() / n, dw.len() / n);
    matmul(dw, len, Matrix::new(dy, rows, n).transposed(), Matrix::new(x, rows, len), 1.0, true, by);
}

/// Weights `[O, C, k, k]` from `[O, k, k, C]`.
fn channels_first(weight: &[f32], c: usize, k: usize) -> Vec<f32> {
    let kk = k * k;
    let mut turned = vec![0.0; weight.len()];
    for_rows(&mut turned, kk * c, |first, out| {
        for (from, out) in weight[first * kk * c..].chunks_exact(kk * c).zip(out.chunks_exact_mut(kk * c)) {
            for (channel, out) in out.chunks_exact_mut(kk).enumerate() {
                for (i, value) in out.iter_mut().enumerate() {
                    *value = from[i * c + channel];
                }
            }
        }
    });
    turned
}
