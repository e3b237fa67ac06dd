//! `eval embed`: what the towers of any checkpoint make of images, texts or ready tensors, as one safetensors file.
//!
//! Shape letters: `N` rows, `P` regions, `T` tokens, `D` feature width, `E` embedding width.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::batch::TextBatch;
use data::source::image_list::Listed;
use engine::checkpoint::{Architecture, Checkpoint};
use engine::upload::texts as upload;
use model::DualEncoder;
use model::card::Preprocess;
use model::image::{ImageEncoder, ImageFeatures};
use model::ops::l2_normalize;
use model::text::{TextEncoder, TextInput};
use model::weights::stored::SafetensorsFile;
use safetensors::Dtype;

use crate::columns::Columns;
use crate::embed::Tick;
use crate::error::{EvalError, Result};
use crate::predict::decode;

/// The towers that a checkpoint has.
#[derive(Debug)]
pub enum Encoders {
    /// Both, with their heads.
    Dual(Box<DualEncoder>),
    /// An image tower.
    Image(Box<ImageEncoder>),
    /// A text tower.
    Text(Box<TextEncoder>),
}

impl Encoders {
    /// The towers of a checkpoint.
    ///
    /// # Errors
    /// If its tensors do not fit its card.
    pub fn new(checkpoint: &Checkpoint, device: &Device) -> Result<Self> {
        Ok(match checkpoint.card.model {
            Architecture::DualEncoder(_) => Self::Dual(Box::new(checkpoint.dual_encoder(device)?)),
            Architecture::ImageClassifier(_) | Architecture::ImageEncoder(_) => {
                Self::Image(Box::new(checkpoint.image_encoder(device)?))
            }
            Architecture::TextEncoder(_) => Self::Text(Box::new(checkpoint.text_encoder(device)?)),
        })
    }

    fn image(&self, images: Tensor<4>) -> Option<(ImageFeatures, Option<Tensor<2>>)> {
        match self {
            Self::Dual(model) => {
                let features = model.image_encoder.forward(images);
                let embeds = l2_normalize(model.image_projection.forward(features.global.clone()));
                Some((features, Some(embeds)))
            }
            Self::Image(encoder) => Some((encoder.forward(images), None)),
            Self::Text(_) => None,
        }
    }

    /// Token vectors, features and embeddings of texts.
    fn text(&self, texts: TextInput) -> Option<(Tensor<3>, Tensor<2>, Option<Tensor<2>>)> {
        match self {
            Self::Dual(model) => {
                let features = model.text_encoder.forward(texts, None);
                let embeds = l2_normalize(model.text_projection.forward(features.global.clone()));
                Some((features.tokens, features.global, Some(embeds)))
            }
            Self::Text(encoder) => {
                let features = encoder.forward(texts, None);
                Some((features.tokens, features.global, None))
            }
            Self::Image(_) => None,
        }
    }
}

impl Columns {
    fn push_image(&mut self, (features, embeds): (ImageFeatures, Option<Tensor<2>>)) -> Result<()> {
        self.push_tensor("image_features", features.global)?;
        if let Some(local) = features.local {
            self.push_tensor("image_local", local)?;
        }
        embeds.map_or(Ok(()), |embeds| self.push_tensor("image_embeds", embeds))
    }

    fn push_text(&mut self, found: (Tensor<3>, Tensor<2>, Option<Tensor<2>>), tokens: usize) -> Result<()> {
        let (hidden, features, embeds) = found;
        let [rows, t, d] = hidden.dims();
        let mut padded = vec![0.0_f32; rows * tokens * d];
        let values: Vec<f32> = hidden.into_data().iter::<f32>().collect();
        for (to, from) in padded.chunks_exact_mut(tokens * d).zip(values.chunks_exact(t * d)) {
            to[..t * d].copy_from_slice(from);
        }
        self.push("text_hidden", &[tokens, d], &padded)?;
        self.push_tensor("text_features", features)?;
        embeds.map_or(Ok(()), |embeds| self.push_tensor("text_embeds", embeds))
    }
}

