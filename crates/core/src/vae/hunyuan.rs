//! The video autoencoder of HunyuanVideo (`hyvideo/vae` of Tencent-Hunyuan/HunyuanVideo), in any width.
//!
//! Its norms take all frames and pixels together, so a video is not decoded frame by frame but in tiles of frames, rows
//! and columns, which are blended. Authors and diffusers keep its tensors under the same names.

mod config;
mod layers;
pub mod reference;

pub use config::HunyuanVaeConfig;

use super::conv::Conv;
use super::norm::GroupNorm;
use super::tiles::{Tiling, blended, first, tiled};
use crate::tensors::Latent;
use crate::weights::{Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};
use layers::{Attention, Causal, Layer, Residual};

/// A chain of layers, each with the name of its part.
type Chain = Vec<(String, Layer)>;

/// Frames, rows and columns of one behind each level of the encoder; in the decoder's order it is how many each becomes.
const RESAMPLING: [[usize; 3]; 3] = [[1, 2, 2], [2, 2, 2], [2, 2, 2]];

/// Latent frames of a tile in time and from one tile to the next; a tile has one frame more in front, for the convolutions
/// to see. Those of diffusers: 16 and 12 frames of video.
pub(super) const TILE_FRAMES: usize = 4;
const TILE_FRAMES_STRIDE: usize = 3;

/// In front of the authors' keys, where a file holds more than the autoencoder (`hyvideo/vae/__init__.py`). Behind it they
/// are those of diffusers.
const AUTHORS: &str = "vae.";

/// HunyuanVideo's autoencoder with its weights on a device, in f32.
pub struct HunyuanVae {
    config: HunyuanVaeConfig,
    /// Tiles of rows and columns, as the authors decode; none = whole frames.
    pub tiling: Option<Tiling>,
    encoder: Chain,
    decoder: Chain,
    to_moments: Conv,
    from_latent: Conv,
}

impl HunyuanVae {
    /// Loads a checkpoint, the authors' or diffusers'.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(config: HunyuanVaeConfig, weights: Weights, device: &Device) -> Result<HunyuanVae, WeightsError> {
        let weights = weights.behind_prefix(AUTHORS);
        let mut loader = Loader::files(weights, std::convert::identity, device, FloatDType::F32);
        let vae = HunyuanVae::build(config, &mut loader);
        loader.finish()?;
        Ok(vae)
    }
    /// With what `loader` has of it.
    pub(super) fn build(config: HunyuanVaeConfig, loader: &mut Loader) -> HunyuanVae {
        let z = config.latent_channels;
        HunyuanVae {
            encoder: encoder(&config, loader),
            decoder: decoder(&config, loader),
            to_moments: Conv::load(loader, "quant_conv", 2 * z, 2 * z, [1; 3]),
            from_latent: Conv::load(loader, "post_quant_conv", z, z, [1; 3]),
            tiling: Some(Tiling::PUBLISHED),
            config,
        }
    }
    /// Its sizes.
    pub fn config(&self) -> &HunyuanVaeConfig {
        &self.config
    }
    /// The latent of a short video in one piece: the mean of its distribution, scaled as the transformer takes it.
    ///
    /// # Shapes
    /// - `video`: `[b, 3, 4n + 1, h, w]` in [−1, 1]
    /// - output: `[b, c, n + 1, h/8, w/8]`
    pub fn encode(&self, video: Tensor<5>) -> Latent {
        let mean = self.moments(video).narrow(1, 0, self.config.latent_channels);
        Latent(mean.mul_scalar(self.config.scaling_factor))
    }
    /// The video of a latent as the transformer makes it.
    ///
    /// # Shapes
    /// - `latent`: `[b, c, n + 1, h, w]`
    /// - output: `[b, 3, 4n + 1, 8·h, 8·w]`, in [−1, 1] but for what the decoder overshoots
    pub fn decode(&self, latent: &Latent) -> Tensor<5> {
        let z = latent.0.clone().div_scalar(self.config.scaling_factor);
        let frames = z.dims()[2];
        if frames <= TILE_FRAMES {
            return self.decoded_frames(z);
        }
        let scale = self.config.temporal_compression_ratio;
        let overlap = (TILE_FRAMES - TILE_FRAMES_STRIDE) * scale;
        let mut before: Option<Tensor<5>> = None;
        let mut video = vec![];
        for at in (0..frames).step_by(TILE_FRAMES_STRIDE) {
            let tile = self.decoded_frames(z.clone().narrow(2, at, (TILE_FRAMES + 1).min(frames - at)));
            // The next tile replaces what overlaps; the very first frame has no frames before it.
            let (tile, kept) = match &before {
                None => (tile, TILE_FRAMES_STRIDE * scale + 1),
                Some(_) if tile.dims()[2] == 1 => break,
                Some(before) => {
                    let behind_first = tile.dims()[2] - 1;
                    let tile = tile.narrow(2, 1, behind_first);
                    (blended(before, tile, 2, overlap), TILE_FRAMES_STRIDE * scale)
                }
            };
            video.push(first(tile.clone(), 2, kept));
            before = Some(tile);
        }
        first(Tensor::cat(video, 2), 2, (frames - 1) * scale + 1)
    }
    /// In one piece over time, in tiles of rows and columns.
    fn decoded_frames(&self, z: Tensor<5>) -> Tensor<5> {
        match self.tiling {
            Some(tiling) => tiled(z, tiling, self.config.spatial_compression_ratio, |z| self.decoded(z)),
            None => self.decoded(z),
        }
    }
    /// In one piece, from a latent that is not scaled.
    fn decoded(&self, z: Tensor<5>) -> Tensor<5> {
        run(&self.decoder, self.from_latent.forward(z, [0; 2]))
    }
    /// Mean and logarithm of the variance, `[b, 2·c, …]`, not scaled.
    fn moments(&self, video: Tensor<5>) -> Tensor<5> {
        self.to_moments.forward(run(&self.encoder, video), [0; 2])
    }
}

