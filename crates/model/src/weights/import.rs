//! Checkpoints of any known kind as tensors under our names, which are read when they are asked for.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::export::CARD_OF_EXPORT;
use super::family::{FAMILIES, Family};
use super::infer::Evidence;
use super::positions::resample;
use super::preprocess::preprocess_beside;
use super::rules::Layout;
use super::sorted::Sorted;
use super::source::Source;
use super::stored::dtype_name;
use super::tensor::{RawTensor, TensorInfo, is_float};
use super::{CarriedTensor, HostTensor, Mismatch, module, nearest};
use crate::alignment::rules::AlignmentRules;
use crate::card::{Architecture, Card, KEY, Preprocess, Visit};
use crate::image::ImageEncoderConfig;
use crate::projection::ProjectionConfig;
use crate::{DualEncoderConfig, ModelError, Result};

/// Key in a file's metadata of what it was imported from.
pub(super) const ORIGIN: &str = "roentgen.origin";
/// Before the names of tensors that are kept but not modelled, in files of this project.
pub(super) const CARRIED: &str = "carried.";
/// What torch's wrapper for several cards puts before every name.
const WRAPPER: &str = "module.";
/// Learned positions of an image tower.
const POSITIONS: &str = "image_encoder.pos_embed";
/// Card beside a file.
pub const CARD_FILE: &str = "card.toml";

/// The names that an imported file had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of its kind.
    pub family: String,
    /// What stood before the names of its towers.
    pub prefix: String,
    /// Our names whose names there are not those of the kind: older spellings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, Vec<String>>,
}

/// A checkpoint of a known kind.
#[derive(Debug)]
pub struct Weights {
    /// Its files.
    pub source: Source,
    /// What it is.
    pub family: &'static Family,
    /// Architecture and preparation of its input.
    pub card: Card,
    /// Where the names of its tensors come from.
    pub origin: Option<Origin>,
    /// Types and shapes under our names.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Tensors kept but not modelled, by the names that they had first.
    pub carried: BTreeMap<String, CarriedTensor>,
    /// Names of the file that join to one of ours.
    pieces: BTreeMap<String, Vec<String>>,
    /// Names that no rule knows.
    unknown: Vec<String>,
    /// Patches along a side of the file's positions and of those that are asked for, where they differ.
    grids: Option<(usize, usize)>,
}

