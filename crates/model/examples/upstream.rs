//! What Burn's own operations cost on a CPU beside those of `model::ops`: the reproductions of `docs/upstream.md`.
//!
//! `cargo run --release -p model --example upstream -- [NAME]...` prints for each the milliseconds of either, medians of
//! rounds that take turns, and their ratio. Both of a pair compute the same from
//! tensors of the same shapes.

use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use burn::nn::conv::Conv2dConfig;
use burn::nn::{Dropout, DropoutConfig, LayerNormConfig, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{gelu, relu, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor};
use model::ops;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;

type Work = Box<dyn Fn()>;

/// A finding: Burn's own way, and that of this project.
type Finding = (&'static str, fn() -> [Work; 2]);

const FINDINGS: [Finding; 9] = [
    ("weight-gradient", weight_gradient),
    ("convolution", convolution),
    ("batch-norm", batch_norm),
    ("fork", fork),
    ("linear", linear),
    ("layer-norm", layer_norm),
    ("gelu", gelu_exact),
    ("softmax", softmax_rows),
    ("dropout", dropout),
];

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout();
    let known =
        |name: &String| FINDINGS.iter().any(|(known, _)| known == name) || name == "allocator" || name == "matmul";
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return Err(format!("unknown: {name}").into());
    }
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    writeln!(out, "{:16} {:>10} {:>10} {:>7}", "", "Burn, ms", "here, ms", "ratio")?;
    // Before the memory is kept, as the programs do.
    if is_asked("allocator") {
        let seconds = || middle((0..3).map(|_| allocate()).collect());
        let before = seconds();
        ops::keep_memory();
        row(&mut out, "allocator", [before, seconds()])?;
    }
    ops::keep_memory();
    for (name, finding) in FINDINGS.iter().filter(|(name, _)| is_asked(name)) {
        row(&mut out, name, alternately(&finding()))?;
    }
    if is_asked("matmul") {
        let side = 2048;
        let [a, b] = [random([side, side], &plain()), random([side, side], &plain())];
        let product = || drop(black_box(a.clone().matmul(b.clone())));
        let seconds = middle((0..ROUNDS).map(|_| seconds(product)).collect());
        let rate = 2.0 * (side as f64).powi(3) / seconds / 1e9;
        writeln!(
            out,
            "{:16} {rate:.0} GFLOP/s ({})",
            "matmul",
            if cfg!(feature = "x86-v4") { "x86-v4" } else { "x86-v3" }
        )?;
    }
    Ok(())
}

fn row(out: &mut impl std::io::Write, name: &str, [burn, here]: [f64; 2]) -> std::io::Result<()> {
    writeln!(out, "{name:16} {:10.2} {:10.2} {:7.2}", burn * 1e3, here * 1e3, burn / here)
}

