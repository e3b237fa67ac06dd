//! MedCLIP's loss against torch (`scripts/golden/medclip.py`), against numbers known apart from any library, against
//! differences, and in the objective.

use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use data::batch::PairBatch;
use engine::fit::{gradients, update};
use engine::objective::{Losses, Objective};
use engine::optim::OptimizerKind;
use engine::upload::Preprocess;
use model::head::logit_scale::LogitScale;
use model::ops::l2_normalize;
use model::weights::{self, HostTensor, TensorMap, collect};
use serde_json::{Value, json};
use train::loss::info_nce::info_nce_of_logits;
use train::loss::soft_info_nce::{LabelSimilarity, SoftInfoNce, soft_info_nce};
use train::objective::medclip::{LabelEmbeds, LabelValues, LabelledEmbeds, MedClip, MedClipConfig};

use super::micro_batch::tiny;
use super::support::{
    Golden, assert_all_close, assert_near, at, by_name, device, fit_config, generator, host, number, optim, scalar,
    tolerance, tracked,
};
use super::toy::batch;

/// Goldens are exact to double precision and torch's own single precision is within 6e-7 of them.
const TOLERANCE: f32 = 1e-5;

fn config(options: Value) -> MedClipConfig {
    let mut all = json!({"flavour": "reference", "label_similarity": "dot"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// The objective on a tiny model of images of 32 by 32 pixels; call it under the lock of the generator.
fn objective(config: MedClipConfig, log_scale: Option<f32>) -> MedClip {
    let preprocess = Preprocess { image_size: 32, source_size: 32, mean: vec![0.0], std: vec![1.0], framing: None };
    MedClip::new(tiny(0.0, None), config, log_scale, preprocess)
}

/// The value of a scale with a raw value.
fn scale(raw: f32) -> LogitScale {
    let tensors = TensorMap::from([("logit_scale".to_owned(), HostTensor { shape: vec![1], data: vec![raw] })]);
    weights::apply(LogitScale::new(1.0, &tracked()), tensors, "golden".as_ref()).unwrap().clamped()
}

/// Labels of a golden (1, -1, 0) as an objective with these values makes them of those of a batch.
fn labels(golden: &Golden, name: &str, values: LabelValues) -> Tensor<2> {
    let stored = golden.tensor::<2>(name, &tracked());
    if values == LabelValues::Positive { stored.clamp_min(0.0) } else { stored }
}

fn options(golden: &Golden, case: &str) -> (LabelSimilarity, LabelValues) {
    let options = &golden.metadata::<Value>("options")[case];
    let similarity = serde_json::from_value(options["label_similarity"].clone()).unwrap();
    (similarity, serde_json::from_value(options["label_values"].clone()).unwrap())
}

fn mean(a: Tensor<1>, b: Tensor<1>) -> Tensor<1> {
    (a + b).mul_scalar(0.5)
}

#[test]
fn values_and_gradients_are_those_of_torch() {
    let golden = Golden::read("medclip_losses");
    let cases: Vec<String> = golden.metadata::<serde_json::Map<String, Value>>("options").keys().cloned().collect();
    assert_eq!(cases.len(), 6 * 4, "one pair, two, seven, no label at all, temperatures beyond either bound");
    for case in cases {
        let (similarity, values) = options(&golden, &case);
        let (given, _) = case.split_once('.').unwrap();
        let leaf = |name: &str| golden.tensor::<2>(&format!("{given}.{name}_embeds"), &tracked()).require_grad();
        let [image, text, copy] = ["image", "text", "copy"].map(leaf);
        let scale = scale(golden.host(&format!("{given}.log_scale")).data[0]);
        let alike = similarity.of(
            labels(&golden, &format!("{given}.image_labels"), values),
            labels(&golden, &format!("{given}.text_labels"), values),
        );
        let logits =
            |text: &Tensor<2>| scale.logits(l2_normalize(image.clone()).matmul(l2_normalize(text.clone()).transpose()));
        let [first, second] = [&text, &copy].map(|text| soft_info_nce(logits(text), alike.clone(), 1.0));
        let loss = mean(first.loss, second.loss);
        let grads = loss.clone().backward();
        let one = |value: Tensor<1>| HostTensor { shape: vec![1], data: vec![number(value)] };
        let mut actual = TensorMap::from([
            ("loss".to_owned(), one(loss)),
            ("image_to_text".to_owned(), one(mean(first.image_to_text, second.image_to_text))),
            ("text_to_image".to_owned(), one(mean(first.text_to_image, second.text_to_image))),
            ("entropy".to_owned(), one(mean(first.entropy, second.entropy))),
            ("hard".to_owned(), one(info_nce_of_logits(logits(&text), 0.5).loss)),
            ("grad_image".to_owned(), host(image.grad(&grads).unwrap())),
            ("grad_text".to_owned(), host(text.grad(&grads).unwrap())),
            ("grad_copy".to_owned(), host(copy.grad(&grads).unwrap())),
        ]);
        let of_scale = by_name(GradientsParams::from_grads(grads, &scale), &scale).remove("logit_scale").unwrap();
        actual.insert("grad_log_scale".to_owned(), of_scale);
        assert_all_close(&case, &actual, &golden.under(&format!("{case}.")), tolerance(TOLERANCE));
    }
}

/// Rows of unit length.
fn rows(count: usize, width: usize, value: impl Fn(f64, f64) -> f64) -> Tensor<2> {
    #[expect(clippy::cast_possible_truncation, reason = "tensors hold single precision")]
    let values: Vec<f32> = (0..count * width).map(|i| value((i / width) as f64, (i % width) as f64) as f32).collect();
    l2_normalize(Tensor::from_data(TensorData::new(values, [count, width]), &device().0))
}

/// The numbers of `methods.md`, section 10.
#[test]
fn the_formula_gives_the_known_numbers() {
    let logits =
        rows(4, 5, |i, k| (1.0 + 3.0 * i + k).sin()).matmul(rows(4, 5, |i, k| (2.0 + i + 2.0 * k).cos()).transpose());
    let logits = logits.div_scalar(0.07);
    let plain = device().0;
    let image: Tensor<2> = Tensor::from_data(
        [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]],
        &plain,
    );
    let text: Tensor<2> = Tensor::from_data(
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0]],
        &plain,
    );
    let of = |kind: LabelSimilarity| soft_info_nce(logits.clone(), kind.of(image.clone(), text.clone()), 1.0);
    let near = |what: &str, value: Tensor<1>, expected: f32| {
        assert_near(what, number(value), expected, tolerance(TOLERANCE));
    };
    let dot = of(LabelSimilarity::Dot);
    near("image side", dot.image_to_text, 2.542_092);
    near("text side", dot.text_to_image, 2.814_784);
    near("mean", dot.loss, 2.678_438);
    near("cosine", of(LabelSimilarity::Cosine).loss, 2.592_520);
    near("hard", info_nce_of_logits(logits.clone(), 0.5).loss, 1.866_866);
}