impl Weights {
    /// Opens a file or folder and recognises what it is; reads no tensor.
    ///
    /// # Errors
    /// If it cannot be read, is of no known kind, or its architecture does not follow from it.
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let told = source.metadata.contains_key(KEY) || (ours(&source) && card_beside(&source.folder).is_some());
        let wrapper = if source.tensors.keys().all(|name| name.starts_with(WRAPPER)) { WRAPPER } else { "" };
        let (family, prefix) = if told {
            (&FAMILIES[FAMILIES.len() - 1], "")
        } else {
            let has = |name: &str| source.tensors.contains_key(&format!("{wrapper}{name}"));
            Family::detect(has).ok_or_else(|| unknown_kind(&source))?
        };
        let layout = (family.layout)();
        let mut sorted = Sorted::default();
        for name in source.tensors.keys() {
            sorted.add(name, wrapper, prefix, &layout);
        }
        let (tensors, incomplete) = sorted.join(&source);
        let mut unknown = sorted.unknown;
        unknown.extend(incomplete);
        let evidence = Evidence { path: &source.path, tensors: &tensors, config: source.config.as_ref() };
        let card = card(&source, family, &evidence)?;
        let origin = match source.metadata.get(ORIGIN) {
            Some(json) => serde_json::from_str(json).map(Some).map_err(|e| ModelError::MetadataValue {
                path: source.path.clone(),
                key: ORIGIN,
                source: e,
            })?,
            None if family.name == "native" => None,
            None => Some(sorted.pieces.iter().fold(
                Origin { family: family.name.to_owned(), prefix: prefix.to_owned(), names: BTreeMap::new() },
                |mut origin, (native, names)| {
                    let names: Vec<String> = names.iter().map(|name| name[wrapper.len()..].to_owned()).collect();
                    if usual_names(&layout, prefix, native).as_ref() != Some(&names) {
                        origin.names.insert(native.clone(), names);
                    }
                    origin
                },
            )),
        };
        Ok(Self {
            family,
            card,
            origin,
            tensors,
            carried: sorted.carried,
            pieces: sorted.pieces,
            unknown,
            grids: None,
            source,
        })
    }

    /// Reads one tensor by our name; parts are joined row by row.
    ///
    /// # Errors
    /// If there is no such tensor or it cannot be read.
    pub fn read(&self, native: &str) -> Result<RawTensor> {
        let mut parts = self.names_of(native).iter();
        let mut whole = self.source.read(parts.next().ok_or_else(|| self.no_tensor(native))?)?;
        for part in parts {
            let part = self.source.read(part)?;
            whole.shape[0] += part.shape[0];
            whole.bytes.extend(part.bytes);
        }
        Ok(whole)
    }

    /// The same for images of another side, where positions are learned for one: they are resampled when they are read.
    ///
    /// # Errors
    /// If the architecture allows no such side.
    pub fn at_image_size(mut self, size: usize) -> Result<Self> {
        let vit = match &mut self.card.model {
            Architecture::ImageEncoder(ImageEncoderConfig::Vit(vit)) => Some(vit),
            Architecture::ImageClassifier(config) => config.image.as_vit_mut(),
            Architecture::DualEncoder(config) => config.image.as_vit_mut(),
            Architecture::ImageEncoder(_) | Architecture::TextEncoder(_) => None,
        };
        let Some(vit) = vit.filter(|vit| vit.image_size != size) else {
            return Ok(self);
        };
        let from = vit.image_size / vit.patch_size;
        vit.image_size = size;
        vit.validate()?;
        let to = size / vit.patch_size;
        if let Some(info) = self.tensors.get_mut(POSITIONS) {
            info.shape[1] = 1 + to * to;
        }
        self.grids = Some((self.grids.map_or(from, |(first, _)| first), to));
        self.card.preprocess.image_size = size;
        Ok(self)
    }

    /// A single number that is kept but not modelled, by the name that it had first; `None` where there is none.
    ///
    /// # Errors
    /// If it is not one finite number.
    pub fn carried_number(&self, first: &str) -> Result<Option<f32>> {
        let Some(carried) = self.carried.get(first) else { return Ok(None) };
        let mut numbers = Vec::new();
        let known =
            self.source.strips(&carried.source, 1, &mut Vec::new(), |strip| numbers.extend_from_slice(strip))?;
        match numbers[..] {
            [number] if known && number.is_finite() => Ok(Some(number)),
            _ => {
                let report = Box::new(Mismatch { non_finite: vec![carried.source.clone()], ..Mismatch::default() });
                Err(ModelError::Mismatch { path: self.source.path.clone(), report })
            }
        }
    }

    fn no_tensor(&self, native: &str) -> ModelError {
        ModelError::NoTensor { path: self.source.path.clone(), name: native.to_owned() }
    }

    /// Numbers of a tensor in single precision; the matrix of a linear layer the other way round, as Burn holds it.
    fn numbers(&self, native: &str, linear: bool, strip: &mut Vec<f32>) -> Result<HostTensor> {
        let info = self.tensors.get(native).ok_or_else(|| self.no_tensor(native))?;
        let count = info.shape.iter().product();
        let columns = if linear { info.shape[1] } else { 1 };
        let mut data = if linear { vec![0.0; count] } else { Vec::with_capacity(count) };
        let (mut row, mut finite) = (0, true);
        for name in self.names_of(native) {
            let known = self.source.strips(name, columns, strip, |strip| {
                finite &= all_finite(strip);
                if linear {
                    module::turn(strip, row, &info.shape, &mut data);
                    row += strip.len() / columns;
                } else {
                    data.extend_from_slice(strip);
                }
            })?;
            if !known {
                let dtype = dtype_name(info.dtype);
                return Err(ModelError::Dtype { path: self.source.path.clone(), name: name.clone(), dtype });
            }
        }
        if !finite {
            let report = Box::new(Mismatch { non_finite: vec![self.spelled(native)], ..Mismatch::default() });
            return Err(ModelError::Mismatch { path: self.source.path.clone(), report });
        }
        if linear {
            return Ok(HostTensor { shape: info.shape.iter().rev().copied().collect(), data });
        }
        match self.grids.filter(|_| native == POSITIONS) {
            Some((from, to)) => {
                let width = info.shape[2];
                Ok(HostTensor { shape: vec![1, 1 + to * to, width], data: resample(&data, width, from, to) })
            }
            None => Ok(HostTensor { shape: info.shape.clone(), data }),
        }
    }

    /// Names of the file that become one of our tensors.
    pub fn names_of(&self, native: &str) -> &[String] {
        self.pieces.get(native).map_or(&[], Vec::as_slice)
    }

    /// Compares names, shapes and types with those of the architecture; reads no tensor.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] lists every difference.
    pub fn check(&self, device: &Device) -> Result<()> {
        struct Wanted;
        impl Visit<BTreeMap<String, Vec<usize>>> for Wanted {
            fn module<M: Module>(self, prefix: &str, module: &M) -> BTreeMap<String, Vec<usize>> {
                module::shapes(module).into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect()
            }
        }
        self.card.model.validate()?;
        let wanted = self.card.model.with_module(device, Wanted);
        self.compare(&wanted, "")
    }

    /// Names of the matrices of linear layers, which Burn holds the other way round than files do.
    pub fn transposed(&self, device: &Device) -> Vec<String> {
        struct Linear;
        impl Visit<Vec<String>> for Linear {
            fn module<M: Module>(self, prefix: &str, module: &M) -> Vec<String> {
                module::linear(module).into_iter().map(|name| format!("{prefix}{name}")).collect()
            }
        }
        self.card.model.with_module(device, Linear)
    }

    /// Compares the tensors under a prefix with what a module wants.
    fn compare(&self, wanted: &BTreeMap<String, Vec<usize>>, prefix: &str) -> Result<()> {
        let under = |name: &&String| name.starts_with(prefix);
        let mut unused: Vec<String> = self
            .tensors
            .keys()
            .filter(under)
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| self.spelled(name))
            .collect();
        unused.extend(self.unknown.iter().cloned());
        let mut mismatch = Mismatch::default();
        for (name, shape) in wanted {
            match self.tensors.get(name) {
                None => mismatch.missing.push((self.spelled(name), nearest(&self.spelled(name), &unused))),
                Some(info) if info.shape != *shape => {
                    mismatch.misshapen.push((self.spelled(name), shape.clone(), info.shape.clone()));
                }
                Some(info) if !is_float(info.dtype) => {
                    let dtype = dtype_name(info.dtype);
                    return Err(ModelError::Dtype { path: self.source.path.clone(), name: self.spelled(name), dtype });
                }
                Some(_) => {}
            }
        }
        mismatch.unused = unused;
        if mismatch.is_empty() {
            return Ok(());
        }
        Err(ModelError::Mismatch { path: self.source.path.clone(), report: Box::new(mismatch) })
    }

    /// A tensor of ours as the file would name it.
    fn spelled(&self, native: &str) -> String {
        if let Some(names) = self.pieces.get(native) {
            return names.join(" + ");
        }
        let prefix = self.origin.as_ref().map_or("", |origin| origin.prefix.as_str());
        let names = usual_names(&(self.family.layout)(), prefix, native);
        names.map_or_else(|| native.to_owned(), |names| names.join(" + "))
    }

    /// A new module with the tensors under a prefix, which must fit exactly: `image_encoder.` for an image encoder, nothing for
    /// a whole model.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] lists every difference, NaN and infinity among them; the module is gone then.
    pub fn load<M: Module>(&self, module: M, prefix: &str) -> Result<M> {
        let wanted = module::shapes(&module);
        let wanted = wanted.into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect();
        self.compare(&wanted, prefix)?;
        module::load(module, |name, linear, strip| self.numbers(&format!("{prefix}{name}"), linear, strip))
    }
}

