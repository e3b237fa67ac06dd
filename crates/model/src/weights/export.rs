//! Weights under the names of other projects.
//!
//! What goes back to the kind that it came from gets every name and byte that it had, tensors that are not modelled
//! included. What goes to another kind gets that kind's names, and the buffers that its own loader asks for.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::str::FromStr;

use safetensors::Dtype;
use serde_json::{Value, json};

use super::family::{FAMILIES, Family};
use super::import::{CARRIED, ORIGIN, Weights, usual_names};
use super::rules::Layout;
use super::stored;
use super::tensor::{RawTensor, TensorInfo};
use crate::card::{Architecture, KEY};
use crate::image::ImageEncoderConfig;
use crate::image::swin::{SwinConfig, relative_offsets};
use crate::text::TextEncoderConfig;
use crate::text::bert::BertConfig;
use crate::{ModelError, Result};

/// Key of the card in the metadata of files with the names of others.
pub(super) const CARD_OF_EXPORT: &str = "roentgen.card";

/// Whose names are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// torchvision.
    Torchvision,
    /// timm.
    Timm,
    /// Hugging Face's transformers.
    Hf,
    /// Every name as it was before an import, older spellings included.
    Original,
    /// A kind of checkpoint.
    Family(&'static Family),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "torchvision" => Ok(Self::Torchvision),
            "timm" => Ok(Self::Timm),
            "hf" => Ok(Self::Hf),
            "original" => Ok(Self::Original),
            name => Family::named(name).map(Self::Family).ok_or_else(|| {
                let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
                format!("use torchvision, timm, hf, original or one of {}", names.join(", "))
            }),
        }
    }
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::Timm => "timm",
            Self::Hf => "transformers",
            Self::Original => "what it came from",
            Self::Family(family) => family.what,
        }
    }

    /// The kinds to write: one, or one for each tower.
    fn families(self, model: &Architecture) -> Vec<&'static Family> {
        let image = match (self, model.image()) {
            (Self::Family(family), _) => return vec![family],
            (Self::Torchvision | Self::Timm, Some(ImageEncoderConfig::Resnet(_))) => Some("resnet"),
            (Self::Timm, Some(ImageEncoderConfig::Vit(_))) => Some("vit-timm"),
            (Self::Timm, Some(ImageEncoderConfig::Swin(_))) => Some("swin-timm"),
            (Self::Hf, Some(ImageEncoderConfig::Swin(_))) => Some("swin-hf"),
            (Self::Hf, Some(ImageEncoderConfig::Vit(vit))) if vit.layer_scale.is_some() => Some("dinov2-hf"),
            _ => None,
        };
        let text = (matches!(self, Self::Hf) && model.text().is_some()).then_some("bert-hf");
        image.into_iter().chain(text).filter_map(Family::named).collect()
    }
}

/// Where a tensor of an export comes from.
#[derive(Debug, Clone)]
enum From {
    /// One of ours.
    Whole(String),
    /// Some rows of one of ours: which part, of how many.
    Part(String, usize, usize),
    /// A tensor of the opened file that is not modelled.
    Carried(String),
    /// A buffer that follows from the architecture.
    Made(RawTensor),
}

/// A file that is ready to be written.
#[derive(Debug)]
pub struct Export<'a> {
    weights: &'a Weights,
    /// Its kind.
    pub family: &'static Family,
    /// Its tensors.
    pub tensors: BTreeMap<String, TensorInfo>,
    from: BTreeMap<String, From>,
    /// The metadata of its header.
    pub metadata: BTreeMap<String, String>,
    /// The `config.json` that Hugging Face's loader asks for.
    pub config: Option<Value>,
    /// Names of ours and of the opened file that it has no place for.
    pub left_out: Vec<String>,
}

