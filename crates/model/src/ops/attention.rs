//! Attention over tokens, in two halves: the weights, and the values that they weigh.
//!
//! Shape letters: `B` texts, `T` tokens of the longest, `M` tokens of all, `D` width, `N` heads. A tensor of rows is
//! `[B, T, D]`, or `[1, M, D]` where it is packed ([`Packing`]).
//!
//! Heads stay where the linear layers leave them, side by side in the vector of a token; nothing is moved to split them.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::cpu::{By, Matrix, exp, filled, is_fused, lanes, lanes_of_two, matmul, tensor, values, vectorised};
use super::packing::Packing;

/// Finite stand-in for minus infinity: a row that is all padding stays finite.
pub const MASKED: f64 = -1e30;

/// Which rows are the tokens of a text.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there are two of them at a time")]
pub enum Rows {
    /// `[B, T, D]`; the mask, `[B, T]`, is true at padding.
    Padded(Option<Tensor<2, Bool>>),
    /// `[1, M, D]`.
    Packed(Packing),
}

impl Rows {
    /// The same on the plain device.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        match self {
            Self::Padded(mask) => Self::Padded(mask.map(Tensor::without_autodiff)),
            Self::Packed(packing) => Self::Packed(packing),
        }
    }
}

/// Softmax over keys of `query key / sqrt(D / N)`, for each head and query; padding gets no weight.
///
/// # Shapes
/// `query`, `key`: rows; the result: `[B, N, T, T]`, 0 in rows and columns of padding where rows are packed.
pub fn attention_weights(query: Tensor<3>, key: Tensor<3>, heads: usize, rows: &Rows) -> Tensor<4> {
    let padding = match rows {
        Rows::Padded(padding) if !is_fused(&query) => return reference_weights(query, key, heads, padding.clone()),
        Rows::Padded(Some(padding)) => padding.to_data().iter::<bool>().collect(),
        _ => Vec::new(),
    };
    let sizes = Sizes::of(query.dims(), heads, rows);
    let (query, key) = (query.into_dispatch(), key.into_dispatch());
    Tensor::from_dispatch(<Dispatch as AttentionOps>::fused_attention_weights(query, key, sizes, padding))
}

pub(super) fn reference_weights(
    query: Tensor<3>,
    key: Tensor<3>,
    heads: usize,
    padding: Option<Tensor<2, Bool>>,
) -> Tensor<4> {
    let [b, t, d] = query.dims();
    let scale = 1.0 / ((d / heads) as f64).sqrt();
    let scores = split(query, heads).matmul(split(key, heads).swap_dims(2, 3)).mul_scalar(scale); // [B, N, T, T]
    let scores = match padding {
        Some(padding) => scores.mask_fill(padding.reshape([b, 1, 1, t]).expand([b, heads, t, t]), MASKED),
        None => scores,
    };
    softmax(scores, 3)
}

/// Values weighed by [`attention_weights`].
///
/// # Shapes
/// `weights`: `[B, N, T, T]`; `value` and the result: rows.
pub fn attend(weights: Tensor<4>, value: Tensor<3>, rows: &Rows) -> Tensor<3> {
    if matches!(rows, Rows::Padded(_)) && !is_fused(&value) {
        return reference_attend(weights, value);
    }
    let sizes = Sizes::of(value.dims(), weights.dims()[1], rows);
    let (weights, value) = (weights.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(<Dispatch as AttentionOps>::fused_attend(weights, value, sizes))
}

pub(super) fn reference_attend(weights: Tensor<4>, value: Tensor<3>) -> Tensor<3> {
    let [b, t, d] = value.dims();
    let heads = weights.dims()[1];
    weights.matmul(split(value, heads)).swap_dims(1, 2).reshape([b, t, d])
}

/// `[B, T, D]` to `[B, N, T, D / N]`.
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, t, d] = x.dims();
    x.reshape([b, t, heads, d / heads]).swap_dims(1, 2)
}

/// The bodies for the CPU.
#[backend_extension(Flex, Autodiff)]
trait AttentionOps: Backend {
    /// `padding` is row-major `[B, T]`, or empty.
    fn fused_attention_weights(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        sizes: Sizes,
        padding: Vec<bool>,
    ) -> FloatTensor<Self>;
    fn fused_attend(weights: FloatTensor<Self>, value: FloatTensor<Self>, sizes: Sizes) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn fused_attention_weights(query: FlexTensor, key: FlexTensor, sizes: Sizes, padding: Vec<bool>) -> FlexTensor {
        weights(values(&query.to_contiguous()), values(&key.to_contiguous()), &sizes, &padding)
    }