#[test]
fn without_labels_targets_are_uniform_and_no_loss_is_below_the_entropy() {
    let zeros = |b: usize| Tensor::<2>::zeros([b, 14], &device().0);
    for b in [1, 2, 7] {
        for kind in [LabelSimilarity::Dot, LabelSimilarity::Cosine] {
            let alike = kind.of(zeros(b), zeros(b));
            let same = soft_info_nce(alike.clone(), alike.clone(), 1.0);
            for value in [same.loss, same.entropy] {
                assert!((number(value) - (b as f32).ln()).abs() < 1e-5);
            }
            let logits = rows(b, b, |i, k| (i + 2.0 * k).sin()).mul_scalar(9.0);
            let other = soft_info_nce(logits, alike, 1.0);
            assert!(number(other.loss) >= number(other.entropy) - 1e-6);
        }
    }
}

#[test]
fn logits_equal_to_the_targets_have_no_gradient_and_sharper_targets_less_entropy() {
    let alike = rows(5, 5, |i, k| (1.0 + i * k).cos()).mul_scalar(2.0);
    let of = |temperature: f64| {
        let logits = alike.clone().div_scalar(temperature).autodiff().require_grad();
        let loss = soft_info_nce(logits.clone(), alike.clone(), temperature);
        let grads = loss.loss.clone().backward();
        let largest = host(logits.grad(&grads).unwrap()).data.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(largest < 1e-6, "{largest}");
        let entropy = number(loss.entropy);
        assert!((number(loss.loss) - entropy).abs() < 1e-5);
        entropy
    };
    assert!(of(0.5) < of(1.0));
}

