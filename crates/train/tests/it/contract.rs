//! What objectives may rely on: hooks, frozen layers, decay, clipping, statistics, and what the loop reports.

use std::sync::Arc;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use data::batch::PairBatch;
use data::loader::{Loader, LoaderConfig, TopicSource};
use data::record::Split;
use data::source::phantom::{Prevalence, dataset};
use data::text::Tokenizer;
use engine::fit::{FitConfig, Observer, Start, StepReport, fit, gradients, update};
use engine::objective::Objective;
use engine::optim::{OptimizerKind, clip_global_norm};
use engine::state::{Origin, TrainState};
use model::weights::collect;
use train::objective::convirt::ConVirt;

use super::micro_batch::{convirt, tiny};
use super::support::{assert_near, at, by_name, fit_config, generator, host, number, optim, tracked};
use super::toy::{Hooks, SIZE, Toy, batch, linear};

#[test]
fn hooks_see_gradients_before_the_update_and_parameters_after_it() {
    let _lock = generator();
    let device = tracked();
    let limit = 0.5;
    let batch = batch(6, SIZE, 1);
    let config = fit_config(optim(OptimizerKind::Adam, 0.1, 0.0, None));
    let mut toy = Toy::new(0.0, Hooks::FreezeTextAndClamp(limit), &device);
    let before = collect(&toy);
    assert!(before["image.weight"].data.iter().any(|v| v.abs() > limit), "nothing would be clamped");
    let gradient = by_name(gradients(&toy, &batch, None, &at(0), &device).0, &toy);
    let mut optimizer = config.optim.init(&toy);
    let mut norms = Vec::new();
    for step in 0..2 {
        let updated = update(toy, &mut optimizer, &batch, &config, 0.1, &at(step), &device);
        toy = updated.objective;
        norms.push(updated.scalars.iter().find(|(name, _)| name == "grad_norm").unwrap().1);
    }
    assert_eq!(toy.calls(false), [("after_backward", 0), ("after_step", 0), ("after_backward", 1), ("after_step", 1)]);
    let after = collect(&toy);
    for name in ["text.weight", "text.bias"] {
        assert_eq!(after[name], before[name], "{name} had no gradient");
        assert!(gradient.contains_key(name), "{name} would have no gradient anyway");
    }
    assert_ne!(after["image.bias"], before["image.bias"]);
    assert!(after["image.weight"].data.iter().all(|v| v.abs() <= limit));
    // The norm is that of what the hook left.
    let left = ["image.weight", "image.bias"].map(|name| &gradient[name].data).into_iter().flatten();
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what is tested")]
    let norm = norms[0] as f32;
    assert_near("norm", norm, left.map(|v| v * v).sum::<f32>().sqrt(), 1e-5);
}

#[test]
fn frozen_text_layers_get_no_gradient_and_never_move() {
    let _lock = generator();
    let device = tracked();
    let frozen =
        |name: &str| name.starts_with("text_encoder.embeddings.") || name.starts_with("text_encoder.encoder.layer.0.");
    let batch = batch(6, 32, 1);
    let mut objective = convirt(tiny(0.5, Some(1)));
    for size in [None, Some(2)] {
        let names = by_name(gradients(&objective, &batch, size, &at(0), &device).0, &objective.model);
        assert!(names.keys().all(|name| !frozen(name)), "{:?}", names.keys());
        assert!(names.contains_key("text_encoder.encoder.layer.1.attention.self.query.weight"));
        assert!(names.contains_key("image_encoder.conv1.weight"));
    }
    let before = collect(&objective.model);
    // Decay acts on parameters without asking for their gradient's size, so it would show.
    let config = fit_config(optim(OptimizerKind::Adamw, 0.01, 0.5, Some(1.0)));
    let mut optimizer = config.optim.init(&objective);
    for step in 0..2 {
        objective = update(objective, &mut optimizer, &batch, &config, 0.01, &at(step), &device).objective;
    }
    let after = collect(&objective.model);
    assert_eq!(before.keys().filter(|name| frozen(name)).count(), 5 + 16);
    for (name, old) in &before {
        assert_eq!(after[name] == *old, frozen(name), "{name}");
    }
}

#[test]
fn dropout_is_off_below_the_boundary_alone() {
    let _lock = generator();
    let device = tracked();
    let batch = batch(4, 32, 1);
    let text = |frozen, seed| {
        let objective = convirt(tiny(0.5, frozen));
        device.seed(seed);
        host(objective.encode(&objective.upload(&batch, &device), &at(0)).text)
    };
    let inference = |frozen| {
        let objective = convirt(tiny(0.5, frozen)).valid();
        let plain = device.clone().inner();
        host(objective.encode(&objective.upload(&batch, &plain), &at(0)).text)
    };
    assert_eq!(text(Some(2), 1), text(Some(2), 2), "all layers are frozen: nothing may be dropped");
    assert_eq!(text(Some(2), 1), inference(Some(2)));
    assert_ne!(text(Some(1), 1), text(Some(1), 2), "the last layer is trained with dropout");
    assert_ne!(text(None, 1), text(None, 2));
}