/// Whether there is no NaN and no infinity. Looks at whole blocks, which a processor does many numbers at a time.
fn all_finite(numbers: &[f32]) -> bool {
    numbers.chunks(1024).all(|block| block.iter().fold(true, |fine, number| fine & number.is_finite()))
}

/// The names that a kind has for a tensor of ours.
pub(super) fn usual_names(layout: &Layout, prefix: &str, native: &str) -> Option<Vec<String>> {
    let names = layout.foreign(native)?;
    Some(names.into_iter().map(|name| format!("{prefix}{name}")).collect())
}

/// Whether names are those of this project.
fn ours(source: &Source) -> bool {
    source.tensors.keys().any(|name| name.starts_with("image_encoder.") || name.starts_with("text_encoder."))
}

fn unknown_kind(source: &Source) -> ModelError {
    if ours(source) {
        return ModelError::Metadata { path: source.path.clone(), key: KEY };
    }
    let names: Vec<&str> = source.tensors.keys().take(4).map(String::as_str).collect();
    let known: Vec<&str> = FAMILIES.iter().map(|family| family.what).collect();
    let names = if names.is_empty() { "(it has none)".to_owned() } else { names.join(", ") };
    ModelError::Unknown { path: source.path.clone(), names, known: known.join(", ") }
}

