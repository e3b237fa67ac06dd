//! Twenty steps of a tiny ConVIRT model follow torch's; wrong ones do not.

use burn::module::Module;
use burn::tensor::Device;
use data::batch::PairBatch;
use engine::fit::update;
use engine::objective::{Context, Losses, Objective};
use engine::optim::OptimizerKind;
use train::loss::info_nce::InfoNceConfig;
use train::objective::convirt::{ConVirt, PairEmbeds, Pairs};

use super::support::{Golden, at, fit_config, generator, optim, tracked};

/// Largest difference of a loss, relative. Torch's own single precision stays within 7e-7 of the golden.
const TOLERANCE: f64 = 1e-3;
const STEPS: u64 = 20;
/// Batches that are shown in turn.
const BATCHES: usize = 4;

/// The objective with a text tower that learns nothing.
#[derive(Module, Debug)]
struct DetachedText {
    inner: ConVirt,
}

impl Objective for DetachedText {
    type Batch = Pairs;
    type Embeds = PairEmbeds;

    fn upload(&self, batch: &PairBatch, device: &Device) -> Pairs {
        self.inner.upload(batch, device)
    }

    fn encode(&self, batch: &Pairs, ctx: &Context) -> PairEmbeds {
        let embeds = self.inner.encode(batch, ctx);
        PairEmbeds { text: embeds.text.clone().detach(), ..embeds }
    }

    fn losses(&self, embeds: &PairEmbeds, ctx: &Context) -> Losses {
        self.inner.losses(embeds, ctx)
    }
}

/// The loss before each step.
fn losses(golden: &Golden, mut objective: impl Objective, lr: f64) -> Vec<f64> {
    let device = tracked();
    let config = fit_config(optim(OptimizerKind::Adam, lr, golden.metadata("weight_decay"), None));
    let mut optimizer = config.optim.init(&objective);
    let batches: Vec<PairBatch> = (0..BATCHES).map(|i| golden.batch(&format!("batch{i}."))).collect();
    let mut curve = Vec::new();
    for (step, batch) in (0..STEPS).zip(batches.iter().cycle()) {
        let updated = update(objective, &mut optimizer, batch, &config, lr, &at(step), &device);
        objective = updated.objective;
        let scalars = updated.scalars;
        assert_eq!(scalars[0].0, "loss");
        curve.push(scalars[0].1);
    }
    curve
}

/// Largest relative difference from the golden.
fn miss(golden: &Golden, curve: &[f64]) -> f64 {
    let expected = &golden.host("losses").data;
    assert_eq!(curve.len(), expected.len());
    let miss = |(found, &expected): (&f64, &f32)| (found - f64::from(expected)).abs() / f64::from(expected);
    curve.iter().zip(expected).map(miss).fold(0.0, f64::max)
}

#[test]
fn twenty_steps_follow_torch_and_the_loss_falls_by_a_fifth() {
    let _lock = generator();
    let golden = Golden::read("trajectory");
    let curve = losses(&golden, golden.objective(&golden.loss()), golden.metadata("lr"));
    let error = miss(&golden, &curve);
    println!("largest difference {error:.1e}");
    assert!(error <= TOLERANCE, "off by {error}: {curve:?}");
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&curve[..BATCHES]), mean(&curve[curve.len() - BATCHES..]));
    assert!(last <= 0.8 * first, "the loss falls from {first} to {last} only");
}

#[test]
fn wrong_training_leaves_the_tolerance() {
    let _lock = generator();
    let golden = Golden::read("trajectory");
    let (right, lr) = (golden.loss(), golden.metadata("lr"));
    let wrong = |loss: &InfoNceConfig, lr| losses(&golden, golden.objective(loss), lr);
    let controls = [
        ("learning rate 0", wrong(&right, 0.0)),
        ("lambda 0.5", wrong(&InfoNceConfig { lambda: 0.5, ..right.clone() }, lr)),
        ("temperature 0.07", wrong(&InfoNceConfig { temperature: 0.07, ..right.clone() }, lr)),
        ("detached text tower", losses(&golden, DetachedText { inner: golden.objective(&right) }, lr)),
    ];
    for (name, curve) in controls {
        let error = miss(&golden, &curve);
        println!("{name}: misses by {error:.2}");
        // The exporter's own wrong runs miss by 0.06 and more.
        assert!(error > 10.0 * TOLERANCE, "{name} passes for right: {error}");
    }
}