fn run(chain: &Chain, x: Tensor<5>) -> Tensor<5> {
    chain.iter().fold(x, |x, (_, layer)| layer.forward(x))
}

fn encoder(config: &HunyuanVaeConfig, loader: &mut Loader) -> Chain {
    let mut chain: Chain = vec![];
    let mut from = config.widths[0];
    add(&mut chain, "encoder.conv_in", |key| {
        Layer::Conv(Causal::load(loader, key, 3, from))
    });
    for (level, &width) in config.widths.iter().enumerate() {
        for block in 0..config.blocks {
            let key = format!("encoder.down_blocks.{level}.resnets.{block}");
            add(&mut chain, &key, |key| {
                Layer::Residual(Residual::load(loader, key, from, width, config.groups))
            });
            from = width;
        }
        if let Some(&stride) = RESAMPLING.get(level) {
            let key = format!("encoder.down_blocks.{level}.downsamplers.0.conv");
            add(&mut chain, &key, |key| Layer::down(loader, key, width, stride));
        }
    }
    middle(&mut chain, "encoder", from, config.groups, loader);
    head(
        &mut chain,
        "encoder",
        from,
        2 * config.latent_channels,
        config.groups,
        loader,
    );
    chain
}

fn decoder(config: &HunyuanVaeConfig, loader: &mut Loader) -> Chain {
    let mut chain: Chain = vec![];
    let mut from = *config.widths.last().expect("checked while parsing");
    add(&mut chain, "decoder.conv_in", |key| {
        Layer::Conv(Causal::load(loader, key, config.latent_channels, from))
    });
    middle(&mut chain, "decoder", from, config.groups, loader);
    for (level, &width) in config.widths.iter().rev().enumerate() {
        for block in 0..=config.blocks {
            let key = format!("decoder.up_blocks.{level}.resnets.{block}");
            add(&mut chain, &key, |key| {
                Layer::Residual(Residual::load(loader, key, from, width, config.groups))
            });
            from = width;
        }
        if let Some(&factors) = RESAMPLING.get(level) {
            let key = format!("decoder.up_blocks.{level}.upsamplers.0.conv");
            add(&mut chain, &key, |key| Layer::up(loader, key, width, factors));
        }
    }
    head(&mut chain, "decoder", from, 3, config.groups, loader);
    chain
}

fn middle(chain: &mut Chain, coder: &str, width: usize, groups: usize, loader: &mut Loader) {
    let block = |key: &str, loader: &mut Loader| Layer::Residual(Residual::load(loader, key, width, width, groups));
    let key = |part: &str| format!("{coder}.mid_block.{part}");
    add(chain, &key("resnets.0"), |key| block(key, loader));
    add(chain, &key("attentions.0"), |key| {
        Layer::Attention(Attention::load(loader, key, width, groups))
    });
    add(chain, &key("resnets.1"), |key| block(key, loader));
}

fn head(chain: &mut Chain, coder: &str, from: usize, to: usize, groups: usize, loader: &mut Loader) {
    let norm = format!("{coder}.conv_norm_out");
    add(chain, &norm, |key| {
        Layer::Norm(GroupNorm::load(loader, key, from, groups))
    });
    let conv = format!("{coder}.conv_out");
    add(chain, &conv, |key| Layer::Head(Causal::load(loader, key, from, to)));
}

fn add(chain: &mut Chain, key: &str, layer: impl FnOnce(&str) -> Layer) {
    chain.push((key.to_string(), layer(key)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;
    use crate::tensors::host;

    #[test]
    fn beside_the_fades_a_tile_is_what_decoding_it_alone_gives() {
        let case = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hunyuan_vae/hyvae_a");
        let config = std::fs::read_to_string(case.join("config.json")).unwrap();
        let config = HunyuanVaeConfig::parse(&config).unwrap();
        let weights = Weights::open(&case.join("diffusers.safetensors")).unwrap();
        let vae = HunyuanVae::load(config, weights, &Device::flex()).unwrap();
        let shape = [1, 4, 8, 2, 3];
        let z = Latent::from_host(noise(7, &shape), shape, &Device::flex()).0;
        let video = vae.decode(&Latent(z.clone().mul_scalar(vae.config.scaling_factor)));
        let part = |video: &Tensor<5>, from, count| host(video.clone().narrow(2, from, count));
        // Multiplied and divided by the scale: a rounding or two of values near 1, and what layers make of it.
        let equal = |ours: Vec<f32>, alone: Vec<f32>| ours.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-4);
        // Latent frames 0 to 4 make frames 0 to 16, of which the last four fade into those of latent frames 4 to 7.
        let first = vae.decoded(z.clone().narrow(2, 0, 5));
        assert!(equal(part(&video, 0, 13), part(&first, 0, 13)));
        let second = vae.decoded(z.narrow(2, 3, 5));
        assert!(equal(part(&video, 17, 8), part(&second, 5, 8)));
        let half = part(&first, 15, 1)
            .into_iter()
            .zip(part(&second, 3, 1))
            .map(|(a, b)| (a + b) / 2.0);
        assert!(equal(part(&video, 15, 1), half.collect()));
    }
}