    fn fused_attend(weights: FlexTensor, value: FlexTensor, sizes: Sizes) -> FlexTensor {
        let context = sizes.by_token(|head, out| {
            head.product(out, values(&weights.to_contiguous()), values(&value.to_contiguous()), false);
        });
        tensor(context, value.layout().shape().clone())
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn fused_attention_weights(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        sizes: Sizes,
        padding: Vec<bool>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 2> for Step {
            type State = (FlexTensor, FlexTensor, FlexTensor, Sizes);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (query, key, weights, sizes) = ops.state;
                let dw = grads.consume::<Flex>(&ops.node).to_contiguous();
                let scores = score_gradient(values(&weights), values(&dw), &sizes);
                let [of_query, of_key] = ops.parents;
                let shape = query.layout().shape().clone();
                if let Some(node) = of_query {
                    let dq = sizes.by_token(|head, out| head.product(out, &scores, values(&key), false));
                    grads.register::<Flex>(node.id, tensor(dq, shape.clone()));
                }
                if let Some(node) = of_key {
                    let dk = sizes.by_token(|head, out| head.product(out, &scores, values(&query), true));
                    grads.register::<Flex>(node.id, tensor(dk, shape));
                }
            }
        }
        let ((query, of_query), (key, of_key)) = (query.into_parts(), key.into_parts());
        let (query, key) = (query.to_contiguous(), key.to_contiguous());
        let weights = weights(values(&query), values(&key), &sizes, &padding);
        match Step.prepare::<C>([of_query, of_key]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((query, key, weights.clone(), sizes), weights),
            OpsKind::UnTracked(step) => step.finish(weights),
        }
    }

    fn fused_attend(weights: FloatTensor<Self>, value: FloatTensor<Self>, sizes: Sizes) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 2> for Step {
            type State = (FlexTensor, FlexTensor, Sizes);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (weights, value, sizes) = ops.state;
                let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
                let [of_weights, of_value] = ops.parents;
                if let Some(node) = of_weights {
                    let shape = weights.layout().shape().clone();
                    let dw = sizes.by_head(|head, out| head.compare(out, values(&dy), values(&value), 1.0));
                    grads.register::<Flex>(node.id, tensor(dw, shape));
                }
                if let Some(node) = of_value {
                    let dv = sizes.by_token(|head, out| head.product(out, values(&weights), values(&dy), true));
                    grads.register::<Flex>(node.id, tensor(dv, value.layout().shape().clone()));
                }
            }
        }
        let ((weights, of_weights), (value, of_value)) = (weights.into_parts(), value.into_parts());
        let (weights, value) = (weights.to_contiguous(), value.to_contiguous());
        let y = Flex::fused_attend(weights.clone(), value.clone(), sizes.clone());
        match Step.prepare::<C>([of_weights, of_value]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((weights, value, sizes), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

/// Texts and where their rows begin, tokens of the longest, heads, and width of a head.
#[derive(Debug, Clone)]
struct Sizes {
    packing: Packing,
    heads: usize,
    width: usize,
}

/// One head of one text.
#[derive(Debug, Clone, Copy)]
struct Head<'a> {
    sizes: &'a Sizes,
    text: usize,
    number: usize,
}

impl Sizes {
    fn of([texts, tokens, d]: [usize; 3], heads: usize, rows: &Rows) -> Self {
        let packing = match rows {
            Rows::Packed(packing) => packing.clone(),
            Rows::Padded(_) => Packing::new(&vec![tokens; texts]),
        };
        Self { packing, heads, width: d / heads }
    }

    /// Values of the matrix of one head, `[T, T]`.
    fn square(&self) -> usize {
        self.packing.longest() * self.packing.longest()
    }

    /// A matrix of tokens by tokens for each head, `[B, N, T, T]`, in parallel; `work` writes that of its tokens, in rows of
    /// width `T`.
    #[expect(unsafe_code, reason = "memory that is not cleared")]
    fn by_head(&self, work: impl Fn(Head<'_>, &mut [f32]) + Sync) -> Vec<f32> {
        let (square, longest) = (self.square(), self.packing.longest());
        // SAFETY: there is a piece for every head; it is cleared, or `work` writes it whole.
        unsafe {
            filled(self.packing.texts() * self.heads * square, |out| {
                out.par_chunks_mut(square.max(1)).enumerate().for_each(|(i, out)| {
                    let head = Head { sizes: self, text: i / self.heads, number: i % self.heads };
                    if head.len() < longest {
                        out.fill(0.0);
                    }
                    work(head, out);
                });
            })
        }
    }

    /// A vector of each token, in rows, in parallel; `work` writes the part of its head, in rows of width `D`.
    #[expect(unsafe_code, reason = "memory that is not cleared")]
    fn by_token(&self, work: impl Fn(Head<'_>, &mut [f32]) + Sync) -> Vec<f32> {
        let d = self.heads * self.width;
        // SAFETY: texts are all rows, and the parts of all heads are the vector of a token.
        unsafe {
            filled(self.packing.rows() * d, |out| {
                let mut rest = out;
                let mut texts = Vec::with_capacity(self.packing.texts());
                for text in 0..self.packing.texts() {
                    let (first, after) = rest.split_at_mut(self.packing.of(text).len() * d);
                    texts.push(first);
                    rest = after;
                }
                texts.into_par_iter().enumerate().for_each(|(text, out)| {
                    for number in 0..self.heads {
                        work(Head { sizes: self, text, number }, &mut out[number * self.width..]);
                    }
                });
            })
        }
    }
}

impl Head<'_> {
    /// Tokens of the text.
    fn len(&self) -> usize {
        self.sizes.packing.of(self.text).len()
    }

    /// Where the matrix of this head begins among those of all.
    fn start(&self) -> usize {
        (self.text * self.sizes.heads + self.number) * self.sizes.square()
    }

    /// The vectors of this head, `[T, D / N]`, within those of all.
    fn tokens<'a>(&self, all: &'a [f32]) -> Matrix<'a> {
        let Sizes { packing, heads, width } = self.sizes;
        let d = heads * width;
        Matrix::strided(&all[packing.of(self.text).start * d + self.number * width..], self.len(), *width, d)
    }

    /// Products of all pairs of vectors, `[T, T]`.
    fn compare(&self, out: &mut [f32], rows: &[f32], columns: &[f32], scale: f32) {
        let longest = self.sizes.packing.longest();
        matmul(out, longest, self.tokens(rows), self.tokens(columns).transposed(), scale, false, By::Caller);
    }

    /// Sums of vectors weighed by this head's matrix of `weights`, or by its transpose.
    fn product(&self, out: &mut [f32], weights: &[f32], vectors: &[f32], transposed: bool) {
        let Sizes { packing, heads, width } = self.sizes;
        let weights = Matrix::strided(&weights[self.start()..], self.len(), self.len(), packing.longest());
        let weights = if transposed { weights.transposed() } else { weights };
        matmul(out, heads * width, weights, self.tokens(vectors), 1.0, false, By::Caller);
    }
}

