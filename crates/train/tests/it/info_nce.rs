//! InfoNCE against torch, against numbers worked out from the paper's formula, and its properties.

use burn::tensor::{Device, Tensor, TensorData};
use data::rng::{Purpose, stream};
use model::ops::l2_normalize;
use model::weights::TensorMap;
use train::loss::info_nce::{InfoNce, InfoNceConfig, info_nce};

use super::support::{Golden, assert_all_close, assert_near, device, host, number, scalar, tolerance, tracked};

/// Goldens are exact to double precision and torch's own single precision is within 2.4e-7 of them; a few operations
/// more or in another order cost no second decimal. A wrong temperature, weight or direction misses by a tenth.
const TOLERANCE: f32 = 1e-5;

fn matrix(rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), device)
}

/// Rows of normal numbers, not normalised.
fn rows(seed: u64, b: usize, e: usize) -> Vec<Vec<f32>> {
    let mut random = stream(seed, Purpose::Control, 0, 0);
    #[expect(clippy::cast_possible_truncation, reason = "any numbers do")]
    let mut row = || (0..e).map(|_| random.normal() as f32).collect();
    (0..b).map(|_| row()).collect()
}

fn loss_of(image: &[Vec<f32>], text: &[Vec<f32>], config: &InfoNceConfig) -> InfoNce {
    let device = device().0;
    info_nce(l2_normalize(matrix(image, &device)), l2_normalize(matrix(text, &device)), config)
}

/// Total, image to text and text to image.
fn terms(loss: &InfoNce) -> [f32; 3] {
    [&loss.loss, &loss.image_to_text, &loss.text_to_image].map(|term| number(term.clone()))
}

fn assert_terms(what: &str, actual: &InfoNce, expected: [f32; 3]) {
    for (term, (actual, expected)) in
        ["loss", "image to text", "text to image"].iter().zip(terms(actual).into_iter().zip(expected))
    {
        assert_near(&format!("{what}, {term}"), actual, expected, tolerance(TOLERANCE));
    }
}

/// Sizes and a random pair of embedding sets for each.
fn cases() -> impl Iterator<Item = (Vec<Vec<f32>>, Vec<Vec<f32>>)> {
    let sizes = [(2, 1), (2, 3), (3, 8), (5, 2), (8, 16)];
    sizes.into_iter().zip(0..).map(|((b, e), seed)| (rows(2 * seed, b, e), rows(2 * seed + 1, b, e)))
}

#[test]
fn values_and_gradients_are_those_of_torch() {
    let golden = Golden::read("info_nce");
    let config = golden.loss();
    let device = tracked();
    let (mut actual, mut expected) = (TensorMap::new(), TensorMap::new());
    for case in ["b1", "b2", "b7", "formula"] {
        let [image, text] =
            ["image", "text"].map(|side| golden.tensor::<2>(&format!("{case}.{side}_embeds"), &device).require_grad());
        let result = info_nce(l2_normalize(image.clone()), l2_normalize(text.clone()), &config);
        let grads = result.loss.clone().backward();
        let found = [
            ("grad_image", host(image.grad(&grads).unwrap())),
            ("grad_text", host(text.grad(&grads).unwrap())),
            ("loss", scalar(number(result.loss))),
            ("image_to_text", scalar(number(result.image_to_text))),
            ("text_to_image", scalar(number(result.text_to_image))),
        ];
        for (name, tensor) in found {
            let name = format!("{case}.{name}");
            expected.insert(name.clone(), golden.host(&name).clone());
            actual.insert(name, tensor);
        }
    }
    // All results of one pair are zero; the map compares zeros on the scale of its largest tensor.
    assert_all_close("info_nce", &actual, &expected, tolerance(TOLERANCE));
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "single precision is what is tested")]
fn the_formula_of_the_paper_gives_the_same_numbers() {
    let row = |f: &dyn Fn(f64) -> f64| (0..5).map(|k| f(f64::from(k)) as f32).collect::<Vec<f32>>();
    let image: Vec<_> = (0..4).map(|i| row(&|k| (1.0 + 3.0 * f64::from(i) + k).sin())).collect();
    let text: Vec<_> = (0..4).map(|i| row(&|k| (2.0 + f64::from(i) + 2.0 * k).cos())).collect();
    assert_terms("formula", &loss_of(&image, &text, &InfoNceConfig::default()), [1.564_392, 1.554_906, 1.592_851]);
}

