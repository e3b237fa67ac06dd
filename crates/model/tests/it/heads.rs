//! Operations, projection heads, the dual encoder and the classifier against torch: `scripts/golden/heads.py`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use model::head::classifier::ImageClassifierConfig;
use model::image::ImageEncoderConfig;
use model::image::resnet::{BlockKind, ResNetConfig};
use model::ops::{bce_with_logits, cross_entropy, gelu, l2_normalize, log_softmax_rows, mean_similarity};
use model::projection::ProjectionConfig;
use model::text::bert::{BertConfig, Pooling};
use model::text::{TextEncoderConfig, TextInput};
use model::weights::{self, HostTensor};
use model::{DualEncoder, DualEncoderConfig};

use super::support::{Golden, MODULE, STACK, assert_all_close, assert_close, device, gradients, host};

/// Output and gradient of the input under the golden's weighting, on the plain device and with a graph.
fn check<const D: usize>(golden: &Golden, name: &str, function: impl Fn(Tensor<D>) -> Tensor<D>) {
    let key = |part: &str| format!("{name}.{part}");
    let plain = function(golden.tensor(&key("input"), &device()));
    assert_close(name, &host(plain), golden.host(&key("output")), MODULE);
    let device = device().autodiff();
    let x = golden.tensor::<D>(&key("input"), &device).require_grad();
    let y = function(x.clone());
    let grads = (y.clone() * golden.tensor(&key("weights"), &device)).sum().backward();
    assert_close(name, &host(y), golden.host(&key("output")), MODULE);
    assert_close(&key("gradient"), &host(x.grad(&grads).unwrap()), golden.host(&key("grad_input")), MODULE);
}

#[test]
fn operations() {
    let golden = Golden::read("heads");
    check::<1>(&golden, "gelu", gelu);
    check(&golden, "l2_normalize", l2_normalize);
    check(&golden, "l2_normalize_zero", l2_normalize);
    check(&golden, "log_softmax_two", log_softmax_rows);
    check(&golden, "log_softmax_large", log_softmax_rows);
}

#[test]
fn the_mean_similarity_is_that_of_all_pairs() {
    let device = device();
    let of = |rows: &[[f32; 2]]| {
        let rows: Vec<f32> = rows.concat();
        let rows = Tensor::<1>::from_floats(rows.as_slice(), &device).reshape([-1, 2]);
        mean_similarity(rows).into_scalar::<f32>()
    };
    let (x, y, d) = ([1.0, 0.0], [0.0, 1.0], [0.6, 0.8]);
    // Pairs: x y = 0, x d = 0.6, y d = 0.8. Four products and sums of single precision lose less than 1e-6.
    for (rows, expected) in [(vec![x, x, x], 1.0), (vec![x, y], 0.0), (vec![x, y, d], 1.4 / 3.0), (vec![d], 0.0)] {
        assert!((of(&rows) - expected).abs() < 1e-6, "{rows:?}: {}", of(&rows));
    }
}

#[test]
fn projection_heads() {
    let golden = Golden::read("heads");
    let device = device().autodiff();
    let cases = [
        ("linear", ProjectionConfig::Linear { bias: true }),
        ("mlp", ProjectionConfig::Mlp { hidden_size: Some(7), batch_norm: false, out_affine: true }),
        ("mlp_default", ProjectionConfig::Mlp { hidden_size: None, batch_norm: false, out_affine: true }),
    ];
    for (name, config) in cases {
        let head = golden.load(config.init(9, 5, &device), &format!("{name}.param."));
        check(&golden, name, |x| if x.is_autodiff() { head.forward(x) } else { head.valid().forward(x) });
        let y = head.forward(golden.tensor(&format!("{name}.input"), &device));
        let grads = (y * golden.tensor(&format!("{name}.weights"), &device)).sum().backward();
        assert_all_close(name, &gradients(grads, &head), &golden.under(&format!("{name}.grad.")), MODULE);
    }
}

#[test]
fn projection_head_with_batch_norm() {
    let golden = Golden::read("heads");
    let config = ProjectionConfig::Mlp { hidden_size: Some(7), batch_norm: true, out_affine: true };
    let head = golden.load(config.init(9, 5, &device().autodiff()), "mlp_batch_norm.param.");
    let golden_host = |name: &str| golden.host(&format!("mlp_batch_norm.{name}"));
    let plain = head.valid().forward(golden.tensor("mlp_batch_norm.input", &device()));
    assert_close("output in evaluation", &host(plain), golden_host("eval.output"), MODULE);
    let device = device().autodiff();
    let x = golden.tensor::<2>("mlp_batch_norm.input", &device).require_grad();
    let y = head.forward(x.clone());
    assert_close("output in training", &host(y.clone()), golden_host("train.output"), MODULE);
    let mut grads = (y * golden.tensor("mlp_batch_norm.weights", &device)).sum().backward();
    let grad_input = x.grad_remove(&mut grads).unwrap();
    assert_close("gradient of the input", &host(grad_input), golden_host("grad_input"), MODULE);
    assert_all_close("gradients", &gradients(grads, &head), &golden.under("mlp_batch_norm.grad."), MODULE);
    let mut running = weights::collect(&head);
    running.retain(|name, _| name.contains("running_"));
    assert_all_close("running statistics", &running, &golden.under("mlp_batch_norm.after."), MODULE);
}

