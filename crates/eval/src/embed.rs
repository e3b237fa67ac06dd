//! Embeddings of images and texts on the host. The batch size changes speed and memory, never what is computed.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use data::batch::TextBatch;
use data::image::transform::{centre, letterbox};
use data::image::{GrayImage, Plane};
use data::record::Dataset;
use data::store::ImageStore;
use data::text::Tokenizer;
use engine::upload::{Preprocess, texts as upload_texts};
use model::DualEncoder;
use model::card::{Fit, Framing};
use model::image::ImageEncoder;
use rayon::prelude::*;

use crate::error::Result;
use crate::ranking::Embeddings;

/// Called with the number of items done; an error ends the work.
pub type Tick<'a> = &'a dyn Fn(usize) -> Result<()>;

/// Every image of a store as (study, image within the study), in order.
pub fn all_images(store: &ImageStore, num_studies: usize) -> Vec<(usize, usize)> {
    (0..num_studies).flat_map(|study| (0..store.num_images(study)).map(move |image| (study, image))).collect()
}

/// An image as an encoder sees it.
///
/// # Errors
/// If it cannot be read.
pub fn seen(store: &ImageStore, study: usize, image: usize, preprocess: &Preprocess) -> data::error::Result<Plane> {
    Ok(framed(store.load(study, image)?.as_ref(), preprocess))
}

/// A decoded image as an encoder sees it.
pub fn framed(image: &GrayImage, preprocess: &Preprocess) -> Plane {
    let size = preprocess.image_size;
    match preprocess.framing {
        None => letterbox(image, size),
        Some(Framing { fit, side }) => centre(image, fit == Fit::Pad, side.max(size), size),
    }
}

/// Runs `forward` over images, batch by batch; returns its rows one after another and their width.
///
/// # Errors
/// If an image cannot be read; what `tick` returns.
pub fn map_images(
    store: &ImageStore,
    images: &[(usize, usize)],
    preprocess: &Preprocess,
    batch_size: usize,
    device: &Device,
    tick: Tick<'_>,
    mut forward: impl FnMut(Tensor<4>) -> Tensor<2>,
) -> Result<(usize, Vec<f32>)> {
    let size = preprocess.image_size;
    let (mut width, mut rows) = (0, Vec::new());
    for (done, chunk) in images.chunks(batch_size.max(1)).enumerate() {
        let load = |&(study, image): &(usize, usize)| seen(store, study, image, preprocess);
        let planes: Vec<Plane> = chunk.par_iter().map(load).collect::<data::error::Result<_>>()?;
        let pixels: Vec<f32> = planes.into_iter().flat_map(|plane| plane.data).collect();
        let output = forward(preprocess.images(&pixels, chunk.len(), size, device));
        width = output.dims()[1];
        rows.extend(output.into_data().iter::<f32>());
        tick((done * batch_size + chunk.len()).min(images.len()))?;
    }
    Ok((width, rows))
}

/// Image encoder outputs and joint-space embeddings of images.
#[derive(Debug, Clone)]
pub struct ImageEmbeddings {
    /// Encoder outputs, for image-image retrieval and probes.
    pub features: Embeddings,
    /// Joint space.
    pub embeds: Embeddings,
}

/// Features and embeddings of images under a dual encoder on its plain (not differentiating) device.
///
/// # Errors
/// If an image cannot be read.
pub fn embed_images(
    model: &DualEncoder,
    store: &ImageStore,
    images: &[(usize, usize)],
    preprocess: &Preprocess,
    batch_size: usize,
    device: &Device,
    tick: Tick<'_>,
) -> Result<ImageEmbeddings> {
    let mut split = 0;
    let (width, rows) = map_images(store, images, preprocess, batch_size, device, tick, |x| {
        let encoded = model.encode_image(x);
        split = encoded.features.dims()[1];
        Tensor::cat(vec![encoded.features, encoded.embeds], 1)
    })?;
    let part = |from: usize, to: usize| -> Result<Embeddings> {
        let data = rows.chunks_exact(width.max(1)).flat_map(|row| row[from..to].iter().copied()).collect();
        Ok(Embeddings::new(images.len(), (to - from).max(1), data)?)
    };
    Ok(ImageEmbeddings { features: part(0, split)?, embeds: part(split, width)? })
}

