//! A learned temperature: the logarithm of the factor on similarities, as CLIP has it.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};

/// Largest factor: similarities of a temperature below 1/100 make single pairs rule the loss.
///
/// # Source
/// Radford et al. 2021, section 2.5.
pub const MAX_SCALE: f64 = 100.0;

/// A learned temperature between 1/100 and 1.
#[derive(Module, Debug)]
pub struct LogitScale {
    logit_scale: Param<Tensor<1>>,
}

impl LogitScale {
    /// Starts at a temperature.
    pub fn new(temperature: f64, device: &Device) -> Self {
        Self { logit_scale: Param::from_tensor(Tensor::full([1], -temperature.ln(), device)) }
    }

    /// The number of its parameter, under which gradients are found.
    pub fn id(&self) -> ParamId {
        self.logit_scale.id
    }

    /// Similarities as logits: divided by the temperature.
    ///
    /// # Shapes
    /// `[A, B]` to `[A, B]`.
    pub fn logits(&self, similarities: Tensor<2>) -> Tensor<2> {
        similarities * self.logit_scale.val().exp().unsqueeze()
    }

    /// The temperature, `[1]`, not differentiated.
    pub fn temperature(&self) -> Tensor<1> {
        self.logit_scale.val().without_autodiff().neg().exp()
    }

    /// Back into its bounds, after an update. (The forward pass does not clamp: a value at a bound keeps its gradient.)
    #[must_use]
    pub fn clamped(self) -> Self {
        Self { logit_scale: self.logit_scale.map(clamp_leaf) }
    }
}

/// Clamps a parameter without leaving the clamp in its graph.
fn clamp_leaf(value: Tensor<1>) -> Tensor<1> {
    let tracked = value.is_require_grad();
    let clamped = value.without_autodiff().clamp(0.0, MAX_SCALE.ln());
    if tracked { clamped.autodiff().require_grad() } else { clamped }
}
