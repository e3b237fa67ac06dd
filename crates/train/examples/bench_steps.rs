//! One side of `scripts/bench_pytorch.py`: does a piece of work whenever it is asked, and says how many seconds it took.
//!
//! `cargo run --release -p train --example bench_steps -- TASK BATCH` prints a line of JSON with the sizes of the work, then answers
//! each line of standard input: `go` with seconds, `memory` with the peak in bytes.
//!
//! `reports-*` are updates of `ConVIRT` on sentences of a CSV of reports, which the variable `REPORTS` names: padded to 112
//! tokens as usual pipelines do, to the longest of the batch, without padding, and with the frozen layers' states kept.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use data::batch::{PairBatch, TextBatch};
use data::rng::{Purpose, stream};
use data::source::texts::TextsConfig;
use engine::clock::{Stopwatch, peak_memory_bytes};
use engine::config::Layer;
use engine::device::DeviceSpec;
use engine::fit::{FitConfig, update};
use engine::objective::{Context, Objective};
use engine::upload::texts;
use model::text::frozen::FrozenStates;
use serde_json::{Value, json};
use train::batches::Batches;
use train::objective::convirt::ConVirt;
use train::objective::medclip::MedClip;
use train::objective::mgca::{Mgca, Wording};
use train::recipe::{ObjectiveConfig, Recipe, Resolved, resolve};

type Failure = Box<dyn std::error::Error>;
/// A piece of work.
type Work = Box<dyn FnMut()>;

/// Tokens of a sentence in the work on text alone and in the step of `ConVIRT`.
const TOKENS: usize = 64;
/// Tokens to which usual pipelines pad every text.
const FIXED: usize = 112;
/// Findings of a study (`MedCLIP`).
const CLASSES: usize = 14;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Failure> {
    model::ops::keep_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, batch] = arguments.as_slice() else { return Err("give a task and a batch size".into()) };
    let (mut work, sizes) = work(task, batch.parse()?)?;
    let mut out = std::io::stdout();
    writeln!(out, "{sizes}")?;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "go" => {
                let clock = Stopwatch::start();
                work();
                writeln!(out, "{}", clock.seconds())?;
            }
            "memory" => writeln!(out, "{}", peak_memory_bytes().unwrap_or(0))?,
            other => return Err(format!("unknown request {other:?}").into()),
        }
        out.flush()?;
    }
    Ok(())
}

fn work(task: &str, batch: usize) -> Result<(Work, Value), Failure> {
    let plain = "auto".parse::<DeviceSpec>()?.open()?.0;
    let tracked = plain.clone().autodiff();
    let resolved = recipe(task)?;
    let recipe = resolved.recipe.clone();
    let size = recipe.data.image_size;
    let tokens = match &recipe.objective {
        ObjectiveConfig::Mgca(_) | ObjectiveConfig::Medclip(_) => recipe.data.max_tokens,
        _ => TOKENS,
    };
    let mut sizes = json!({ "image": size, "tokens": tokens });
    let work: Work = match task {
        "resnet50-inference" => {
            let model = recipe.model.image.init(&plain);
            let images = images(batch, size, &plain);
            Box::new(move || read(&model.forward(images.clone()).global))
        }
        "resnet50-training" => {
            let model = recipe.model.image.init(&tracked);
            let images = images(batch, size, &tracked);
            Box::new(move || {
                let loss = model.forward(images.clone()).global.square().mean();
                let _ = GradientsParams::from_grads(loss.backward(), &model);
            })
        }
        "bert-inference" | "bert-training" => {
            let training = task == "bert-training";
            let device = if training { &tracked } else { &plain };
            let model = recipe.model.text.init(device);
            let text = texts(&TextBatch::from_ids(&vec![vec![7; tokens]; batch], 0), device);
            let frozen = recipe.model.frozen_text_layers.filter(|_| training);
            Box::new(move || {
                let features = model.forward(text.clone(), frozen).global;
                if training {
                    let _ = GradientsParams::from_grads(features.square().mean().backward(), &model);
                } else {
                    read(&features);
                }
            })
        }
        _ => {
            let pairs = match task.strip_prefix("reports-") {
                Some(form) => reports(form, &resolved, batch)?,
                None => vec![pairs(task, &resolved, batch, tokens)?],
            };
            // The other side of reports pads as usual.
            let is_reports = task.starts_with("reports-");
            sizes["tokens"] = json!(if is_reports { FIXED } else { pairs[0].texts.tokens });
            sizes["vocabulary"] = json!(recipe.model.text.vocab_size());
            let mut model = recipe.model.init(&tracked);
            if task.starts_with("reports-") && task.ends_with("kept") {
                model.text_encoder = model.text_encoder.keeping(Arc::new(FrozenStates::in_memory(usize::MAX)));
                // The first epoch fills the memory; what is measured are those that follow.
                for batch in &pairs {
                    read(&model.encode_text(texts(&batch.texts, &tracked)).embeds);
                }
            }
            match &recipe.objective {
                ObjectiveConfig::Convirt(loss) => {
                    let objective = ConVirt::new(model, loss.clone(), None, recipe.preprocess());
                    steps(objective, pairs, &recipe, tracked)
                }
                ObjectiveConfig::Mgca(loss) => {
                    let wording = Wording::new(&resolved.tokenizer, tokens);
                    steps(Mgca::new(model, loss.clone(), None, wording, recipe.preprocess()), pairs, &recipe, tracked)
                }
                ObjectiveConfig::Medclip(loss) => {
                    steps(MedClip::new(model, loss.clone(), None, recipe.preprocess()), pairs, &recipe, tracked)
                }
                ObjectiveConfig::Supervised(_) => return Err("supervised training is no task here".into()),
            }
        }
    };
    Ok((work, sizes))
}

