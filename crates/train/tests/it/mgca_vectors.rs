//! MGCA's losses on the numbers of `methods.md`, section 10, worked out apart from any library.

use burn::tensor::{Tensor, TensorData};
use model::ops::l2_normalize;
use train::loss::info_nce::{InfoNceConfig, info_nce};
use train::loss::prototype::{PrototypeConfig, prototype_loss};
use train::loss::sinkhorn::sinkhorn;
use train::loss::token::{TokenConfig, Tokens, clipped, token_loss};

use super::support::{assert_near, device, host, number, tolerance};

/// What the vectors are given to, and what a few single-precision operations lose.
const TOLERANCE: f32 = 1e-5;

/// Rows of unit length.
fn rows(count: usize, width: usize, value: impl Fn(f64, f64) -> f64) -> Tensor<2> {
    #[expect(clippy::cast_possible_truncation, reason = "tensors hold single precision")]
    let values: Vec<f32> = (0..count * width).map(|i| value((i / width) as f64, (i % width) as f64) as f32).collect();
    l2_normalize(Tensor::from_data(TensorData::new(values, [count, width]), &device().0))
}

fn images() -> Tensor<2> {
    rows(4, 5, |i, k| (1.0 + 3.0 * i + k).sin())
}

fn texts() -> Tensor<2> {
    rows(4, 5, |i, k| (2.0 + i + 2.0 * k).cos())
}

fn near(what: &str, actual: Tensor<1>, expected: f32) {
    assert_near(what, number(actual), expected, tolerance(TOLERANCE));
}

#[test]
fn pairs() {
    let loss = info_nce(images(), texts(), &InfoNceConfig { temperature: 0.07, lambda: 0.5 });
    near("rows", loss.image_to_text, 1.835_804);
    near("columns", loss.text_to_image, 1.897_928);
    near("sum", loss.loss.mul_scalar(2.0), 3.733_733);
}

#[test]
fn prototypes() {
    let centres = rows(3, 5, |k, j| (0.5 + k * k + j).sin());
    let codes = |embeds: Tensor<2>| host(sinkhorn(embeds.matmul(centres.clone().transpose()), 0.05, 3)).data;
    let expected = [
        (codes(images()), [0.147_740, 0.852_260, 0.0, 0.0, 0.0, 1.0, 0.873_227, 0.126_773, 0.0, 0.0, 0.0, 1.0]),
        (
            codes(texts()),
            [
                0.419_066, 0.000_443, 0.580_491, 0.683_406, 0.005_922, 0.310_671, 0.058_124, 0.633_599, 0.308_277,
                0.000_152, 0.964_869, 0.034_980,
            ],
        ),
    ];
    for (found, expected) in expected {
        for (found, expected) in found.iter().zip(expected) {
            // Six decimals are given.
            assert!((found - expected).abs() < 1e-6 + tolerance(0.0), "{found} for {expected}");
        }
    }
    let config = PrototypeConfig { temperature: 0.2, epsilon: 0.05, iterations: 3 };
    near("mean", prototype_loss(images(), texts(), centres, &config).loss, 3.766_915);
}

#[test]
fn words_and_patches() {
    let words = rows(3, 5, |i, k| (0.3 + 2.0 * i + k).sin()).reshape([1, 3, 5]);
    let patches = rows(4, 5, |i, k| (0.7 * i + 1.3 * k).cos()).reshape([1, 4, 5]);
    let row = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [1, values.len()]), &device().0);
    let tokens = Tokens {
        words,
        word_weights: row(&[0.5, 0.3, 0.2]),
        is_word: row(&[1.0; 3]),
        patches,
        patch_weights: row(&[0.25; 4]),
    };
    let config = TokenConfig { temperature: 0.1, mean: false, unit_patch_context: true, padding_takes_part: true };
    let resnet = token_loss(&tokens, &None, &config);
    near("words", resnet.word, 2.892_773);
    near("patches, unit length", resnet.patch, 0.956_462);
    near("sum", resnet.loss, 2.892_773 + 0.956_462);
    let vit = token_loss(&tokens, &None, &TokenConfig { unit_patch_context: false, ..config.clone() });
    near("patches as they are", vit.patch, 0.950_921);
    let mean = token_loss(&tokens, &None, &TokenConfig { mean: true, ..config });
    near("mean", mean.loss, f32::midpoint(2.892_773, 0.956_462));
}

#[test]
fn attention_is_clipped_between_its_quantiles() {
    let mut weights = [0.0, 0.02, 0.05, 0.10, 0.20, 0.40, 0.0];
    clipped(&mut weights, |weight| weight != 0.0);
    for (found, expected) in weights.iter().zip([0.0, 0.045_584, 0.071_225, 0.142_450, 0.284_900, 0.455_840, 0.0]) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
    let mut none = [0.0; 3];
    clipped(&mut none, |weight| weight != 0.0);
    assert!(none.iter().all(|weight| weight.abs() < f32::MIN_POSITIVE));
}

/// Central differences along a direction, far from the kinks of either loss. A step of a hundredth leaves an error of its square,
/// and single precision about a thousandth.
#[test]
fn gradients_are_those_of_differences() {
    const STEP: f64 = 1e-2;
    let centres = rows(3, 5, |k, j| (0.5 + k * k + j).sin());
    let direction = rows(3, 5, |i, k| (1.7 * i - 0.4 * k).cos());
    let words = rows(3, 5, |i, k| (0.3 + 2.0 * i + k).sin());
    let token = |words: Tensor<2>| {
        let on = |x: Tensor<2>| if words.is_autodiff() { x.autodiff() } else { x };
        let row =
            |values: &[f32]| on(Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), &device().0));
        let tokens = Tokens {
            word_weights: row(&[0.5, 0.3, 0.2]),
            is_word: row(&[1.0; 3]),
            patches: on(rows(4, 5, |i, k| (0.7 * i + 1.3 * k).cos())).reshape([1, 4, 5]),
            patch_weights: row(&[0.25; 4]),
            words: l2_normalize(words).reshape([1, 3, 5]),
        };
        let config = TokenConfig { temperature: 0.5, mean: false, unit_patch_context: true, padding_takes_part: true };
        token_loss(&tokens, &None, &config).loss
    };
    let prototype = |embeds: Tensor<2>| {
        let on = |x: Tensor<2>| if embeds.is_autodiff() { x.autodiff() } else { x };
        let text = on(rows(3, 5, |i, k| (2.0 + i + 2.0 * k).cos()));
        // Codes are constants of the gradient: a large epsilon makes them hardly move.
        let config = PrototypeConfig { temperature: 0.2, epsilon: 1e4, iterations: 3 };
        prototype_loss(l2_normalize(embeds.clone()), text, on(centres.clone()), &config).loss
    };
    let check = |what: &str, loss: &dyn Fn(Tensor<2>) -> Tensor<1>| {
        let at = |step: f64| f64::from(number(loss(words.clone() + direction.clone().mul_scalar(step))));
        let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let leaf = words.clone().autodiff().require_grad();
        let gradient = leaf.grad(&loss(leaf.clone()).backward()).unwrap();
        let along = f64::from(number((gradient * direction.clone()).sum()));
        println!("{what}: {along} by the gradient, {difference} by differences");
        assert!(along.abs() > 1e-2, "{what}: the direction says nothing");
        assert!((along - difference).abs() < 1e-2 * along.abs(), "{what}: {along} is not {difference}");
    };
    check("words and patches", &token);
    check("prototypes", &prototype);
}
