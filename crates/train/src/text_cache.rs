//! What the frozen layers of the text tower return, kept for each sentence while a run lasts, and longer where a folder is named.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module as _;
use data::error::DataError;
use data::fsx;
use model::DualEncoder;
use model::text::frozen::FrozenStates;
use model::weights::collect;

use crate::error::TrainError;
use crate::recipe::Recipe;

/// The model with a memory for what its frozen text layers return; itself where none are frozen.
///
/// The file of a folder is named by the frozen weights, so that other weights find nothing in it. It holds the token ids of
/// texts: the folder is for its owner alone, as a run folder is.
///
/// # Errors
/// If the folder cannot be used.
pub(crate) fn keep_states(recipe: &Recipe, mut model: DualEncoder) -> Result<DualEncoder, TrainError> {
    let Some(layers) = recipe.model.frozen_text_layers else { return Ok(model) };
    let limit = recipe.data.text_cache_mib << 20;
    let states = match &recipe.data.text_cache {
        None => FrozenStates::in_memory(limit),
        Some(folder) => {
            fsx::create_private_dir(folder)?;
            // Random weights are drawn where they are first looked at, and the image tower's come first.
            let _ = model.image_encoder.valid();
            let path = folder.join(format!("{}.states", digest(&model, layers)));
            FrozenStates::in_file(&path, limit).map_err(|source| unusable(&path, source))?
        }
    };
    model.text_encoder = model.text_encoder.keeping(Arc::new(states));
    Ok(model)
}

fn unusable(path: &Path, source: std::io::Error) -> TrainError {
    DataError::Io { action: "open", path: path.to_owned(), source }.into()
}

/// SHA-256 of the frozen tensors and their number of layers.
fn digest(model: &DualEncoder, layers: usize) -> String {
    let is_frozen = |name: &str| match name.strip_prefix("encoder.layer.") {
        Some(rest) => rest.split('.').next().and_then(|i| i.parse::<usize>().ok()).is_some_and(|i| i < layers),
        None => name.starts_with("embeddings."),
    };
    let mut text = format!("{layers}");
    for (name, tensor) in collect(&model.text_encoder).iter().filter(|(name, _)| is_frozen(name)) {
        // Writing to a string cannot fail.
        let _ = write!(text, " {name} {}", fsx::sha256_hex(bytemuck::cast_slice(&tensor.data)));
    }
    fsx::sha256_hex(text.as_bytes())
}
