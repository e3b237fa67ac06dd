//! A map that goes two ways: through layers, and around them or through others.
//!
//! Automatic differentiation adds the gradients of the two ways up in one thread and in new memory, which was a tenth of a
//! step of a residual network. On the CPU the second way leaves its gradient beside the graph, and the first, which is reached
//! later on the way back, adds its own to it in place.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::channels_last::{Map, channels_last};
use super::cpu::{for_rows, is_fused, values, vectorised};

/// A gradient on its way past the graph.
#[derive(Debug, Clone, Default)]
struct Beside(Arc<Mutex<Option<FlexTensor>>>);

impl Beside {
    fn leave(&self, gradient: FlexTensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
    }

    fn take(&self) -> Option<FlexTensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The map, for each of two ways; both must lead to what is differentiated.
///
/// # Shapes
/// `[B, C, H, W]` twice.
pub fn fork(x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    if !(x.is_autodiff() && x.is_tracked() && is_fused(&x)) {
        return (x.clone(), x);
    }
    let beside = Beside::default();
    let first = <Dispatch as ForkOps>::fused_join(x.into_dispatch(), beside.clone());
    // Behind the first, so that its way back comes before.
    let second = <Dispatch as ForkOps>::fused_leave(first.clone(), beside);
    (Tensor::from_dispatch(first), Tensor::from_dispatch(second))
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait ForkOps: Backend {
    /// The map, whose gradient is what comes back and what was left.
    fn fused_join(x: FloatTensor<Self>, beside: Beside) -> FloatTensor<Self>;
    /// The map, whose gradient is left.
    fn fused_leave(x: FloatTensor<Self>, beside: Beside) -> FloatTensor<Self>;
}

impl ForkOps for Flex {
    fn fused_join(x: FlexTensor, _: Beside) -> FlexTensor {
        x
    }

    fn fused_leave(x: FlexTensor, _: Beside) -> FlexTensor {
        x
    }
}

impl<C: CheckpointStrategy> ForkOps for Autodiff<Flex, C> {
    fn fused_join(x: FloatTensor<Self>, beside: Beside) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 1> for Step {
            type State = Beside;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let through = grads.consume::<Flex>(&ops.node);
                let sum = match ops.state.take() {
                    Some(around) => added(around, &through),
                    None => through,
                };
                if let [Some(node)] = ops.parents {
                    grads.register::<Flex>(node.id, sum);
                }
            }
        }
        let (x, of_x) = x.into_parts();
        match Step.prepare::<C>([of_x]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(beside, x),
            OpsKind::UnTracked(step) => step.finish(x),
        }
    }

    fn fused_leave(x: FloatTensor<Self>, beside: Beside) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 1> for Step {
            type State = Beside;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                ops.state.leave(grads.consume::<Flex>(&ops.node));
            }
        }
        let (x, of_x) = x.into_parts();
        match Step.prepare::<C>([of_x]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(beside, x),
            OpsKind::UnTracked(step) => step.finish(x),
        }
    }
}

/// The sum of two maps, in the memory of the first where nobody else has it.
fn added(a: FlexTensor, b: &FlexTensor) -> FlexTensor {
    let map = Map::of(&a);
    let mut a = {
        // The borrowed tensor must be gone before the memory is written, or it would be copied.
        let borrowed = a;
        channels_last(&borrowed)
    };
    let b = channels_last(b);
    let b = values(&b);
    let sum: &mut [f32] = a.storage_mut();
    for_rows(sum, map.channels, |first, sum| {
        let from = first * map.channels;
        vectorised(
            #[inline(always)]
            || sum.iter_mut().zip(&b[from..]).for_each(|(sum, b)| *sum += b),
        );
    });
    let layout = a.layout().permute(&[0, 3, 1, 2]);
    a.with_layout(layout)
}