fn seconds(work: impl Fn()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn middle(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Medians of both, which take turns; their first is left out.
fn alternately([burn, here]: &[Work; 2]) -> [f64; 2] {
    let rounds: Vec<[f64; 2]> = (0..=ROUNDS).map(|_| [seconds(burn), seconds(here)]).skip(1).collect();
    [0, 1].map(|side| middle(rounds.iter().map(|round| round[side]).collect()))
}

fn plain() -> Device {
    Device::flex()
}

fn tracked() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Random maps `[B, C, H, W]` whose channels are last in memory, as layers of this project leave them.
fn maps([b, c, h, w]: [usize; 4], device: &Device) -> Tensor<4> {
    random([b, h, w, c], device).permute([0, 3, 1, 2])
}

/// The way forward and back of a function of one tensor.
fn both_ways<const D: usize, const E: usize>(x: &Tensor<D>, function: impl Fn(Tensor<D>) -> Tensor<E>) {
    let y = function(x.clone().require_grad());
    black_box(y.sum().backward());
}

/// The gradient of the weight alone: Burn computes it as a convolution with a kernel as large as the output.
fn weight_gradient() -> [Work; 2] {
    let x = random([8, 64, 56, 56], &tracked());
    let weight = random([64, 64, 3, 3], &tracked());
    let other = (x.clone(), weight.clone());
    [
        Box::new(move || {
            let options = ConvOptions::new([1; 2], [1; 2], [1; 2], 1);
            both_ways(&weight, |weight| conv2d(x.clone(), weight, None, options.clone()));
        }),
        Box::new(move || both_ways(&other.1, |weight| ops::conv2d(other.0.clone(), weight, 1, 1))),
    ]
}

/// Two convolutions in a row, between which the map could stay as it is in memory.
fn convolution() -> [Work; 2] {
    let layer =
        Conv2dConfig::new([256, 256], [3, 3]).with_padding(PaddingConfig2d::Same).with_bias(false).init(&plain());
    let weight = layer.weight.val();
    let x = random([8, 256, 14, 14], &plain());
    let other = maps([8, 256, 14, 14], &plain());
    [
        Box::new(move || drop(black_box(layer.forward(layer.forward(x.clone()))))),
        Box::new(move || {
            let layer = |x| ops::conv2d(x, weight.clone(), 1, 1);
            drop(black_box(layer(layer(other.clone()))));
        }),
    ]
}

/// Normalisation, the sum with a shortcut and a rectifier, forward and back.
fn batch_norm() -> [Work; 2] {
    let [x, shortcut] = [random([8, 256, 56, 56], &tracked()), random([8, 256, 56, 56], &tracked())];
    let [weight, bias] = [Tensor::<1>::ones([256], &tracked()), Tensor::<1>::zeros([256], &tracked())];
    let shape = [8, 256, 56, 56];
    let other = (maps(shape, &tracked()), maps(shape, &tracked()), [weight.clone(), bias.clone()]);
    [
        Box::new(move || {
            both_ways(&x, |x| {
                let normed = burn::tensor::module::batch_norm_train(x, weight.clone(), bias.clone(), 1e-5);
                relu(normed.output + shortcut.clone())
            });
        }),
        Box::new(move || {
            let (x, shortcut, affine) = &other;
            both_ways(x, |x| ops::batch_norm_train(x, affine.clone(), Some(shortcut.clone()), true, 1e-5).output);
        }),
    ]
}

/// A layer and a shortcut around it, of a map of 26 MB: the same operations, with Burn's sum of the two gradients and in place.
fn fork() -> [Work; 2] {
    let x = maps([8, 64, 56, 56], &tracked());
    let weight = random([256, 64, 1, 1], &tracked());
    let affine = [Tensor::<1>::ones([256], &tracked()), Tensor::<1>::zeros([256], &tracked())];
    let block = move |fork: fn(Tensor<4>) -> (Tensor<4>, Tensor<4>)| {
        both_ways(&weight, |weight| {
            let (y, shortcut) = fork(ops::conv2d(x.clone(), weight, 1, 0));
            ops::batch_norm_train(y, affine.clone(), Some(shortcut), true, 1e-5).output
        });
    };
    let other = block.clone();
    [Box::new(move || block(|y| (y.clone(), y))), Box::new(move || other(ops::fork))]
}

/// One product of 512 rows, or eight of 64.
fn linear() -> [Work; 2] {
    let layer = LinearConfig::new(768, 3072).init(&plain());
    let x = random([8, 64, 768], &plain());
    let other = (layer.clone(), x.clone());
    [
        Box::new(move || drop(black_box(layer.forward(x.clone())))),
        Box::new(move || drop(black_box(ops::linear(&other.0, other.1.clone())))),
    ]
}

fn layer_norm() -> [Work; 2] {
    let layer = LayerNormConfig::new(768).with_epsilon(1e-12).init(&tracked());
    let x = random([8, 64, 768], &tracked());
    let other = (layer.clone(), x.clone());
    [
        Box::new(move || both_ways(&x, |x| layer.forward(x))),
        Box::new(move || both_ways(&other.1, |x| ops::layer_norm(&other.0, 1e-12, x, None))),
    ]
}

fn gelu_exact() -> [Work; 2] {
    let x = random([8, 64, 3072], &tracked());
    let other = x.clone();
    [Box::new(move || both_ways(&x, gelu)), Box::new(move || both_ways(&other, ops::gelu))]
}

/// Weights of attention with twelve heads, from queries and keys.
fn softmax_rows() -> [Work; 2] {
    let [query, key] = [random([8, 112, 768], &tracked()), random([8, 112, 768], &tracked())];
    let other = (query.clone(), key.clone());
    let heads = |x: Tensor<3>| x.reshape([8, 112, 12, 64]).swap_dims(1, 2);
    [
        Box::new(move || {
            let key = heads(key.clone()).swap_dims(2, 3);
            let query = query.clone().require_grad();
            black_box(softmax(heads(query).matmul(key).div_scalar(8.0), 3).sum().backward());
        }),
        Box::new(move || {
            let (query, key) = (other.0.clone().require_grad(), other.1.clone());
            black_box(ops::attention_weights(query, key, 12, &ops::Rows::Padded(None)).sum().backward());
        }),
    ]
}

fn dropout() -> [Work; 2] {
    let layer: Dropout = DropoutConfig::new(0.1).init();
    let x = random([8, 64, 3072], &tracked());
    let other = (layer.clone(), x.clone());
    [
        Box::new(move || both_ways(&x, |x| layer.forward(x))),
        Box::new(move || both_ways(&other.1, |x| ops::dropout(&other.0, x))),
    ]
}

/// Seconds to make eight tensors of 16 MB, after as many have been gone for longer than the allocator waits.
fn allocate() -> f64 {
    let tensors = || drop(black_box((0..8).map(|_| Tensor::<1>::ones([4_000_000], &plain())).collect::<Vec<_>>()));
    tensors();
    std::thread::sleep(Duration::from_millis(1200));
    // Whoever frees next gives back what has waited.
    drop(black_box(Tensor::<1>::ones([4_000_000], &plain())));
    seconds(tensors)
}
