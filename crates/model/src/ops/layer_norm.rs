//! Layer normalisation, with the sum with a shortcut that comes before it in transformers.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::nn::LayerNorm;
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use super::cpu::{
    filled, for_rows, for_rows_of_three, is_fused, lanes, lanes_of_two, sums, tensor, values, vectorised,
};

/// Normalises the last axis of `x + shortcut`; `epsilon` is that of the layer, which does not tell it.
///
/// # Shapes
/// `[..., D]` to `[..., D]`.
pub fn layer_norm<const D: usize>(
    layer: &LayerNorm,
    epsilon: f64,
    x: Tensor<D>,
    shortcut: Option<Tensor<D>>,
) -> Tensor<D> {
    if is_fused(&x)
        && let Some(beta) = &layer.beta
    {
        let (gamma, beta) = (layer.gamma.val().into_dispatch(), beta.val().into_dispatch());
        let has_shortcut = shortcut.is_some();
        let x = x.into_dispatch();
        // Where there is no shortcut, the input stands in for it, unread.
        let shortcut = shortcut.map_or_else(|| layer.gamma.val().detach().into_dispatch(), Tensor::into_dispatch);
        return Tensor::from_dispatch(<Dispatch as LayerNormOps>::fused_layer_norm(
            x,
            shortcut,
            gamma,
            beta,
            has_shortcut,
            epsilon,
        ));
    }
    reference(layer, x, shortcut)
}

pub(super) fn reference<const D: usize>(layer: &LayerNorm, x: Tensor<D>, shortcut: Option<Tensor<D>>) -> Tensor<D> {
    layer.forward(match shortcut {
        Some(shortcut) => x + shortcut,
        None => x,
    })
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait LayerNormOps: Backend {
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        has_shortcut: bool,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

impl LayerNormOps for Flex {
    fn fused_layer_norm(
        x: FlexTensor,
        shortcut: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        has_shortcut: bool,
        epsilon: f64,
    ) -> FlexTensor {
        forward(&Inputs::new(&x, has_shortcut.then_some(&shortcut), [&gamma, &beta], epsilon))
    }
}

impl<C: CheckpointStrategy> LayerNormOps for Autodiff<Flex, C> {
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        has_shortcut: bool,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 4> for Step {
            type State = (Normed, FlexTensor);

            fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (normed, gamma) = ops.state;
                let [of_x, of_shortcut, of_gamma, of_beta] = ops.parents;
                let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
                if of_gamma.is_some() || of_beta.is_some() {
                    let (of_weight, of_shift) = parameter_gradients(&dy, &normed);
                    if let Some(node) = of_gamma {
                        grads.register::<Flex>(node.id, of_weight);
                    }
                    if let Some(node) = of_beta {
                        grads.register::<Flex>(node.id, of_shift);
                    }
                }
                if of_x.is_some() || of_shortcut.is_some() {
                    let dx = input_gradient(&dy, &normed, &gamma);
                    for node in [of_x, of_shortcut].into_iter().flatten() {
                        grads.register::<Flex>(node.id, dx.clone());
                    }
                }
            }
        }
        let ((x, of_x), (shortcut, of_shortcut)) = (x.into_parts(), shortcut.into_parts());
        let ((gamma, of_gamma), (beta, of_beta)) = (gamma.into_parts(), beta.into_parts());
        let inputs = Inputs::new(&x, has_shortcut.then_some(&shortcut), [&gamma, &beta], epsilon);
        match Step.prepare::<C>([of_x, of_shortcut, of_gamma, of_beta]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let (y, normed) = forward_tracked(&inputs);
                step.finish((normed, inputs.gamma), y)
            }
            OpsKind::UnTracked(step) => step.finish(forward(&inputs)),
        }
    }
}

/// What the way back needs: rows of mean 0 and deviation 1, and one over the deviation that each row had.
#[derive(Debug, Clone)]
struct Normed {
    rows: FlexTensor,
    inverse: Vec<f32>,
}

fn width_of(tensor: &FlexTensor) -> usize {
    let shape = tensor.layout().shape();
    shape[shape.num_dims() - 1]
}

/// The tensors of a layer, contiguous.
struct Inputs {
    x: FlexTensor,
    shortcut: Option<FlexTensor>,
    gamma: FlexTensor,
    beta: FlexTensor,
    epsilon: f32,
}

impl Inputs {
    /// # Panics
    /// If the widths of the input and of the parameters differ, or the shapes of input and shortcut.
    #[expect(clippy::cast_possible_truncation, reason = "a small number")]
    fn new(x: &FlexTensor, shortcut: Option<&FlexTensor>, [gamma, beta]: [&FlexTensor; 2], epsilon: f64) -> Self {
        let n = width_of(x);
        assert_eq!([n; 2], [gamma, beta].map(width_of), "widths of a normalisation and of its input");
        assert!(shortcut.is_none_or(|shortcut| shortcut.layout().shape() == x.layout().shape()), "shape of a shortcut");
        Self {
            x: x.to_contiguous(),
            shortcut: shortcut.map(FlexTensor::to_contiguous),
            gamma: gamma.to_contiguous(),
            beta: beta.to_contiguous(),
            epsilon: epsilon as f32,
        }
    }

    fn shape(&self) -> Shape {
        self.x.layout().shape().clone()
    }

    /// Writes rows of the input and the sum with the shortcut, from the row of number `first` on.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a loop to be vectorised")]
    fn load(&self, first: usize, n: usize, rows: &mut [f32]) {
        let at = first * n..first * n + rows.len();
        let x = &values(&self.x)[at.clone()];
        match &self.shortcut {
            None => rows.copy_from_slice(x),
            Some(shortcut) => {
                for ((y, x), add) in rows.iter_mut().zip(x).zip(&values(shortcut)[at]) {
                    *y = x + add;
                }
            }
        }
    }

