//! Images of another size, as one matrix product for each axis.

use burn::tensor::{Tensor, TensorData};

/// Bilinear resizing to a square with corners on corners (`align_corners = true` of `torch.nn.functional.interpolate`).
///
/// # Shapes
/// `[B, C, H, W]` to `[B, C, size, size]`.
pub fn resize_bilinear(x: Tensor<4>, size: usize) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    if (h, w) == (size, size) {
        return x;
    }
    let device = x.device();
    let matrix = |from: usize| Tensor::<2>::from_data(TensorData::new(weights(from, size), [size, from]), &device);
    let columns = x.matmul(matrix(w).transpose().unsqueeze()); // [B, C, H, size]
    matrix(h).unsqueeze().matmul(columns)
}

/// Row-major `[to, from]`: how much of each old place is in each new one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places within an image")]
fn weights(from: usize, to: usize) -> Vec<f32> {
    let step = if to > 1 { (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    let mut weights = vec![0.0; to * from];
    for (row, place) in weights.chunks_exact_mut(from).zip(0..) {
        let at = f64::from(place) * step;
        let low = (at as usize).min(from - 1);
        let part = (at - low as f64) as f32;
        row[low] += 1.0 - part;
        row[(low + 1).min(from - 1)] += part;
    }
    weights
}