/// Gradients of zero for all of a linear layer.
fn zeros(layer: &burn::nn::Linear) -> GradientsParams {
    let mut grads = GradientsParams::new();
    let bias = layer.bias.as_ref().unwrap();
    grads.register(layer.weight.id, layer.weight.val().without_autodiff().zeros_like());
    grads.register(bias.id, bias.val().without_autodiff().zeros_like());
    grads
}

#[test]
fn decay_of_matrices_leaves_biases_alone() {
    let device = tracked();
    let (lr, decay) = (0.1, 0.5);
    for kind in [OptimizerKind::Adam, OptimizerKind::Adamw] {
        for matrices_only in [true, false] {
            let layer = linear(1, 3, 2, &device);
            let before = collect(&layer);
            let config =
                engine::optim::OptimConfig { decay_matrices_only: matrices_only, ..optim(kind, lr, decay, None) };
            let after = collect(&config.init(&layer).step(lr, layer.clone(), zeros(&layer)));
            for (name, old) in &before {
                let decays = name == "weight" || !matrices_only;
                for (old, new) in old.data.iter().zip(&after[name].data) {
                    let expected = match (decays, kind) {
                        (false, _) => *old,
                        // Without a gradient all that moves is the decay: p (1 - lr decay).
                        (true, OptimizerKind::Adamw) => old * (1.0 - 0.1 * 0.5),
                        // The decay is the gradient, and the first step of Adam is its sign.
                        (true, OptimizerKind::Adam) => old - 0.1 * old.signum(),
                    };
                    assert!((new - expected).abs() <= 1e-5, "{kind:?} {matrices_only} {name}: {old} {new} {expected}");
                }
            }
        }
    }
}

#[test]
fn clipping_scales_to_the_norm_and_no_further() {
    let device = tracked();
    let layer = linear(1, 2, 2, &device);
    let bias = layer.bias.as_ref().unwrap().id;
    // Squares: 1 + 4 + 4 + 0 and 16 + 0, together 25.
    let clipped = |max_norm| {
        let mut grads = GradientsParams::new();
        let plain = device.clone().inner();
        grads.register(layer.weight.id, Tensor::<2>::from_data([[1.0, -2.0], [2.0, 0.0]], &plain));
        grads.register(bias, Tensor::<1>::from_data([4.0, 0.0], &plain));
        let norm = clip_global_norm(&layer, &mut grads, max_norm);
        let weight = host(grads.get::<2>(layer.weight.id).unwrap()).data;
        (norm, [weight, host(grads.get::<1>(bias).unwrap()).data].concat())
    };
    for (max_norm, scale) in [(None, 1.0), (Some(10.0), 1.0), (Some(5.1), 1.0), (Some(1.0), 0.2), (Some(2.5), 0.5)] {
        let (norm, values) = clipped(max_norm);
        assert!((norm - 5.0).abs() < 1e-6, "the norm is that before clipping: {norm}");
        for (value, full) in values.iter().zip([1.0, -2.0, 2.0, 0.0, 4.0, 0.0]) {
            assert!((value - scale * full).abs() < 1e-6, "{max_norm:?}: {values:?}");
        }
    }
}

#[test]
fn an_update_on_numbers_that_are_none_never_happened() {
    let device = tracked();
    let _lock = generator();
    let good = batch(6, 32, 1);
    let mut bad = good.clone();
    bad.images[7] = f32::NAN;
    let config = fit_config(optim(OptimizerKind::Adam, 0.01, 0.0, None));
    // Statistics of the batch norms and moments of the optimizer are what a careless skip would change.
    let run = |batches: &[&PairBatch]| {
        let mut objective = convirt(tiny(0.0, None));
        let mut optimizer = config.optim.init(&objective);
        let mut skipped = Vec::new();
        for batch in batches {
            let updated = update(objective, &mut optimizer, batch, &config, 0.01, &at(3), &device);
            objective = updated.objective;
            skipped.push(updated.skipped.map(|(name, value)| (name, value.is_nan())));
        }
        (collect(&objective), skipped)
    };
    let (expected, none) = run(&[&good, &good]);
    let (actual, skipped) = run(&[&good, &bad, &good]);
    assert_eq!(none, [None, None]);
    assert_eq!(skipped, [None, Some(("loss".to_owned(), true)), None]);
    assert!(actual == expected, "the skipped update left something behind");
    assert!(run(&[&good]).0 != expected, "the updates change nothing");
}

/// Notes what the loop tells, and answers with given validation losses.
struct Notes {
    losses: std::vec::IntoIter<f64>,
    steps: Vec<u64>,
    validated: Vec<u64>,
    best: Vec<u64>,
    saved: Vec<u64>,
}

impl Observer<ConVirt> for Notes {
    fn on_step(&mut self, report: &StepReport) -> engine::Result<()> {
        for name in ["loss", "loss/image_to_text", "loss/text_to_image", "accuracy", "grad_norm", "lr"] {
            assert!(report.get(name).unwrap().is_finite(), "{name}");
        }
        assert_eq!(report.samples, 4);
        self.steps.push(report.step);
        Ok(())
    }

