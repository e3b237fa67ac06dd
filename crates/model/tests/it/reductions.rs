//! Reductions over short axes against a computation in double precision on the host: a kernel that leaves part of a group
//! of threads idle, or fuses what comes before, goes wrong at some length and nowhere else.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use model::ops::{l2_normalize, log_softmax_rows};
use model::weights::{HostTensor, TensorMap};

use super::support::{MODULE, assert_all_close, assert_close, device, host};

/// Lengths of the reduced axis: a batch of one to twenty, and around the widths of thread groups (32, 64).
fn lengths() -> impl Iterator<Item = usize> {
    (1..=20).chain([31, 32, 33, 63, 64, 65])
}

/// Rows of numbers between -1 and 1: a softmax that is saturated would have a gradient of rounding errors.
fn numbers(rows: usize, len: usize) -> Vec<f64> {
    (0..rows * len).map(|i| f64::from(f32::sin(i as f32 * 2.6 + len as f32))).collect()
}

/// What a reduction of one row gives: its result, and the gradient of the row under weights on the result.
type Row = (Vec<f64>, Vec<f64>);

fn weight(i: usize) -> f64 {
    f64::from(f32::cos(i as f32 * 0.7))
}

#[expect(clippy::cast_possible_truncation, reason = "results are of single precision")]
fn single(shape: Vec<usize>, values: impl IntoIterator<Item = f64>) -> HostTensor {
    HostTensor { shape, data: values.into_iter().map(|v| v as f32).collect() }
}

/// Compares results and gradients of `function`, rows of every length to `[rows, K]`, with `expected` of each row and its
/// weights.
fn check(what: &str, function: impl Fn(Tensor<2>) -> Tensor<2>, expected: impl Fn(&[f64], &[f64]) -> Row) {
    for len in lengths() {
        for rows in [1, 2, 5, 33] {
            let values = numbers(rows, len);
            let input = single(vec![rows, len], values.iter().copied());
            let on = |device: &Device| Tensor::<2>::from_data(TensorData::new(input.data.clone(), [rows, len]), device);
            let plain = function(on(&device()));
            let [_, width] = plain.dims();
            let weights: Vec<f64> = (0..rows * width).map(weight).collect();
            let results = values.chunks(len).zip(weights.chunks(width)).map(|(row, weights)| expected(row, weights));
            let (outputs, gradients): (Vec<_>, Vec<_>) = results.unzip();
            let output = single(vec![rows, width], outputs.concat());
            let gradient = single(vec![rows, len], gradients.concat());
            let tracked = device().autodiff();
            let x = on(&tracked).require_grad();
            let y = function(x.clone());
            let weights = single(vec![rows, width], weights);
            let weights = Tensor::<2>::from_data(TensorData::new(weights.data, [rows, width]), &tracked);
            let grads = (y.clone() * weights).sum().backward();
            // One map: a gradient that is zero by theory is compared on the scale of the output.
            let map = |output: &HostTensor, gradient: HostTensor| {
                TensorMap::from([("output".to_owned(), output.clone()), ("gradient".to_owned(), gradient)])
            };
            let what = format!("{what} of {rows} rows of {len}");
            let found = map(&host(y), host(x.grad(&grads).unwrap()));
            assert_all_close(&what, &found, &map(&output, gradient), MODULE);
            assert_close(&what, &host(plain), &output, MODULE);
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn exponentials(row: &[f64]) -> (Vec<f64>, f64) {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|v| (v - max).exp()).collect();
    let sum = exponentials.iter().sum();
    (exponentials.iter().map(|e| e / sum).collect(), max + f64::ln(sum))
}

#[test]
fn log_softmax() {
    check("log-softmax", log_softmax_rows, |row, weights| {
        let (p, log_sum) = exponentials(row);
        let total: f64 = weights.iter().sum();
        let gradient = p.iter().zip(weights).map(|(p, w)| w - p * total).collect();
        (row.iter().map(|v| v - log_sum).collect(), gradient)
    });
}

/// Attention takes it from Burn as it is.
#[test]
fn softmax_of_burn() {
    check(
        "softmax",
        |x| softmax(x, 1),
        |row, weights| {
            let (p, _) = exponentials(row);
            let mean = dot(&p, weights);
            (p.clone(), p.iter().zip(weights).map(|(p, w)| p * (w - mean)).collect())
        },
    );
}

#[test]
fn sum_and_mean() {
    check("sum", |x| x.sum_dim(1), |row, weights| (vec![row.iter().sum()], vec![weights[0]; row.len()]));
    check(
        "mean",
        |x| x.mean_dim(1),
        |row, weights| {
            let n = row.len() as f64;
            (vec![row.iter().sum::<f64>() / n], vec![weights[0] / n; row.len()])
        },
    );
}

#[test]
fn maximum() {
    check(
        "maximum",
        |x| x.max_dim(1),
        |row, weights| {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (vec![max], row.iter().map(|&v| if v < max { 0.0 } else { weights[0] }).collect())
        },
    );
}

#[test]
fn unit_length() {
    check("unit length", l2_normalize, |row, weights| {
        let norm = dot(row, row).sqrt();
        let unit: Vec<f64> = row.iter().map(|v| v / norm).collect();
        let along = dot(&unit, weights);
        let gradient = unit.iter().zip(weights).map(|(u, w)| (w - u * along) / norm).collect();
        (unit, gradient)
    });
}