/// The recipe of a task, with data that need no file.
fn recipe(task: &str) -> Result<Resolved, Failure> {
    let (name, set): (&str, &[&str]) = match task {
        "phantom-step" => ("convirt-phantom", &["data.source.train=512", "objective.topics=0"]),
        "mgca-step" => ("mgca-rn50", &["data.source.manifest=pairs.csv"]),
        "medclip-step" => ("medclip-rn50", &["data.source.manifest=a.csv", "data.texts.manifest=b.csv"]),
        _ => ("convirt-rn50", &["data.source.manifest=pairs.csv"]),
    };
    let set = set.iter().map(|set| Layer::set(set)).collect::<Result<Vec<_>, _>>()?;
    Ok(resolve(name, &set)?)
}

/// Batches of one random sentence of each report, with random pixels.
fn reports(form: &str, resolved: &Resolved, batch: usize) -> Result<Vec<PairBatch>, Failure> {
    const BATCHES: usize = 24;
    let path = std::env::var("REPORTS").map_err(|_| "REPORTS must name a CSV of reports")?;
    let config: TextsConfig = serde_json::from_value(json!({ "kind": "reports", "manifest": path }))?;
    let mut sentences = Vec::new();
    for (report, number) in config.read()?.reports.iter().zip(0..) {
        let drawn = stream(0, Purpose::Sentence, 0, number).below(report.sentences.len());
        sentences.push(resolved.tokenizer.encode(report.sentences[drawn].expose(), FIXED)?.input_ids);
    }
    let longer =
        |ids: &[u32], len: usize| ids.iter().copied().chain(std::iter::repeat(7)).take(len).collect::<Vec<u32>>();
    let batches = sentences.chunks_exact(batch).take(BATCHES).map(|ids| {
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
        let ids: Vec<Vec<u32>> = match form {
            "fixed" | "fixed-kept" => ids.iter().map(|ids| longer(ids, FIXED)).collect(),
            "longest" => ids.iter().map(|ids| longer(ids, longest)).collect(),
            _ => ids.to_vec(),
        };
        Ok(PairBatch { texts: TextBatch::from_ids(&ids, 0), ..pairs("convirt-step", resolved, batch, 2)? })
    });
    batches.collect()
}

fn images(batch: usize, size: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 3, size, size], Distribution::Normal(0.0, 1.0), device)
}

fn read(tensor: &Tensor<2>) {
    let _ = std::hint::black_box(tensor.clone().into_data());
}

/// A batch: of phantoms where the recipe has them, else random pixels and texts of full length.
fn pairs(task: &str, resolved: &Resolved, batch: usize, tokens: usize) -> Result<PairBatch, Failure> {
    let recipe = &resolved.recipe;
    if task == "phantom-step" {
        let mut recipe = recipe.clone();
        recipe.data.batch_size = batch;
        let parts = recipe.data.source.parts()?;
        return Ok(Batches::new(&recipe, &resolved.tokenizer, &parts.train)?.loader(&parts.train, None)?.batch(0)?);
    }
    let size = recipe.data.image_size;
    let sentences = recipe.data.sentences_per_study;
    let label = |i: usize| if i.is_multiple_of(3) { 1.0 } else { 0.0 };
    let labels: Vec<f32> = (0..batch * CLASSES).map(label).collect();
    let is_medclip = matches!(recipe.objective, ObjectiveConfig::Medclip(_));
    Ok(PairBatch {
        len: batch,
        size,
        images: (0..batch * size * size).map(|i| (i % 251) as f32 / 251.0).collect(),
        sentences,
        texts: TextBatch::from_ids(&vec![vec![7; tokens]; batch * sentences], 0),
        beside: TextBatch::default(),
        topics: Vec::new(),
        classes: if is_medclip { CLASSES } else { 0 },
        labels: if is_medclip { labels.clone() } else { Vec::new() },
        text_labels: if is_medclip { labels } else { Vec::new() },
        studies: (0..).take(batch).collect(),
    })
}

/// Updates of an objective on the same batches again and again, from images in memory to new weights.
fn steps<O: Objective + 'static>(objective: O, batches: Vec<PairBatch>, recipe: &Recipe, device: Device) -> Work {
    let config = FitConfig::updates(0, u64::MAX, recipe.optim.clone());
    let mut optimizer = config.optim.init(&objective);
    let mut objective = Some(objective);
    let mut step = 0;
    Box::new(move || {
        let ctx = Context { step, epoch: 1, total_steps: u64::MAX, seed: 0 };
        let batch = &batches[usize::try_from(step).unwrap_or(0) % batches.len()];
        step += 1;
        if let Some(now) = objective.take() {
            // The rate is that of weights that are trained on: with random pixels a larger one could end in NaN.
            objective = Some(update(now, &mut optimizer, batch, &config, 1e-6, &ctx, &device).objective);
        }
    })
}