fn resnet(in_channels: usize) -> ImageEncoderConfig {
    ImageEncoderConfig::Resnet(ResNetConfig {
        block: BlockKind::Basic,
        stages: [1, 1, 1, 1],
        width: 2,
        in_channels,
        local_stage: None,
        local_position: false,
        upsample: None,
    })
}

fn dual_encoder(frozen_text_layers: Option<usize>) -> (Golden, DualEncoder) {
    let golden = Golden::read("dual_encoder");
    let text = BertConfig {
        vocab_size: 20,
        hidden_size: 16,
        num_layers: 1,
        num_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: 10,
        type_vocab_size: 2,
        dropout: 0.0,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
        pooling: Pooling::Max,
        pooled_layers: Vec::new(),
        zero_positions: false,
    };
    let config = DualEncoderConfig {
        image: resnet(1),
        text: TextEncoderConfig::Bert(text),
        projection: ProjectionConfig::Mlp { hidden_size: Some(11), batch_norm: false, out_affine: true },
        text_projection: None,
        embed_dim: 6,
        frozen_text_layers,
        alignment: None,
    };
    config.validate().unwrap();
    let model = golden.load(config.init(&device().autodiff()), "param.");
    (golden, model)
}

fn texts(golden: &Golden, device: &Device) -> TextInput {
    TextInput { input_ids: golden.ids("input_ids", device), padding: golden.padding("attention_mask", device) }
}

#[test]
fn dual_encoder_in_evaluation() {
    let (golden, model) = dual_encoder(None);
    let model = model.valid();
    let image = model.encode_image(golden.tensor("images", &device()));
    let text = model.encode_text(texts(&golden, &device()));
    let pairs = [
        ("eval.image_features", image.features),
        ("eval.image_embeds", image.embeds),
        ("eval.text_features", text.features),
        ("eval.text_embeds", text.embeds),
    ];
    for (name, actual) in pairs {
        assert_close(name, &host(actual), golden.host(name), STACK);
    }
}

#[test]
fn dual_encoder_in_training() {
    for frozen in [None, Some(0), Some(1)] {
        let (golden, model) = dual_encoder(frozen);
        let device = device().autodiff();
        let image = model.encode_image(golden.tensor("images", &device)).embeds;
        let text = model.encode_text(texts(&golden, &device)).embeds;
        assert_close("image embeds", &host(image.clone()), golden.host("train.image_embeds"), STACK);
        assert_close("text embeds", &host(text.clone()), golden.host("train.text_embeds"), STACK);
        let image_sum = (image * golden.tensor("weights.image", &device)).sum();
        let text_sum = (text * golden.tensor("weights.text", &device)).sum();
        let grads = gradients((image_sum + text_sum).backward(), &model);
        let mut expected = golden.under("grad.");
        let boundary = match frozen {
            None => "nothing",
            Some(0) => "text_encoder.embeddings.",
            Some(_) => "text_encoder.",
        };
        expected.retain(|name, _| !name.starts_with(boundary));
        assert_all_close(&format!("gradients, frozen {frozen:?}"), &grads, &expected, STACK);
    }
}

#[test]
fn binary_cross_entropy() {
    let golden = Golden::read("heads");
    let device = device().autodiff();
    let logits = golden.tensor::<2>("bce.logits", &device).require_grad();
    let [labels, labelled] = ["bce.labels", "bce.labelled"].map(|name| golden.tensor(name, &device));
    let loss = bce_with_logits(logits.clone(), labels, labelled);
    assert_close("loss", &scalar(&loss), golden.host("bce.loss"), MODULE);
    let grads = loss.backward();
    assert_close("gradient", &host(logits.grad(&grads).unwrap()), golden.host("bce.grad_logits"), MODULE);
}

#[test]
fn cross_entropy_of_exclusive_classes() {
    let golden = Golden::read("cross_entropy");
    let device = device().autodiff();
    let logits = golden.tensor::<2>("logits", &device).require_grad();
    let loss = cross_entropy(logits.clone(), golden.tensor("targets", &device));
    assert_close("loss", &scalar(&loss), golden.host("loss"), MODULE);
    let grads = loss.backward();
    assert_close("gradient", &host(logits.grad(&grads).unwrap()), golden.host("grad_logits"), MODULE);
}

/// A loss in the shape that torch gives it.
fn scalar(loss: &Tensor<1>) -> HostTensor {
    HostTensor { shape: vec![], ..host(loss.clone()) }
}

#[test]
fn classifier() {
    let golden = Golden::read("classifier");
    let config = ImageClassifierConfig { image: resnet(3), num_classes: 4, dropout: 0.0 };
    config.validate().unwrap();
    let model = golden.load(config.init(&device().autodiff()), "param.");
    let plain = model.valid().forward(golden.tensor("images", &device()));
    assert_close("logits in evaluation", &host(plain), golden.host("eval.logits"), STACK);
    let device = device().autodiff();
    let logits = model.forward(golden.tensor("images", &device));
    assert_close("logits in training", &host(logits.clone()), golden.host("train.logits"), STACK);
    let loss = bce_with_logits(logits.clone(), golden.tensor("labels", &device), logits.ones_like());
    assert_close("loss", &scalar(&loss), golden.host("loss"), STACK);
    assert_all_close("gradients", &gradients(loss.backward(), &model), &golden.under("grad."), STACK);
}
