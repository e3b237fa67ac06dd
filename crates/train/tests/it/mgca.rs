//! MGCA after its encoders against its transcription in torch: losses, gradients of inputs and parameters, running statistics.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::Device;
use engine::objective::Objective;
use engine::upload::Preprocess;
use model::DualEncoderConfig;
use model::alignment::AlignmentConfig;
use model::image::ImageFeatures;
use model::projection::ProjectionConfig;
use model::text::TextFeatures;
use model::text::words::{WordPlan, WordRules, Words};
use model::weights::{self, HostTensor, TensorMap};
use serde_json::{Value, json};
use train::objective::mgca::flavour::MgcaConfig;
use train::objective::mgca::{Mgca, Wording};

use super::support::{Golden, assert_all_close, at, by_name, generator, host, number, scalar, tolerance, tracked};

/// Goldens are exact to double precision, and torch's own single precision is within 1e-5 of them (the exporter refuses a case
/// that is worse): normalisation over a few rows subtracts numbers that nearly cancel.
const TOLERANCE: f32 = 5e-5;
const MAX_TOKENS: usize = 9;

/// Names of MGCA's heads and of ours.
const NAMES: [(&str, &str); 19] = [
    ("img_encoder_q.global_embed.head.0.", "image_projection.fc1."),
    ("img_encoder_q.global_embed.head.1.", "image_projection.bn1."),
    ("img_encoder_q.global_embed.head.3.", "image_projection.fc2."),
    ("img_encoder_q.global_embed.head.4.", "image_projection.bn2."),
    ("text_encoder_q.global_embed.head.0.", "text_projection.fc1."),
    ("text_encoder_q.global_embed.head.1.", "text_projection.bn1."),
    ("text_encoder_q.global_embed.head.3.", "text_projection.fc2."),
    ("text_encoder_q.global_embed.head.4.", "text_projection.bn2."),
    ("img_encoder_q.local_embed.head.0.", "alignment.image_local.conv1."),
    ("img_encoder_q.local_embed.head.1.", "alignment.image_local.bn1."),
    ("img_encoder_q.local_embed.head.3.", "alignment.image_local.conv2."),
    ("img_encoder_q.local_embed.head.4.", "alignment.image_local.bn2."),
    ("text_encoder_q.local_embed.head.0.", "alignment.text_local.conv1."),
    ("text_encoder_q.local_embed.head.1.", "alignment.text_local.bn1."),
    ("text_encoder_q.local_embed.head.3.", "alignment.text_local.conv2."),
    ("text_encoder_q.local_embed.head.4.", "alignment.text_local.bn2."),
    ("word_local_atten_layer.", "alignment.word_attention."),
    ("patch_local_atten_layer.", "alignment.patch_attention."),
    ("prototype_layer.", "alignment.prototypes."),
];

/// Our name of a tensor of MGCA's heads, below `image_projection`, `text_projection` or `alignment`.
pub(crate) fn ours(name: &str) -> Option<String> {
    let (there, here) = NAMES.iter().find(|(there, _)| name.starts_with(there))?;
    Some(format!("{here}{}", name[there.len()..].replace("in_proj_", "in_proj.")))
}

/// Tensors under our names.
fn renamed(tensors: TensorMap) -> TensorMap {
    tensors.into_iter().filter_map(|(name, tensor)| Some((ours(&name)?, tensor))).collect()
}

