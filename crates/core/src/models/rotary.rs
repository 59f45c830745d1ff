//! Three-dimensional rotary embedding: the pairs of a head are shared out among frame, row, column.

use burn::tensor::{Device, Tensor, TensorData};

/// Cosine and sine `[1, f·h·w, 1, head_dim/2]` of a token grid whose frames, rows and columns are counted from 0.
pub fn tables(grid: [usize; 3], axes: [usize; 3], theta: f64, device: &Device) -> [Tensor<4>; 2] {
    tables_at(grid.map(|n| (0..n).map(|i| i as f64).collect()), axes, theta, device)
}

/// Cosine and sine `[1, f·h·w, 1, head_dim/2]` of frames, rows and columns that lie at `places`, made in f64 on
/// the host, stored in f32.
///
/// `axes` are the channels of a head that turn with frame, row and column; each axis counts its
/// frequencies `theta^(−2j/channels)` by its own channels.
pub fn tables_at(places: [Vec<f64>; 3], axes: [usize; 3], theta: f64, device: &Device) -> [Tensor<4>; 2] {
    let tokens = places.iter().map(Vec::len).product();
    let pairs = axes.iter().sum::<usize>() / 2;
    [f64::cos, f64::sin].map(|wave| {
        let of_axis = |channels: usize, place: f64| -> Vec<f32> {
            let frequencies = (0..channels / 2).map(|j| theta.powf(-2.0 * j as f64 / channels as f64));
            frequencies.map(|frequency| wave(place * frequency) as f32).collect()
        };
        let [frames, rows, columns] = [0, 1, 2].map(|i| {
            places[i]
                .iter()
                .map(|place| of_axis(axes[i], *place))
                .collect::<Vec<_>>()
        });
        let mut values = Vec::with_capacity(tokens * pairs);
        for frame in &frames {
            for row in &rows {
                for column in &columns {
                    for part in [frame, row, column] {
                        values.extend_from_slice(part);
                    }
                }
            }
        }
        Tensor::from_data(TensorData::new(values, [1, tokens, 1, pairs]), device)
    })
}

/// The tables of a grid, followed by those of `tokens` tokens that do not turn.
pub fn with_still([cos, sin]: [Tensor<4>; 2], tokens: usize) -> [Tensor<4>; 2] {
    let [_, _, _, pairs] = cos.dims();
    let (shape, device) = ([1, tokens, 1, pairs], cos.device());
    [
        Tensor::cat(vec![cos, Tensor::ones(shape, &device)], 1),
        Tensor::cat(vec![sin, Tensor::zeros(shape, &device)], 1),
    ]
}