/// Raw encoder outputs, `[images, D]` row-major, and `D`: the input of a linear probe.
///
/// # Errors
/// If an image cannot be read.
pub fn image_features(
    encoder: &ImageEncoder,
    store: &ImageStore,
    images: &[(usize, usize)],
    preprocess: &Preprocess,
    batch_size: usize,
    device: &Device,
    tick: Tick<'_>,
) -> Result<(usize, Vec<f32>)> {
    map_images(store, images, preprocess, batch_size, device, tick, |x| encoder.forward(x).global)
}

/// Joint-space embeddings of texts. Texts of equal length share a batch, so there is no padding at all.
///
/// # Errors
/// If `max_tokens` leaves no room for text.
pub fn embed_texts(
    model: &DualEncoder,
    tokenizer: &Tokenizer,
    texts: &[&str],
    max_tokens: usize,
    batch_size: usize,
    device: &Device,
) -> Result<Embeddings> {
    let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
    for (index, text) in texts.iter().enumerate() {
        let ids = tokenizer.encode(text, max_tokens)?.input_ids;
        by_length.entry(ids.len()).or_default().push((index, ids));
    }
    let mut rows: Vec<Vec<f32>> = vec![Vec::new(); texts.len()];
    for chunk in by_length.values().flat_map(|same| same.chunks(batch_size.max(1))) {
        let ids: Vec<Vec<u32>> = chunk.iter().map(|(_, ids)| ids.clone()).collect();
        let batch = upload_texts(&TextBatch::from_ids(&ids, tokenizer.pad_id()), device);
        let embeds = model.encode_text(batch).embeds;
        let width = embeds.dims()[1];
        let values: Vec<f32> = embeds.into_data().iter::<f32>().collect();
        for ((index, _), row) in chunk.iter().zip(values.chunks_exact(width)) {
            rows[*index] = row.to_vec();
        }
    }
    let width = rows.first().map_or(1, Vec::len);
    Ok(Embeddings::new(texts.len(), width.max(1), rows.concat())?)
}

/// The mean of several rows, to unit length: how sentences become a report and prompts become a class.
///
/// # Errors
/// If a row is empty.
pub fn mean_rows(embeds: &Embeddings, groups: &[Vec<usize>]) -> Result<Embeddings> {
    Ok(Embeddings::new(groups.len(), embeds.dim(), means(embeds.data(), embeds.dim(), groups))?)
}

/// The mean of several rows of `rows` (`[_, width]`, row-major) for each group, `[groups, width]`; zeros of an empty group.
pub(crate) fn means(rows: &[f32], width: usize, groups: &[Vec<usize>]) -> Vec<f32> {
    let mut data = vec![0.0f32; groups.len() * width];
    for (group, out) in groups.iter().zip(data.chunks_exact_mut(width)) {
        for &row in group {
            let row = &rows[row * width..(row + 1) * width];
            out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / group.len() as f32);
        }
    }
    data
}

/// A data set with its images and their embeddings.
#[derive(Debug, Clone, Copy)]
pub struct Embedded<'a> {
    /// The studies.
    pub dataset: &'a Dataset,
    /// (study, image) of each row.
    pub images: &'a [(usize, usize)],
    /// The rows.
    pub embeddings: &'a ImageEmbeddings,
}

/// What encodes query texts.
#[derive(Debug, Clone, Copy)]
pub struct TextTower<'a> {
    /// The model, on its plain device.
    pub model: &'a DualEncoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Where it runs.
    pub device: &'a Device,
}

impl TextTower<'_> {
    /// Joint-space embeddings of texts.
    ///
    /// # Errors
    /// As [`embed_texts`].
    pub fn embed(&self, texts: &[&str]) -> Result<Embeddings> {
        embed_texts(self.model, self.tokenizer, texts, self.max_tokens, 64, self.device)
    }
}