impl Weights {
    /// What is to be written for a target: one file, or one for each tower.
    ///
    /// # Errors
    /// If the target has no names for any of the towers, or a tensor has no place in its kind.
    pub fn export(&self, target: Target) -> Result<Vec<Export<'_>>> {
        if let Target::Original = target {
            let origin = self.origin.as_ref().and_then(|origin| Family::named(&origin.family));
            let family = origin.ok_or_else(|| ModelError::Export {
                path: self.source.path.clone(),
                target: target.name(),
                why: "it was not imported".to_owned(),
            })?;
            return Ok(vec![self.export_as(family, true)?]);
        }
        let families = target.families(&self.card.model);
        if families.is_empty() {
            let why = format!("it has no names for {}", self.towers());
            return Err(ModelError::Export { path: self.source.path.clone(), target: target.name(), why });
        }
        families.into_iter().map(|family| self.export_as(family, false)).collect()
    }

    /// The name in another kind of a tensor that is not modelled; nothing where that kind does not know it.
    fn carried_elsewhere(&self, first: &str, family: &Family, layout: &Layout) -> Option<String> {
        // What stood before the tower's names there: the rest of a tensor's name when that of the other kind is taken off.
        let origin = self.origin.as_ref()?;
        let there = (Family::named(&origin.family)?.layout)();
        let native = self.tensors.keys().find(|name| family.covers.iter().any(|tower| name.starts_with(tower)))?;
        let old = usual_names(&there, &origin.prefix, native)?.swap_remove(0);
        let new = usual_names(layout, "", native)?.swap_remove(0);
        let name = first.strip_prefix(old.strip_suffix(&new)?)?;
        // timm has put the classifier into a module of its own since.
        let name = match name {
            "head.weight" if family.name == "swin-timm" => "head.fc.weight",
            "head.bias" if family.name == "swin-timm" => "head.fc.bias",
            name => name,
        };
        layout.carries(name).map(|_| name.to_owned())
    }

    fn towers(&self) -> String {
        let image = self.card.model.image().map(|image| match image {
            ImageEncoderConfig::Resnet(_) => "a ResNet",
            ImageEncoderConfig::Vit(_) => "a ViT without layer scale",
            ImageEncoderConfig::Swin(_) => "a Swin",
        });
        let text = self.card.model.text().map(|_| "a BERT");
        image.into_iter().chain(text).collect::<Vec<_>>().join(" and ")
    }

    fn export_as(&self, family: &'static Family, old_spellings: bool) -> Result<Export<'_>> {
        let mut export = Export {
            weights: self,
            family,
            tensors: BTreeMap::new(),
            from: BTreeMap::new(),
            metadata: BTreeMap::new(),
            config: None,
            left_out: Vec::new(),
        };
        let card = serde_json::to_string(&self.card).map_err(io::Error::other);
        let card = card.map_err(|source| ModelError::Io { path: self.source.path.clone(), source })?;
        let native = family.name == "native";
        if let (true, Some(origin)) = (native, &self.origin) {
            export.metadata.insert(ORIGIN.to_owned(), json!(origin).to_string());
        }
        export.metadata.insert(if native { KEY } else { CARD_OF_EXPORT }.to_owned(), card);
        let origin = self.origin.as_ref().filter(|origin| origin.family == family.name);
        let layout = (family.layout)();
        let prefix = origin.map_or("", |origin| origin.prefix.as_str());
        for native in self.tensors.keys() {
            let first = origin.filter(|_| old_spellings).and_then(|origin| origin.names.get(native).cloned());
            match first.or_else(|| usual_names(&layout, prefix, native)) {
                Some(names) => export.add(native, names),
                None if family.covers.iter().any(|tower| native.starts_with(tower)) => {
                    let why = format!("it has no name for {native}");
                    return Err(ModelError::Export { path: self.source.path.clone(), target: family.what, why });
                }
                None => export.left_out.push(native.clone()),
            }
        }
        for (first, carried) in &self.carried {
            let name = match (native, origin.is_some()) {
                (true, _) => Some(format!("{CARRIED}{first}")),
                (false, true) => Some(first.clone()),
                (false, false) => self.carried_elsewhere(first, family, &layout),
            };
            match name {
                Some(name) => {
                    let info = self.source.tensors[&carried.source].clone();
                    export.put(name, info, From::Carried(carried.source.clone()));
                }
                None => export.left_out.push(carried.source.clone()),
            }
        }
        if origin.is_none() {
            export.make_buffers();
        }
        let kept = origin.and(self.source.config.clone());
        export.config = kept.or_else(|| config_of(family, &self.card.model));
        Ok(export)
    }
}