#[test]
fn accuracy_counts_images_whose_nearest_text_is_one_of_the_most_alike() {
    let alike = Tensor::<2>::from_data([[2.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], &device().0);
    let logits = Tensor::<2>::from_data([[0.0, 3.0, 1.0], [5.0, 1.0, 1.0], [0.0, 0.0, 1.0]], &device().0);
    let accuracy = number(soft_info_nce(logits, alike, 1.0).accuracy);
    assert!((accuracy - 2.0 / 3.0).abs() < 1e-6, "{accuracy}");
}

/// Central differences along a direction for every input. A step of a hundredth leaves an error of its square, and
/// single precision about a thousandth.
#[test]
fn gradients_are_those_of_differences() {
    const STEP: f64 = 1e-2;
    for (kind, b) in [(LabelSimilarity::Dot, 2), (LabelSimilarity::Cosine, 7)] {
        let image_labels = rows(b, 3, |i, k| (i * k).cos().round());
        let text_labels = rows(b, 3, |i, k| (1.0 + i + k).sin().round());
        let alike = kind.of(image_labels, text_labels);
        let inputs = [rows(b, 4, |i, k| (0.3 + i + 2.0 * k).sin()), rows(b, 4, |i, k| (1.7 * i - k).cos())];
        let log_scale = Tensor::<1>::from_data([1.2], &device().0);
        let loss = |image: Tensor<2>, text: Tensor<2>, log_scale: Tensor<1>| {
            let cosines = l2_normalize(image).matmul(l2_normalize(text).transpose());
            soft_info_nce(cosines * log_scale.exp().unsqueeze(), alike.clone(), 1.0).loss
        };
        let directions = [rows(b, 4, |i, k| (2.1 * i - 0.4 * k).cos()), rows(b, 4, |i, k| (i * k - 0.7).sin())];
        let leaves = inputs.clone().map(|input| input.autodiff().require_grad());
        let leaf = log_scale.clone().autodiff().require_grad();
        let grads = loss(leaves[0].clone(), leaves[1].clone(), leaf.clone()).backward();
        let check = |what: &str, gradient: f64, at: &dyn Fn(f64) -> f64| {
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            println!("{kind:?}, {what}: {gradient} by the gradient, {difference} by differences");
            assert!(gradient.abs() > 1e-3, "{what}: the direction says nothing");
            assert!((gradient - difference).abs() < 2e-2 * gradient.abs(), "{what}: {gradient} is not {difference}");
        };
        for (side, what) in ["images", "texts"].into_iter().enumerate() {
            let along = f64::from(number((leaves[side].grad(&grads).unwrap() * directions[side].clone()).sum()));
            check(what, along, &|step| {
                let mut moved = inputs.clone();
                moved[side] = moved[side].clone() + directions[side].clone().mul_scalar(step);
                let [image, text] = moved;
                f64::from(number(loss(image, text, log_scale.clone())))
            });
        }
        let along = f64::from(number(leaf.grad(&grads).unwrap()));
        check("temperature", along, &|step| {
            let [image, text] = inputs.clone();
            f64::from(number(loss(image, text, log_scale.clone().add_scalar(step))))
        });
    }
}

/// A batch of studies with two texts each and labels of both sides; every label occurs.
fn labelled(len: usize) -> PairBatch {
    let mut batch = batch(len, 32, 2);
    let label = |i: usize| [1.0, 0.0, f32::NAN, f32::NAN][i % 4];
    batch.classes = 3;
    batch.labels = (0..len * 3).map(label).collect();
    batch.text_labels = (0..len * 3).map(|i| label(i * i + 1)).collect();
    batch
}

fn metric(losses: &Losses, name: &str) -> f32 {
    let (_, value) = losses.metrics.iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name}"));
    number(value.clone())
}

#[test]
fn the_objective_is_the_mean_over_a_sentence_and_its_copy() {
    let _lock = generator();
    let unit = |seed: f64, b: usize| rows(b, 6, move |i, k| (seed + i + 1.3 * i * k).sin());
    let (image, text) = (unit(0.0, 4), unit(0.7, 8));
    let labels =
        LabelEmbeds { image: rows(4, 3, |i, k| (i + k).cos().round()), text: rows(4, 3, |i, k| (i * k).cos().round()) };
    let objective = objective(config(json!({})), None);
    let embeds = LabelledEmbeds { image: image.clone(), text: text.clone(), labels: Some(labels.clone()) };
    let losses = objective.losses(&embeds.clone(), &at(0));
    let alike = LabelSimilarity::Dot.of(labels.image, labels.text);
    let one = |which: usize| -> SoftInfoNce {
        let texts = text.clone().reshape([4, 2, 6]).narrow(1, which, 1).reshape([4, 6]);
        soft_info_nce(image.clone().matmul(texts.transpose()).div_scalar(0.07), alike.clone(), 1.0)
    };
    let [first, second] = [one(0), one(1)];
    assert_near("loss", number(losses.total()), number(mean(first.loss, second.loss)), 1e-5);
    let entropy = number(mean(first.entropy, second.entropy));
    assert_near("entropy", metric(&losses, "target_entropy"), entropy, 1e-5);
    assert_near("divergence", metric(&losses, "divergence"), number(losses.total()) - entropy, 1e-4);
    assert_near("temperature", metric(&losses, "temperature"), 0.07, 1e-5);
    // Without labels it is the ordinary contrast.
    let hard = objective.losses(&LabelledEmbeds { labels: None, ..embeds }, &at(0));
    let contrast = |which: usize| {
        let texts = text.clone().reshape([4, 2, 6]).narrow(1, which, 1).reshape([4, 6]);
        info_nce_of_logits(image.clone().matmul(texts.transpose()).div_scalar(0.07), 0.5).loss
    };
    assert_near("hard", number(hard.total()), number(mean(contrast(0), contrast(1))), 1e-5);
}

