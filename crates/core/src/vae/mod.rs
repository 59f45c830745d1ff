//! Video autoencoders: pixels from the latents of the large models, and back.

pub mod cogvideox;
mod conv;
pub mod hunyuan;
mod memory;
mod norm;
mod past;
mod sizes;
mod tiles;
pub mod wan;

pub use cogvideox::{CogVideoXVae, CogVideoXVaeConfig};
pub use hunyuan::{HunyuanVae, HunyuanVaeConfig};
pub use sizes::VaeConfig;
pub use tiles::Tiling;
pub use wan::{WanVae, WanVaeConfig};

use crate::models::{Config, ConfigFileError};
use crate::tensors::Latent;
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// Why an autoencoder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VaeError {
    /// Weights that cannot be read or do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A `config.json` that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFileError),
}

/// The autoencoder of a model, with its weights on a device.
#[expect(clippy::large_enum_variant, reason = "there is one at a time: nothing to save")]
pub enum Vae {
    /// Of Wan2.1.
    Wan(WanVae),
    /// Of HunyuanVideo.
    Hunyuan(HunyuanVae),
    /// Of CogVideoX.
    CogVideoX(CogVideoXVae),
}

impl Vae {
    /// Loads the autoencoder that belongs to a transformer: a folder as diffusers keeps it, with its `config.json`, or a
    /// file of the published sizes.
    ///
    /// # Errors
    /// [`VaeError`] naming the file and what is wrong with it.
    pub fn open(model: &Config, path: &Path, device: &Device) -> Result<Vae, VaeError> {
        let weights = Weights::open(path)?;
        Ok(VaeConfig::of(model, path)?.load(weights, device)?)
    }
    /// Channels of its latents.
    pub fn latent_channels(&self) -> usize {
        match self {
            Vae::Wan(vae) => vae.config().latent_channels,
            Vae::Hunyuan(vae) => vae.config().latent_channels,
            Vae::CogVideoX(vae) => vae.config().latent_channels,
        }
    }
    /// Frames, rows and columns of the video for one of the latent, but for the first frame, which stands for itself.
    pub fn strides(&self) -> [usize; 3] {
        match self {
            Vae::Wan(vae) => vae.config().strides(),
            Vae::Hunyuan(vae) => vae.config().strides(),
            Vae::CogVideoX(vae) => vae.config().strides(),
        }
    }
    /// Decodes in the published tiles from now on, where that is a choice: HunyuanVideo's is always decoded so.
    pub fn tile(&mut self) {
        match self {
            Vae::Wan(vae) => vae.tiling = Some(Tiling::PUBLISHED),
            Vae::Hunyuan(_) => {}
            Vae::CogVideoX(vae) => vae.tiling = Some(vae.config().tiling()),
        }
    }
    /// The video of a latent `[1, c, f, h, w]` as the transformer makes it: RGB in [0, 1], `[t, rows, columns, 3]`.
    pub fn decode(&self, latent: &Latent) -> Tensor<4> {
        let video = match self {
            Vae::Wan(vae) => vae.decode(latent),
            Vae::Hunyuan(vae) => vae.decode(latent),
            Vae::CogVideoX(vae) => vae.decode(latent),
        };
        let video: Tensor<4> = video.squeeze_dim(0); // [3, t, rows, columns] in [−1, 1]
        let unit = video.add_scalar(1.0).mul_scalar(0.5).clamp(0.0, 1.0);
        unit.permute([1, 2, 3, 0])
    }
}
