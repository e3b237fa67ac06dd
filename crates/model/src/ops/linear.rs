//! Linear layers: one product of matrices over all rows.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::module::linear as burn_linear;
use burn_flex::FlexTensor;

use super::cpu::{By, Matrix, filled, for_rows, is_fused, matmul, matmul_by_row, sums, tensor, values, vectorised};

/// A linear layer on the last axis.
///
/// # Shapes
/// `[..., I]` to `[..., O]`.
pub fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    match &layer.bias {
        Some(bias) => affine(x, layer.weight.val(), bias.val()),
        None => layer.forward(x),
    }
}

/// `x W + b` on the last axis.
///
/// # Shapes
/// `x`: `[..., I]`; `weight`: `[I, O]`; `bias`: `[O]`; the result: `[..., O]`.
///
/// # Panics
/// If the widths differ.
pub fn affine<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if D > 1 && is_fused(&x) {
        let [x, weight, bias] = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
        return Tensor::from_dispatch(<Dispatch as LinearOps>::fused_linear(x, weight, bias));
    }
    burn_linear(x, weight, Some(bias))
}

/// The body for the CPU.
#[backend_extension(Flex, Autodiff)]
trait LinearOps: Backend {
    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn fused_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        forward(&x.to_contiguous(), &weight.to_contiguous(), &bias.to_contiguous())
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;
        impl Backward<Flex, 3> for Step {
            type State = (FlexTensor, FlexTensor);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (x, weight) = ops.state;
                let [of_x, of_weight, of_bias] = ops.parents;
                let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
                if let Some(node) = of_bias {
                    grads.register::<Flex>(node.id, bias_gradient(&dy));
                }
                if let Some(node) = of_weight {
                    grads.register::<Flex>(node.id, weight_gradient(&x, &dy));
                }
                if let Some(node) = of_x {
                    grads.register::<Flex>(node.id, input_gradient(&dy, &weight));
                }
            }
        }
        let ((x, of_x), (weight, of_weight), (bias, of_bias)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let y = forward(&x, &weight, &bias.to_contiguous());
        match Step.prepare::<C>([of_x, of_weight, of_bias]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x, weight), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

/// Rows and columns of a tensor whose last axis is columns.
fn rows_of(tensor: &FlexTensor) -> (usize, usize) {
    let shape = tensor.layout().shape();
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width.max(1), width)
}

fn with_width(tensor: &FlexTensor, width: usize) -> Vec<usize> {
    let mut shape = tensor.layout().shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    shape
}

fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let (rows, width) = rows_of(tensor);
    Matrix::new(values(tensor), rows, width)
}

/// All are contiguous; `weight` is `[I, O]`.
#[expect(unsafe_code, reason = "memory that is not cleared")]
fn forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let ((rows, inner), (weight_inner, n)) = (rows_of(x), rows_of(weight));
    assert_eq!(inner, weight_inner, "width of the input of a linear layer");
    let bias = values(bias);
    assert_eq!(bias.len(), n, "width of the bias of a linear layer");
    // SAFETY: the product writes every row whole.
    let y = unsafe {
        filled(rows * n, |y| {
            for_rows(y, n, |_, y| {
                for y in y.chunks_exact_mut(n) {
                    y.copy_from_slice(bias);
                }
            });
            matmul_by_row(y, values(x), matrix(weight), true, By::All);
        })
    };
    tensor(y, with_width(x, n))
}

#[expect(unsafe_code, reason = "memory that is not cleared")]
fn input_gradient(dy: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let ((rows, _), (n, _)) = (rows_of(dy), rows_of(weight));
    // SAFETY: the product writes every row whole.
    let dx =
        unsafe { filled(rows * n, |dx| matmul(dx, n, matrix(dy), matrix(weight).transposed(), 1.0, false, By::All)) };
    tensor(dx, with_width(dy, n))
}

#[expect(unsafe_code, reason = "memory that is not cleared")]
fn weight_gradient(x: &FlexTensor, dy: &FlexTensor) -> FlexTensor {
    let ((_, inner), (_, outer)) = (rows_of(x), rows_of(dy));
    // SAFETY: the product writes every row whole.
    let dw = unsafe {
        filled(inner * outer, |dw| matmul(dw, outer, matrix(x).transposed(), matrix(dy), 1.0, false, By::All))
    };
    tensor(dw, [inner, outer])
}

#[expect(clippy::cast_possible_truncation, reason = "the last step of a computation in double precision")]
fn bias_gradient(dy: &FlexTensor) -> FlexTensor {
    let (rows, n) = rows_of(dy);
    let dy = values(dy);
    let [sum] = sums(rows, n, |rows, [sum]| {
        vectorised(
            #[inline(always)]
            || {
                for row in dy[rows.start * n..rows.end * n].chunks_exact(n) {
                    sum.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
                }
            },
        );
    });
    tensor(sum.iter().map(|sum| *sum as f32).collect(), [n])
}