    fn validate(&mut self, objective: &ConVirt, step: u64) -> engine::Result<f64> {
        assert!(objective.devices().iter().all(|device| !device.is_autodiff()), "no copy for inference");
        self.validated.push(step);
        Ok(self.losses.next().unwrap())
    }

    fn on_best(&mut self, _: &ConVirt, step: u64) -> engine::Result<()> {
        self.best.push(step);
        Ok(())
    }

    fn on_save(&mut self, _: &ConVirt, _: &ModuleOptimizer, state: &TrainState) -> engine::Result<()> {
        self.saved.push(state.step);
        Ok(())
    }
}

/// Trains on eight phantoms; returns what was noted, and the objective before and after.
fn fitted(losses: Vec<f64>, config: &FitConfig) -> (Notes, ConVirt, ConVirt) {
    let tokenizer = Arc::new(Tokenizer::builtin().unwrap());
    let loader_config = LoaderConfig {
        seed: 1,
        batch_size: 4,
        image_size: 32,
        sentences: 1,
        whole_reports: false,
        sentences_beside: 0,
        max_tokens: 8,
        augment: None,
        shuffle_pairs: false,
        num_workers: 1,
        prefetch_bytes: 0,
        max_bad_fraction: 0.0,
        topics: TopicSource::None,
    };
    let studies = dataset(7, 0..8, Prevalence::Natural, Split::Train);
    let vocab = tokenizer.vocab_size();
    let loader = Loader::new(studies, 32, 1 << 20, tokenizer, loader_config).unwrap();
    let device = tracked();
    device.seed(5);
    let mut text = serde_json::to_value(super::micro_batch::config(0.1, None)).unwrap();
    text["text"]["vocab_size"] = vocab.into();
    let model: model::DualEncoderConfig = serde_json::from_value(text).unwrap();
    let objective = convirt(model.init(&device));
    let before = objective.valid();
    let mut notes = Notes {
        losses: losses.into_iter(),
        steps: Vec::new(),
        validated: Vec::new(),
        best: Vec::new(),
        saved: Vec::new(),
    };
    let start = Start::fresh(objective, &config.optim, Origin::default());
    let after = fit(start, &loader, config, &device, &mut notes).unwrap();
    (notes, before, after)
}

#[test]
fn the_loop_trains_on_the_tracked_device_and_reports_the_best() {
    let _lock = generator();
    let config =
        FitConfig { steps: 6, eval_every: 2, save_every: 4, ..fit_config(optim(OptimizerKind::Adam, 1e-3, 0.0, None)) };
    let (notes, before, after) = fitted(vec![2.0, 3.0, 1.0], &config);
    assert_eq!(notes.steps, [1, 2, 3, 4, 5, 6]);
    assert_eq!((notes.validated, notes.best), (vec![2, 4, 6], vec![2, 6]));
    assert_eq!(notes.saved, [4, 6], "every fourth and the last");
    // On a plain device statistics would stand still and nothing would be learned.
    let (before, after) = (collect(&before.model), collect(&after.model));
    for name in ["image_encoder.bn1.running_mean", "image_encoder.bn1.running_var", "text_projection.fc2.weight"] {
        assert_ne!(before[name], after[name], "{name}");
    }
}

#[test]
fn the_loop_stops_early_and_keeps_the_last_where_nothing_is_validated() {
    let _lock = generator();
    let base = FitConfig { steps: 5, ..fit_config(optim(OptimizerKind::Adam, 1e-3, 0.0, None)) };
    let early = FitConfig { eval_every: 1, early_stop: Some(2), ..base.clone() };
    let (notes, ..) = fitted(vec![1.0, 2.0, 1.5], &early);
    assert_eq!((notes.steps, notes.best), (vec![1, 2, 3], vec![1]));
    let (notes, ..) = fitted(Vec::new(), &base);
    assert_eq!((notes.validated, notes.best), (vec![], vec![5]));
}

#[test]
fn the_loss_of_several_sentences_is_the_mean_of_theirs() {
    let _lock = generator();
    let device = tracked();
    let objective = convirt(tiny(0.0, None)).valid();
    let both = batch(4, 32, 2);
    let loss = |batch: &data::batch::PairBatch| {
        let plain = device.clone().inner();
        number(objective.losses(&objective.encode(&objective.upload(batch, &plain), &at(0)), &at(0)).total())
    };
    let one = |which: usize| {
        let mut batch = both.clone();
        batch.sentences = 1;
        batch.texts.len = 4;
        let tokens = batch.texts.tokens;
        for column in [&mut batch.texts.input_ids, &mut batch.texts.attention_mask] {
            *column = column.chunks_exact(tokens).skip(which).step_by(2).flatten().copied().collect();
        }
        loss(&batch)
    };
    assert_near("mean", loss(&both), one(0).midpoint(one(1)), 1e-5);
}
