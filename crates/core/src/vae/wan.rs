//! The video autoencoder of Wan2.1 (`wan/modules/vae.py` of Wan-Video/Wan2.1), in any size.
//!
//! Causal in time: the first frame of a video stands for itself, every four behind it become one latent frame. So a
//! video is coded the first frame alone, then four frames at a time, and decoded a latent frame at a time.

mod config;
pub(super) mod keys;
mod layers;
pub mod reference;

pub use config::WanVaeConfig;

use super::conv::{Conv, per_channel};
use super::past::{Builder, Past};
use super::tiles::{Tiling, tiled};
use crate::inventory::KeyLayout;
use crate::tensors::Latent;
use crate::weights::{Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};
use layers::{Attention, Causal, Down, Layer, Norm, Residual, Up};

/// Frames that are encoded together behind the first. The reference takes four whatever the strides.
const FRAMES_AT_ONCE: usize = 4;

/// A chain of layers, each with the name of its part.
type Chain = Vec<(String, Layer)>;

/// Wan's autoencoder with its weights on a device, in f32 as the authors run it.
pub struct WanVae {
    config: WanVaeConfig,
    /// Decode in tiles of rows and columns, for large frames; none = whole frames, as the authors do.
    pub tiling: Option<Tiling>,
    encoder: Chain,
    decoder: Chain,
    slots: usize,
    to_moments: Conv,
    from_latent: Conv,
    mean: Tensor<5>, // [1, c, 1, 1, 1]
    std: Tensor<5>,
}

impl WanVae {
    /// Loads a checkpoint in the authors' or in diffusers' key layout, whichever the keys show.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(config: WanVaeConfig, weights: Weights, device: &Device) -> Result<WanVae, WeightsError> {
        let layout = keys::layout(&weights);
        let mut loader = Loader::files(weights, keys::of(layout), device, FloatDType::F32);
        let vae = WanVae::build(config, layout, &mut loader, device);
        loader.finish()?;
        Ok(vae)
    }
    /// With what `loader` has of it, in that layout.
    pub(super) fn build(config: WanVaeConfig, layout: KeyLayout, loader: &mut Loader, device: &Device) -> WanVae {
        let z = config.latent_channels;
        let mut parts = Builder::new(loader);
        let encoder = encoder(&config, &mut parts);
        let decoder = decoder(&config, layout, &mut parts);
        let slots = parts.slots();
        WanVae {
            encoder,
            decoder,
            slots,
            to_moments: Conv::load(loader, "conv1", 2 * z, 2 * z, [1; 3]),
            from_latent: Conv::load(loader, "conv2", z, z, [1; 3]),
            mean: per_channel(Tensor::from_floats(config.latents_mean.as_slice(), device)),
            std: per_channel(Tensor::from_floats(config.latents_std.as_slice(), device)),
            tiling: None,
            config,
        }
    }
    /// Its sizes.
    pub fn config(&self) -> &WanVaeConfig {
        &self.config
    }
    /// The latent of a video: the mean of its distribution, normalised as the transformer takes it.
    ///
    /// # Shapes
    /// - `video`: `[b, 3, 4n + 1, h, w]` in [−1, 1]
    /// - output: `[b, c, n + 1, h/8, w/8]`
    ///
    /// # Panics
    /// On another number of frames.
    pub fn encode(&self, video: Tensor<5>) -> Latent {
        let moments = self.moments(self.coded(video));
        let mean = moments.narrow(1, 0, self.config.latent_channels);
        Latent((mean - self.mean.clone()) / self.std.clone())
    }
    /// The video of a latent as the transformer makes it.
    ///
    /// # Shapes
    /// - `latent`: `[b, c, n + 1, h, w]`
    /// - output: `[b, 3, 4n + 1, 8·h, 8·w]` in [−1, 1]
    pub fn decode(&self, latent: &Latent) -> Tensor<5> {
        let z = latent.0.clone() * self.std.clone() + self.mean.clone();
        let video = match self.tiling {
            Some(tiling) => tiled(z, tiling, self.config.strides()[1], |z| self.decoded(z)),
            None => self.decoded(z),
        };
        video.clamp(-1.0, 1.0)
    }
    /// What the encoder makes of a video, chunk by chunk.
    fn coded(&self, video: Tensor<5>) -> Vec<Tensor<5>> {
        let frames = video.dims()[2];
        assert_eq!(frames % FRAMES_AT_ONCE, 1, "{frames} frames: expected 4n + 1");
        let mut past = Past::new(self.slots);
        let mut chunk = |at, len| run(&self.encoder, video.clone().narrow(2, at, len), &mut past);
        let first = chunk(0, 1);
        let others = (1..frames).step_by(FRAMES_AT_ONCE).map(|at| chunk(at, FRAMES_AT_ONCE));
        std::iter::once(first).chain(others).collect()
    }
    /// Mean and logarithm of the variance, `[b, 2·c, …]`, not normalised.
    fn moments(&self, chunks: Vec<Tensor<5>>) -> Tensor<5> {
        self.to_moments.forward(Tensor::cat(chunks, 2), [0; 2])
    }
    /// From a latent that is not normalised to a video that is not clamped.
    fn decoded(&self, z: Tensor<5>) -> Tensor<5> {
        let mut past = Past::new(self.slots);
        let z = self.from_latent.forward(z, [0; 2]);
        let frames = (0..z.dims()[2]).map(|t| run(&self.decoder, z.clone().narrow(2, t, 1), &mut past));
        Tensor::cat(frames.collect(), 2)
    }
}

