//! The timestep's embedding: a sinusoid, an MLP to `e`, a projection to `e0`. In f32 throughout.

use super::{Sinusoid, WanConfig};
use crate::linear::Linear;
use crate::models::ops::project;
use crate::weights::Loader;
use burn::tensor::activation::silu;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// Weights of the timestep's embedding.
pub struct TimeEmbedding {
    freq_dim: usize,
    sinusoid: Sinusoid,
    mlp: [Linear; 2],
    projection: Linear,
}

impl TimeEmbedding {
    pub fn build(config: &WanConfig, loader: &mut Loader) -> TimeEmbedding {
        let d = config.dim;
        let mut linear = |key, from, to| loader.linear_in(FloatDType::F32, key, &[to, from]);
        TimeEmbedding {
            freq_dim: config.freq_dim,
            sinusoid: config.sinusoid,
            mlp: [
                linear("time_embedding.0", config.freq_dim, d),
                linear("time_embedding.2", d, d),
            ],
            projection: linear("time_projection.1", d, 6 * d),
        }
    }
    /// `e`, the signal the head is modulated by: `[timesteps, d]`.
    pub fn embed(&self, timesteps: &[f32], device: &Device) -> Tensor<2> {
        let rows: Vec<f32> = timesteps
            .iter()
            .flat_map(|t| sinusoid(*t, self.freq_dim, self.sinusoid))
            .collect();
        let x = Tensor::from_data(TensorData::new(rows, [timesteps.len(), self.freq_dim]), device);
        let [first, second] = &self.mlp;
        project(silu(project(x, first)), second)
    }
    /// `e0`, the signal the blocks are modulated by: `[timesteps, 6·d]`.
    pub fn project(&self, embedding: Tensor<2>) -> Tensor<2> {
        project(silu(embedding), &self.projection)
    }
}

/// `[cos(t·f_k) | sin(t·f_k)]` with `f_k = 10000^(−k/half)`.
fn sinusoid(timestep: f32, size: usize, precision: Sinusoid) -> impl Iterator<Item = f32> {
    let half = size / 2;
    let [cosine, sine]: [fn(f32, usize, usize) -> f32; 2] = match precision {
        Sinusoid::F64 => [
            |t, k, half| angle_f64(t, k, half).cos() as f32,
            |t, k, half| angle_f64(t, k, half).sin() as f32,
        ],
        Sinusoid::F32 => [
            |t, k, half| angle_f32(t, k, half).cos(),
            |t, k, half| angle_f32(t, k, half).sin(),
        ],
    };
    (0..half)
        .map(move |k| cosine(timestep, k, half))
        .chain((0..half).map(move |k| sine(timestep, k, half)))
}

fn angle_f64(timestep: f32, k: usize, half: usize) -> f64 {
    timestep as f64 * 10000f64.powf(-(k as f64) / half as f64)
}

fn angle_f32(timestep: f32, k: usize, half: usize) -> f32 {
    timestep * (-(10000f64.ln() as f32) * k as f32 / half as f32).exp()
}
