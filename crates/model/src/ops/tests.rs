//! The bodies for the CPU against those of plain tensors: values and gradients.
//!
//! Tolerance: 1e-5 of the largest value of a tensor. Both compute in single precision, in different orders.

use burn::nn::{DropoutConfig, LayerNormConfig, LinearConfig};
use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};

use super::*;

const TOLERANCE: f32 = 1e-5;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers that follow from their place.
fn numbers<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let mix = |i: u32| {
        (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b).rotate_left(13).wrapping_mul(0xc2b2_ae35)
    };
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..).take(count).map(|i: u32| mix(i) as f32 / u32::MAX as f32 * 4.0 - 2.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

#[track_caller]
fn assert_close(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}");
    let size = b.iter().fold(1e-3_f32, |size, b| size.max(b.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| if a.is_nan() || b.is_nan() { f32::NAN } else { (a - b).abs() });
    let worst = worst.fold(0.0, |worst: f32, gap| if gap.is_nan() || gap > worst { gap } else { worst });
    assert!(worst <= TOLERANCE * size, "{what}: {worst} apart where values go to {size}");
}

/// Compares two functions of tensors of four axes: values, and gradients of a weighted sum.
#[track_caller]
fn compare<const N: usize>(
    what: &str,
    inputs: impl Into<[Tensor<4>; N]>,
    fused: impl Fn([Tensor<4>; N]) -> Tensor<4>,
    plain: impl Fn([Tensor<4>; N]) -> Tensor<4>,
) {
    let inputs = inputs.into();
    let run = |function: &dyn Fn([Tensor<4>; N]) -> Tensor<4>| {
        let inputs = inputs.clone().map(Tensor::require_grad);
        let y = function(inputs.clone());
        let grads = (y.clone() * numbers(y.dims(), 99)).sum().backward();
        let of = inputs.map(|input| input.grad(&grads).map(|grad| values(&grad)));
        (y.dims(), values(&y), of)
    };
    let (fused, plain) = (run(&fused), run(&plain));
    assert_eq!(fused.0, plain.0, "{what}: shape");
    assert_close(&format!("{what}: value"), &fused.1, &plain.1);
    for (i, (fused, plain)) in fused.2.iter().zip(&plain.2).enumerate() {
        let (Some(fused), Some(plain)) = (fused, plain) else { panic!("{what}: input {i} has no gradient") };
        assert_close(&format!("{what}: gradient of input {i}"), fused, plain);
    }
}

fn row(tensor: Tensor<4>) -> Tensor<1> {
    let [_, n, _, _] = tensor.dims();
    tensor.reshape([n])
}

#[test]
fn convolutions_agree() {
    // Batch, input channels, output channels, side, other side, kernel, stride: small, odd, large enough for several threads.
    let cases = [
        [2, 3, 4, 9, 7, 1, 1],
        [2, 16, 8, 8, 8, 1, 2],
        [3, 5, 6, 7, 9, 1, 2],
        [2, 4, 3, 8, 5, 3, 1],
        [1, 6, 7, 9, 9, 3, 2],
        [2, 5, 4, 10, 8, 3, 2],
        [2, 1, 16, 33, 32, 7, 2],
        [2, 3, 8, 30, 31, 7, 2],
        [4, 32, 48, 28, 28, 3, 1],
        [4, 64, 256, 28, 28, 1, 1],
        [4, 256, 300, 14, 14, 3, 1],
        [3, 256, 280, 14, 14, 3, 2],
        [2, 300, 260, 7, 7, 1, 1],
        [1, 8, 8, 1, 1, 3, 1],
    ];
    for [b, c, o, h, w, k, stride] in cases {
        let inputs = [numbers([b, c, h, w], 1), numbers([o, c, k, k], 2).mul_scalar(0.1)];
        compare(
            &format!("{b}x{c}x{h}x{w} to {o}, kernel {k}, stride {stride}"),
            inputs,
            |[x, weight]| conv2d(x, weight, stride, k / 2),
            |[x, weight]| conv::reference(x, weight, stride, k / 2),
        );
    }
    // Another padding than half the kernel, and none.
    for (k, stride, padding) in [(3, 1, 0), (3, 1, 2), (4, 4, 0), (2, 1, 0), (5, 2, 1)] {
        compare(
            &format!("kernel {k}, stride {stride}, padding {padding}"),
            [numbers([2, 3, 12, 16], 1), numbers([5, 3, k, k], 2)],
            |[x, weight]| conv2d(x, weight, stride, padding),
            |[x, weight]| conv::reference(x, weight, stride, padding),
        );
    }
}

#[test]
fn convolutions_take_any_layout() {
    let inputs = || [numbers([2, 6, 7, 5], 1), numbers([4, 5, 3, 3], 2)];
    compare(
        "turned",
        inputs(),
        |[x, weight]| conv2d(x.permute([0, 3, 2, 1]), weight, 1, 1).permute([0, 2, 3, 1]),
        |[x, weight]| conv::reference(x.permute([0, 3, 2, 1]), weight, 1, 1).permute([0, 2, 3, 1]),
    );
    compare(
        "cut and flipped",
        inputs(),
        |[x, weight]| conv2d(x.narrow(1, 1, 5).flip([2]), weight, 1, 1),
        |[x, weight]| conv::reference(x.narrow(1, 1, 5).flip([2]), weight, 1, 1),
    );
}

#[test]
fn what_follows_a_convolution_agrees() {
    let plain = |tensor: Tensor<4>| tensor.without_autodiff();
    for (shortcut, rectify) in [(false, false), (false, true), (true, false), (true, true)] {
        for [c, o, side, k, stride] in [[3, 5, 9, 3, 1], [16, 24, 8, 1, 1], [4, 6, 7, 3, 2], [64, 64, 40, 1, 1]] {
            let x = plain(numbers([2, c, side, side], 1));
            let weight = plain(numbers([o, c, k, k], 2));
            let [scale, shift] = [3, 4].map(|seed| row(plain(numbers([1, o, 1, 1], seed))));
            let out = (side - 1) / stride + 1;
            let shortcut = shortcut.then(|| plain(numbers([2, o, out, out], 5)));
            let run = || {
                let affine = [scale.clone(), shift.clone()];
                values(&conv2d_affine(x.clone(), weight.clone(), [stride, k / 2], affine, shortcut.clone(), rectify))
            };
            let fused = run();
            let y = conv::reference(x.clone(), weight.clone(), stride, k / 2);
            let y = y * scale.clone().reshape([1, o, 1, 1]) + shift.clone().reshape([1, o, 1, 1]);
            let y = shortcut.clone().map_or(y.clone(), |shortcut| y + shortcut);
            let y = if rectify { y.clamp_min(0.0) } else { y };
            assert_close(&format!("{o} channels, shortcut {}, {rectify}", shortcut.is_some()), &fused, &values(&y));
        }
    }
}

#[test]
fn batch_norm_agrees() {
    const EPSILON: f64 = 1e-5;
    for shape in [[4, 3, 5, 6], [2, 64, 20, 20], [7, 10, 1, 1], [1, 2, 2, 2]] {
        let [_, c, _, _] = shape;
        // A channel whose mean is far from zero, as one behind a rectifier is.
        let x = numbers(shape, 1).mul_scalar(0.5).add_scalar(3.0);
        let inputs = || [x.clone(), numbers([1, c, 1, 1], 2), numbers([1, c, 1, 1], 3), numbers(shape, 4)];
        for rectify in [false, true] {
            compare(
                &format!("{shape:?}, rectified {rectify}, shortcut"),
                inputs(),
                |[x, w, b, s]| batch_norm_train(x, [row(w), row(b)], Some(s), rectify, EPSILON).output,
                |[x, w, b, s]| batch_norm::reference(x, [row(w), row(b)], Some(s), rectify, EPSILON).output,
            );
            let [x, w, b, _] = inputs();
            compare(
                &format!("{shape:?}, rectified {rectify}"),
                [x.clone(), w, b],
                |[x, w, b]| batch_norm_train(x, [row(w), row(b)], None, rectify, EPSILON).output,
                |[x, w, b]| batch_norm::reference(x, [row(w), row(b)], None, rectify, EPSILON).output,
            );
        }
        let [x, w, b, _] = inputs();
        let fused = batch_norm_train(x.clone(), [row(w.clone()), row(b.clone())], None, false, EPSILON);
        let plain = batch_norm::reference(x, [row(w), row(b)], None, false, EPSILON);
        assert_close("mean", &values(&fused.mean), &values(&plain.mean));
        assert_close("variance", &values(&fused.variance), &values(&plain.variance));
    }
}

/// Layers between a fork and the end of its way around: a block of a residual network.
#[test]
fn the_two_ways_of_a_fork_add_up() {
    let shape = [3, 6, 8, 7];
    let layers = |x: Tensor<4>, weight: Tensor<4>| conv::reference(x, weight, 1, 1);
    let ones = || (Tensor::<1>::ones([6], &device()), Tensor::<1>::zeros([6], &device()));
    compare(
        "fork",
        [numbers(shape, 1), numbers([6, 6, 3, 3], 2)],
        |[x, weight]| {
            // The fork of a fork, as blocks follow each other.
            let block = |x: Tensor<4>| {
                let (x, shortcut) = fork(x);
                let (one, zero) = ones();
                batch_norm_train(layers(x, weight.clone()), [one, zero], Some(shortcut), true, 1e-5).output
            };
            block(block(x))
        },
        |[x, weight]| {
            let block = |x: Tensor<4>| {
                let (one, zero) = ones();
                batch_norm::reference(layers(x.clone(), weight.clone()), [one, zero], Some(x), true, 1e-5).output
            };
            block(block(x))
        },
    );
    // Both ways through layers.
    compare(
        "both through layers",
        [numbers(shape, 1), numbers([6, 6, 3, 3], 2)],
        |[x, weight]| {
            let (x, shortcut) = fork(x);
            layers(x, weight.clone()) + layers(shortcut, weight)
        },
        |[x, weight]| layers(x.clone(), weight.clone()) + layers(x, weight),
    );
}

#[test]
fn max_pooling_agrees() {
    for shape in [[2, 3, 8, 8], [1, 5, 7, 9], [3, 16, 33, 32], [1, 2, 1, 1]] {
        compare(&format!("{shape:?}"), [numbers(shape, 1)], |[x]| max_pool_halve(x), |[x]| max_pool::reference(x));
    }
    // Ties, as there are behind a rectifier: the first place gets the gradient.
    let flat = || [numbers([1, 2, 6, 6], 1).mul_scalar(0.0)];
    compare("ties", flat(), |[x]| max_pool_halve(x), |[x]| max_pool::reference(x));
}

fn flat(tensor: Tensor<4>) -> Tensor<3> {
    let [a, b, c, d] = tensor.dims();
    tensor.reshape([a * b, c, d])
}

#[test]
fn linear_layers_and_gelu_agree() {
    for [rows, tokens, inner, outer] in [[1, 1, 3, 5], [2, 7, 16, 40], [3, 50, 96, 200]] {
        let layer = LinearConfig::new(inner, outer).init(&device());
        compare(
            &format!("{rows}x{tokens}x{inner} to {outer}"),
            [numbers([1, rows, tokens, inner], 1)],
            |[x]| gelu(linear(&layer, flat(x))).unsqueeze(),
            |[x]| gelu::reference(layer.forward(flat(x))).unsqueeze(),
        );
        let gradients = |fused: bool| {
            let x = flat(numbers([1, rows, tokens, inner], 1));
            let y = if fused { linear(&layer, x) } else { layer.forward(x) };
            let grads = (y.clone() * numbers(y.dims(), 99)).sum().backward();
            let bias = layer.bias.as_ref().map(|bias| values(&bias.val().grad(&grads).unwrap()));
            (values(&layer.weight.val().grad(&grads).unwrap()), bias.unwrap())
        };
        let (fused, plain) = (gradients(true), gradients(false));
        assert_close("weight", &fused.0, &plain.0);
        assert_close("bias", &fused.1, &plain.1);
    }
    // Where the function is steep, flat, and beyond what single precision tells from its limits.
    let x: Vec<f32> = (-1200..=1200).map(|i| i as f32 / 100.0).collect();
    let x = Tensor::<4>::from_data(TensorData::new(x, [1, 1, 1, 2401]), &device());
    compare("gelu", [x], |[x]| gelu(x), |[x]| gelu::reference(x));
}

#[test]
fn layer_norm_agrees() {
    for [rows, tokens, d] in [[1, 1, 4], [2, 5, 33], [4, 60, 128]] {
        let mut layer = LayerNormConfig::new(d).with_epsilon(1e-12).init(&device());
        layer.gamma = layer.gamma.map(|_| row(numbers([1, d, 1, 1], 7)).detach().require_grad());
        let x = || numbers([1, rows, tokens, d], 1).add_scalar(5.0);
        compare(
            &format!("{rows}x{tokens}x{d} with a shortcut"),
            [x(), numbers([1, rows, tokens, d], 2)],
            |[x, s]| layer_norm(&layer, 1e-12, x, Some(s)),
            |[x, s]| layer_norm::reference(&layer, x, Some(s)),
        );
        compare("alone", [x()], |[x]| layer_norm(&layer, 1e-12, x, None), |[x]| layer_norm::reference(&layer, x, None));
        let gradients = |fused: bool| {
            let y = if fused { layer_norm(&layer, 1e-12, x(), None) } else { layer_norm::reference(&layer, x(), None) };
            let grads = (y.clone() * numbers(y.dims(), 99)).sum().backward();
            let beta = layer.beta.as_ref().unwrap().val().grad(&grads).unwrap();
            (values(&layer.gamma.val().grad(&grads).unwrap()), values(&beta))
        };
        let (fused, plain) = (gradients(true), gradients(false));
        assert_close("gamma", &fused.0, &plain.0);
        assert_close("beta", &fused.1, &plain.1);
    }
}

#[test]
fn attention_agrees() {
    for [b, t, d, heads] in [[1, 1, 4, 1], [2, 7, 12, 3], [3, 40, 64, 4]] {
        let padding: Vec<bool> = (0..b * t).map(|i| i % t > t / 2 + i / t).collect();
        let padding = Tensor::<2, Bool>::from_data(TensorData::new(padding, [b, t]), &device());
        for padding in [None, Some(padding)] {
            let rows = Rows::Padded(padding.clone());
            let what = format!("{b}x{t}x{d}, {heads} heads, padded {}", padding.is_some());
            let inputs = || [1, 2, 3].map(|seed| numbers([1, b, t, d], seed));
            compare(
                &what,
                inputs(),
                |[q, k, v]| attend(attention_weights(flat(q), flat(k), heads, &rows), flat(v), &rows).unsqueeze(),
                |[q, k, v]| {
                    let weights = attention::reference_weights(flat(q), flat(k), heads, padding.clone());
                    attention::reference_attend(weights, flat(v)).unsqueeze()
                },
            );
            let [q, k, _] = inputs();
            compare(
                &what,
                [q, k],
                |[q, k]| attention_weights(flat(q), flat(k), heads, &rows),
                |[q, k]| attention::reference_weights(flat(q), flat(k), heads, padding.clone()),
            );
        }
    }
    // A text that is all padding looks everywhere alike, and stays finite.
    let all = Tensor::<2, Bool>::from_data(TensorData::new(vec![true; 5], [1, 5]), &device());
    let x = flat(numbers([1, 1, 5, 4], 1));
    assert_close("all padding", &values(&attention_weights(x.clone(), x, 2, &Rows::Padded(Some(all)))), &[0.2; 50]);
}

/// Texts without their padding: what the padded ones have at tokens, value and gradient.
#[test]
fn packed_texts_are_the_padded_ones() {
    let (b, t, d, heads) = (4, 9, 12, 3);
    let lengths = [9, 1, 4, 6];
    let padding: Vec<bool> = (0..b * t).map(|i| i % t >= lengths[i / t]).collect();
    let padding = Tensor::<2, Bool>::from_data(TensorData::new(padding, [b, t]), &device());
    let packing = Packing::of_padded(&padding).unwrap();
    assert_eq!((packing.texts(), packing.rows(), packing.longest()), (4, 20, 9));
    assert_eq!(packing.of(2), 10..14);
    let ids = Tensor::<1, burn::tensor::Int>::arange(0..36, &device()).reshape([4, 9]);
    let packed: Vec<i64> = packing.pack(&ids).into_data().iter::<i64>().collect();
    assert_eq!(packed, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 18, 19, 20, 21, 27, 28, 29, 30, 31, 32]);
    let positions: Vec<i64> = packing.positions(&device()).into_data().iter::<i64>().collect();
    assert_eq!(positions[8..12], [8, 0, 0, 1]);
    let places = packing.pack(&ids).reshape([20]);
    let pack = |x: Tensor<4>| x.reshape([b * t, d]).select(0, places.clone()).reshape([1, 20, d]);
    let shown = |x: Tensor<3>| x.mask_fill(padding.clone().reshape([b, t, 1]).expand([b, t, d]), 0.0).unsqueeze();
    let rows = Rows::Packed(packing.clone());
    let packed = |[q, k, v]: [Tensor<4>; 3]| {
        let (q, k, v) = (pack(q), pack(k), pack(v));
        shown(packing.unpack(attend(attention_weights(q, k, heads, &rows), v, &rows)))
    };
    compare("packed", [1, 2, 3].map(|seed| numbers([1, b, t, d], seed)), packed, |[q, k, v]| {
        let weights = attention::reference_weights(flat(q), flat(k), heads, Some(padding.clone()));
        shown(attention::reference_attend(weights, flat(v)))
    });
    // Not tokens first: such texts stay padded, and so does one without a token.
    for odd in [vec![true, false], vec![false, true, false, true], vec![true, true]] {
        let shape = [1, odd.len()];
        assert!(Packing::of_padded(&Tensor::from_data(TensorData::new(odd, shape), &device())).is_none());
    }
}

