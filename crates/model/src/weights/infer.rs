//! Architectures from the names and shapes of tensors.
//!
//! What they cannot say, the number of attention heads and the side of an image, comes from a `config.json` beside the file,
//! then from a table of published networks, else the error asks for the former.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tensor::TensorInfo;
use crate::alignment::AlignmentConfig;
use crate::image::ImageEncoderConfig;
use crate::image::resnet::{BlockKind, ResNetConfig};
use crate::image::swin::SwinConfig;
use crate::image::vit::VitConfig;
use crate::projection::ProjectionConfig;
use crate::text::TextEncoderConfig;
use crate::text::bert::{BertConfig, Pooling};
use crate::{ModelError, Result};

/// Attention heads of published vision transformers by their width: tiny, small, base, large, huge, giant.
const VIT_HEADS: [(usize, usize); 6] = [(192, 3), (384, 6), (768, 12), (1024, 16), (1280, 16), (1536, 24)];
/// Attention heads of published BERTs by their width: tiny, mini, `MiniLM`, medium, base, large.
const BERT_HEADS: [(usize, usize); 6] = [(128, 2), (256, 4), (384, 12), (512, 8), (768, 12), (1024, 16)];
/// Side of the images of a published Swin by that of its windows.
const SWIN_SIZES: [(usize, usize); 3] = [(7, 224), (12, 384), (8, 256)];

/// Tensors under our names, and what lies beside them.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The file, for messages.
    pub path: &'a Path,
    /// Types and shapes by our names.
    pub tensors: &'a BTreeMap<String, TensorInfo>,
    /// The `config.json` beside the file.
    pub config: Option<&'a Value>,
}

