//! Self-attention of text: short, and run once a prompt, so its scores are kept whole.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Softmax attention on scores `q·kᵀ·scale + bias`.
///
/// # Shapes
/// - `q`, `k`, `v`: `[1, n, heads·head_dim]`
/// - `bias`: `[1, heads or 1, n, n]`
/// - output: `[1, n, heads·head_dim]`
pub fn attend([q, k, v]: [Tensor<3>; 3], heads: usize, scale: f64, bias: Tensor<4>) -> Tensor<3> {
    let split = |x: Tensor<3>| {
        let [b, n, width] = x.dims();
        x.reshape([b, n, heads, width / heads]).swap_dims(1, 2) // [1, heads, n, head_dim]
    };
    let scores = split(q).matmul(split(k).transpose()).mul_scalar(scale) + bias;
    softmax(scores, 3).matmul(split(v)).swap_dims(1, 2).flatten(2, 3)
}

/// The bias that keeps each of `n` tokens from those behind it, `[1, 1, n, n]`.
pub fn causal(n: usize, device: &Device) -> Tensor<4> {
    let of_pair = |pair: usize| if pair % n > pair / n { f32::MIN } else { 0.0 };
    let values: Vec<f32> = (0..n * n).map(of_pair).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, n, n]), device)
}
