//! A map that goes two ways, through layers and around them, and comes together again in a normalisation.
//!
//! Automatic differentiation adds the gradients of the two ways up in one thread and in new memory, which was a tenth of a
//! step of a residual network. On the CPU the way around leaves its gradient beside the graph instead, and the fork, which is
//! reached later on the way back, adds that of the layers to it in place.

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

/// The way around layers, for [`batch_norm_train`](super::batch_norm_train) at its end.
#[derive(Debug, Clone)]
pub struct Shortcut {
    /// `[B, C, H, W]`.
    map: Tensor<4>,
    /// Where its gradient can be left instead of going the usual way.
    beside: Option<Beside>,
}

/// A gradient on its way past the graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside(Arc<Mutex<Option<FlexTensor>>>);

impl Beside {
    pub(super) fn leave(&self, gradient: FlexTensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
    }

    fn take(&self) -> Option<FlexTensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl From<Tensor<4>> for Shortcut {
    fn from(map: Tensor<4>) -> Self {
        Self { map, beside: None }
    }
}

impl Shortcut {
    /// The map alone, whose gradient goes the usual way.
    pub fn into_map(self) -> Tensor<4> {
        self.map
    }

    /// The map, and where its gradient is to be left; the map has no way back then.
    pub(super) fn into_parts(self) -> (Tensor<4>, Option<Beside>) {
        match self.beside {
            Some(beside) => (self.map.without_autodiff().autodiff(), Some(beside)),
            None => (self.map, None),
        }
    }
}

/// The map for the layers, and the way around them. The way around must end in a [`batch_norm_train`](super::batch_norm_train)
/// of what the layers return, or in [`Shortcut::into_map`]: its gradient is known before that of the layers' input only then.
///
/// # Shapes
/// `[B, C, H, W]` twice.
pub fn fork(x: Tensor<4>) -> (Tensor<4>, Shortcut) {
    if !(x.is_autodiff() && x.is_tracked() && is_fused(&x)) {
        return (x.clone(), x.into());
    }
    let beside = Beside::default();
    let through = <Dispatch as ForkOps>::fused_fork(x.clone().into_dispatch(), beside.clone());
    (Tensor::from_dispatch(through), Shortcut { map: x, beside: Some(beside) })
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait ForkOps: Backend {
    fn fused_fork(x: FloatTensor<Self>, beside: Beside) -> FloatTensor<Self>;
}

impl ForkOps for Flex {
    fn fused_fork(x: FlexTensor, _: Beside) -> FlexTensor {
        x
    }
}

impl<C: CheckpointStrategy> ForkOps for Autodiff<Flex, C> {
    fn fused_fork(x: FloatTensor<Self>, beside: Beside) -> FloatTensor<Self> {
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
