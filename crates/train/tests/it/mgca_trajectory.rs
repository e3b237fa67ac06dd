//! Twenty steps of a tiny MGCA model, in both flavours, follow torch's; wrong ones do not. Parts of a batch add up to it.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use data::batch::{PairBatch, TextBatch};
use engine::fit::{gradients, update};
use engine::objective::{Context, Losses, Objective};
use engine::optim::OptimizerKind;
use engine::upload::Preprocess;
use model::DualEncoderConfig;
use model::weights::{self, HostTensor, TensorMap};
use serde_json::{Value, json};
use train::objective::mgca::flavour::MgcaConfig;
use train::objective::mgca::{AlignedEmbeds, Mgca, Reports, Wording};

use super::mgca::{Fixed, ours};
use super::support::{
    Golden, assert_all_close, at, by_name, fit_config, generator, number, optim, pair_batch, scalar, tolerance, tracked,
};

/// Largest difference of a loss, relative. Torch's own single precision stays within 4e-5 of the golden, and within 9e-5 where
/// the start is disturbed in its last bit.
const TOLERANCE: f64 = 1e-3;
const STEPS: u64 = 20;
/// Batches that are shown in turn: a pass over the data.
const BATCHES: u64 = 4;

/// Our name of a tensor of MGCA's: towers keep their own names.
fn name(theirs: &str) -> Option<String> {
    let towers = [("img_encoder_q.model.", "image_encoder."), ("text_encoder_q.model.", "text_encoder.")];
    let tower = towers.iter().find_map(|(there, here)| Some(format!("{here}{}", theirs.strip_prefix(there)?)));
    tower.or_else(|| ours(theirs)).filter(|name| !name.ends_with("num_batches_tracked"))
}

fn config(golden: &Golden, flavour: &str) -> MgcaConfig {
    let mut options = golden.metadata::<Value>("options")[flavour].clone();
    options["flavour"] = json!(flavour);
    serde_json::from_value(options).unwrap()
}

/// The whole model with the initial tensors of the golden.
fn objective(golden: &Golden, config: MgcaConfig) -> Mgca {
    let mut towers: Value = golden.metadata("config");
    let sizes: Value = golden.metadata("sizes");
    towers["image"]["local_stage"] = json!(3);
    towers["text"]["pooling"] = json!("cls");
    towers["text"]["zero_positions"] = json!(config.padding_takes_part);
    towers["projection"] =
        json!({"kind": "mlp", "hidden_size": sizes["hidden_size"], "batch_norm": true, "out_affine": false});
    towers["embed_dim"] = sizes["embed_dim"].clone();
    towers["alignment"] =
        json!({"hidden_size": sizes["hidden_size"], "num_prototypes": sizes["prototypes"], "attention": true});
    let towers: DualEncoderConfig = serde_json::from_value(towers).unwrap();
    towers.validate().unwrap();
    let tensors: TensorMap =
        golden.under("param.").into_iter().filter_map(|(theirs, tensor)| Some((name(&theirs)?, tensor))).collect();
    let model = weights::apply(towers.init(&tracked()), tensors, std::path::Path::new("golden")).unwrap();
    // Ids from 22 on are pieces that go on with a word.
    let continues = (0..30).map(|id| id >= 22).collect::<Vec<_>>().into();
    let max_tokens = usize::try_from(sizes["max_tokens"].as_u64().unwrap()).unwrap();
    let preprocess = Preprocess { image_size: 33, source_size: 33, mean: vec![0.0], std: vec![1.0], framing: None };
    Mgca::new(model, config, None, Wording { continues, max_tokens }, preprocess)
}

fn batch(golden: &Golden, index: u64) -> PairBatch {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ids stored as floats")]
    let whole = |host: &HostTensor| host.data.iter().map(|&value| value as u32).collect::<Vec<u32>>();
    let part = |name: &str| golden.host(&format!("batch{index}.{name}"));
    let [len, tokens] = part("input_ids").shape[..] else { panic!("two axes") };
    let texts =
        TextBatch { len, tokens, input_ids: whole(part("input_ids")), attention_mask: whole(part("attention_mask")) };
    pair_batch(33, part("images").data.clone(), 1, texts)
}

