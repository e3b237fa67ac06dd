//! Attention between the words of a report and the patches of its image.
//!
//! Shape letters: `B` batch, `L` queries, `S` keys, `E` width of the joint space.

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor, assert_shape};

/// Finite stand-in for minus infinity.
const MASKED: f64 = -1e30;

/// Learned maps of one head in the layout of torch's `MultiheadAttention`.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Query, key and value, one after another.
    in_proj: Linear,
    out_proj: Linear,
}

impl CrossAttention {
    /// Randomly initialised maps of width `E`, with torch's distributions.
    pub fn new(embed_dim: usize, device: &Device) -> Self {
        let mut in_proj = LinearConfig::new(embed_dim, 3 * embed_dim)
            .with_initializer(Initializer::XavierUniform { gain: 1.0 })
            .init(device);
        in_proj.bias = Some(Initializer::Zeros.init([3 * embed_dim], device));
        let mut out_proj = LinearConfig::new(embed_dim, embed_dim).init(device);
        out_proj.bias = Some(Initializer::Zeros.init([embed_dim], device));
        Self { in_proj, out_proj }
    }

    /// Its parameters as matrices: `[E, 3E]`, `[1, 3E]`, `[E, E]`, `[1, E]`.
    pub fn maps(&self) -> [Tensor<2>; 4] {
        let row = |linear: &Linear| {
            let width = linear.weight.dims()[1];
            linear.bias.as_ref().map_or_else(
                || Tensor::zeros([1, width], &linear.weight.device()),
                |bias| bias.val().reshape([1, width]),
            )
        };
        [self.in_proj.weight.val(), row(&self.in_proj), self.out_proj.weight.val(), row(&self.out_proj)]
    }
}

/// How the context of a query is gathered.
#[derive(Debug, Clone)]
pub enum Gather {
    /// By cosines over a temperature, without parameters.
    Similarity(f64),
    /// By the maps of a [`CrossAttention`], scores divided by the root of `E`.
    Learned(Box<[Tensor<2>; 4]>),
}

/// What queries see of keys.
#[derive(Debug, Clone)]
pub struct Attended {
    /// `[B, L, E]`.
    pub context: Tensor<3>,
    /// Share of each key, `[B, L, S]`; each row sums to 1.
    pub weights: Tensor<3>,
}

impl Gather {
    /// The context of each query among the keys of its sample; those that are `padding` have no share.
    ///
    /// # Shapes
    /// `query`: `[B, L, E]`, `keys`: `[B, S, E]`, both of unit length; `padding`: `[B, S]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    ///
    /// # Source
    /// Wang et al. 2022, equation 3 (learned); `methods.md` 2.5 (similarity).
    pub fn attend(&self, query: Tensor<3>, keys: Tensor<3>, padding: Option<Tensor<2, Bool>>) -> Attended {
        let ([b, l, e], [_, s, _]) = (query.dims(), keys.dims());
        assert_shape!(keys, [b, s, e]);
        let mask = padding.map(|padding| padding.reshape([b, 1, s]).expand([b, l, s]));
        let masked = |scores: Tensor<3>| match &mask {
            Some(mask) => scores.mask_fill(mask.clone(), MASKED),
            None => scores,
        };
        match self {
            Self::Similarity(temperature) => {
                let scores = query.matmul(keys.clone().swap_dims(1, 2)).div_scalar(*temperature);
                let weights = softmax(masked(scores), 2);
                Attended { context: weights.clone().matmul(keys), weights }
            }
            Self::Learned(maps) => {
                let [in_weight, in_bias, out_weight, out_bias] = maps.as_ref();
                let part = |x: Tensor<3>, i: usize| {
                    linear(x, in_weight.clone().narrow(1, i * e, e), in_bias.clone().narrow(1, i * e, e))
                };
                let (query, key, value) = (part(query, 0), part(keys.clone(), 1), part(keys, 2));
                let scores = query.mul_scalar(1.0 / (e as f64).sqrt()).matmul(key.swap_dims(1, 2));
                let weights = softmax(masked(scores), 2);
                let context = weights.clone().matmul(value);
                Attended { context: linear(context, out_weight.clone(), out_bias.clone()), weights }
            }
        }
    }
}

/// `[B, L, I]` by `[I, O]` plus `[1, O]`.
fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<2>) -> Tensor<3> {
    let [b, l, i] = x.dims();
    let o = weight.dims()[1];
    (x.reshape([b * l, i]).matmul(weight) + bias).reshape([b, l, o])
}
