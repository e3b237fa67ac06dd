//! The pooling by maximum that follows the stem of a residual network.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::channels_last::{Map, as_map, channels_last};
use super::cpu::{is_fused, values, vectorised};

const KERNEL: usize = 3;
const STRIDE: usize = 2;
const PADDING: usize = 1;

/// The maximum of windows of 3 by 3, every other place, with places beyond the edge left out.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, C, H / 2, W / 2]`, rounded up.
pub fn max_pool_halve(x: Tensor<4>) -> Tensor<4> {
    if is_fused(&x) {
        return Tensor::from_dispatch(<Dispatch as MaxPoolOps>::fused_max_pool(x.into_dispatch()));
    }
    reference(x)
}

pub(super) fn reference(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([KERNEL; 2]).with_stride([STRIDE; 2]).with_padding_pairs([(PADDING, PADDING); 2]);
    max_pool2d(x, options)
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait MaxPoolOps: Backend {
    fn fused_max_pool(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl MaxPoolOps for Flex {
    fn fused_max_pool(x: FlexTensor) -> FlexTensor {
        forward(&x).0
    }
}

impl<C: CheckpointStrategy> MaxPoolOps for Autodiff<Flex, C> {
    fn fused_max_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 1> for Step {
            type State = (Map, Vec<u8>);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (map, from) = ops.state;
                let dy = channels_last(&grads.consume::<Flex>(&ops.node));
                if let [Some(node)] = ops.parents {
                    grads.register::<Flex>(node.id, backward(&map, &from, values(&dy)));
                }
            }
        }
        let (x, of_x) = x.into_parts();
        let (y, from) = forward(&x);
        match Step.prepare::<C>([of_x]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((Map::of(&x), from), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

fn halved(map: &Map) -> Map {
    Map { height: map.height.div_ceil(STRIDE), width: map.width.div_ceil(STRIDE), ..*map }
}

/// The places of a window along an axis of `n` places, as place of the window and place of the axis.
fn along(i: usize, n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..KERNEL)
        .map(move |k| (k, i * STRIDE + k))
        .filter(move |(_, at)| (PADDING..n + PADDING).contains(at))
        .map(|(k, at)| (k, at - PADDING))
}

/// The maximum and which of the nine places of its window it came from, the first of equal ones; what is not a number wins.
fn forward(x: &FlexTensor) -> (FlexTensor, Vec<u8>) {
    let map = Map::of(x);
    let (out, c) = (halved(&map), map.channels);
    let x = channels_last(x);
    let x = values(&x);
    let (mut y, mut from) = (vec![f32::NEG_INFINITY; out.len()], vec![0_u8; out.len()]);
    let row = out.width * c;
    y.par_chunks_mut(row.max(1)).zip(from.par_chunks_mut(row.max(1))).enumerate().for_each(|(number, (y, from))| {
        let (image, top) = (number / out.height, number % out.height);
        vectorised(
            #[inline(always)]
            || {
                for (left, (y, from)) in y.chunks_exact_mut(c).zip(from.chunks_exact_mut(c)).enumerate() {
                    for (i, row) in along(top, map.height) {
                        for (j, column) in along(left, map.width) {
                            let at = ((image * map.height + row) * map.width + column) * c;
                            #[expect(clippy::cast_possible_truncation, reason = "less than nine")]
                            let place = (i * KERNEL + j) as u8;
                            for ((y, from), x) in y.iter_mut().zip(from.iter_mut()).zip(&x[at..at + c]) {
                                let wins = *x > *y || x.is_nan();
                                *y = if wins { *x } else { *y };
                                *from = if wins { place } else { *from };
                            }
                        }
                    }
                }
            },
        );
    });
    (as_map(y, out), from)
}

fn backward(map: &Map, from: &[u8], dy: &[f32]) -> FlexTensor {
    let (out, c) = (halved(map), map.channels);
    let mut dx = vec![0.0; map.len()];
    let image = map.height * map.width * c;
    let pooled = out.height * out.width * c;
    // Windows of an image overlap, those of two images do not.
    let images = from.par_chunks(pooled.max(1)).zip(dy.par_chunks(pooled.max(1)));
    dx.par_chunks_mut(image.max(1)).zip(images).for_each(|(dx, (from, dy))| {
        vectorised(
            #[inline(always)]
            || {
                for (number, (from, dy)) in from.chunks_exact(c).zip(dy.chunks_exact(c)).enumerate() {
                    let (top, left) = (number / out.width, number % out.width);
                    for (i, row) in along(top, map.height) {
                        for (j, column) in along(left, map.width) {
                            let at = (row * map.width + column) * c;
                            #[expect(clippy::cast_possible_truncation, reason = "less than nine")]
                            let place = (i * KERNEL + j) as u8;
                            for ((dx, from), dy) in dx[at..at + c].iter_mut().zip(from).zip(dy) {
                                *dx += if *from == place { *dy } else { 0.0 };
                            }
                        }
                    }
                }
            },
        );
    });
    as_map(dx, *map)
}