/// The part of a map under a prefix, without it.
fn under(tensors: &TensorMap, prefix: &str) -> TensorMap {
    let strip = |(name, tensor): (&String, &HostTensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
    tensors.iter().filter_map(strip).collect()
}

/// The options that a golden was made with.
pub(crate) fn config(golden: &Golden, flavour: &str) -> MgcaConfig {
    let mut options: Value = golden.metadata("options");
    options["flavour"] = json!(flavour);
    serde_json::from_value(options).unwrap()
}

/// Towers that never run, with the heads of a golden on them.
fn objective(golden: &Golden, config: MgcaConfig, vit: bool) -> Mgca {
    let sizes: Value = golden.metadata("sizes");
    let size = |name: &str| usize::try_from(sizes[name].as_u64().unwrap()).unwrap();
    let image = if vit {
        json!({"kind": "vit", "image_size": 32, "patch_size": 16, "hidden_size": 8, "num_layers": 1, "num_heads": 2})
    } else {
        json!({"kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 8, "local_stage": 3})
    };
    let towers: DualEncoderConfig = serde_json::from_value(json!({
        "image": image,
        "text": {"kind": "bert", "vocab_size": 4, "hidden_size": 4, "num_layers": 1, "num_heads": 1,
                 "intermediate_size": 4, "max_position_embeddings": 4},
        "projection": {"kind": "linear"},
        "embed_dim": 4,
    }))
    .unwrap();
    let device = tracked();
    let mut model = towers.init(&device);
    let (hidden, embed) = (size("hidden_size"), size("embed_dim"));
    let tensors = renamed(golden.under("param."));
    let path = std::path::Path::new("golden");
    let head = ProjectionConfig::Mlp { hidden_size: Some(hidden), batch_norm: true, out_affine: false };
    let load = |inputs: usize, prefix: &str| {
        weights::apply(head.init(inputs, embed, &device), under(&tensors, prefix), path).unwrap()
    };
    model.image_projection = load(size("image_global"), "image_projection.");
    model.text_projection = load(size("text"), "text_projection.");
    let alignment = AlignmentConfig { hidden_size: hidden, num_prototypes: size("prototypes"), attention: true };
    let alignment = alignment.init(size("image_local"), size("text"), embed, &device);
    model.alignment = Some(weights::apply(alignment, under(&tensors, "alignment."), path).unwrap());
    let wording = Wording { continues: vec![false, true].into(), max_tokens: MAX_TOKENS };
    let preprocess = Preprocess { image_size: 32, source_size: 32, mean: vec![0.0], std: vec![1.0], framing: None };
    Mgca::new(model, config, None, wording, preprocess)
}

fn words(golden: &Golden, case: &str, config: &MgcaConfig, device: &Device) -> Words {
    let continuation = golden.host(&format!("{case}.continuation"));
    let [_, t] = continuation.shape[..] else { panic!("two axes") };
    let ids: Vec<u32> = continuation.data.iter().map(|&flag| u32::from(flag > 0.5)).collect();
    let lengths = &golden.host(&format!("{case}.lengths")).data;
    let mask: Vec<u32> =
        lengths.iter().flat_map(|&length| (0..t).map(move |i| u32::from((i as f32) < length))).collect();
    let rules =
        WordRules { separator_is_word: config.separator_is_word, full_text_truncated: config.full_text_truncated };
    WordPlan::new(&ids, &mask, t, MAX_TOKENS, rules, |id| id == 1).padded_to(MAX_TOKENS - 1).upload(device)
}

/// Batch normalisation as in evaluation, with gradients all the same.
pub(crate) struct Fixed;

impl ModuleMapper for Fixed {
    fn map_flag(&mut self, _: Param<Flag>) -> Param<Flag> {
        Param::from_bool(false)
    }
}

fn compare(name: &str, config: &MgcaConfig, tolerance_of_losses: f32) {
    let golden = Golden::read(name);
    let vit = golden.metadata::<String>("tower") == "vit";
    let device = tracked();
    for case in ["b1", "b2", "b7"] {
        let objective = objective(&golden, config.clone(), vit);
        let objective = if case == "b7" { objective } else { objective.map(&mut Fixed) };
        let key = |name: &str| format!("{case}.{name}");
        let input = |name: &str| golden.tensor::<3>(&key(name), &device).require_grad();
        let global = golden.tensor::<2>(&key("image_global"), &device).require_grad();
        let (local, tokens) = (input("image_local"), input("text_hidden"));
        let image = ImageFeatures {
            global: global.clone(),
            local: Some(local.clone()),
            attention: vit.then(|| golden.tensor::<4>(&key("image_attention"), &device)),
        };
        let [b, _, d] = tokens.dims();
        let text = TextFeatures {
            global: tokens.clone().narrow(1, 0, 1).reshape([b, d]),
            tokens: tokens.clone(),
            attention: golden.tensor::<4>(&key("text_attention"), &device),
        };
        let embeds = objective.project(image, text, &words(&golden, case, config, &device));
        let losses = objective.losses(&embeds, &at(0));
        let term = |name: &str| losses.terms.iter().find(|term| term.name == name).unwrap().value.clone();
        let metric = |name: &str| losses.metrics.iter().find(|(found, _)| *found == name).unwrap().1.clone();
        let mut actual = TensorMap::from([
            ("instance_loss".to_owned(), scalar(number(term("instance_loss")))),
            ("token_loss".to_owned(), scalar(number(term("token_loss")))),
            ("prototype_loss".to_owned(), scalar(number(term("prototype_loss")))),
            ("word_loss".to_owned(), scalar(number(metric("word_loss")))),
            ("patch_loss".to_owned(), scalar(number(metric("patch_loss")))),
            ("total".to_owned(), scalar(number(losses.total()))),
        ]);
        let expected = |names: &TensorMap, prefix: &str| -> TensorMap {
            names.keys().map(|name| (name.clone(), golden.host(&key(&format!("{prefix}{name}"))).clone())).collect()
        };
        assert_all_close(&format!("{name} {case}, losses"), &actual, &expected(&actual, ""), tolerance_of_losses);
        // The golden has them before they are divided by the number of tokens.
        let (words, patches) = (embeds.tokens.word_weights.clone(), embeds.tokens.patch_weights.clone());
        let count = patches.dims()[1] as f64;
        let (words, patches) = if config.weight_per_token {
            (words * embeds.tokens.is_word.clone().sum_dim(1), patches.mul_scalar(count))
        } else {
            (words, patches)
        };
        actual =
            TensorMap::from([("word_weights".to_owned(), host(words)), ("patch_weights".to_owned(), host(patches))]);
        assert_all_close(&format!("{name} {case}, weights"), &actual, &expected(&actual, ""), tolerance(TOLERANCE));
        let grads = losses.total().backward();
        actual = TensorMap::from([
            ("image_global".to_owned(), host(global.grad(&grads).unwrap())),
            ("image_local".to_owned(), host(local.grad(&grads).unwrap())),
            ("text_hidden".to_owned(), host(tokens.grad(&grads).unwrap())),
        ]);
        let of_inputs = expected(&actual, "grad_input.");
        assert_all_close(&format!("{name} {case}, inputs"), &actual, &of_inputs, tolerance(TOLERANCE));
        let parameters = by_name(GradientsParams::from_grads(grads, &objective), &objective.model);
        let of_parameters = renamed(golden.under(&key("grad.")));
        assert_all_close(&format!("{name} {case}, parameters"), &parameters, &of_parameters, tolerance(TOLERANCE));
        if case == "b7" {
            let after = renamed(golden.under(&key("after.")));
            let mut found = weights::collect(&objective.model);
            found.retain(|name, _| after.contains_key(name));
            assert_all_close(&format!("{name} {case}, statistics"), &found, &after, tolerance(TOLERANCE));
        }
    }
}

#[test]
fn the_published_flavour_is_that_of_torch() {
    let _lock = generator();
    for name in ["mgca_reference_resnet", "mgca_reference_vit"] {
        compare(name, &config(&Golden::read(name), "reference"), tolerance(1e-5));
    }
}

#[test]
fn the_papers_flavour_is_that_of_torch() {
    let _lock = generator();
    for name in ["mgca_paper_resnet", "mgca_paper_vit"] {
        compare(name, &config(&Golden::read(name), "paper"), tolerance(1e-5));
    }
}

/// A way to get an option wrong.
type Change = fn(&mut MgcaConfig);

/// Every option that the goldens can tell apart: with one of them wrong the comparison must fail.
#[test]
fn a_wrong_option_is_seen() {
    let _lock = generator();
    let wrong: [(&str, Change); 12] = [
        ("instance_temperature", |c| c.instance_temperature = 0.1),
        ("instance_mean", |c| c.instance_mean = true),
        ("token_temperature", |c| c.token_temperature = 0.07),
        ("token_mean", |c| c.token_mean = true),
        ("weight_per_token", |c| c.weight_per_token = true),
        ("clip_weights", |c| c.clip_weights = false),
        ("learned_attention", |c| c.learned_attention = true),
        ("raw_vit_context", |c| c.raw_vit_context = false),
        ("separator_is_word", |c| c.separator_is_word = false),
        ("padding_takes_part", |c| c.padding_takes_part = false),
        ("attention_shifted", |c| c.attention_shifted = false),
        ("full_text_truncated", |c| c.full_text_truncated = false),
    ];
    let golden = Golden::read("mgca_reference_vit");
    for (name, change) in wrong {
        let mut config = config(&golden, "reference");
        change(&mut config);
        let compared = std::panic::catch_unwind(|| compare("mgca_reference_vit", &config, tolerance(1e-5)));
        assert!(compared.is_err(), "{name} makes no difference");
    }
}

#[test]
fn codes_are_those_of_torch_and_sum_to_one() {
    let golden = Golden::read("sinkhorn");
    let (mut actual, mut expected) = (TensorMap::new(), TensorMap::new());
    for case in ["b1_k9", "b2_k9", "b7_k9", "b2_k500", "b7_k500", "b72_k40", "feasible"] {
        let cosines = golden.tensor::<2>(&format!("{case}.cosines"), &tracked());
        let codes = host(train::loss::sinkhorn::sinkhorn(cosines, 0.05, 3));
        let k = codes.shape[1];
        for row in codes.data.chunks(k) {
            let sum: f64 = row.iter().map(|&share| f64::from(share)).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{case}: a code sums to {sum}");
        }
        expected.insert(case.to_owned(), golden.host(&format!("{case}.codes")).clone());
        actual.insert(case.to_owned(), codes);
    }
    assert_all_close("codes", &actual, &expected, tolerance(1e-5));
}

#[test]
fn where_it_can_every_prototype_gets_its_share() {
    let golden = Golden::read("sinkhorn");
    let cosines = golden.tensor::<2>("feasible.cosines", &tracked());
    let [b, k] = cosines.dims();
    let codes = host(train::loss::sinkhorn::sinkhorn(cosines, 0.05, 200));
    let expected = TensorMap::from([("codes".to_owned(), golden.host("feasible.converged").clone())]);
    assert_all_close("codes", &TensorMap::from([("codes".to_owned(), codes.clone())]), &expected, tolerance(1e-5));
    let share = b as f64 / k as f64;
    for prototype in 0..k {
        let sum: f64 = codes.data.iter().skip(prototype).step_by(k).map(|&code| f64::from(code)).sum();
        assert!((sum / share - 1.0).abs() < 1e-4, "prototype {prototype} has {sum}, not {share}");
    }
}