/// The losses before each step, by their names.
fn curves(golden: &Golden, mut objective: impl Objective, lr: f64) -> Vec<Vec<(String, f64)>> {
    let device = tracked();
    let config = fit_config(optim(OptimizerKind::Adamw, lr, golden.metadata("weight_decay"), None));
    let mut optimizer = config.optim.init(&objective);
    let batches: Vec<PairBatch> = (0..BATCHES).map(|index| batch(golden, index)).collect();
    let mut curves = Vec::new();
    for (step, batch) in (0..STEPS).zip(batches.iter().cycle()) {
        let ctx = Context { epoch: step / BATCHES, ..at(step) };
        let updated = update(objective, &mut optimizer, batch, &config, lr, &ctx, &device);
        objective = updated.objective;
        curves.push(updated.scalars);
    }
    curves
}

/// Largest relative difference of any loss from the golden.
fn miss(golden: &Golden, flavour: &str, curves: &[Vec<(String, f64)>]) -> f64 {
    let names = [
        ("loss", "total"),
        ("loss/instance_loss", "instance_loss"),
        ("loss/token_loss", "token_loss"),
        ("loss/prototype_loss", "prototype_loss"),
        ("word_loss", "word_loss"),
        ("patch_loss", "patch_loss"),
    ];
    let mut worst = 0.0_f64;
    for (found, expected) in names {
        let expected = &golden.host(&format!("{flavour}.{expected}")).data;
        assert_eq!(expected.len(), curves.len());
        for (scalars, &expected) in curves.iter().zip(expected) {
            // A loss that was switched off is not there: as wrong as it can be.
            let found = scalars.iter().find(|(name, _)| name == found).map_or(f64::INFINITY, |(_, value)| *value);
            worst = worst.max((found - f64::from(expected)).abs() / f64::from(expected));
        }
    }
    worst
}

#[test]
fn twenty_steps_follow_torch_and_the_loss_falls_by_a_fifth() {
    let _lock = generator();
    let golden = Golden::read("mgca_trajectory");
    for flavour in ["paper", "reference"] {
        let curves = curves(&golden, objective(&golden, config(&golden, flavour)), golden.metadata("lr"));
        let error = miss(&golden, flavour, &curves);
        println!("{flavour}: largest difference {error:.1e}");
        assert!(error <= TOLERANCE, "{flavour} is off by {error}");
        let mean = |part: &[Vec<(String, f64)>]| part.iter().map(|scalars| scalars[0].1).sum::<f64>() / 4.0;
        let (first, last) = (mean(&curves[..4]), mean(&curves[16..]));
        assert!(last <= 0.8 * first, "the loss falls from {first} to {last} only");
    }
}

/// The objective with a text tower that learns nothing.
#[derive(Module, Debug)]
struct DetachedText {
    inner: Mgca,
}

impl Objective for DetachedText {
    type Batch = Reports;
    type Embeds = AlignedEmbeds;

    fn upload(&self, batch: &PairBatch, device: &Device) -> Reports {
        self.inner.upload(batch, device)
    }

    fn encode(&self, batch: &Reports, ctx: &Context) -> AlignedEmbeds {
        let mut embeds = self.inner.encode(batch, ctx);
        embeds.text = embeds.text.detach();
        embeds.tokens.words = embeds.tokens.words.detach();
        embeds
    }

    fn losses(&self, embeds: &AlignedEmbeds, ctx: &Context) -> Losses {
        self.inner.losses(embeds, ctx)
    }

    fn after_backward(&self, grads: &mut GradientsParams, ctx: &Context) {
        self.inner.after_backward(grads, ctx);
    }

    fn after_step(self, ctx: &Context) -> Self {
        Self { inner: self.inner.after_step(ctx) }
    }
}

