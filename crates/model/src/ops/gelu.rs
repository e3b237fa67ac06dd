//! GELU with the error function.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::cpu::{exp, filled, for_rows, is_fused, tensor, values, vectorised};

/// GELU with the error function, `x * Phi(x)`, any shape.
///
/// Burn's own operation differentiates the tanh approximation on backends that do not override its backward pass; this
/// gradient is exact everywhere, as in `PyTorch`'s default.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_fused(&x) {
        return Tensor::from_dispatch(<Dispatch as GeluOps>::fused_gelu(x.into_dispatch()));
    }
    reference(x)
}

pub(super) fn reference<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let phi = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    x * phi
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait GeluOps: Backend {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl GeluOps for Flex {
    fn fused_gelu(x: FlexTensor) -> FlexTensor {
        map(&x.to_contiguous(), None, |x, _| x * phi(x))
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Flex, C> {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 1> for Step {
            type State = FlexTensor;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
                if let [Some(node)] = ops.parents {
                    // The derivative of `x Phi(x)`, where that of `Phi` is the normal density.
                    let slope = |x: f32| phi(x) + x * (0.398_942_3 * exp(-0.5 * x * x));
                    grads.register::<Flex>(node.id, map(&ops.state, Some(&dy), |x, dy| dy * slope(x)));
                }
            }
        }
        let (x, of_x) = x.into_parts();
        let x = x.to_contiguous();
        let y = Flex::fused_gelu(x.clone());
        match Step.prepare::<C>([of_x]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(x, y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

/// A function of each value, and of that of another tensor where there is one.
#[expect(unsafe_code, reason = "memory that is not cleared")]
fn map(x: &FlexTensor, other: Option<&FlexTensor>, of: impl Fn(f32, f32) -> f32 + Sync) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let x = values(x);
    let other = other.map_or(x, values);
    // SAFETY: every value is written.
    let y = unsafe {
        filled(x.len(), |y| {
            for_rows(y, 1, |first, y| {
                let at = first..first + y.len();
                vectorised(
                    #[inline(always)]
                    || {
                        for ((y, x), other) in y.iter_mut().zip(&x[at.clone()]).zip(&other[at]) {
                            *y = of(*x, *other);
                        }
                    },
                );
            });
        })
    };
    tensor(y, shape)
}

/// The normal distribution function.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a loop to be vectorised")]
fn phi(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

/// The error function as a quotient of polynomials, within 4e-7 everywhere; a rational minimax approximation on -4 to 4, beyond
/// which it is 1 or -1 in single precision.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const P: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_4e-2,
    ];
    const Q: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2];
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let square = x * x;
    let polynomial = |factors: &[f32]| factors[1..].iter().fold(factors[0], |sum, factor| sum * square + factor);
    x * polynomial(&P) / polynomial(&Q)
}
