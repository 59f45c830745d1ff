//! Latents to pixels by patch PCA: the linear codec of wan-mini.

use crate::tensors::Latent;
use crate::weights::{Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};

/// A linear codec: a patch of pixels is a weighted sum of basis patches.
pub struct PatchCodec {
    basis: Tensor<2>, // [components, pt·ph·pw·3], scaled per component
    mean: Tensor<2>,  // [1, pt·ph·pw·3]
}

/// Frames, rows, columns of a patch.
const PATCH: [usize; 3] = [2, 4, 4];
/// Latent channels.
const COMPONENTS: usize = 16;

impl PatchCodec {
    /// Loads `basis`, `mean` and `scale`.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] when they are missing or of other shapes.
    pub fn load(weights: Weights, device: &Device) -> Result<PatchCodec, WeightsError> {
        let pixels = PATCH.iter().product::<usize>() * 3;
        let mut loader = Loader::files(weights, std::convert::identity, device, FloatDType::F32);
        let basis = loader.take("basis", [COMPONENTS, pixels]);
        let mean = loader.take("mean", [pixels]).unsqueeze();
        let scale: Tensor<1> = loader.take("scale", [COMPONENTS]);
        loader.finish()?;
        Ok(PatchCodec {
            basis: basis * scale.unsqueeze_dim(1),
            mean,
        })
    }
    /// The video of a latent `[1, 16, f, h, w]`: RGB in [0, 1], `[2·f, 4·h, 4·w, 3]`.
    pub fn decode(&self, latent: &Latent) -> Tensor<4> {
        let [_, c, f, h, w] = latent.0.dims();
        let [pt, ph, pw] = PATCH;
        let patches = latent
            .0
            .clone()
            .reshape([c, f * h * w])
            .transpose()
            .matmul(self.basis.clone());
        (patches + self.mean.clone())
            .reshape([f, h, w, pt, ph, pw, 3])
            .permute([0, 3, 1, 4, 2, 5, 6])
            .reshape([f * pt, h * ph, w * pw, 3])
            .clamp(0.0, 1.0)
    }
}