#[test]
fn wrong_training_leaves_the_tolerance() {
    let _lock = generator();
    let golden = Golden::read("mgca_trajectory");
    let lr: f64 = golden.metadata("lr");
    for flavour in ["paper", "reference"] {
        let right = config(&golden, flavour);
        let wrong = |change: &dyn Fn(&mut MgcaConfig)| {
            let mut config = right.clone();
            change(&mut config);
            curves(&golden, objective(&golden, config), lr)
        };
        let other = if flavour == "paper" { 0.07 } else { 0.1 };
        let controls = [
            ("learning rate 0", curves(&golden, objective(&golden, right.clone()), 0.0)),
            ("pairs at half their weight", wrong(&|c| c.instance_weight = 0.5)),
            ("tokens at half their weight", wrong(&|c| c.token_weight = 0.5)),
            ("prototypes at half their weight", wrong(&|c| c.prototype_weight = 0.5)),
            ("the other temperature", wrong(&|c| c.instance_temperature = other)),
            ("prototypes never frozen", wrong(&|c| c.freeze_prototypes_epochs = 0)),
            ("detached text tower", curves(&golden, DetachedText { inner: objective(&golden, right.clone()) }, lr)),
        ];
        for (name, curves) in controls {
            let error = miss(&golden, flavour, &curves);
            println!("{flavour}, {name}: misses by {error:.3}");
            // The exporter's own wrong runs miss by 0.013 and more.
            assert!(error > 10.0 * TOLERANCE, "{flavour}: {name} passes for right: {error}");
        }
    }
}

/// Of unit length before every use: what the trajectory can hardly tell.
#[test]
fn prototypes_have_unit_length_from_the_start_and_after_every_step() {
    let _lock = generator();
    let golden = Golden::read("mgca_trajectory");
    let lengths = |objective: &Mgca| -> Vec<f32> {
        let rows = objective.model.alignment.as_ref().unwrap().prototypes.val();
        rows.square().sum_dim(1).into_data().iter::<f32>().collect()
    };
    let assert_unit = |objective: &Mgca| {
        for length in lengths(objective) {
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
    };
    let mut objective = objective(&golden, config(&golden, "paper"));
    assert_unit(&objective);
    let fit = fit_config(optim(OptimizerKind::Adamw, 0.1, 0.05, None));
    let mut optimizer = fit.optim.init(&objective);
    for step in 0..2 {
        let ctx = Context { epoch: 9, ..at(step) };
        objective = update(objective, &mut optimizer, &batch(&golden, 0), &fit, 0.1, &ctx, &tracked()).objective;
        assert_unit(&objective);
    }
}

#[test]
fn micro_batches_have_the_gradients_of_the_batch() {
    let _lock = generator();
    let golden = Golden::read("mgca_trajectory");
    for flavour in ["paper", "reference"] {
        // Batch normalisation sees parts, as with any accumulation: here it is fixed.
        let config = MgcaConfig { sentence_weight: 1.0, sentence_patches: 0.5, ..config(&golden, flavour) };
        let objective = objective(&golden, config).map(&mut Fixed);
        let mut batch = batch(&golden, 0);
        // Two sentences of each report, of different length.
        let ids =
            batch.texts.input_ids.chunks(batch.texts.tokens).flat_map(|ids| [ids[..4].to_vec(), ids[1..].to_vec()]);
        batch.beside = TextBatch::from_ids(&ids.collect::<Vec<_>>(), 0);
        let of = |size: Option<usize>| {
            let (grads, losses) = gradients(&objective, &batch, size, &at(0), &tracked());
            let mut map = by_name(grads, &objective);
            // Zero by theory: softmax ignores it. What is found is rounding.
            map.retain(|name, _| !name.ends_with("key.bias"));
            map.insert("loss".to_owned(), scalar(number(losses.total())));
            map
        };
        let whole = of(None);
        for size in [1, 4] {
            assert_all_close(&format!("{flavour}, parts of {size}"), &of(Some(size)), &whole, tolerance(2e-5));
        }
    }
}
