//! BERT in Hugging Face's layout and key names, of any depth.
//!
//! Devlin et al., "BERT", 2019; transformers `models/bert/modeling_bert.py`: post-norm layers, learned positions, exact
//! GELU, `LayerNorm` epsilon 1e-12. `ConVIRT` pools by the maximum over token vectors (section 3.2 of the paper).
//!
//! Shape letters: `B` batch, `T` tokens, `D` hidden size, `N` heads.

use std::sync::Arc;

use burn::module::Module;
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};

use super::frozen::FrozenStates;
use super::{TextFeatures, TextInput};
use crate::Result;
use crate::error::bad_config;
use crate::ops::{MASKED, Packing, Rows, attend, attention_weights, dropout, gelu, layer_norm, linear};

/// Architecture of a [`Bert`]; field names are those of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BertConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width `D`.
    #[serde(default = "BertConfig::base_hidden_size")]
    pub hidden_size: usize,
    /// Number of layers (`num_hidden_layers`).
    #[serde(default = "BertConfig::base_num_layers")]
    pub num_layers: usize,
    /// Attention heads; divides the width.
    #[serde(default = "BertConfig::base_num_layers")]
    pub num_heads: usize,
    /// Width of the feed-forward layer.
    #[serde(default = "BertConfig::base_intermediate_size")]
    pub intermediate_size: usize,
    /// Longest text in tokens.
    #[serde(default = "BertConfig::base_max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// Segment ids, of which the first is used; 0: there are none (`MGCA`).
    #[serde(default = "BertConfig::base_type_vocab_size")]
    pub type_vocab_size: usize,
    /// Dropout of hidden states and attention weights while training.
    #[serde(default = "BertConfig::base_dropout")]
    pub dropout: f64,
    /// Deviation of the initial weights. 0.02 suits a width of 768; a narrow network learns with a higher learning rate,
    /// which would overwrite such small weights within a few steps.
    #[serde(default = "BertConfig::base_initializer_range")]
    pub initializer_range: f64,
    /// Epsilon of every normalisation.
    #[serde(default = "BertConfig::base_layer_norm_eps", skip_serializing_if = "BertConfig::is_base_eps")]
    pub layer_norm_eps: f64,
    /// How the vectors of its tokens become one vector of a text.
    #[serde(default, skip_serializing_if = "Pooling::is_max")]
    pub pooling: Pooling,
    /// Layers, from 1, whose mean is pooled; empty: the last alone (`MedCLIP`: 1, 2 and the last).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pooled_layers: Vec<usize>,
    /// Every token gets the first position. `MGCA`'s published weights were trained so, by an oversight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zero_positions: bool,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their maximum (`ConVIRT`).
    #[default]
    Max,
    /// Their mean (sentence transformers).
    Mean,
    /// Their mean with the padding of the batch counted in (`MedCLIP`): a text's vector depends on its neighbours.
    PaddedMean,
    /// The vector of the first token (`MGCA`).
    Cls,
}

impl Pooling {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_max(&self) -> bool {
        *self == Self::Max
    }

    /// `[B, T, D]` to `[B, D]`; `padding`: `[B, T]`, true at padding.
    fn pool(self, x: Tensor<3>, padding: Tensor<2, Bool>) -> Tensor<2> {
        let [b, t, d] = x.dims();
        let hidden = || padding.clone().reshape([b, t, 1]).expand([b, t, d]);
        match self {
            Self::Max => x.mask_fill(hidden(), MASKED).max_dim(1).reshape([b, d]),
            Self::Mean => {
                let sum = x.mask_fill(hidden(), 0.0).sum_dim(1).reshape([b, d]);
                let count = padding.bool_not().float().sum_dim(1).clamp_min(1.0); // [B, 1]
                sum / count
            }
            Self::PaddedMean => x.mean_dim(1).reshape([b, d]),
            Self::Cls => x.narrow(1, 0, 1).reshape([b, d]),
        }
    }
}

