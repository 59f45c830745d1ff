//! Numbers as vectors, of timesteps first of all: a sinusoid, then an MLP. In f32 throughout.

use crate::linear::Linear;
use crate::models::ops::project;
use crate::weights::Loader;
use burn::tensor::activation::silu;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// How the timestep's sinusoid is computed: the angles near t = 1000 differ by 3e-5.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Sinusoid {
    /// In f64, as Wan's authors do (`wan/modules/model.py`).
    #[default]
    F64,
    /// In f32, as HunyuanVideo's authors (`embed_layers.py`) and diffusers (`get_timestep_embedding`) do.
    F32,
}

/// Weights of the embedding of a number.
pub struct NumberEmbedding {
    freq_dim: usize,
    sinusoid: Sinusoid,
    mlp: [Linear; 2],
}

impl NumberEmbedding {
    /// Layers `{key}.0` and `{key}.2`, from a sinusoid of `freq_dim` to `d`.
    pub fn build(key: &str, freq_dim: usize, d: usize, sinusoid: Sinusoid, loader: &mut Loader) -> NumberEmbedding {
        let mut linear = |part, from| loader.linear_in(FloatDType::F32, &format!("{key}.{part}"), &[d, from]);
        NumberEmbedding {
            freq_dim,
            sinusoid,
            mlp: [linear(0, freq_dim), linear(2, d)],
        }
    }
    /// The numbers' vectors, `[numbers, d]`.
    pub fn embed(&self, numbers: &[f32], device: &Device) -> Tensor<2> {
        let [first, second] = &self.mlp;
        let rows: Vec<f32> = numbers
            .iter()
            .flat_map(|t| sinusoid(*t, self.freq_dim, self.sinusoid))
            .collect();
        let x = Tensor::from_data(TensorData::new(rows, [numbers.len(), self.freq_dim]), device);
        project(silu(project(x, first)), second)
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
    let exponent = -(10000f64.ln() as f32) * k as f32 / half as f32;
    let frequency = (exponent as f64).exp() as f32;
    // torch's exponential is not always rounded to the nearest number: of the 128 frequencies of Wan and
    // HunyuanVideo it gives this one an ulp more, which turns the guidance scale of 6 (6000 in thousandths) by 2e-4.
    let frequency = match k * 128 == 12 * half {
        true => frequency.next_up(),
        false => frequency,
    };
    timestep * frequency
}