impl Export<'_> {
    fn put(&mut self, name: String, info: TensorInfo, from: From) {
        self.tensors.insert(name.clone(), info);
        self.from.insert(name, from);
    }

    fn add(&mut self, native: &str, names: Vec<String>) {
        let info = self.weights.tensors[native].clone();
        let parts = names.len();
        for (part, name) in names.into_iter().enumerate() {
            let mut info = info.clone();
            let from = if parts == 1 {
                From::Whole(native.to_owned())
            } else {
                info.shape[0] /= parts;
                From::Part(native.to_owned(), part, parts)
            };
            self.put(name, info, from);
        }
    }

    /// Buffers without which the kind's own loader refuses a file: transformers keeps the index of relative positions.
    fn make_buffers(&mut self) {
        let Some(ImageEncoderConfig::Swin(swin)) = self.weights.card.model.image() else {
            return;
        };
        if self.family.name != "swin-hf" {
            return;
        }
        for (stage, blocks) in swin.stages.iter().enumerate() {
            let side = window(swin, stage);
            let bytes = relative_offsets(side).iter().flat_map(|&offset| i64::from(offset).to_le_bytes()).collect();
            let index = RawTensor { dtype: Dtype::I64, shape: vec![side * side; 2], bytes };
            for block in 0..*blocks {
                let name = format!("encoder.layers.{stage}.blocks.{block}.attention.self.relative_position_index");
                let info = TensorInfo { dtype: index.dtype, shape: index.shape.clone() };
                self.put(name, info, From::Made(index.clone()));
            }
        }
    }

    /// One tensor of the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> Result<RawTensor> {
        match self.from.get(name) {
            Some(From::Whole(native)) => self.weights.read(native),
            Some(From::Part(native, part, parts)) => {
                let mut whole = self.weights.read(native)?;
                let size = whole.bytes.len() / parts;
                whole.shape[0] /= parts;
                whole.bytes = whole.bytes[part * size..(part + 1) * size].to_vec();
                Ok(whole)
            }
            Some(From::Carried(source)) => self.weights.source.read(source),
            Some(From::Made(tensor)) => Ok(tensor.clone()),
            None => Err(ModelError::NoTensor { path: self.weights.source.path.clone(), name: name.to_owned() }),
        }
    }

    /// Writes the file, one tensor after another.
    ///
    /// # Errors
    /// If a tensor cannot be read or `out` fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        stored::write(out, &self.tensors, &self.metadata, |name| self.read(name).map_err(io::Error::other))
    }
}

fn window(swin: &SwinConfig, stage: usize) -> usize {
    swin.window_size.min((swin.image_size / swin.patch_size) >> stage)
}

/// The `config.json` of a kind of Hugging Face.
fn config_of(family: &Family, model: &Architecture) -> Option<Value> {
    match (family.name, model.image(), model.text()) {
        ("bert-hf", _, Some(TextEncoderConfig::Bert(bert))) => Some(bert_config(bert)),
        ("swin-hf", Some(ImageEncoderConfig::Swin(swin)), _) => Some(json!({
            "architectures": ["SwinModel"],
            "model_type": "swin",
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "image_size": swin.image_size,
            "patch_size": swin.patch_size,
            "num_channels": swin.in_channels,
            "embed_dim": swin.width,
            "depths": swin.stages,
            "num_heads": swin.heads,
            "window_size": swin.window_size,
            "hidden_size": swin.feature_size(),
        })),
        ("dinov2-hf", Some(ImageEncoderConfig::Vit(vit)), _) => Some(json!({
            "architectures": ["Dinov2Model"],
            "model_type": "dinov2",
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "image_size": vit.image_size,
            "patch_size": vit.patch_size,
            "num_channels": vit.in_channels,
            "hidden_size": vit.hidden_size,
            "num_hidden_layers": vit.num_layers,
            "num_attention_heads": vit.num_heads,
            "mlp_ratio": vit.intermediate_size.map_or(4, |inner| inner / vit.hidden_size),
        })),
        _ => None,
    }
}

fn bert_config(bert: &BertConfig) -> Value {
    json!({
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": bert.layer_norm_eps,
        "vocab_size": bert.vocab_size,
        "hidden_size": bert.hidden_size,
        "num_hidden_layers": bert.num_layers,
        "num_attention_heads": bert.num_heads,
        "intermediate_size": bert.intermediate_size,
        "max_position_embeddings": bert.max_position_embeddings,
        "type_vocab_size": bert.type_vocab_size,
        "hidden_dropout_prob": bert.dropout,
        "attention_probs_dropout_prob": bert.dropout,
    })
}
