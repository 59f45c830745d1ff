//! Distances of tokens, sorted into buckets: short ones one by one, longer ones by their logarithm
//! (T5, arXiv 1910.10683 §2.1).

use super::T5Config;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Bucket of each pair of `n` tokens, `[n·n]`: rows are the tokens that look.
pub fn buckets(config: &T5Config, n: usize, device: &Device) -> Tensor<1, Int> {
    let pairs = (0..n * n).map(|pair| bucket(config, (pair % n) as i64 - (pair / n) as i64));
    Tensor::from_data(TensorData::new(pairs.collect::<Vec<i64>>(), [n * n]), device)
}

/// Bucket of a distance, positive where the token that is looked at comes later. In f32, as both references.
pub fn bucket(config: &T5Config, distance: i64) -> i64 {
    let half = config.buckets / 2; // for each direction
    let exact = half / 2;
    let later = if distance > 0 { half } else { 0 };
    let far = distance.unsigned_abs() as usize;
    let in_direction = if far < exact {
        far
    } else {
        let octaves = (config.distance_max as f64 / exact as f64).ln() as f32;
        let along = (far as f32 / exact as f32).ln() / octaves * (half - exact) as f32;
        (exact + along as usize).min(half - 1)
    };
    (later + in_direction) as i64
}