#[test]
fn dropout_keeps_its_share_and_the_same_places_on_the_way_back() {
    let layer = DropoutConfig::new(0.3).init();
    let x = Tensor::<2>::ones([300, 400], &device()).require_grad();
    device().seed(5);
    let y = dropout(&layer, x.clone());
    let kept = values(&y).iter().filter(|y| **y != 0.0).count() as f64 / 120_000.0;
    // Ten standard deviations of a share of 120,000 draws.
    assert!((kept - 0.7).abs() < 0.0133, "{kept}");
    assert!(values(&y).iter().all(|y| *y == 0.0 || (y - 1.0 / 0.7).abs() < 1e-6));
    let grads = y.clone().sum().backward();
    assert_eq!(values(&x.grad(&grads).unwrap()), values(&y));
    // The device's numbers decide: the same after the same seed, others without.
    let other = dropout(&layer, x.clone());
    assert_ne!(values(&other), values(&y));
    device().seed(5);
    assert_eq!(values(&dropout(&layer, x.clone())), values(&y));
    // Neighbours and rows do not follow each other: what is kept twice in a row is the square of what is kept.
    let kept: Vec<bool> = values(&y).iter().map(|y| *y != 0.0).collect();
    for step in [1, 400] {
        let both = kept.iter().zip(&kept[step..]).filter(|(a, b)| **a && **b).count() as f64 / (120_000 - step) as f64;
        assert!((both - 0.49).abs() < 0.0145, "{step}: {both}");
    }
    // Off the training device, and in a frozen layer, nothing is dropped.
    let plain = x.without_autodiff();
    assert_eq!(values(&dropout(&layer, plain.clone())), values(&plain));
}