    /// Brings a row to mean 0 and deviation 1; returns one over the deviation that it had.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a loop to be vectorised")]
    fn normalise(&self, row: &mut [f32]) -> f32 {
        let n = row.len() as f32;
        let mean = lanes(row, |x| x) / n;
        for x in row.iter_mut() {
            *x -= mean;
        }
        let inverse = 1.0 / (lanes(row, |x| x * x) / n + self.epsilon).sqrt();
        for x in row.iter_mut() {
            *x *= inverse;
        }
        inverse
    }
}

#[expect(unsafe_code, reason = "memory that is not cleared")]
fn forward(inputs: &Inputs) -> FlexTensor {
    let (n, len) = (width_of(&inputs.x), values(&inputs.x).len());
    let (gamma, beta) = (values(&inputs.gamma), values(&inputs.beta));
    // SAFETY: rows cover the tensor, and each is written whole before it is read.
    let y = unsafe {
        filled(len, |y| {
            for_rows(y, n, |first, y| {
                vectorised(
                    #[inline(always)]
                    || {
                        inputs.load(first, n, y);
                        for y in y.chunks_exact_mut(n) {
                            inputs.normalise(y);
                            for ((y, gamma), beta) in y.iter_mut().zip(gamma).zip(beta) {
                                *y = *y * gamma + beta;
                            }
                        }
                    },
                );
            });
        })
    };
    tensor(y, inputs.shape())
}

/// [`forward`] with what the way back needs.
#[expect(unsafe_code, reason = "memory that is not cleared")]
fn forward_tracked(inputs: &Inputs) -> (FlexTensor, Normed) {
    let (n, len) = (width_of(&inputs.x), values(&inputs.x).len());
    let (gamma, beta) = (values(&inputs.gamma), values(&inputs.beta));
    let mut inverse = vec![0.0; len / n.max(1)];
    let mut rows = Vec::new();
    // SAFETY: rows cover both tensors, each is written whole before it is read, and `y` is not read.
    let y = unsafe {
        filled(len, |y| {
            rows = filled(len, |rows| {
                for_rows_of_three([y, rows], n, &mut inverse, |first, y, rows, inverse| {
                    vectorised(
                        #[inline(always)]
                        || {
                            inputs.load(first, n, rows);
                            let rows = rows.chunks_exact_mut(n);
                            for ((y, row), inverse) in y.chunks_exact_mut(n).zip(rows).zip(inverse) {
                                *inverse = inputs.normalise(row);
                                for (((y, x), gamma), beta) in y.iter_mut().zip(row).zip(gamma).zip(beta) {
                                    *y = *x * gamma + beta;
                                }
                            }
                        },
                    );
                });
            });
        })
    };
    (tensor(y, inputs.shape()), Normed { rows: tensor(rows, inputs.shape()), inverse })
}

/// With `g = dy gamma` and a normalised row `z`: `(g - mean(g) - z mean(g z)) / deviation`.
#[expect(unsafe_code, reason = "memory that is not cleared")]
fn input_gradient(dy: &FlexTensor, normed: &Normed, gamma: &FlexTensor) -> FlexTensor {
    let (n, shape) = (width_of(dy), dy.layout().shape().clone());
    let (dy, z, gamma) = (values(dy), values(&normed.rows), values(gamma));
    // SAFETY: rows cover the tensor, and each is written whole before it is read.
    let dx = unsafe {
        filled(dy.len(), |dx| {
            for_rows(dx, n, |first, dx| {
                let at = first * n..first * n + dx.len();
                let rows = dy[at.clone()].chunks_exact(n).zip(z[at].chunks_exact(n)).zip(&normed.inverse[first..]);
                vectorised(
                    #[inline(always)]
                    || {
                        for (dx, ((dy, z), inverse)) in dx.chunks_exact_mut(n).zip(rows) {
                            for ((g, dy), gamma) in dx.iter_mut().zip(dy).zip(gamma) {
                                *g = dy * gamma;
                            }
                            let mean = lanes(dx, |g| g) / n as f32;
                            let along = lanes_of_two(dx, z, |g, z| g * z) / n as f32;
                            for (g, z) in dx.iter_mut().zip(z) {
                                *g = (*g - mean - z * along) * inverse;
                            }
                        }
                    },
                );
            });
        })
    };
    tensor(dx, shape)
}

#[expect(clippy::cast_possible_truncation, reason = "the last step of a computation in double precision")]
fn parameter_gradients(dy: &FlexTensor, normed: &Normed) -> (FlexTensor, FlexTensor) {
    let n = width_of(dy);
    let (dy, z) = (values(dy), values(&normed.rows));
    let [gamma, beta] = sums(dy.len() / n.max(1), n, |rows, [gamma, beta]| {
        let at = rows.start * n..rows.end * n;
        vectorised(
            #[inline(always)]
            || {
                for (dy, z) in dy[at.clone()].chunks_exact(n).zip(z[at.clone()].chunks_exact(n)) {
                    for (((gamma, beta), dy), z) in gamma.iter_mut().zip(beta.iter_mut()).zip(dy).zip(z) {
                        *gamma += dy * z;
                        *beta += dy;
                    }
                }
            },
        );
    });
    let row = |sum: &[f64]| tensor(sum.iter().map(|sum| *sum as f32).collect(), [n]);
    (row(&gamma), row(&beta))
}
