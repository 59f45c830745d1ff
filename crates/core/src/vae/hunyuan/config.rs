//! Sizes of HunyuanVideo's autoencoder: the published ones, and the `config.json` of diffusers.

use crate::models::ConfigError;
use serde::{Deserialize, Serialize};

/// Sizes of HunyuanVideo's autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HunyuanVaeConfig {
    /// Channels of each level, from full size down.
    #[serde(rename = "block_out_channels")]
    pub widths: Vec<usize>,
    /// Residual blocks of a level; the decoder has one more.
    #[serde(rename = "layers_per_block")]
    pub blocks: usize,
    /// Groups of channels that are normalised together.
    #[serde(rename = "norm_num_groups", default = "groups")]
    pub groups: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// What latents are multiplied by for the transformer.
    #[serde(default = "scaling_factor")]
    pub scaling_factor: f64,
    /// Rows and columns of a latent element.
    #[serde(default = "side")]
    pub spatial_compression_ratio: usize,
    /// Frames of a latent element.
    #[serde(default = "frames")]
    pub temporal_compression_ratio: usize,
    #[serde(default = "attends")]
    mid_block_add_attention: bool,
}

fn groups() -> usize {
    32
}
fn scaling_factor() -> f64 {
    0.476986
}
fn side() -> usize {
    8
}
fn frames() -> usize {
    4
}
fn attends() -> bool {
    true
}

impl HunyuanVaeConfig {
    /// The autoencoder of HunyuanVideo, `884-16c-hy` (`hyvideo/vae` of Tencent-Hunyuan/HunyuanVideo).
    pub fn published() -> HunyuanVaeConfig {
        HunyuanVaeConfig {
            widths: vec![128, 256, 512, 512],
            blocks: 2,
            groups: groups(),
            latent_channels: 16,
            scaling_factor: scaling_factor(),
            spatial_compression_ratio: side(),
            temporal_compression_ratio: frames(),
            mid_block_add_attention: attends(),
        }
    }
    /// Reads the `config.json` of diffusers' `AutoencoderKLHunyuanVideo`, or the authors'.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or sizes do not fit together.
    pub fn parse(json: &str) -> Result<HunyuanVaeConfig, ConfigError> {
        let config: HunyuanVaeConfig = serde_json::from_str(json).map_err(|source| ConfigError::Json {
            model: "HunyuanVideo's autoencoder",
            keys: "block_out_channels, layers_per_block, latent_channels",
            source,
        })?;
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        let (groups, widths) = (config.groups, &config.widths);
        if widths.is_empty() || groups == 0 || widths.iter().any(|width| !width.is_multiple_of(groups)) {
            return unsupported(format!(
                "`block_out_channels`: found {widths:?}, expected multiples of `norm_num_groups` = {groups}"
            ));
        }
        let strides = [config.temporal_compression_ratio, config.spatial_compression_ratio];
        if strides != [4, 8] || widths.len() != 4 || !config.mid_block_add_attention {
            return unsupported(format!(
                "found {} levels and latents of {} frames and {} × {} pixels; only 4 levels, 4 frames and 8 × 8 pixels, with attention in the middle, are supported",
                widths.len(),
                strides[0],
                strides[1],
                strides[1]
            ));
        }
        Ok(config)
    }
    /// Pixels of a latent element: frames, rows, columns.
    pub fn strides(&self) -> [usize; 3] {
        let side = self.spatial_compression_ratio;
        [self.temporal_compression_ratio, side, side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = r#"{"_class_name": "AutoencoderKLHunyuanVideo", "act_fn": "silu", "block_out_channels": [128, 256,
        512, 512], "latent_channels": 16, "layers_per_block": 2, "mid_block_add_attention": true, "norm_num_groups": 32,
        "scaling_factor": 0.476986, "spatial_compression_ratio": 8, "temporal_compression_ratio": 4}"#;

    #[test]
    fn the_published_sizes_are_those_of_the_hub() {
        assert_eq!(HunyuanVaeConfig::parse(HUB).unwrap(), HunyuanVaeConfig::published());
    }

    #[test]
    fn other_sizes_are_refused_with_what_was_found() {
        let refusal = |from, to| HunyuanVaeConfig::parse(&HUB.replace(from, to)).unwrap_err().to_string();
        assert!(refusal("\"norm_num_groups\": 32", "\"norm_num_groups\": 48").contains("`norm_num_groups` = 48"));
        assert!(refusal("ratio\": 4", "ratio\": 8").contains("latents of 8 frames"));
        assert!(refusal("layers_per_block", "layers").contains("layers_per_block"));
    }
}
