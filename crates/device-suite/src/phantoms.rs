//! The default recipe on generated radiographs, with its initial weights and its batches.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use data::batch::PairBatch;
use data::loader::{Loader, LoaderConfig, TopicSource};
use data::rng::{Purpose, key};
use engine::config::Layer;
use engine::fit::{FitConfig, update};
use engine::objective::Context;
use model::weights::{self, TensorMap};
use train::objective::convirt::ConVirt;
use train::recipe::{ObjectiveConfig, Resolved, resolve};

/// The recipe `convirt-phantom` with settings on top, its initial weights and some of its batches.
pub(crate) struct Phantoms {
    resolved: Resolved,
    weights: TensorMap,
    batches: Vec<PairBatch>,
}

impl Phantoms {
    /// Draws weights and batches on the CPU.
    pub(crate) fn new(settings: &[&str], batches: u64) -> Self {
        let layers: Vec<Layer> = settings.iter().map(|setting| Layer::set(setting).unwrap()).collect();
        let resolved = resolve("convirt-phantom", &layers).unwrap();
        let recipe = &resolved.recipe;
        let data = &recipe.data;
        let config = LoaderConfig {
            seed: recipe.run.seed,
            batch_size: data.batch_size,
            image_size: data.image_size,
            sentences: data.sentences_per_study,
            whole_reports: false,
            sentences_beside: 0,
            max_tokens: data.max_tokens,
            augment: Some(data.augment.clone()),
            shuffle_pairs: false,
            num_workers: 0,
            prefetch_bytes: 0,
            max_bad_fraction: 0.0,
            topics: TopicSource::None,
        };
        let part = recipe.data.source.parts().unwrap().train;
        let tokenizer = Arc::clone(&resolved.tokenizer);
        let loader = Loader::new(part, data.source_size, data.cache_mib << 20, tokenizer, config).unwrap();
        let batches = (0..batches).map(|step| loader.batch(step).unwrap()).collect();
        let cpu = Device::flex();
        cpu.seed(key(recipe.run.seed, Purpose::Init, 0, 0));
        let weights = weights::collect(&recipe.model.init(&cpu));
        Self { resolved, weights, batches }
    }

    /// The same with initial weights that are off by a few units of rounding, as the numbers of another device are.
    pub(crate) fn nudged(mut self) -> Self {
        for value in self.weights.values_mut().flat_map(|tensor| &mut tensor.data).step_by(2) {
            *value *= 1.0 + 4.0 * f32::EPSILON;
        }
        self
    }

    /// Updates from the initial weights; `each` gets the loss before every one, and no more are made where it says so.
    ///
    /// Topics are left out: their heads are drawn on the device.
    pub(crate) fn train(&self, device: &Device, steps: u64, lr: f64, mut each: impl FnMut(f64) -> ControlFlow<()>) {
        let recipe = &self.resolved.recipe;
        let device = device.clone().autodiff();
        let ObjectiveConfig::Convirt(loss) = &recipe.objective else { panic!("the default recipe contrasts pairs") };
        let model = recipe.model.init(&device);
        let model = weights::apply(model, self.weights.clone(), Path::new("initial weights")).unwrap();
        let mut objective = ConVirt::new(model, loss.clone(), None, recipe.preprocess());
        let config = FitConfig::updates(recipe.run.seed, steps, recipe.optim.clone());
        let mut optimizer = config.optim.init(&objective);
        for (step, batch) in (0..steps).zip(self.batches.iter().cycle()) {
            let ctx = Context { step, epoch: 0, total_steps: steps, seed: recipe.run.seed };
            let updated = update(objective, &mut optimizer, batch, &config, lr, &ctx, &device);
            objective = updated.objective;
            let (name, value) = &updated.scalars[0];
            assert_eq!(name, "loss");
            assert_eq!(updated.skipped, None);
            if each(*value).is_break() {
                break;
            }
        }
    }
}
