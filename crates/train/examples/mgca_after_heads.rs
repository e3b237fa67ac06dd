//! Seconds of MGCA's three losses with their gradients, and of a whole update with ResNet-50, at random values.
//!
//! `cargo run --release -p train --example mgca_after_heads -- [--whole] [ROUNDS]` prints JSON; `scripts/bench_mgca.py` runs it
//! beside torch.

use std::io::Write as _;

use burn::tensor::{Device, Distribution, Tensor};
use data::batch::{PairBatch, TextBatch};
use engine::clock::Stopwatch;
use engine::config::Layer;
use engine::objective::{Context, Objective};
use model::ops::l2_normalize;
use serde_json::json;
use train::loss::token::Tokens;
use train::objective::mgca::{AlignedEmbeds, Mgca, Wording};
use train::recipe::{ObjectiveConfig, resolve};

/// Sizes of the published system at batch 32: 19 x 19 patches, 111 words with their padding.
const PAIRS: usize = 32;
const PATCHES: usize = 361;
const TOKENS: usize = 112;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let whole = std::env::args().any(|arg| arg == "--whole");
    let rounds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(5_usize);
    let device = "auto".parse::<engine::device::DeviceSpec>()?.open()?.0.autodiff();
    let settings = ["data.source.manifest=pairs.csv", "data.tokenizer.path="].map(Layer::set);
    let resolved = resolve("mgca-rn50", &settings.into_iter().collect::<Result<Vec<_>, _>>()?)?;
    let recipe = &resolved.recipe;
    let ObjectiveConfig::Mgca(config) = &recipe.objective else { return Err("the recipe is MGCA's".into()) };
    let wording = Wording::new(&resolved.tokenizer, TOKENS);
    let objective = Mgca::new(recipe.model.init(&device), config.clone(), None, wording, recipe.preprocess());
    let ctx = Context { step: 0, epoch: 1, total_steps: 1, seed: 0 };
    let embeds = embeds(recipe.model.embed_dim, &device);
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let clock = Stopwatch::start();
        let losses = objective.losses(&embeds, &ctx);
        let grads = losses.total().backward();
        let _ = embeds.image.grad(&grads).map(Tensor::into_data);
        seconds.push(clock.seconds());
    }
    let mut report = json!({ "after_heads": seconds });
    if whole {
        let batch = batch(recipe.data.image_size);
        let clock = Stopwatch::start();
        let (_, losses) = engine::fit::gradients(&objective, &batch, None, &ctx, &device);
        let _ = losses.total().into_data();
        report["whole"] = json!(clock.seconds());
    }
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

/// Random rows of unit length.
fn rows(count: usize, width: usize, device: &Device) -> Tensor<2> {
    let values = Tensor::random([count, width], Distribution::Normal(0.0, 1.0), device);
    l2_normalize(values).without_autodiff().autodiff().require_grad()
}

fn embeds(width: usize, device: &Device) -> AlignedEmbeds {
    let local = |count: usize| {
        let rows = rows(PAIRS * count, width, device).without_autodiff();
        rows.reshape([PAIRS, count, width]).autodiff().require_grad()
    };
    let words = TOKENS - 1;
    AlignedEmbeds {
        image: rows(PAIRS, width, device),
        text: rows(PAIRS, width, device),
        tokens: Tokens {
            words: local(words),
            word_weights: Tensor::full([PAIRS, words], 1.0 / words as f64, device),
            is_word: Tensor::ones([PAIRS, words], device),
            patches: local(PATCHES),
            patch_weights: Tensor::full([PAIRS, PATCHES], 1.0 / PATCHES as f64, device),
        },
        sentences: None,
        topics: None,
    }
}

/// Grey images and reports of full length.
fn batch(size: usize) -> PairBatch {
    let ids: Vec<Vec<u32>> = (0..PAIRS).map(|_| vec![7; TOKENS]).collect();
    PairBatch {
        len: PAIRS,
        size,
        images: (0..PAIRS * size * size).map(|i| (i % 251) as f32 / 251.0).collect(),
        sentences: 1,
        texts: TextBatch::from_ids(&ids, 0),
        beside: TextBatch::default(),
        topics: Vec::new(),
        classes: 0,
        labels: Vec::new(),
        text_labels: Vec::new(),
        studies: (0..).take(PAIRS).collect(),
    }
}