fn weights(query: &[f32], key: &[f32], sizes: &Sizes, padding: &[bool]) -> FlexTensor {
    let t = sizes.packing.longest();
    #[expect(clippy::cast_possible_truncation, reason = "as every value is")]
    let masked = MASKED as f32;
    let weights = sizes.by_head(|head, out| {
        head.compare(out, query, key, 1.0 / (sizes.width as f32).sqrt());
        let padding = padding.get(head.text * t..(head.text + 1) * t);
        let n = head.len();
        vectorised(
            #[inline(always)]
            || {
                for row in out.chunks_exact_mut(t).take(n) {
                    let row = &mut row[..n];
                    if let Some(padding) = padding {
                        for (score, padding) in row.iter_mut().zip(padding) {
                            *score = if *padding { masked } else { *score };
                        }
                    }
                    let greater = |max: f32, score: f32| if score > max { score } else { max };
                    let max = row.iter().copied().fold(f32::NEG_INFINITY, greater);
                    for score in row.iter_mut() {
                        *score = exp(*score - max);
                    }
                    let inverse = 1.0 / lanes(row, |score| score);
                    for weight in row.iter_mut() {
                        *weight *= inverse;
                    }
                }
            },
        );
    });
    tensor(weights, [sizes.packing.texts(), sizes.heads, t, t])
}

/// The gradient of the products of queries and keys: `w (dw - sum(w dw))` for each row of weights, times the scale.
fn score_gradient(weights: &[f32], dw: &[f32], sizes: &Sizes) -> Vec<f32> {
    let t = sizes.packing.longest();
    let scale = 1.0 / (sizes.width as f32).sqrt();
    sizes.by_head(|head, out| {
        let (at, n) = (head.start()..head.start() + t * t, head.len());
        let rows = weights[at.clone()].chunks_exact(t).zip(dw[at].chunks_exact(t));
        vectorised(
            #[inline(always)]
            || {
                for (out, (w, dw)) in out.chunks_exact_mut(t).zip(rows).take(n) {
                    let (w, dw) = (&w[..n], &dw[..n]);
                    let along = lanes_of_two(w, dw, |w, dw| w * dw);
                    for ((out, w), dw) in out.iter_mut().zip(w).zip(dw) {
                        *out = w * (dw - along) * scale;
                    }
                }
            },
        );
    })
}
