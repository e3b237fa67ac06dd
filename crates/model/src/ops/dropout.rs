//! Dropout whose mask is computed from a number, not stored.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::nn::Dropout;
use burn::tensor::{Distribution, Tensor};
use burn_flex::FlexTensor;

use super::cpu::{filled, for_rows, is_fused, tensor, values, vectorised};

/// Sets values to zero with the probability of the layer and enlarges the others, while the layer trains. Random numbers come
/// from the device, as those of Burn's own layer do.
pub fn dropout<const D: usize>(layer: &Dropout, x: Tensor<D>) -> Tensor<D> {
    let acts = layer.training.is_enabled() && x.device().is_autodiff() && layer.prob > 0.0;
    if acts && is_fused(&x) {
        // Two numbers of 24 bits are a key; the mask follows from key and place.
        let random = Tensor::<1>::random([2], Distribution::Uniform(0.0, 16_777_216.0), &x.device().without_autodiff());
        let key: Vec<u64> = random.into_data().iter::<f64>().map(|value| value.to_bits() >> 20).collect();
        let key = key.iter().fold(0_u64, |key, part| key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part);
        return Tensor::from_dispatch(<Dispatch as DropoutOps>::fused_dropout(x.into_dispatch(), key, layer.prob));
    }
    layer.forward(x)
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait DropoutOps: Backend {
    fn fused_dropout(x: FloatTensor<Self>, key: u64, probability: f64) -> FloatTensor<Self>;
}

impl DropoutOps for Flex {
    fn fused_dropout(x: FlexTensor, key: u64, probability: f64) -> FlexTensor {
        drop_out(&x.to_contiguous(), key, probability)
    }
}

impl<C: CheckpointStrategy> DropoutOps for Autodiff<Flex, C> {
    fn fused_dropout(x: FloatTensor<Self>, key: u64, probability: f64) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 1> for Step {
            type State = (u64, f64);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (key, probability) = ops.state;
                let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
                if let [Some(node)] = ops.parents {
                    grads.register::<Flex>(node.id, drop_out(&dy, key, probability));
                }
            }
        }
        let (x, of_x) = x.into_parts();
        let y = Flex::fused_dropout(x, key, probability);
        match Step.prepare::<C>([of_x]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((key, probability), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

#[expect(unsafe_code, reason = "memory that is not cleared")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "parts of a key and a threshold")]
fn drop_out(x: &FlexTensor, key: u64, probability: f64) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let x = values(x);
    let (low, high) = (key as u32, (key >> 32) as u32);
    let dropped = (probability * 4_294_967_296.0) as u32;
    let factor = (1.0 / (1.0 - probability)) as f32;
    // SAFETY: every value is written.
    let y = unsafe {
        filled(x.len(), |y| {
            for_rows(y, 1, |first, y| {
                let x = &x[first..first + y.len()];
                vectorised(
                    #[inline(always)]
                    || {
                        for ((y, x), place) in y.iter_mut().zip(x).zip(first as u32..) {
                            let random = mix(mix(place ^ low).wrapping_add(high));
                            *y = if random < dropped { 0.0 } else { x * factor };
                        }
                    },
                );
            });
        })
    };
    tensor(y, shape)
}

/// A bijection of 32 bits in which each bit of the input changes half of the output (C. Wellons, "Prospecting for hash
/// functions", 2018).
#[inline(always)]
#[expect(clippy::inline_always, reason = "a loop to be vectorised")]
fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}