fn run(chain: &Chain, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
    chain.iter().fold(x, |x, (_, layer)| layer.forward(x, past))
}

fn encoder(config: &WanVaeConfig, parts: &mut Builder) -> Chain {
    let widths = config.widths();
    let mut chain: Chain = vec![];
    let mut from = widths[0];
    add(&mut chain, "encoder.conv1", |key| {
        Layer::Conv(Causal::load(parts, key, 3, from, 3))
    });
    let mut block = 0;
    for (level, &width) in widths.iter().enumerate() {
        for _ in 0..config.blocks {
            let key = format!("encoder.downsamples.{block}");
            add(&mut chain, &key, |key| {
                Layer::Residual(Residual::load(parts, key, from, width))
            });
            (from, block) = (width, block + 1);
        }
        if let Some(&halves_frames) = config.halves_frames.get(level) {
            let key = format!("encoder.downsamples.{block}");
            add(&mut chain, &key, |key| {
                Layer::Down(Down::load(parts, key, width, halves_frames))
            });
            block += 1;
        }
    }
    middle(&mut chain, "encoder", from, parts);
    head(&mut chain, "encoder", from, 2 * config.latent_channels, parts);
    chain
}

fn decoder(config: &WanVaeConfig, layout: KeyLayout, parts: &mut Builder) -> Chain {
    let mut widths = config.widths();
    widths.reverse();
    let doubles_frames: Vec<bool> = config.halves_frames.iter().rev().copied().collect();
    let mut chain: Chain = vec![];
    let mut from = widths[0];
    add(&mut chain, "decoder.conv1", |key| {
        Layer::Conv(Causal::load(parts, key, config.latent_channels, from, 3))
    });
    middle(&mut chain, "decoder", from, parts);
    let blocks = config.blocks + 1;
    for (level, &width) in widths.iter().enumerate() {
        for block in 0..blocks {
            let key = keys::up(layout, level, block, blocks);
            add(&mut chain, &key, |key| {
                Layer::Residual(Residual::load(parts, key, from, width))
            });
            from = width;
        }
        if let Some(&doubles_frames) = doubles_frames.get(level) {
            let key = keys::up(layout, level, blocks, blocks);
            add(&mut chain, &key, |key| {
                Layer::Up(Up::load(parts, key, width, doubles_frames))
            });
            from = width / 2;
        }
    }
    head(&mut chain, "decoder", from, 3, parts);
    chain
}

fn middle(chain: &mut Chain, coder: &str, width: usize, parts: &mut Builder) {
    let key = |i: usize| format!("{coder}.middle.{i}");
    add(chain, &key(0), |key| {
        Layer::Residual(Residual::load(parts, key, width, width))
    });
    add(chain, &key(1), |key| {
        Layer::Attention(Attention::load(parts, key, width))
    });
    add(chain, &key(2), |key| {
        Layer::Residual(Residual::load(parts, key, width, width))
    });
}

fn head(chain: &mut Chain, coder: &str, from: usize, to: usize, parts: &mut Builder) {
    add(chain, &format!("{coder}.head.0"), |key| {
        Layer::Norm(Norm::load::<4>(parts, key, from))
    });
    add(chain, &format!("{coder}.head.2"), |key| {
        Layer::Head(Causal::load(parts, key, from, to, 3))
    });
}

fn add(chain: &mut Chain, key: &str, layer: impl FnOnce(&str) -> Layer) {
    chain.push((key.to_string(), layer(key)));
}
