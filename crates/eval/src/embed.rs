//! Embeddings of images and texts on the host. The batch size changes speed and memory, never what is computed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use burn::module::Module;
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
use crate::kept_rows::KeptRows;
use crate::ranking::Embeddings;
use crate::tasks::{Opened, Tools};

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

/// Runs `forward` over images, batch by batch; returns its rows one after another and their width. `network` is what it runs
/// and `what` says which of its outputs: rows that [`Tools::kept_rows`] holds are not computed again.
///
/// # Errors
/// If an image or a kept row cannot be read; what `tick` returns.
pub(crate) fn map_images<M: Module + fmt::Display>(
    opened: &Opened<'_>,
    images: &[(usize, usize)],
    (network, what): (&M, &str),
    preprocess: &Preprocess,
    tools: &Tools,
    tick: Tick<'_>,
    mut forward: impl FnMut(Tensor<4>) -> Tensor<2>,
) -> Result<(usize, Vec<f32>)> {
    let size = preprocess.image_size;
    let open = |folder: &PathBuf| KeptRows::open(folder, (network, what), opened, images, preprocess, &tools.device);
    let mut kept = tools.kept_rows.as_ref().map(open).transpose()?.flatten();
    let (mut width, mut rows) = kept.as_mut().map(KeptRows::take).unwrap_or_default();
    let mut done = rows.len().checked_div(width).unwrap_or(0);
    for chunk in images[done..].chunks(tools.batch_size.max(1)) {
        let load = |&(study, image): &(usize, usize)| seen(&opened.store, study, image, preprocess);
        let planes: Vec<Plane> = chunk.par_iter().map(load).collect::<data::error::Result<_>>()?;
        let pixels: Vec<f32> = planes.into_iter().flat_map(|plane| plane.data).collect();
        let output = forward(preprocess.images(&pixels, chunk.len(), size, &tools.device));
        width = output.dims()[1];
        let from = rows.len();
        rows.extend(output.into_data().iter::<f32>());
        if let Some(kept) = &mut kept {
            kept.push(width, &rows[from..])?;
        }
        done += chunk.len();
        tick(done)?;
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
/// As [`map_images`].
pub(crate) fn embed_images(
    model: &DualEncoder,
    opened: &Opened<'_>,
    preprocess: &Preprocess,
    tools: &Tools,
    tick: Tick<'_>,
) -> Result<ImageEmbeddings> {
    let network = (model, "features and embeddings");
    let (width, rows) = map_images(opened, &opened.images, network, preprocess, tools, tick, |x| {
        let encoded = model.encode_image(x);
        Tensor::cat(vec![encoded.features, encoded.embeds], 1)
    })?;
    // Where nothing projects, the feature is the embedding.
    let split = width - model.image_projection.out_size().unwrap_or(width / 2);
    let part = |from: usize, to: usize| -> Result<Embeddings> {
        let data = rows.chunks_exact(width.max(1)).flat_map(|row| row[from..to].iter().copied()).collect();
        Ok(Embeddings::new(opened.images.len(), (to - from).max(1), data)?)
    };
    Ok(ImageEmbeddings { features: part(0, split)?, embeds: part(split, width)? })
}

/// Raw encoder outputs, `[images, D]` row-major, and `D`: the input of a linear probe.
///
/// # Errors
/// As [`map_images`].
pub(crate) fn image_features(
    encoder: &ImageEncoder,
    opened: &Opened<'_>,
    preprocess: &Preprocess,
    tools: &Tools,
    tick: Tick<'_>,
) -> Result<(usize, Vec<f32>)> {
    let network = (encoder, "features");
    map_images(opened, &opened.images, network, preprocess, tools, tick, |x| encoder.forward(x).global)
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