impl Evidence<'_> {
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Size of an axis of a tensor that must be there.
    fn size(&self, name: &str, axis: usize) -> Result<usize> {
        let shape = self.tensors.get(name).map(|info| &info.shape);
        let size = shape.and_then(|shape| shape.get(axis)).copied().filter(|size| (1..1 << 24).contains(size));
        size.ok_or_else(|| ModelError::Undetermined {
            path: self.path.to_owned(),
            what: format!("axis {axis} of {name}"),
            ask: "it is missing or empty: was the file cut down?".to_owned(),
        })
    }

    /// How many of `prefix0.`, `prefix1.`, ... there are.
    fn count(&self, prefix: &str) -> usize {
        let found = |i: &usize| {
            let start = format!("{prefix}{i}.");
            self.tensors.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
        };
        (0..4096).take_while(found).count()
    }

    fn number(&self, keys: &[&str]) -> Option<usize> {
        let config = self.config?;
        let value = keys.iter().find_map(|key| config.get(*key)?.as_u64());
        value.and_then(|value| usize::try_from(value).ok())
    }

    /// Attention heads: of the configuration, else of the table, else a question.
    fn heads(&self, width: usize, table: &[(usize, usize)]) -> Result<usize> {
        let known = table.iter().find(|(size, _)| *size == width).map(|(_, heads)| *heads);
        let heads = self.number(&["num_attention_heads", "num_heads"]).or(known);
        heads.filter(|heads| *heads > 0 && width.is_multiple_of(*heads)).ok_or_else(|| ModelError::Undetermined {
            path: self.path.to_owned(),
            what: format!("the number of attention heads of a width of {width}"),
            ask: "put a config.json with `num_attention_heads` beside it".to_owned(),
        })
    }

    /// The image tower, where there is one.
    pub(super) fn image(&self) -> Result<Option<ImageEncoderConfig>> {
        Ok(if self.has("image_encoder.conv1.weight") {
            Some(ImageEncoderConfig::Resnet(self.resnet()?))
        } else if self.has("image_encoder.cls_token") {
            Some(ImageEncoderConfig::Vit(self.vit()?))
        } else if self.has("image_encoder.patch_embed.norm.weight") {
            Some(ImageEncoderConfig::Swin(self.swin()?))
        } else {
            None
        })
    }

    fn resnet(&self) -> Result<ResNetConfig> {
        let bottleneck = self.has("image_encoder.layer1.0.conv3.weight");
        Ok(ResNetConfig {
            block: if bottleneck { BlockKind::Bottleneck } else { BlockKind::Basic },
            stages: [1, 2, 3, 4].map(|stage| self.count(&format!("image_encoder.layer{stage}."))),
            width: self.size("image_encoder.conv1.weight", 0)?,
            in_channels: self.size("image_encoder.conv1.weight", 1)?,
            local_stage: None,
            local_position: false,
            upsample: None,
        })
    }

    fn vit(&self) -> Result<VitConfig> {
        let hidden_size = self.size("image_encoder.cls_token", 2)?;
        let patch_size = self.size("image_encoder.patch_embed.proj.weight", 2)?;
        let positions = self.size("image_encoder.pos_embed", 1)?;
        let side = (positions - 1).isqrt();
        if side * side + 1 != positions {
            return Err(ModelError::Undetermined {
                path: self.path.to_owned(),
                what: format!("how {positions} positions belong to a class token and a square of patches"),
                ask: "networks with further tokens (distillation, registers) are not read".to_owned(),
            });
        }
        let inner = self.size("image_encoder.blocks.0.mlp.fc1.weight", 0)?;
        Ok(VitConfig {
            image_size: side * patch_size,
            patch_size,
            hidden_size,
            num_layers: self.count("image_encoder.blocks."),
            num_heads: self.heads(hidden_size, &VIT_HEADS)?,
            intermediate_size: (inner != 4 * hidden_size).then_some(inner),
            layer_scale: self.has("image_encoder.blocks.0.ls1.gamma").then_some(1e-5),
            in_channels: self.size("image_encoder.patch_embed.proj.weight", 1)?,
        })
    }

    fn swin(&self) -> Result<SwinConfig> {
        let stages = self.count("image_encoder.layers.");
        let table = |stage: usize| format!("image_encoder.layers.{stage}.blocks.0.attn.relative_position_bias_table");
        let window_size = self.size(&table(0), 0)?.isqrt().div_ceil(2);
        let known = SWIN_SIZES.iter().find(|(window, _)| *window == window_size).map(|(_, size)| *size);
        let image_size = self.number(&["image_size", "img_size"]).or(known);
        Ok(SwinConfig {
            image_size: image_size.ok_or_else(|| ModelError::Undetermined {
                path: self.path.to_owned(),
                what: format!("the side of the images for windows of {window_size}"),
                ask: "put a config.json with `image_size` beside it".to_owned(),
            })?,
            patch_size: self.size("image_encoder.patch_embed.proj.weight", 2)?,
            width: self.size("image_encoder.patch_embed.proj.weight", 0)?,
            stages: (0..stages).map(|stage| self.count(&format!("image_encoder.layers.{stage}.blocks."))).collect(),
            heads: (0..stages).map(|stage| self.size(&table(stage), 1)).collect::<Result<_>>()?,
            window_size,
            in_channels: self.size("image_encoder.patch_embed.proj.weight", 1)?,
        })
    }

    /// The text tower, where there is one.
    pub(super) fn text(&self) -> Result<Option<TextEncoderConfig>> {
        let words = "text_encoder.embeddings.word_embeddings.weight";
        if !self.has(words) {
            return Ok(None);
        }
        let activation = self.config.and_then(|config| config.get("hidden_act")?.as_str()).unwrap_or("gelu");
        if activation != "gelu" {
            return Err(ModelError::Undetermined {
                path: self.path.to_owned(),
                what: format!("a network with the activation {activation}"),
                ask: "only `gelu` (with the error function) is read".to_owned(),
            });
        }
        let eps = self.config.and_then(|config| config.get("layer_norm_eps")?.as_f64());
        let hidden_size = self.size(words, 1)?;
        let segments = "text_encoder.embeddings.token_type_embeddings.weight";
        Ok(Some(TextEncoderConfig::Bert(BertConfig {
            vocab_size: self.size(words, 0)?,
            hidden_size,
            num_layers: self.count("text_encoder.encoder.layer."),
            num_heads: self.heads(hidden_size, &BERT_HEADS)?,
            intermediate_size: self.size("text_encoder.encoder.layer.0.intermediate.dense.weight", 0)?,
            max_position_embeddings: self.size("text_encoder.embeddings.position_embeddings.weight", 0)?,
            type_vocab_size: if self.has(segments) { self.size(segments, 0)? } else { 0 },
            dropout: 0.1,
            initializer_range: 0.02,
            layer_norm_eps: eps.unwrap_or(1e-12),
            pooling: Pooling::Max,
            pooled_layers: Vec::new(),
            zero_positions: false,
        })))
    }

    /// The head of a tower and the width of what it returns; nothing where the file has no head.
    pub(super) fn projection(&self, tower: &str) -> Result<Option<(ProjectionConfig, usize)>> {
        let name = |part: &str| format!("{tower}_projection.{part}");
        if !self.has(&name("fc2.weight")) {
            return Ok(None);
        }
        let width = self.size(&name("fc2.weight"), 0)?;
        let head = if self.has(&name("fc1.weight")) {
            ProjectionConfig::Mlp {
                hidden_size: Some(self.size(&name("fc1.weight"), 0)?),
                batch_norm: self.has(&name("bn1.running_mean")),
                out_affine: !self.has(&name("bn2.running_mean")) || self.has(&name("bn2.weight")),
            }
        } else {
            ProjectionConfig::Linear { bias: self.has(&name("fc2.bias")) }
        };
        Ok(Some((head, width)))
    }

    /// What aligns the towers, where the file has any of it.
    pub(super) fn alignment(&self) -> Result<Option<AlignmentConfig>> {
        if self.tensors.range("alignment.".to_owned()..).next().is_none_or(|(name, _)| !name.starts_with("alignment."))
        {
            return Ok(None);
        }
        Ok(Some(AlignmentConfig {
            hidden_size: self.size("alignment.image_local.conv1.weight", 0)?,
            num_prototypes: self.size("alignment.prototypes.weight", 0)?,
            attention: self.has("alignment.word_attention.in_proj.weight"),
        }))
    }
}

/// The `config.json` beside a file or in a folder, if it can be read as JSON.
pub(super) fn config_beside(folder: &Path) -> Option<(PathBuf, Value)> {
    const LARGEST: u64 = 1 << 20;
    let path = folder.join("config.json");
    let small = std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
    let value = small.then(|| serde_json::from_slice(&std::fs::read(&path).ok()?).ok()).flatten()?;
    Some((path, value))
}
