//! Sizes of CogVideoX's autoencoder: the published ones, and the `config.json` of diffusers.

use crate::models::ConfigError;
use crate::vae::Tiling;
use serde::{Deserialize, Serialize};

/// Sizes of CogVideoX's autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CogVideoXVaeConfig {
    /// Channels of each level, from full size down.
    #[serde(rename = "block_out_channels")]
    pub widths: Vec<usize>,
    /// Residual blocks of a level; the decoder has one more.
    #[serde(rename = "layers_per_block")]
    pub blocks: usize,
    /// Groups of channels that are normalised together.
    #[serde(rename = "norm_num_groups")]
    pub groups: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// What latents are multiplied by for the transformer.
    pub scaling_factor: f64,
    /// Frames of a latent element.
    pub temporal_compression_ratio: usize,
    /// Rows of the videos it was made for, pixels.
    pub sample_height: usize,
    /// Columns of them.
    pub sample_width: usize,
    norm_eps: f64,
    #[serde(default)]
    use_quant_conv: bool,
    #[serde(default)]
    use_post_quant_conv: bool,
    shift_factor: Option<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
}

impl CogVideoXVaeConfig {
    /// The autoencoder of CogVideoX-5B (`vae/config.json` of THUDM/CogVideoX-5b). That of 2B differs in the scaling
    /// factor, 1.15258426.
    pub fn published() -> CogVideoXVaeConfig {
        CogVideoXVaeConfig {
            widths: vec![128, 256, 256, 512],
            blocks: 3,
            groups: 32,
            latent_channels: 16,
            scaling_factor: 0.7,
            temporal_compression_ratio: 4,
            sample_height: 480,
            sample_width: 720,
            norm_eps: 1e-6,
            use_quant_conv: false,
            use_post_quant_conv: false,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
        }
    }
    /// Reads the `config.json` of diffusers' `AutoencoderKLCogVideoX`.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing, sizes do not fit together, or it has parts that no published one has.
    pub fn parse(json: &str) -> Result<CogVideoXVaeConfig, ConfigError> {
        let config: CogVideoXVaeConfig = serde_json::from_str(json).map_err(|source| ConfigError::Json {
            model: "CogVideoX's autoencoder",
            keys: "block_out_channels, layers_per_block, scaling_factor, sample_height",
            source,
        })?;
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        let (groups, widths) = (config.groups, &config.widths);
        if groups == 0 || widths.iter().any(|width| !width.is_multiple_of(groups)) {
            return unsupported(format!(
                "`block_out_channels`: found {widths:?}, expected multiples of `norm_num_groups` = {groups}"
            ));
        }
        if (widths.len(), config.temporal_compression_ratio) != (4, 4) {
            return unsupported(format!(
                "found {} levels and latents of {} frames; only 4 levels and 4 frames are supported",
                widths.len(),
                config.temporal_compression_ratio
            ));
        }
        if config.norm_eps != 1e-6 {
            return unsupported(format!("`norm_eps`: found {}, expected 1e-6", config.norm_eps));
        }
        let shifts = config.shift_factor.is_some() || config.latents_mean.is_some() || config.latents_std.is_some();
        if config.use_quant_conv || config.use_post_quant_conv || shifts {
            return unsupported(
                "`use_quant_conv`, `use_post_quant_conv`, `shift_factor`, `latents_mean` or `latents_std` is set; no published autoencoder of CogVideoX uses them, and they are not supported".into(),
            );
        }
        Ok(config)
    }
    /// Pixels of a latent element: frames, rows, columns.
    pub fn strides(&self) -> [usize; 3] {
        let side = 1 << (self.widths.len() - 1);
        [self.temporal_compression_ratio, side, side]
    }
    /// The tiles of diffusers: half of the rows and columns it was made for, of which a sixth of the rows and a fifth of
    /// the columns overlap.
    pub fn tiling(&self) -> Tiling {
        let [_, scale, _] = self.strides();
        let tile = |pixels: usize, shares: usize| {
            let side = (pixels / 2 / scale).max(1);
            let stride = (side * (shares - 1) / shares).max(1);
            [side * scale, stride * scale]
        };
        let (rows, columns) = (tile(self.sample_height, 6), tile(self.sample_width, 5));
        Tiling {
            side: [rows[0], columns[0]],
            stride: [rows[1], columns[1]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = r#"{"_class_name": "AutoencoderKLCogVideoX", "act_fn": "silu", "block_out_channels": [128, 256, 256,
        512], "force_upcast": true, "in_channels": 3, "invert_scale_latents": false, "latent_channels": 16, "latents_mean":
        null, "latents_std": null, "layers_per_block": 3, "norm_eps": 1e-06, "norm_num_groups": 32, "out_channels": 3,
        "sample_height": 480, "sample_width": 720, "scaling_factor": 0.7, "shift_factor": null,
        "temporal_compression_ratio": 4, "use_post_quant_conv": false, "use_quant_conv": false}"#;

    #[test]
    fn the_published_sizes_are_those_of_the_hub() {
        let published = CogVideoXVaeConfig::published();
        assert_eq!(CogVideoXVaeConfig::parse(HUB).unwrap(), published);
        assert_eq!(published.strides(), [4, 8, 8]);
        // 30 × 45 latents of which 5 rows and 9 columns overlap.
        let expected = Tiling {
            side: [240, 360],
            stride: [200, 288],
        };
        assert_eq!(published.tiling(), expected);
    }

    #[test]
    fn other_sizes_are_refused_with_what_was_found() {
        let refusal = |from, to| {
            let changed = HUB.replace(from, to);
            assert_ne!(changed, HUB);
            CogVideoXVaeConfig::parse(&changed).unwrap_err().to_string()
        };
        assert!(refusal("\"norm_num_groups\": 32", "\"norm_num_groups\": 48").contains("`norm_num_groups` = 48"));
        assert!(refusal("ratio\": 4", "ratio\": 8").contains("latents of 8 frames"));
        assert!(refusal("1e-06", "1e-05").contains("`norm_eps`: found 0.00001"));
        assert!(refusal("use_quant_conv\": false", "use_quant_conv\": true").contains("not supported"));
        assert!(refusal("layers_per_block", "layers").contains("layers_per_block"));
    }
}