impl BertConfig {
    fn base_hidden_size() -> usize {
        768
    }
    fn base_num_layers() -> usize {
        12
    }
    fn base_intermediate_size() -> usize {
        3072
    }
    fn base_max_position_embeddings() -> usize {
        512
    }
    fn base_type_vocab_size() -> usize {
        2
    }
    fn base_dropout() -> f64 {
        0.1
    }
    fn base_initializer_range() -> f64 {
        0.02
    }
    fn base_layer_norm_eps() -> f64 {
        1e-12
    }
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        clippy::float_cmp,
        reason = "serde hands a reference; set, not computed"
    )]
    fn is_base_eps(eps: &f64) -> bool {
        *eps == Self::base_layer_norm_eps()
    }

    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_layers", self.num_layers),
            ("num_heads", self.num_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(bad_config("bert", field, &value, "use at least 1"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_heads) {
            return Err(bad_config("bert", "num_heads", &self.num_heads, "it must divide hidden_size"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(bad_config("bert", "dropout", &self.dropout, "use 0 or more and less than 1"));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return Err(bad_config("bert", "layer_norm_eps", &self.layer_norm_eps, "use more than 0 and less than 1"));
        }
        if self.pooled_layers.iter().any(|layer| !(1..=self.num_layers).contains(layer)) {
            let layers = format!("{:?}", self.pooled_layers);
            return Err(bad_config("bert", "pooled_layers", &layers, "use 1 to num_layers"));
        }
        Ok(())
    }

    /// A randomly initialised network (normal, zero biases); call [`BertConfig::validate`] on user input first.
    pub fn init(&self, device: &Device) -> Bert {
        let embedding = |n| EmbeddingConfig::new(n, self.hidden_size).with_initializer(self.initial()).init(device);
        Bert {
            embeddings: BertEmbeddings {
                word_embeddings: embedding(self.vocab_size),
                position_embeddings: embedding(self.max_position_embeddings),
                token_type_embeddings: (self.type_vocab_size > 0).then(|| embedding(self.type_vocab_size)),
                layer_norm: self.layer_norm(device),
                dropout: DropoutConfig::new(self.dropout).init(),
                layer_norm_eps: self.layer_norm_eps,
            },
            encoder: BertEncoder { layer: (0..self.num_layers).map(|_| self.layer(device)).collect() },
            pooling: self.pooling,
            pooled_layers: self.pooled_layers.clone(),
            zero_positions: self.zero_positions,
            states: None,
        }
    }

    fn initial(&self) -> Initializer {
        Initializer::Normal { mean: 0.0, std: self.initializer_range }
    }

    fn layer(&self, device: &Device) -> BertLayer {
        let d = self.hidden_size;
        let output = |input| BertOutput {
            dense: self.linear(input, d, device),
            layer_norm: self.layer_norm(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            layer_norm_eps: self.layer_norm_eps,
        };
        BertLayer {
            attention: BertAttention {
                self_attention: SelfAttention {
                    query: self.linear(d, d, device),
                    key: self.linear(d, d, device),
                    value: self.linear(d, d, device),
                    dropout: DropoutConfig::new(self.dropout).init(),
                    num_heads: self.num_heads,
                },
                output: output(d),
            },
            intermediate: BertIntermediate { dense: self.linear(d, self.intermediate_size, device) },
            output: output(self.intermediate_size),
        }
    }

    /// A linear layer with zero bias: Burn would draw the bias too, so it is set afterwards.
    fn linear(&self, d_input: usize, d_output: usize, device: &Device) -> Linear {
        let mut linear = LinearConfig::new(d_input, d_output).with_initializer(self.initial()).init(device);
        linear.bias = Some(Initializer::Zeros.init([d_output], device));
        linear
    }

    fn layer_norm(&self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.hidden_size).with_epsilon(self.layer_norm_eps).init(device)
    }
}

/// BERT without its pooler.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: BertEmbeddings,
    encoder: BertEncoder,
    #[module(skip)]
    pooling: Pooling,
    #[module(skip)]
    pooled_layers: Vec<usize>,
    #[module(skip)]
    zero_positions: bool,
    #[module(skip)]
    states: Option<Arc<FrozenStates>>,
}

#[derive(Module, Debug)]
struct BertEmbeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Option<Embedding>,
    layer_norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    layer_norm_eps: f64,
}

#[derive(Module, Debug)]
struct BertEncoder {
    layer: Vec<BertLayer>,
}

#[derive(Module, Debug)]
struct BertLayer {
    attention: BertAttention,
    intermediate: BertIntermediate,
    output: BertOutput,
}

#[derive(Module, Debug)]
struct BertAttention {
    self_attention: SelfAttention,
    output: BertOutput,
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    dropout: Dropout,
    num_heads: usize,
}

#[derive(Module, Debug)]
struct BertIntermediate {
    dense: Linear,
}

#[derive(Module, Debug)]
struct BertOutput {
    dense: Linear,
    layer_norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    layer_norm_eps: f64,
}

