//! Three-dimensional rotary embedding: the pairs of a head are shared out among frame, row, column.

use burn::tensor::{Device, Tensor, TensorData};

/// Base of the frequencies, `rope_params` of the authors' code.
const THETA: f64 = 10000.0;

/// Cosine and sine `[1, f·h·w, 1, head_dim/2]` of a token grid, made in f64 on the host, stored in f32.
///
/// Rows and columns have `2·⌊head_dim/6⌋` channels each, frames the rest; each axis counts its
/// frequencies by its own number of channels.
pub fn tables([f, h, w]: [usize; 3], head_dim: usize, device: &Device) -> [Tensor<4>; 2] {
    let side = 2 * (head_dim / 6);
    let axis = |channels: usize| (0..channels / 2).map(move |j| THETA.powf(-2.0 * j as f64 / channels as f64));
    let frequencies: Vec<(usize, f64)> = [head_dim - 2 * side, side, side]
        .into_iter()
        .enumerate()
        .flat_map(|(i, channels)| axis(channels).map(move |frequency| (i, frequency)))
        .collect();
    let angles: Vec<f64> = (0..f * h * w)
        .map(|token| [token / (h * w), token / w % h, token % w])
        .flat_map(|place| {
            frequencies
                .iter()
                .map(move |(axis, frequency)| place[*axis] as f64 * frequency)
        })
        .collect();
    [f64::cos, f64::sin].map(|wave| {
        let values: Vec<f32> = angles.iter().map(|angle| wave(*angle) as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, f * h * w, 1, head_dim / 2]), device)
    })
}
