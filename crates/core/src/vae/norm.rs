//! What the autoencoders of HunyuanVideo and CogVideoX are normalised by.

use super::conv::per_channel;
use crate::weights::Loader;
use burn::tensor::Tensor;

/// Guard of every norm.
const EPS: f64 = 1e-6;

/// Groups of channels, normalised over all frames and pixels; then a weight and a bias for each channel.
pub(super) struct GroupNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
}

impl GroupNorm {
    pub fn load(loader: &mut Loader, key: &str, width: usize, groups: usize) -> GroupNorm {
        GroupNorm {
            weight: loader.take(&format!("{key}.weight"), [width]),
            bias: loader.take(&format!("{key}.bias"), [width]),
            groups,
        }
    }
    /// # Shapes
    /// - `x` and output: `[b, c, t, h, w]`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let shape = x.dims();
        let [b, c, t, h, w] = shape;
        let x = x.reshape([b, self.groups, c / self.groups * t * h * w]);
        let x = x.clone() - x.mean_dim(2);
        let deviation = (x.clone() * x.clone()).mean_dim(2).add_scalar(EPS).sqrt(); // [b, groups, 1]
        let x = (x / deviation).reshape(shape);
        x * per_channel(self.weight.clone()) + per_channel(self.bias.clone())
    }
}