impl Bert {
    /// Features of a batch of texts.
    ///
    /// With `frozen_layers = Some(n)` the embeddings and the first `n` layers run on the plain device: no graph is
    /// recorded below the boundary and dropout is off there (`ConVIRT` freezes six of twelve).
    ///
    /// # Shapes
    /// See [`TextInput`] and [`TextFeatures`].
    ///
    /// # Panics
    /// If a text is longer than `max_position_embeddings`.
    pub fn forward(&self, texts: TextInput, frozen_layers: Option<usize>) -> TextFeatures {
        let [b, t] = texts.input_ids.dims();
        assert_shape!(texts.padding, [b, t]);
        let frozen = frozen_layers.map_or(0, |n| n.min(self.encoder.layer.len()));
        // Padding is left out where it can be, and where the vector of a text does not depend on it.
        let packing = (self.pooling != Pooling::PaddedMean).then(|| Packing::of_padded(&texts.padding)).flatten();
        let rows = packing.clone().map_or_else(|| Rows::Padded(Some(texts.padding.clone())), Rows::Packed);
        let tokens = Tokens {
            input_ids: packing
                .as_ref()
                .map_or_else(|| texts.input_ids.clone(), |packing| packing.pack(&texts.input_ids)),
            positions: packing.as_ref().map(|packing| packing.positions(&texts.input_ids.device())),
            padding: (self.pooling == Pooling::PaddedMean).then(|| texts.padding.clone()),
        };
        let mut pooled = Vec::new();
        let mut keep = |number: usize, x: &Tensor<3>| {
            // A shallow network may name its last layer twice.
            let times = self.pooled_layers.iter().filter(|layer| **layer == number).count();
            pooled.extend(std::iter::repeat_n(x, times).cloned());
        };
        let is_tracked = texts.input_ids.device().is_autodiff();
        let kept = self.states.as_ref().zip(packing.as_ref()).filter(|_| self.may_keep(frozen));
        let (mut x, mut attention) = if let Some((states, packing)) = kept {
            let x = self.kept_states(states, packing, &texts.input_ids, frozen);
            (if is_tracked { x.autodiff() } else { x }, None)
        } else if frozen_layers.is_some() && is_tracked {
            let plain = rows.clone().without_autodiff();
            let mut x = self.embeddings.valid().forward(tokens.without_autodiff(), self.zero_positions);
            let mut last = None;
            for (layer, number) in self.encoder.layer[..frozen].iter().zip(1..) {
                let (next, attention) = layer.valid().forward(x, &plain);
                (x, last) = (next, Some(attention.autodiff()));
                keep(number, &x.clone().autodiff());
            }
            (x.autodiff(), last)
        } else {
            let mut x = self.embeddings.forward(tokens, self.zero_positions);
            let mut last = None;
            for (layer, number) in self.encoder.layer[..frozen].iter().zip(1..) {
                let (next, attention) = layer.forward(x, &rows);
                (x, last) = (next, Some(attention));
                keep(number, &x);
            }
            (x, last)
        };
        for (layer, number) in self.encoder.layer[frozen..].iter().zip(frozen + 1..) {
            let (next, weights) = layer.forward(x, &rows);
            (x, attention) = (next, Some(weights));
            keep(number, &x);
        }
        let Some(attention) = attention else { panic!("a checked configuration has a layer") };
        let padded = |x: Tensor<3>| match &packing {
            Some(packing) => unpacked(packing, x, t),
            None => x,
        };
        let x = padded(x);
        let mean = mean_of(pooled).map_or_else(|| x.clone(), padded);
        let attention = wider(attention, t);
        TextFeatures { global: self.pooling.pool(mean, texts.padding), tokens: x, attention }
    }

    /// Keeps what the frozen layers return for a text; their weights must stay what they are from then on.
    #[must_use]
    pub fn keeping(self, states: Arc<FrozenStates>) -> Self {
        Self { states: Some(states), ..self }
    }

    /// Whether all that is needed of the first `frozen` layers is what the last of them returns.
    fn may_keep(&self, frozen: usize) -> bool {
        (1..self.encoder.layer.len()).contains(&frozen) && self.pooled_layers.iter().all(|layer| *layer > frozen)
    }

    /// What the first `frozen` layers return, `[1, M, D]`, on the plain device.
    fn kept_states(&self, states: &FrozenStates, packing: &Packing, ids: &Tensor<2, Int>, frozen: usize) -> Tensor<3> {
        let device = ids.device().without_autodiff();
        let packed: Vec<u32> = packing.pack(ids).into_data().iter::<u32>().collect();
        let mut all = Vec::new();
        for text in 0..packing.texts() {
            let ids = &packed[packing.of(text)];
            all.extend_from_slice(&states.of(ids, || self.frozen_states(ids, frozen, &device)));
        }
        let width = all.len() / packing.rows().max(1);
        Tensor::from_data(TensorData::new(all, [1, packing.rows(), width]), &device)
    }

