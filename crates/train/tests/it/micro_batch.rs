//! Micro-batches: the gradient is that of the whole batch, random numbers of the two passes are the same, and batch
//! statistics move once per part.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use data::batch::PairBatch;
use engine::fit::gradients;
use engine::objective::Objective;
use model::weights::{TensorMap, collect};
use model::{DualEncoder, DualEncoderConfig};
use train::loss::info_nce::InfoNceConfig;
use train::objective::convirt::ConVirt;

use super::support::{self, assert_all_close, assert_near, at, by_name, generator, number, tolerance, tracked};
use super::toy::{Hooks, SIZE, Toy, batch};

/// Parts of six studies: six, three, two (four and two) and one.
const SIZES: [usize; 4] = [1, 2, 4, 5];

/// Switches off everything that behaves otherwise in training, and leaves the parameters trainable.
struct AsInInference;

impl ModuleMapper for AsInInference {
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag.with_value(false)
    }
}

pub(crate) fn config(dropout: f64, frozen_text_layers: Option<usize>) -> DualEncoderConfig {
    serde_json::from_value(serde_json::json!({
        "image": { "kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 2, "in_channels": 1 },
        "text": {
            "kind": "bert", "vocab_size": 30, "hidden_size": 8, "num_layers": 2, "num_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 12, "dropout": dropout,
        },
        "projection": { "kind": "mlp" },
        "embed_dim": 6,
        "frozen_text_layers": frozen_text_layers,
    }))
    .unwrap()
}

/// A small dual encoder; call it under the lock of the generator.
pub(crate) fn tiny(dropout: f64, frozen_text_layers: Option<usize>) -> DualEncoder {
    let device = tracked();
    device.seed(5);
    let model = config(dropout, frozen_text_layers).init(&device);
    // Parameters are drawn when they are first used: now, before anything else seeds the generator.
    collect(&model);
    model
}

pub(crate) fn convirt(model: DualEncoder) -> ConVirt {
    support::convirt(model, &InfoNceConfig::default())
}

fn same_gradients<O: Objective>(what: &str, objective: &O, batch: &PairBatch, limit: f32) {
    let of = |size| {
        let (grads, losses) = gradients(objective, batch, size, &at(0), &tracked());
        (by_name(grads, objective), number(losses.total()))
    };
    let (whole, loss) = of(None);
    assert!(!whole.is_empty());
    for size in SIZES {
        let (parts, loss_of_parts) = of(Some(size));
        assert_all_close(&format!("{what}, parts of {size}"), &parts, &whole, tolerance(limit));
        assert_near("loss", loss_of_parts, loss, tolerance(limit));
    }
    // A micro-batch as large as the batch is the batch.
    assert_eq!(of(Some(batch.len)).0, whole);
}

#[test]
fn parts_of_linear_towers_have_the_gradient_of_the_batch() {
    let _lock = generator();
    // Sums of at most 24 numbers in another order: a few units of 6e-8.
    same_gradients("linear", &Toy::new(0.0, Hooks::Off, &tracked()), &batch(6, SIZE, 1), 1e-6);
}

#[test]
fn parts_of_a_dual_encoder_have_the_gradient_of_the_batch() {
    let _lock = generator();
    let model = tiny(0.5, None).map(&mut AsInInference);
    // Two sentences per study; twenty layers lose a decimal more than two linear ones.
    same_gradients("dual encoder", &convirt(model), &batch(6, 32, 2), 1e-5);
}

#[test]
fn the_first_pass_records_no_graph() {
    let _lock = generator();
    let device = tracked();
    let toy = Toy::new(0.0, Hooks::Off, &device);
    gradients(&toy, &batch(6, SIZE, 1), Some(2), &at(0), &device);
    // Burn keeps a graph that is never differentiated, and with it the activations that micro-batches are to save.
    assert_eq!(toy.calls(true).iter().map(|(_, tracked)| *tracked).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1]);
}

/// Adds a multiple of a gradient to every parameter that has one.
struct Along<'a>(&'a mut GradientsParams, f32);

impl ModuleMapper for Along<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.remove::<D>(param.id) {
            Some(grad) => {
                param.map(|value| Tensor::from_inner(value.without_autodiff() + grad.mul_scalar(self.1)).require_grad())
            }
            None => param,
        }
    }
}

#[test]
fn both_passes_draw_the_same_dropout() {
    let _lock = generator();
    let device = tracked();
    let toy = Toy::new(0.5, Hooks::Off, &device);
    let batch = batch(6, SIZE, 1);
    let of = |toy: &Toy, step| gradients(toy, &batch, Some(2), &at(step), &device);
    // For one step the loss is a function of the parameters alone, and its gradient is what is returned: a second pass
    // with other random numbers would return the gradient of another function.
    let norm: f32 = by_name(of(&toy, 0).0, &toy).values().flat_map(|t| &t.data).map(|v| v * v).sum();
    let along = |step: f32| {
        let mut grads = of(&toy, 0).0;
        number(of(&toy.clone().map(&mut Along(&mut grads, step)), 0).1.total())
    };
    let h = 1e-3 / norm.sqrt();
    let slope = (along(h) - along(-h)) / (2.0 * h);
    // Single precision of the two losses, about 1e-7, is divided by the change of 1e-3 times the norm.
    assert_near("slope along the gradient", slope, norm, 0.01);
    let losses = [0, 0, 1].map(|step| number(of(&toy, step).1.total()));
    assert_eq!(losses[0].to_bits(), losses[1].to_bits());
    assert!((losses[0] - losses[2]).abs() > 1e-3, "dropout is the same at every step: {losses:?}");
}

fn statistics(objective: &ConVirt) -> TensorMap {
    let mut tensors = collect(&objective.model);
    tensors.retain(|name, _| name.contains("running_"));
    tensors
}

#[test]
fn running_statistics_see_every_part_once() {
    let _lock = generator();
    let device = tracked();
    let batch = batch(6, 32, 1);
    let start = convirt(tiny(0.0, None));
    // A copy with statistics of its own, which clones share.
    let copy = || start.valid().train();
    let before = statistics(&start);
    for size in [6, 2] {
        let expected = copy();
        for part in batch.micro_batches(size) {
            expected.encode(&expected.upload(&part, &device), &at(0));
        }
        let found = copy();
        gradients(&found, &batch, Some(size), &at(0), &device);
        assert_all_close(&format!("parts of {size}"), &statistics(&found), &statistics(&expected), tolerance(1e-6));
        for (name, old) in &before {
            assert_ne!(statistics(&found)[name], *old, "{name} did not move");
        }
    }
    assert_eq!(statistics(&start), before, "copies share statistics: the test compares a thing with itself");
}