#[test]
fn labels_become_numbers_as_the_settings_say() {
    let _lock = generator();
    let batch = labelled(4);
    let plain = device().0;
    let of = |values: &str| {
        let objective = objective(config(json!({"label_values": values})), None);
        let embeds = objective.encode(&objective.upload(&batch, &plain), &at(0));
        host(embeds.labels.unwrap().image).data
    };
    let expected = |denied: f32| -> Vec<f32> { (0..12).map(|i| [1.0, denied, 0.0, 0.0][i % 4]).collect() };
    assert_eq!(of("positive"), expected(0.0));
    assert_eq!(of("signed"), expected(-1.0));
    let pairs = objective(config(json!({"targets": "pairs"})), None);
    assert!(pairs.encode(&pairs.upload(&batch, &plain), &at(0)).labels.is_none());
}

#[test]
fn the_temperature_is_learned_within_its_bounds_and_taken_from_weights() {
    let _lock = generator();
    let raw = |objective: &MedClip| collect(objective)["scale.logit_scale"].data[0];
    assert!((raw(&objective(config(json!({})), None)) - 2.659_26).abs() < 1e-5);
    assert!((raw(&objective(config(json!({})), Some(4.5))) - 4.5).abs() < 1e-5);
    for (given, kept) in [(7.0, 100.0_f32.ln()), (-1.0, 0.0)] {
        assert!((raw(&objective(config(json!({})), Some(given))) - kept).abs() < 1e-6);
    }
    let objective = objective(config(json!({})), None);
    let of = |size| {
        let (grads, losses) = gradients(&objective, &labelled(6), size, &at(0), &tracked());
        (by_name(grads, &objective)["scale.logit_scale"].data[0], number(losses.total()))
    };
    let (whole, _) = of(None);
    assert!(whole.abs() > 1e-4 && (whole - of(Some(6)).0).abs() <= 1e-5 * whole.abs(), "{whole}");
    // A checkpoint holds it under the name that imported ones have.
    let kept = collect(&objective.kept());
    assert_near("kept", kept["carried.logit_scale"].data[0], raw(&objective), 1e-7);
    let bare = collect(&objective.model);
    assert_eq!(kept.len(), bare.len() + 1);
    assert!(bare.iter().all(|(name, tensor)| kept[name] == *tensor));

    let fit = fit_config(optim(OptimizerKind::Adam, 5.0, 0.0, None));
    let mut optimizer = fit.optim.init(&objective);
    let updated = update(objective, &mut optimizer, &labelled(6), &fit, 5.0, &at(0), &tracked());
    let after = raw(&updated.objective);
    // One step of five would leave the bounds on either side.
    assert!(after.abs() < 1e-6 || (after - 100.0_f32.ln()).abs() < 1e-6, "{after}");
}

#[test]
fn parts_of_a_batch_have_its_gradients() {
    let _lock = generator();
    let preprocess = Preprocess { image_size: 32, source_size: 32, mean: vec![0.0], std: vec![1.0], framing: None };
    let model = tiny(0.0, None);
    let of = |size: Option<usize>| {
        // Batch normalisation sees parts, as with any accumulation: here it is fixed.
        let fixed = model.clone();
        let objective = MedClip::new(fixed, config(json!({"label_values": "signed"})), None, preprocess.clone());
        let objective = burn::module::Module::map(objective, &mut super::mgca::Fixed);
        let (grads, losses) = gradients(&objective, &labelled(6), size, &at(0), &tracked());
        let mut map = by_name(grads, &objective);
        // Zero by theory: softmax ignores it. What is found is rounding.
        map.retain(|name, _| !name.ends_with("key.bias"));
        map.insert("loss".to_owned(), scalar(number(losses.total())));
        map
    };
    let whole = of(None);
    for size in [1, 4] {
        assert_all_close(&format!("parts of {size}"), &of(Some(size)), &whole, tolerance(2e-5));
    }
}