/// Vectors of images, after those that the columns have; gives the places of those that cannot be read, whose rows hold NaN.
///
/// # Errors
/// If the checkpoint has no image tower or the rows cannot be kept.
pub fn of_images(
    encoders: &Encoders,
    listed: &[Listed],
    preprocess: &Preprocess,
    (batch_size, device): (usize, &Device),
    columns: &mut Columns,
    tick: Tick<'_>,
) -> Result<Vec<usize>> {
    let (size, mut done) = (preprocess.image_size, columns.rows("image")?.min(listed.len()));
    let before = columns.first_numbers("image_features")?;
    let mut bad: Vec<usize> =
        listed.iter().zip(before).filter(|(_, x)| x.is_nan()).map(|(image, _)| image.row).collect();
    for chunk in listed[done..].chunks(batch_size) {
        let planes = decode(chunk, preprocess);
        bad.extend(chunk.iter().zip(&planes).filter(|(_, plane)| plane.is_err()).map(|(image, _)| image.row));
        // A row of NaN passes through every layer as NaN and says plainly that there is no vector.
        let missing = || vec![f32::NAN; size * size];
        let pixels: Vec<f32> = planes.into_iter().flat_map(|p| p.map_or_else(|_| missing(), |p| p.data)).collect();
        let images = preprocess.images(&pixels, chunk.len(), size, device);
        columns.push_image(encoders.image(images).ok_or_else(|| no_tower("image"))?)?;
        done += chunk.len();
        columns.note("image", done)?;
        tick(done)?;
    }
    Ok(bad)
}

/// Vectors of texts, after those that the columns have.
///
/// # Errors
/// If the checkpoint has no text tower or the rows cannot be kept.
pub fn of_texts(
    encoders: &Encoders,
    encoded: &[Vec<u32>],
    pad_id: u32,
    (batch_size, device): (usize, &Device),
    columns: &mut Columns,
    tick: Tick<'_>,
) -> Result<()> {
    let longest = encoded.iter().map(|ids| ids.len().max(1)).max().unwrap_or(1);
    let mut done = columns.rows("text")?.min(encoded.len());
    for chunk in encoded[done..].chunks(batch_size) {
        let batch = TextBatch::from_ids(chunk, pad_id);
        let found = encoders.text(upload(&batch, device)).ok_or_else(|| no_tower("text"))?;
        columns.push_text(found, longest)?;
        done += chunk.len();
        columns.note("text", done)?;
        tick(done)?;
    }
    Ok(())
}

fn no_tower(which: &str) -> EvalError {
    let what = format!("it has no {which} tower: give weights that have one");
    EvalError::Unfit { data: "the checkpoint".to_owned(), what }
}

/// Tensors that are ready for the towers.
#[derive(Debug)]
pub struct Ready {
    images: Option<(Vec<f32>, [usize; 4])>,
    texts: Option<(Vec<i64>, Vec<i64>, [usize; 2])>,
}