/// Threads share work in other ways; sums are added in the same order.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let x = numbers([4, 24, 30, 30], 1).require_grad();
            let weight = numbers([40, 24, 3, 3], 2).require_grad();
            let y = conv2d(x.clone(), weight.clone(), 1, 1);
            let (w, b) = (row(numbers([1, 40, 1, 1], 3)), row(numbers([1, 40, 1, 1], 4)));
            let y = max_pool_halve(batch_norm_train(y, [w, b], None, true, 1e-5).output);
            let grads = (y.clone() * numbers(y.dims(), 9)).sum().backward();
            [values(&y), values(&x.grad(&grads).unwrap()), values(&weight.grad(&grads).unwrap())]
        })
    };
    assert!(run(1) == run(3));
}

/// An image gets the same bits alone and among others, in maps down to a single place.
#[test]
fn an_image_does_not_depend_on_those_beside_it() {
    for [c, o, side, k, stride] in
        [[8, 70, 1, 3, 1], [40, 16, 2, 1, 1], [3, 20, 17, 7, 2], [24, 80, 14, 3, 1], [80, 24, 7, 3, 2]]
    {
        let x = numbers([9, c, side, side], 1).without_autodiff();
        let weight = numbers([o, c, k, k], 2).without_autodiff();
        let all = values(&conv2d(x.clone(), weight.clone(), stride, k / 2));
        for count in [1, 2, 5] {
            let some = values(&conv2d(x.clone().narrow(0, 3, count), weight.clone(), stride, k / 2));
            let start = all.len() / 9 * 3;
            assert!(some == all[start..start + some.len()], "{count} of [{c}, {side}, {side}] to {o}, kernel {k}");
        }
    }
    // A text among others, as linear layers see it.
    for (inner, outer) in [(16, 5), (768, 40), (600, 1), (96, 200)] {
        let layer = LinearConfig::new(inner, outer).init(&device().without_autodiff());
        let x = flat(numbers([1, 1, 300, inner], 1)).without_autodiff();
        let all = values(&linear(&layer, x.clone()));
        for count in [1, 3, 20, 70] {
            let some = values(&linear(&layer, x.clone().narrow(1, 11, count)));
            assert!(some == all[11 * outer..(11 + count) * outer], "{count} rows of {inner} to {outer}");
        }
    }
}

#[test]
fn bodies_for_the_cpu_can_be_turned_off() {
    let x = numbers([2, 3, 6, 6], 1);
    assert!(cpu::is_fused(&x) && cpu::is_fused(&x.clone().without_autodiff()));
    assert!(!cpu::is_fused(&x.cast(burn::tensor::FloatDType::F64)));
    let random = Tensor::<2>::random([4, 4], Distribution::Default, &device());
    assert!(cpu::is_fused(&random));
}
