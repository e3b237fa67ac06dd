//! Sums over samples whose graph would not fit into memory at once.

use burn::tensor::Tensor;

/// The sum over chunks of samples of what `function` returns: a loss, which can be differentiated, and figures, which cannot.
///
/// Each chunk is differentiated as soon as it is computed, so that tensors that belong to pairs of parts of one sample live for
/// one chunk alone. Nothing is computed twice: the loss that is returned has the value of the sum, and a graph that hands out
/// the gradients which are known already.
///
/// # Shapes
/// `rows`: `[B, ...]` each, of which `function` gets at most `chunk` rows; `shared`: any, which it gets whole. The loss and
/// each figure: `[1]`.
///
/// # Panics
/// If there are no rows.
pub fn sum_in_chunks<const F: usize>(
    rows: &[Tensor<2>],
    shared: &[Tensor<2>],
    chunk: usize,
    function: impl Fn(&[Tensor<2>], &[Tensor<2>]) -> (Tensor<1>, [Tensor<1>; F]),
) -> (Tensor<1>, [Tensor<1>; F]) {
    let samples = rows[0].dims()[0];
    let starts = (0..samples).step_by(chunk.max(1));
    let cut = |rows: &Tensor<2>, start: usize| rows.clone().narrow(0, start, chunk.max(1).min(samples - start));
    let tracked = |tensor: &&Tensor<2>| tensor.is_autodiff() && tensor.is_tracked();
    let mut sum = Sum::default();
    if !rows.iter().chain(shared).any(|tensor| tracked(&tensor)) {
        for start in starts {
            let part: Vec<_> = rows.iter().map(|rows| cut(rows, start)).collect();
            let (loss, figures) = function(&part, shared);
            sum.add(loss, figures);
        }
        return sum.parts();
    }
    let leaf = |tensor: Tensor<2>| {
        let leaf = tensor.clone().without_autodiff().autodiff();
        if tracked(&&tensor) { leaf.require_grad() } else { leaf }
    };
    let (mut row_grads, mut shared_grads) = (vec![Vec::new(); rows.len()], vec![None; shared.len()]);
    for start in starts {
        let part: Vec<_> = rows.iter().map(|rows| leaf(cut(rows, start))).collect();
        let whole: Vec<_> = shared.iter().map(|tensor| leaf(tensor.clone())).collect();
        let (loss, figures) = function(&part, &whole);
        let mut grads = loss.backward();
        for (leaf, known) in part.iter().zip(&mut row_grads) {
            let zeros = || leaf.clone().without_autodiff().zeros_like();
            known.push(leaf.grad_remove(&mut grads).unwrap_or_else(zeros));
        }
        for (leaf, known) in whole.iter().zip(&mut shared_grads) {
            if let Some(grad) = leaf.grad_remove(&mut grads) {
                *known = Some(known.take().map_or(grad.clone(), |sum: Tensor<2>| sum + grad));
            }
        }
        sum.add(loss.without_autodiff(), figures.map(Tensor::without_autodiff));
    }
    let of_rows = rows.iter().zip(row_grads).map(|(rows, grads)| (rows, Tensor::cat(grads, 0)));
    let of_shared = shared.iter().zip(shared_grads).filter_map(|(tensor, grad)| Some((tensor, grad?)));
    let shares = of_rows.chain(of_shared).filter(|(tensor, _)| tracked(tensor));
    let share = shares.map(|(tensor, grad)| (tensor.clone() * grad.autodiff()).sum()).reduce(|sum, share| sum + share);
    let (loss, figures) = sum.parts();
    let loss = loss.autodiff();
    // The difference is zero: it has a gradient and no value.
    let loss = share.map_or(loss.clone(), |share| loss + (share.clone() - share.detach()));
    (loss, figures.map(Tensor::autodiff))
}

/// A loss and figures, added up.
struct Sum<const F: usize>(Option<(Tensor<1>, [Tensor<1>; F])>);

impl<const F: usize> Default for Sum<F> {
    fn default() -> Self {
        Self(None)
    }
}

impl<const F: usize> Sum<F> {
    fn add(&mut self, loss: Tensor<1>, figures: [Tensor<1>; F]) {
        self.0 = Some(match self.0.take() {
            None => (loss, figures),
            Some((sum, mut sums)) => {
                for (sum, figure) in sums.iter_mut().zip(figures) {
                    *sum = sum.clone() + figure;
                }
                (sum + loss, sums)
            }
        });
    }

    fn parts(self) -> (Tensor<1>, [Tensor<1>; F]) {
        let Some(parts) = self.0 else { panic!("a batch has samples") };
        parts
    }
}
