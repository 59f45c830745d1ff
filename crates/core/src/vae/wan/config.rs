//! Sizes of Wan's autoencoder: the published ones, and the `config.json` of diffusers.

use crate::models::ConfigError;
use serde::{Deserialize, Serialize};

/// Sizes of Wan's autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WanVaeConfig {
    /// Channels at full size; deeper levels have multiples of them.
    #[serde(rename = "base_dim")]
    pub base: usize,
    /// Multiples of `base`, a level each; between two levels rows and columns are halved.
    #[serde(rename = "dim_mult")]
    pub multiples: Vec<usize>,
    /// Residual blocks of a level; the decoder has one more.
    #[serde(rename = "num_res_blocks")]
    pub blocks: usize,
    /// Behind which levels frames are halved too.
    #[serde(rename = "temperal_downsample")]
    pub halves_frames: Vec<bool>,
    /// Channels of a latent.
    #[serde(rename = "z_dim")]
    pub latent_channels: usize,
    /// Mean of each latent channel.
    pub latents_mean: Vec<f32>,
    /// Standard deviation of each latent channel.
    pub latents_std: Vec<f32>,
    #[serde(default)]
    attn_scales: Vec<f64>,
    #[serde(default)]
    is_residual: bool,
    patch_size: Option<usize>,
    decoder_base_dim: Option<usize>,
}

impl WanVaeConfig {
    /// The autoencoder of Wan2.1 (`wan/modules/vae.py` of Wan-Video/Wan2.1: sizes in `_video_vae`, statistics in
    /// `WanVAE`).
    pub fn published() -> WanVaeConfig {
        WanVaeConfig {
            base: 96,
            multiples: vec![1, 2, 4, 4],
            blocks: 2,
            halves_frames: vec![false, true, true],
            latent_channels: 16,
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
                -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
                1.1253, 2.8251, 1.9160,
            ],
            attn_scales: vec![],
            is_residual: false,
            patch_size: None,
            decoder_base_dim: None,
        }
    }
    /// Reads the `config.json` of diffusers' `AutoencoderKLWan`.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing, sizes do not fit together, or it is the autoencoder of Wan2.2.
    pub fn parse(json: &str) -> Result<WanVaeConfig, ConfigError> {
        let config: WanVaeConfig = serde_json::from_str(json).map_err(|source| ConfigError::Json {
            model: "Wan's autoencoder",
            keys: "base_dim, dim_mult, temperal_downsample, latents_mean",
            source,
        })?;
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        if config.is_residual || config.patch_size.is_some() || config.decoder_base_dim.is_some() {
            return unsupported("this is the autoencoder of another Wan; only that of Wan2.1 is supported".into());
        }
        if !config.attn_scales.is_empty() {
            return unsupported(format!(
                "`attn_scales`: found {:?}; only an empty list is supported",
                config.attn_scales
            ));
        }
        let (levels, halvings) = (config.multiples.len(), config.halves_frames.len());
        if levels != halvings + 1 {
            return unsupported(format!(
                "`dim_mult` has {levels} levels and `temperal_downsample` {halvings}: expected one less"
            ));
        }
        let (means, stds) = (config.latents_mean.len(), config.latents_std.len());
        if [means, stds] != [config.latent_channels; 2] {
            return unsupported(format!(
                "`latents_mean` has {means} numbers and `latents_std` {stds}: expected `z_dim` = {} each",
                config.latent_channels
            ));
        }
        Ok(config)
    }
    /// Pixels of a latent element: frames, rows, columns.
    pub fn strides(&self) -> [usize; 3] {
        let halvings = self.halves_frames.iter().filter(|halves| **halves).count();
        let side = 1 << self.halves_frames.len();
        [1 << halvings, side, side]
    }
    /// Channels of each level.
    pub(in crate::vae) fn widths(&self) -> Vec<usize> {
        self.multiples.iter().map(|multiple| multiple * self.base).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sizes_are_those_of_the_hub() {
        let hub = r#"{"_class_name": "AutoencoderKLWan", "attn_scales": [], "base_dim": 96, "dim_mult": [1, 2, 4, 4],
            "dropout": 0.0, "latents_mean": [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
            -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921], "latents_std": [2.8184, 1.4541, 2.3275, 2.6558,
            1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916],
            "num_res_blocks": 2, "temperal_downsample": [false, true, true], "z_dim": 16}"#;
        assert_eq!(WanVaeConfig::parse(hub).unwrap(), WanVaeConfig::published());
        assert_eq!(WanVaeConfig::published().strides(), [4, 8, 8]);
    }

    #[test]
    fn another_autoencoder_is_refused() {
        let text = include_str!("../../../tests/golden/wan_vae/wanvae_a/config.json");
        let refusal = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            WanVaeConfig::parse(&changed).unwrap_err().to_string()
        };
        assert!(refusal("\"is_residual\": false", "\"is_residual\": true").contains("Wan2.1"));
        assert!(refusal("\"z_dim\": 4", "\"z_dim\": 5").contains("`latents_mean` has 4 numbers"));
        assert!(refusal("\"base_dim\"", "\"base\"").contains("base_dim"));
    }
}
