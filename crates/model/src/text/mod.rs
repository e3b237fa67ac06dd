//! Text encoders.

pub mod bert;
pub mod frozen;
pub mod words;

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use bert::{Bert, BertConfig};
use frozen::FrozenStates;

/// Texts as token ids, padded to the longest of the batch.
#[derive(Debug, Clone)]
pub struct TextInput {
    /// Token ids, `[B, T]`.
    pub input_ids: Tensor<2, Int>,
    /// `true` where there is padding, `[B, T]`.
    pub padding: Tensor<2, Bool>,
}

/// What a text encoder returns.
#[derive(Debug, Clone)]
pub struct TextFeatures {
    /// One vector per text: the maximum over its tokens (`ConVIRT`), `[B, D]`.
    pub global: Tensor<2>,
    /// One vector per token, `[B, T, D]`.
    pub tokens: Tensor<3>,
    /// Attention of the last layer before its dropout, `[B, N, T, T]`: each token to each.
    pub attention: Tensor<4>,
}

/// Architecture of a text encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TextEncoderConfig {
    /// BERT in Hugging Face's layout.
    Bert(BertConfig),
}

impl TextEncoderConfig {
    /// Checks values that a user can set.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Bert(config) => config.validate(),
        }
    }

    /// A randomly initialised encoder.
    pub fn init(&self, device: &Device) -> TextEncoder {
        match self {
            Self::Bert(config) => TextEncoder::Bert(config.init(device)),
        }
    }

    /// Width `D` of the global feature.
    pub fn feature_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.hidden_size,
        }
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
        }
    }

    /// Longest text in tokens.
    pub fn max_tokens(&self) -> usize {
        match self {
            Self::Bert(config) => config.max_position_embeddings,
        }
    }
}

/// A text encoder of any supported architecture.
#[derive(Module, Debug)]
pub enum TextEncoder {
    /// BERT.
    Bert(Bert),
}

impl TextEncoder {
    /// Keeps what the frozen layers return; their weights must stay what they are from then on.
    #[must_use]
    pub fn keeping(self, states: Arc<FrozenStates>) -> Self {
        match self {
            Self::Bert(encoder) => Self::Bert(encoder.keeping(states)),
        }
    }

    /// Features of a batch of texts; the embeddings and the first `frozen_layers` layers record no graph.
    ///
    /// # Shapes
    /// See [`TextInput`] and [`TextFeatures`].
    pub fn forward(&self, texts: TextInput, frozen_layers: Option<usize>) -> TextFeatures {
        match self {
            Self::Bert(encoder) => encoder.forward(texts, frozen_layers),
        }
    }
}