    /// What the first `frozen` layers return for one text.
    fn frozen_states(&self, ids: &[u32], frozen: usize, device: &Device) -> Vec<f32> {
        let values: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let input_ids = Tensor::from_data(TensorData::new(values, [1, ids.len()]), device);
        let tokens = Tokens { input_ids, positions: None, padding: None };
        let x = self.embeddings.valid().forward(tokens, self.zero_positions);
        let rows = Rows::Padded(None);
        let layers = self.encoder.layer[..frozen].iter();
        layers.fold(x, |x, layer| layer.valid().forward(x, &rows).0).into_data().iter::<f32>().collect()
    }
}

/// Packed rows as `[B, T, D]` with `T` of the batch, which may be padded beyond its longest text.
fn unpacked(packing: &Packing, x: Tensor<3>, t: usize) -> Tensor<3> {
    let x = packing.unpack(x);
    let [b, longest, d] = x.dims();
    if longest == t { x } else { Tensor::cat(vec![x.clone(), Tensor::zeros([b, t - longest, d], &x.device())], 1) }
}

/// Attention with as many rows and columns as the batch has tokens.
fn wider(attention: Tensor<4>, t: usize) -> Tensor<4> {
    let [_, _, longest, _] = attention.dims();
    if longest == t { attention } else { attention.pad((0, t - longest, 0, t - longest), 0.0) }
}

/// Tokens to embed.
struct Tokens {
    /// `[B, T]`, or packed as `[1, M]`.
    input_ids: Tensor<2, Int>,
    /// The place of each in its text, where they are packed.
    positions: Option<Tensor<2, Int>>,
    /// True where no gradient may reach the word.
    padding: Option<Tensor<2, Bool>>,
}

impl Tokens {
    /// The same on the plain device, where there are no gradients.
    fn without_autodiff(self) -> Self {
        let positions = self.positions.map(Tensor::without_autodiff);
        Self { input_ids: self.input_ids.without_autodiff(), positions, padding: None }
    }
}

/// The mean of some tensors, nothing of none.
fn mean_of(tensors: Vec<Tensor<3>>) -> Option<Tensor<3>> {
    let count = tensors.len() as f64;
    Some(tensors.into_iter().reduce(|sum, x| sum + x)?.div_scalar(count))
}

impl BertEmbeddings {
    /// `[B, T]` to `[B, T, D]`; where `padding` is true the word has no gradient, as transformers' `padding_idx` has it.
    fn forward(&self, tokens: Tokens, zero_positions: bool) -> Tensor<3> {
        let Tokens { input_ids, positions, padding } = tokens;
        let [b, t] = input_ids.dims();
        let device = input_ids.device();
        let last = if zero_positions { 1 } else { i64::try_from(t).unwrap_or(i64::MAX) };
        let in_a_row = || Tensor::<1, Int>::arange(0..last, &device).unsqueeze();
        let positions = positions.filter(|_| !zero_positions).unwrap_or_else(in_a_row);
        let mut words = self.word_embeddings.forward(input_ids);
        let [_, _, d] = words.dims();
        if let Some(padding) = padding {
            words = words.clone().mask_where(padding.reshape([b, t, 1]).expand([b, t, d]), words.detach());
        }
        let mut rest = self.position_embeddings.forward(positions); // [1, T or 1, D]
        if let Some(segments) = &self.token_type_embeddings {
            rest = rest + segments.forward(Tensor::<2, Int>::zeros([1, 1], &device));
        }
        let sum = words + rest.expand([b, t, d]);
        dropout(&self.dropout, layer_norm(&self.layer_norm, self.layer_norm_eps, sum, None))
    }
}

impl BertLayer {
    /// Rows to rows and their attention, `[B, N, T, T]`.
    fn forward(&self, x: Tensor<3>, rows: &Rows) -> (Tensor<3>, Tensor<4>) {
        let (context, attention) = self.attention.self_attention.forward(x.clone(), rows);
        let x = self.attention.output.forward(context, x);
        let inner = gelu(linear(&self.intermediate.dense, x.clone()));
        (self.output.forward(inner, x), attention)
    }
}

impl SelfAttention {
    fn forward(&self, x: Tensor<3>, rows: &Rows) -> (Tensor<3>, Tensor<4>) {
        let (query, key) = (linear(&self.query, x.clone()), linear(&self.key, x.clone()));
        let weights = attention_weights(query, key, self.num_heads, rows); // [B, N, T, T]
        let context = attend(dropout(&self.dropout, weights.clone()), linear(&self.value, x), rows);
        (context, weights)
    }
}

impl BertOutput {
    fn forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let x = dropout(&self.dropout, linear(&self.dense, x));
        layer_norm(&self.layer_norm, self.layer_norm_eps, x, Some(residual))
    }
}
