//! The video autoencoder of CogVideoX (diffusers' `AutoencoderKLCogVideoX`), in any width.
//!
//! Causal in time, but for its norms, which take the frames of a batch together: so how a video is cut into batches is
//! part of what it means. Eight frames are encoded at once, two latent frames decoded; what is left over belongs to the
//! first batch.

mod config;
mod layers;
pub mod reference;

pub use config::CogVideoXVaeConfig;

use super::past::{Builder, Past};
use super::tiles::{Tiling, tiled};
use crate::tensors::Latent;
use crate::weights::{Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};
use layers::{Causal, Down, Layer, Norm, Residual, Up};

/// Frames that are encoded together.
const FRAMES_AT_ONCE: usize = 8;
/// Latent frames that are decoded together. The reference notes that it was trained for no other number.
pub(super) const LATENT_FRAMES_AT_ONCE: usize = 2;
/// Levels behind which frames are halved, from full size down, and doubled, from the latent up.
const LEVELS_IN_TIME: usize = 2;

/// CogVideoX's autoencoder with its weights on a device, in f32.
pub struct CogVideoXVae {
    config: CogVideoXVaeConfig,
    /// Decode in tiles of rows and columns, for large frames; none = whole frames.
    pub tiling: Option<Tiling>,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
    slots: usize,
}

impl CogVideoXVae {
    /// Loads a checkpoint in diffusers' keys.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(config: CogVideoXVaeConfig, weights: Weights, device: &Device) -> Result<CogVideoXVae, WeightsError> {
        let mut loader = Loader::files(weights, std::convert::identity, device, FloatDType::F32);
        let vae = CogVideoXVae::build(config, &mut loader);
        loader.finish()?;
        Ok(vae)
    }
    /// With what `loader` has of it.
    pub(super) fn build(config: CogVideoXVaeConfig, loader: &mut Loader) -> CogVideoXVae {
        let mut parts = Builder::new(loader);
        CogVideoXVae {
            encoder: encoder(&config, &mut parts),
            decoder: decoder(&config, &mut parts),
            slots: parts.slots(),
            tiling: None,
            config,
        }
    }
    /// Its sizes.
    pub fn config(&self) -> &CogVideoXVaeConfig {
        &self.config
    }
    /// The latent of a video: the mean of its distribution, scaled as the transformer takes it.
    ///
    /// # Shapes
    /// - `video`: `[b, 3, 8n + 1, h, w]` in [−1, 1]
    /// - output: `[b, c, 2n + 1, h/8, w/8]`; of `8n` frames `2n`
    pub fn encode(&self, video: Tensor<5>) -> Latent {
        let mean = self.moments(video).narrow(1, 0, self.config.latent_channels);
        Latent(mean.mul_scalar(self.config.scaling_factor))
    }
    /// The video of a latent as the transformer makes it.
    ///
    /// # Shapes
    /// - `latent`: `[b, c, n, h, w]`
    /// - output: `[b, 3, 4n − 3, 8·h, 8·w]`, of an even `n` 4n frames as in the reference; in [−1, 1] but for what the
    ///   decoder overshoots
    pub fn decode(&self, latent: &Latent) -> Tensor<5> {
        let z = latent.0.clone().div_scalar(self.config.scaling_factor);
        let [_, scale, _] = self.config.strides();
        match self.tiling {
            Some(tiling) => tiled(z, tiling, scale, |z| self.decoded(z)),
            None => self.decoded(z),
        }
    }
    /// Whole frames from a latent that is not scaled.
    fn decoded(&self, z: Tensor<5>) -> Tensor<5> {
        in_batches(z, LATENT_FRAMES_AT_ONCE, self.slots, |z, past| {
            let latent = z.clone();
            let layers = self.decoder.iter();
            layers.fold(z, |x, layer| layer.forward(x, Some(&latent), past))
        })
    }
    /// Mean and logarithm of the variance, `[b, 2·c, …]`, not scaled.
    fn moments(&self, video: Tensor<5>) -> Tensor<5> {
        in_batches(video, FRAMES_AT_ONCE, self.slots, |x, past| {
            let layers = self.encoder.iter();
            layers.fold(x, |x, layer| layer.forward(x, None, past))
        })
    }
}

/// What `code` makes of a video, `size` frames at a time; the first batch takes what is left over.
fn in_batches(x: Tensor<5>, size: usize, slots: usize, code: impl Fn(Tensor<5>, &mut Past) -> Tensor<5>) -> Tensor<5> {
    let frames = x.dims()[2];
    let others = (frames / size).saturating_sub(1);
    let first = frames - others * size;
    let mut past = Past::new(slots);
    let mut batch = |at, len| code(x.clone().narrow(2, at, len), &mut past);
    let mut coded = vec![batch(0, first)];
    coded.extend((first..frames).step_by(size).map(|at| batch(at, size)));
    Tensor::cat(coded, 2)
}

fn encoder(config: &CogVideoXVaeConfig, parts: &mut Builder) -> Vec<Layer> {
    let (widths, groups) = (&config.widths, config.groups);
    let mut from = widths[0];
    let mut chain = vec![Layer::Conv(Causal::load(parts, "encoder.conv_in", 3, from))];
    for (level, &width) in widths.iter().enumerate() {
        let key = |part: &str, i: usize| format!("encoder.down_blocks.{level}.{part}.{i}");
        for block in 0..config.blocks {
            let block = Residual::load(parts, &key("resnets", block), [from, width], groups, None);
            chain.push(Layer::Residual(block));
            from = width;
        }
        if level + 1 < widths.len() {
            let down = Down::load(parts, &key("downsamplers", 0), width, level < LEVELS_IN_TIME);
            chain.push(Layer::Down(down));
        }
    }
    middle(&mut chain, "encoder", from, groups, None, parts);
    chain.push(Layer::Norm(Norm::load(parts, "encoder.norm_out", from, groups, None)));
    let moments = 2 * config.latent_channels;
    chain.push(Layer::Head(Causal::load(parts, "encoder.conv_out", from, moments)));
    chain
}

fn decoder(config: &CogVideoXVaeConfig, parts: &mut Builder) -> Vec<Layer> {
    let (widths, groups, z) = (&config.widths, config.groups, config.latent_channels);
    let mut from = *widths.last().expect("checked while parsing");
    let mut chain = vec![Layer::Conv(Causal::load(parts, "decoder.conv_in", z, from))];
    middle(&mut chain, "decoder", from, groups, Some(z), parts);
    for (level, &width) in widths.iter().rev().enumerate() {
        let key = |part: &str, i: usize| format!("decoder.up_blocks.{level}.{part}.{i}");
        for block in 0..=config.blocks {
            let block = Residual::load(parts, &key("resnets", block), [from, width], groups, Some(z));
            chain.push(Layer::Residual(block));
            from = width;
        }
        if level + 1 < widths.len() {
            let up = Up::load(parts, &key("upsamplers", 0), width, level < LEVELS_IN_TIME);
            chain.push(Layer::Up(up));
        }
    }
    chain.push(Layer::Norm(Norm::load(
        parts,
        "decoder.norm_out",
        from,
        groups,
        Some(z),
    )));
    chain.push(Layer::Head(Causal::load(parts, "decoder.conv_out", from, 3)));
    chain
}

fn middle(
    chain: &mut Vec<Layer>,
    coder: &str,
    width: usize,
    groups: usize,
    latent: Option<usize>,
    parts: &mut Builder,
) {
    chain.extend([0, 1].map(|block| {
        let key = format!("{coder}.mid_block.resnets.{block}");
        Layer::Residual(Residual::load(parts, &key, [width, width], groups, latent))
    }));
}