impl Ready {
    /// Reads `images` `[N, C, H, W]` f32, `input_ids` and `attention_mask` `[N, T]` i64, as far as they are there.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor has another type or shape.
    pub fn read(path: &Path) -> Result<Self> {
        let file = SafetensorsFile::open(path)?;
        let unfit = |what: String| EvalError::Unfit { data: path.display().to_string(), what };
        let read = |name: &str| file.tensors().contains_key(name).then(|| file.read(name)).transpose();
        let images = match read("images")? {
            None => None,
            Some(raw) => {
                let shape = <[usize; 4]>::try_from(raw.shape.clone())
                    .ok()
                    .filter(|[_, _, h, w]| h == w && *h > 0)
                    .ok_or_else(|| unfit(format!("`images` is {:?}: give [N, C, H, W] with H = W", raw.shape)))?;
                let values = raw.to_f32().ok_or_else(|| unfit("`images` must hold f32".to_owned()))?;
                Some((values, shape))
            }
        };
        let ids = |name: &str| -> Result<Option<(Vec<i64>, [usize; 2])>> {
            let Some(raw) = read(name)? else { return Ok(None) };
            let shape = <[usize; 2]>::try_from(raw.shape.clone()).ok().filter(|_| raw.dtype == Dtype::I64);
            let shape = shape.ok_or_else(|| unfit(format!("`{name}` must be [N, T] of i64")))?;
            let eight = raw.bytes.chunks_exact(8).map(|b| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            Ok(Some((eight.map(i64::from_le_bytes).collect(), shape)))
        };
        let texts = match (ids("input_ids")?, ids("attention_mask")?) {
            (None, None) => None,
            (Some((ids, shape)), Some((mask, other))) if shape == other => Some((ids, mask, shape)),
            _ => return Err(unfit("`input_ids` and `attention_mask` must both be there, of one shape".to_owned())),
        };
        if images.is_none() && texts.is_none() {
            return Err(unfit("it has neither `images` nor `input_ids`".to_owned()));
        }
        Ok(Self { images, texts })
    }

    /// Side of the images, where there are any.
    pub fn image_size(&self) -> Option<usize> {
        self.images.as_ref().map(|(_, [_, _, h, _])| *h)
    }

    /// Rows of both kinds.
    pub fn rows(&self) -> usize {
        let texts = self.texts.as_ref().map_or(0, |(_, _, [n, _])| *n);
        self.images.as_ref().map_or(0, |(_, [n, ..])| *n) + texts
    }

    /// Vectors of the tensors.
    ///
    /// # Errors
    /// If they do not fit the towers, or the rows cannot be kept.
    pub fn embed(
        &self,
        encoders: &Encoders,
        model: &Architecture,
        (batch_size, device): (usize, &Device),
        columns: &mut Columns,
        tick: Tick<'_>,
    ) -> Result<()> {
        let unfit = |what: String| EvalError::Unfit { data: "the tensors".to_owned(), what };
        let mut done = 0;
        if let Some((values, [_, c, h, w])) = &self.images {
            let config = model.image().ok_or_else(|| no_tower("image"))?;
            let (channels, size) = (config.in_channels(), config.image_size().unwrap_or(*h));
            if (*c, *h) != (channels, size) || *h < 32 {
                let what = format!("`images` is [N, {c}, {h}, {w}], the encoder takes [N, {channels}, {size}, {size}]");
                return Err(unfit(what));
            }
            for chunk in values.chunks(batch_size * c * h * w) {
                let rows = chunk.len() / (c * h * w);
                let images = Tensor::from_data(TensorData::new(chunk.to_vec(), [rows, *c, *h, *w]), device);
                columns.push_image(encoders.image(images).ok_or_else(|| no_tower("image"))?)?;
                done += rows;
                tick(done)?;
            }
        }
        if let Some((ids, mask, [_, t])) = &self.texts {
            let config = model.text().ok_or_else(|| no_tower("text"))?;
            let vocabulary = i64::try_from(config.vocab_size()).unwrap_or(i64::MAX);
            if *t == 0 || *t > config.max_tokens() || ids.iter().any(|id| !(0..vocabulary).contains(id)) {
                let what =
                    format!("`input_ids` must be 0 to {} in rows of 1 to {}", vocabulary - 1, config.max_tokens());
                return Err(unfit(what));
            }
            for (ids, mask) in ids.chunks(batch_size * t).zip(mask.chunks(batch_size * t)) {
                let rows = ids.len() / t;
                let ints =
                    |values: &[i64]| Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), [rows, *t]), device);
                let texts = TextInput { input_ids: ints(ids), padding: ints(mask).equal_scalar(0) };
                columns.push_text(encoders.text(texts).ok_or_else(|| no_tower("text"))?, *t)?;
                done += rows;
                tick(done)?;
            }
        }
        Ok(())
    }
}
