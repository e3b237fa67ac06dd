//! Batch normalisation of maps, with the sum with a shortcut and the rectifier that follow it in residual networks.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::batch_norm_train as burn_batch_norm_train;
use burn_flex::FlexTensor;

use super::channels_last::{Map, as_map, channels_last};
use super::cpu::{filled, for_rows, is_fused, sums, tensor, values, vectorised};

/// What a normalisation by the batch returns.
#[derive(Debug)]
pub struct BatchNormed {
    /// `[B, C, H, W]`.
    pub output: Tensor<4>,
    /// Mean of each channel over the batch, `[C]`, without a gradient.
    pub mean: Tensor<1>,
    /// Biased variance of each channel over the batch, `[C]`, without a gradient.
    pub variance: Tensor<1>,
}

/// Normalises each channel by its mean and variance over the batch: `weight (x - mean) / sqrt(variance + epsilon) + bias`, then
/// adds a shortcut, then rectifies. The gradient is that of training: it passes through mean and variance.
///
/// # Shapes
/// `x`, `shortcut`: `[B, C, H, W]`; `weight`, `bias`: `[C]`.
pub fn batch_norm_train(
    x: Tensor<4>,
    [weight, bias]: [Tensor<1>; 2],
    shortcut: Option<Tensor<4>>,
    rectify: bool,
    epsilon: f64,
) -> BatchNormed {
    if is_fused(&x)
        && let Ok(plain) = x.clone().without_autodiff().try_into_primitive::<Flex>()
    {
        let moments = moments(&plain);
        let moments = Tensor::<2>::from_primitive::<Flex>(moments);
        let moments = if x.is_autodiff() { moments.autodiff() } else { moments };
        let of = |row: usize| moments.clone().narrow(0, row, 1).squeeze_dim::<1>(0);
        let (mean, variance) = (of(0), of(1));
        let has_shortcut = shortcut.is_some();
        // Where there is no shortcut, anything without a gradient stands in for it.
        let shortcut = shortcut.map_or_else(|| moments.clone().into_dispatch(), Tensor::into_dispatch);
        let [x, weight, bias] = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
        let moments = moments.into_dispatch();
        let form = Form { has_shortcut, rectify, epsilon };
        let output = <Dispatch as BatchNormOps>::fused_batch_norm(x, moments, weight, bias, shortcut, form);
        return BatchNormed { output: Tensor::from_dispatch(output), mean, variance };
    }
    reference(x, [weight, bias], shortcut, rectify, epsilon)
}

pub(super) fn reference(
    x: Tensor<4>,
    [weight, bias]: [Tensor<1>; 2],
    shortcut: Option<Tensor<4>>,
    rectify: bool,
    epsilon: f64,
) -> BatchNormed {
    let result = burn_batch_norm_train(x, weight, bias, epsilon);
    let y = match shortcut {
        Some(shortcut) => result.output + shortcut,
        None => result.output,
    };
    let output = if rectify { relu(y) } else { y };
    BatchNormed { output, mean: result.mean.detach(), variance: result.variance.detach() }
}