/// The card in a file's metadata, beside it, or what its kind implies.
fn card(source: &Source, family: &'static Family, evidence: &Evidence<'_>) -> Result<Card> {
    if let Some(json) = source.metadata.get(KEY) {
        let read = serde_json::from_str(json);
        return read.map_err(|e| ModelError::MetadataValue { path: source.path.clone(), key: KEY, source: e });
    }
    if family.name == "native" {
        let lost = || ModelError::Metadata { path: source.path.clone(), key: KEY };
        return card_beside(&source.folder).filter(|card| towers_of(&card.model, evidence).is_some()).ok_or_else(lost);
    }
    let inside = source.metadata.get(CARD_OF_EXPORT).and_then(|json| serde_json::from_str(json).ok());
    let told: Option<Card> = inside.or_else(|| card_beside(&source.folder));
    if let Some((model, told)) = told.and_then(|told| Some((towers_of(&told.model, evidence)?, told))) {
        return Ok(Card { model, ..told });
    }
    let mut model = architecture(evidence)?;
    (family.adjust)(&mut model);
    let channels = model.image().map_or(3, ImageEncoderConfig::in_channels);
    let size = model.image().and_then(ImageEncoderConfig::image_size).unwrap_or(224);
    let usual = match (family.preprocess)(size) {
        usual if usual.mean.len() == channels => usual,
        usual => Preprocess { framing: usual.framing, ..Preprocess::imagenet(size, usual.source_size, channels) },
    };
    let mut card = Card::new("imported", model, preprocess_beside(&source.folder, usual));
    // Of what is known, the published code of `MGCA` alone aligns words and patches.
    card.alignment = card.model.alignment().map(|_| AlignmentRules::PUBLISHED);
    card.provenance.imported = Some(family.name.to_owned());
    Ok(card)
}

/// The towers of a file as a card tells of them, which knows what tensors do not say; nothing where it is the card of
/// something else.
fn towers_of(told: &Architecture, evidence: &Evidence<'_>) -> Option<Architecture> {
    let width = |name: &str| evidence.tensors.get(name).and_then(|info| info.shape.last().copied());
    let text_width = width("text_encoder.embeddings.LayerNorm.weight");
    let image_width = width("image_encoder.norm.weight").or_else(|| {
        let last = |n| width(&format!("image_encoder.layer4.0.bn{n}.weight"));
        last(3).or_else(|| last(2))
    });
    let image = told.image().filter(|image| Some(image.feature_size()) == image_width);
    let text = told.text().filter(|text| Some(text.feature_size()) == text_width);
    match (image_width, text_width) {
        (Some(_), Some(_)) => (image.is_some() && text.is_some()).then(|| told.clone()),
        (Some(_), None) => image.cloned().map(Architecture::ImageEncoder),
        (None, Some(_)) => text.cloned().map(Architecture::TextEncoder),
        (None, None) => None,
    }
}

/// The `card.toml` of a folder, if there is one.
fn card_beside(folder: &Path) -> Option<Card> {
    const LARGEST: u64 = 1 << 20;
    let path = folder.join(CARD_FILE);
    let small = std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
    small.then(|| toml::from_str(&std::fs::read_to_string(&path).ok()?).ok()).flatten()
}

fn architecture(evidence: &Evidence<'_>) -> Result<Architecture> {
    let (image, text) = (evidence.image()?, evidence.text()?);
    let (of_images, of_texts) = (evidence.projection("image")?, evidence.projection("text")?);
    Ok(match (image, text) {
        (Some(image), Some(text)) => {
            let widths = (image.feature_size(), text.feature_size());
            let (projection, embed_dim) = of_images.unwrap_or((ProjectionConfig::Identity, widths.0));
            let text_projection = of_texts.map_or(ProjectionConfig::Identity, |(head, _)| head);
            let text_projection = (text_projection != projection).then_some(text_projection);
            Architecture::DualEncoder(DualEncoderConfig {
                image,
                text,
                projection,
                text_projection,
                embed_dim,
                frozen_text_layers: None,
                alignment: evidence.alignment()?,
            })
        }
        (Some(image), None) => Architecture::ImageEncoder(image),
        (None, Some(text)) => Architecture::TextEncoder(text),
        (None, None) => {
            return Err(ModelError::Undetermined {
                path: evidence.path.to_owned(),
                what: "an encoder".to_owned(),
                ask: "it holds neither an image nor a text tower".to_owned(),
            });
        }
    })
}