#[test]
fn the_order_of_the_pairs_does_not_matter() {
    for (image, text) in cases() {
        let turned = |rows: &[Vec<f32>]| {
            let mut rows = rows.to_vec();
            rows.rotate_left(1);
            rows.swap(0, 1);
            rows
        };
        let config = InfoNceConfig::default();
        let expected = terms(&loss_of(&image, &text, &config));
        assert_terms("permuted", &loss_of(&turned(&image), &turned(&text), &config), expected);
        // Permuting one side alone tears the pairs apart.
        if image.len() > 2 {
            let torn = terms(&loss_of(&turned(&image), &text, &config));
            assert!((torn[0] - expected[0]).abs() > 1e-3, "{torn:?} {expected:?}");
        }
    }
}

#[test]
fn the_loss_is_not_negative_and_ln_b_where_nothing_differs() {
    for (image, text) in cases() {
        let loss = terms(&loss_of(&image, &text, &InfoNceConfig::default()));
        assert!(loss.iter().all(|&term| term >= 0.0), "{loss:?}");
        let b = image.len();
        let uniform = loss_of(&vec![image[0].clone(); b], &vec![text[0].clone(); b], &InfoNceConfig::default());
        assert_terms("uniform", &uniform, [(b as f32).ln(); 3]);
    }
}

#[test]
fn seeing_every_pair_twice_adds_ln_2() {
    for (image, text) in cases() {
        let config = InfoNceConfig::default();
        let once = terms(&loss_of(&image, &text, &config));
        let twice = loss_of(&[image.clone(), image].concat(), &[text.clone(), text].concat(), &config);
        assert_terms("twice", &twice, once.map(|term| term + std::f32::consts::LN_2));
    }
}

#[test]
fn the_length_of_an_embedding_does_not_matter() {
    for (image, text) in cases() {
        let scaled = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
            let factors = [0.01, 3.0, 700.0].into_iter().cycle();
            rows.iter().zip(factors).map(|(row, f)| row.iter().map(|v| v * f).collect()).collect()
        };
        let config = InfoNceConfig::default();
        let expected = terms(&loss_of(&image, &text, &config));
        assert_terms("scaled", &loss_of(&scaled(&image), &scaled(&text), &config), expected);
    }
}

#[test]
fn exchanged_towers_exchange_the_directions() {
    for (image, text) in cases() {
        let config = InfoNceConfig::default();
        let [loss, image_to_text, text_to_image] = terms(&loss_of(&image, &text, &config));
        let mirrored = InfoNceConfig { lambda: 1.0 - config.lambda, ..config };
        assert_terms("exchanged", &loss_of(&text, &image, &mirrored), [loss, text_to_image, image_to_text]);
    }
}

#[test]
fn accuracy_counts_the_images_whose_own_text_is_nearest() {
    let unit: Vec<Vec<f32>> = (0..4).map(|i| (0..4).map(|k| f32::from(u8::from(i == k))).collect()).collect();
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| unit[i].clone());
    let texts = [(unit.clone(), 1.0), (vec![b.clone(), a.clone(), d.clone(), c.clone()], 0.0), (vec![a, b, d, c], 0.5)];
    for (text, expected) in texts {
        let accuracy = number(loss_of(&unit, &text, &InfoNceConfig::default()).accuracy);
        assert!((accuracy - expected).abs() < 1e-6, "{accuracy} {expected}");
    }
}