/// What belongs to a normalisation besides tensors.
#[derive(Debug, Clone)]
struct Form {
    has_shortcut: bool,
    rectify: bool,
    epsilon: f64,
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait BatchNormOps: Backend {
    fn fused_batch_norm(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        form: Form,
    ) -> FloatTensor<Self>;
}

impl BatchNormOps for Flex {
    fn fused_batch_norm(
        x: FlexTensor,
        moments: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        shortcut: FlexTensor,
        form: Form,
    ) -> FlexTensor {
        let norm = Norm::new(&moments, &weight, form.epsilon);
        forward(&x, &norm, &bias, form.has_shortcut.then_some(&shortcut), form.rectify)
    }
}

impl<C: CheckpointStrategy> BatchNormOps for Autodiff<Flex, C> {
    fn fused_batch_norm(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        form: Form,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 4> for Step {
            type State = (FlexTensor, Norm, Option<FlexTensor>);

            fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (x, norm, rectified) = ops.state;
                let [of_x, of_weight, of_bias, of_shortcut] = ops.parents;
                let dy = channels_last(&grads.consume::<Flex>(&ops.node));
                let found = backward(&x, &norm, rectified.as_ref(), dy, of_shortcut.is_some());
                let nodes = [of_x, of_shortcut, of_weight, of_bias];
                let found = [Some(found.x), found.shortcut, Some(found.weight), Some(found.bias)];
                for (node, gradient) in nodes.into_iter().zip(found) {
                    if let (Some(node), Some(gradient)) = (node, gradient) {
                        grads.register::<Flex>(node.id, gradient);
                    }
                }
            }
        }
        let ((x, of_x), (weight, of_weight)) = (x.into_parts(), weight.into_parts());
        let ((bias, of_bias), (shortcut, of_shortcut)) = (bias.into_parts(), shortcut.into_parts());
        let norm = Norm::new(moments.primitive(), &weight, form.epsilon);
        let y = forward(&x, &norm, &bias, form.has_shortcut.then_some(&shortcut), form.rectify);
        match Step.prepare::<C>([of_x, of_weight, of_bias, of_shortcut]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x, norm, form.rectify.then(|| y.clone())), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

/// What normalises: for each channel.
#[derive(Debug, Clone)]
struct Norm {
    mean: Vec<f32>,
    /// One over the deviation.
    inverse: Vec<f32>,
    weight: Vec<f32>,
}

impl Norm {
    #[expect(clippy::cast_possible_truncation, reason = "the last step of a computation in double precision")]
    fn new(moments: &FlexTensor, weight: &FlexTensor, epsilon: f64) -> Self {
        let (moments, weight) = (moments.to_contiguous(), weight.to_contiguous());
        let (mean, variance) = values(&moments).split_at(values(&weight).len());
        let inverse = variance.iter().map(|variance| (1.0 / (f64::from(*variance) + epsilon).sqrt()) as f32).collect();
        Self { mean: mean.to_vec(), inverse, weight: values(&weight).to_vec() }
    }
}

/// Mean and biased variance of each channel, `[2, C]`.
#[expect(clippy::cast_possible_truncation, reason = "the last step of a computation in double precision")]
fn moments(x: &FlexTensor) -> FlexTensor {
    let map = Map::of(x);
    let (c, n) = (map.channels, map.places() as f64);
    let x = channels_last(x);
    let x = values(&x);
    // Around a value of the channel, so that a mean far from zero costs no digits.
    let pivot = &x[..c];
    let [sum, square] = sums(map.places(), c, |rows, [sum, square]| {
        vectorised(
            #[inline(always)]
            || {
                for row in x[rows.start * c..rows.end * c].chunks_exact(c) {
                    for (((sum, square), x), pivot) in sum.iter_mut().zip(square.iter_mut()).zip(row).zip(pivot) {
                        let from = x - pivot;
                        *sum += from;
                        *square += from * from;
                    }
                }
            },
        );
    });
    let mean = sum.iter().zip(pivot).map(|(sum, pivot)| (f64::from(*pivot) + sum / n) as f32);
    let variance = sum.iter().zip(&square).map(|(sum, square)| (square / n - (sum / n).powi(2)).max(0.0) as f32);
    tensor(mean.chain(variance).collect(), [2, c])
}

#[expect(unsafe_code, reason = "memory that is not cleared")]
fn forward(x: &FlexTensor, norm: &Norm, bias: &FlexTensor, shortcut: Option<&FlexTensor>, rectify: bool) -> FlexTensor {
    let map = Map::of(x);
    let c = map.channels;
    let (x, bias) = (channels_last(x), bias.to_contiguous());
    let x = values(&x);
    let shortcut = shortcut.map(channels_last);
    let shortcut = shortcut.as_ref().map(values);
    let scale: Vec<f32> = norm.weight.iter().zip(&norm.inverse).map(|(weight, inverse)| weight * inverse).collect();
    let shift: Vec<f32> =
        norm.mean.iter().zip(&scale).zip(values(&bias)).map(|((mean, scale), b)| b - mean * scale).collect();
    let floor = if rectify { 0.0 } else { f32::NEG_INFINITY };
    let clip = |y: f32| if y < floor { floor } else { y };
    // SAFETY: rows cover the map, and each is written whole.
    let y = unsafe {
        filled(map.len(), |y| {
            for_rows(y, c, |first, y| {
                let at = first * c..first * c + y.len();
                let x = &x[at.clone()];
                vectorised(
                    #[inline(always)]
                    || match shortcut {
                        None => {
                            for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                                for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(&scale).zip(&shift) {
                                    *y = clip(x * scale + shift);
                                }
                            }
                        }
                        Some(shortcut) => {
                            for ((y, x), add) in
                                y.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(shortcut[at].chunks_exact(c))
                            {
                                for ((((y, x), scale), shift), add) in
                                    y.iter_mut().zip(x).zip(&scale).zip(&shift).zip(add)
                                {
                                    *y = clip(x * scale + shift + add);
                                }
                            }
                        }
                    },
                );
            });
        })
    };
    as_map(y, map)
}

/// A gradient where the rectifier let something through, 0 elsewhere.
#[expect(unsafe_code, reason = "memory that is not cleared")]
fn masked(dy: &FlexTensor, y: &[f32], channels: usize) -> FlexTensor {
    let from = values(dy);
    // SAFETY: every value is written.
    let d = unsafe {
        filled(from.len(), |d| {
            for_rows(d, channels, |first, d| {
                let at = first * channels..first * channels + d.len();
                vectorised(
                    #[inline(always)]
                    || {
                        for ((d, y), from) in d.iter_mut().zip(&y[at.clone()]).zip(&from[at]) {
                            *d = if *y > 0.0 { *from } else { 0.0 };
                        }
                    },
                );
            });
        })
    };
    tensor(d, dy.layout().shape().clone())
}

/// The gradient of the input from sums over the batch of the gradient and of its products with what was normalised.
#[expect(unsafe_code, reason = "memory that is not cleared")]
#[expect(clippy::cast_possible_truncation, reason = "the last step of a computation in double precision")]
fn input_gradient(
    [from, x, y]: [&[f32]; 3],
    floor: f32,
    map: &Map,
    norm: &Norm,
    [sum, product]: [&[f64]; 2],
) -> Vec<f32> {
    let (c, n) = (map.channels, map.places() as f64);
    // As a function of the gradient and the input: `a d + b (x - mean) + e` for each channel.
    let channels = norm.inverse.iter().zip(&norm.weight).zip(sum.iter().zip(product));
    let factors: Vec<[f32; 3]> = channels
        .map(|((inverse, weight), (sum, product))| {
            let (inverse, weight) = (f64::from(*inverse), f64::from(*weight));
            let a = weight * inverse;
            [a as f32, (-a * inverse * inverse * product / n) as f32, (-a * sum / n) as f32]
        })
        .collect();
    let [a, b, e] = [0, 1, 2].map(|i| factors.iter().map(|factor| factor[i]).collect::<Vec<f32>>());
    // SAFETY: rows cover the map, and each is written whole.
    unsafe {
        filled(map.len(), |dx| {
            for_rows(dx, c, |first, dx| {
                let at = first * c..first * c + dx.len();
                let rows =
                    from[at.clone()].chunks_exact(c).zip(x[at.clone()].chunks_exact(c)).zip(y[at].chunks_exact(c));
                vectorised(
                    #[inline(always)]
                    || {
                        for (dx, ((d, x), y)) in dx.chunks_exact_mut(c).zip(rows) {
                            let row = dx.iter_mut().zip(d).zip(x).zip(y).zip(&norm.mean).zip(&a).zip(&b).zip(&e);
                            for (((((((dx, d), x), y), mean), a), b), e) in row {
                                let d = if *y <= floor { 0.0 } else { *d };
                                *dx = a * d + b * (x - mean) + e;
                            }
                        }
                    },
                );
            });
        })
    }
}

struct Found {
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    shortcut: Option<FlexTensor>,
}

/// Gradients: with `d` the gradient before the rectifier, `n` places and `z = (x - mean) / deviation`, that of the input is
/// `weight / deviation (d - sum(d) / n - z sum(d z) / n)`, of the weight `sum(d z)`, of the bias `sum(d)`.
#[expect(clippy::cast_possible_truncation, reason = "the last step of a computation in double precision")]
fn backward(
    x: &FlexTensor,
    norm: &Norm,
    rectified: Option<&FlexTensor>,
    dy: FlexTensor,
    wants_shortcut: bool,
) -> Found {
    let map = Map::of(x);
    let c = map.channels;
    let x = channels_last(x);
    let x = values(&x);
    let y = rectified.map(channels_last);
    let y = y.as_ref().map(values);
    // The gradient before the rectifier is that of the shortcut.
    let d = match y {
        Some(y) if wants_shortcut => masked(&dy, y, c),
        _ => dy,
    };
    let from = values(&d);
    // Where the rectifier stopped a value there is no gradient; without one, and where `d` says so already, all pass: nothing is
    // less than NaN.
    let (floor, y) = match y {
        Some(y) if !wants_shortcut => (0.0, y),
        _ => (f32::NAN, from),
    };
    let [sum, product] = sums(map.places(), c, |rows, [sum, product]| {
        let at = rows.start * c..rows.end * c;
        let rows = from[at.clone()].chunks_exact(c).zip(x[at.clone()].chunks_exact(c)).zip(y[at].chunks_exact(c));
        vectorised(
            #[inline(always)]
            || {
                for ((d, x), y) in rows {
                    let sums = sum.iter_mut().zip(product.iter_mut());
                    for (((((sum, product), d), x), y), mean) in sums.zip(d).zip(x).zip(y).zip(&norm.mean) {
                        let d = if *y <= floor { 0.0 } else { *d };
                        *sum += d;
                        *product += d * (x - mean);
                    }
                }
            },
        );
    });
    let dx = input_gradient([from, x, y], floor, &map, norm, [&sum, &product]);
    let of_weight = product.iter().zip(&norm.inverse).map(|(product, inverse)| (product * f64::from(*inverse)) as f32);
    let of_bias = sum.iter().map(|sum| *sum as f32);
    let shortcut = wants_shortcut.then(|| {
        let layout = d.layout().permute(&[0, 3, 1, 2]);
        d.clone().with_layout(layout)
    });
    Found {
        x: as_map(dx, map),
        weight: tensor(of_weight.collect(), [c]),
        bias: tensor(of_bias.collect(), [c]),
        shortcut,
    }
}
