//! The timestep's embedding: a sinusoid, an MLP to `e`, a projection to `e0`. In f32 throughout.

use super::WanConfig;
use crate::models::ops::project;
use crate::weights::{Linear, Loader};
use burn::tensor::activation::silu;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// Weights of the timestep's embedding.
pub struct TimeEmbedding {
    freq_dim: usize,
    mlp: [Linear; 2],
    projection: Linear,
}

impl TimeEmbedding {
    pub fn build(config: &WanConfig, loader: &mut Loader) -> TimeEmbedding {
        let d = config.dim;
        let mut linear = |key, from, to| loader.linear_in(FloatDType::F32, key, &[to, from]);
        TimeEmbedding {
            freq_dim: config.freq_dim,
            mlp: [
                linear("time_embedding.0", config.freq_dim, d),
                linear("time_embedding.2", d, d),
            ],
            projection: linear("time_projection.1", d, 6 * d),
        }
    }
    /// `e`, the signal the head is modulated by: `[timesteps, d]`.
    pub fn embed(&self, timesteps: &[f32], device: &Device) -> Tensor<2> {
        let rows: Vec<f32> = timesteps.iter().flat_map(|t| sinusoid(*t, self.freq_dim)).collect();
        let x = Tensor::from_data(TensorData::new(rows, [timesteps.len(), self.freq_dim]), device);
        let [first, second] = &self.mlp;
        project(silu(project(x, first)), second)
    }
    /// `e0`, the signal the blocks are modulated by: `[timesteps, 6·d]`.
    pub fn project(&self, embedding: Tensor<2>) -> Tensor<2> {
        project(silu(embedding), &self.projection)
    }
}

/// `[cos(t·f_k) | sin(t·f_k)]` with `f_k = 10000^(−2k/size)`, in f64 as the authors compute it: in f32
/// the angles near t = 1000 are 3e-5 off.
fn sinusoid(timestep: f32, size: usize) -> impl Iterator<Item = f32> {
    let half = size / 2;
    let angle = move |k: usize| timestep as f64 * 10000f64.powf(-(k as f64) / half as f64);
    let cosines = (0..half).map(move |k| angle(k).cos() as f32);
    cosines.chain((0..half).map(move |k| angle(k).sin() as f32))
}
