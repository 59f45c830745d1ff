//! Sizes of a HunyuanVideo transformer: presets, and the `config.json` of a checkpoint.

use crate::models::config::{ConfigError, linear, read};
use serde::Deserialize;

/// Sizes of a HunyuanVideo transformer whose guidance scale is an input (`HYVideo-T/2-cfgdistill`).
#[derive(Clone, Debug, PartialEq)]
pub struct HunyuanConfig {
    /// Name under which calibrated coefficients of cache policies know it.
    pub name: String,
    /// Width `d`.
    pub dim: usize,
    /// Attention heads of `dim / heads` channels.
    pub heads: usize,
    /// Width of the feed-forward.
    pub mlp_dim: usize,
    /// Blocks in which video and text have weights of their own.
    pub double_layers: usize,
    /// Blocks in which they share weights.
    pub single_layers: usize,
    /// Blocks of the token refiner.
    pub refiner_layers: usize,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Width of the text encoder's states.
    pub text_dim: usize,
    /// Most tokens of a prompt.
    pub text_len: usize,
    /// Width of the pooled prompt.
    pub pooled_dim: usize,
    /// Length of the sinusoid of timestep and guidance.
    pub freq_dim: usize,
    /// Latent frames, rows and columns of a token.
    pub patch: [usize; 3],
    /// Channels of a head that turn with frame, row and column.
    pub rope: [usize; 3],
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Guard of every norm.
    pub eps: f64,
}

impl HunyuanConfig {
    /// Names of the presets.
    pub const PRESETS: [&str; 2] = ["hunyuan-video", "hunyuan-mini"];

    /// A preset by name: the sizes of `HUNYUAN_VIDEO_CONFIG` (`hyvideo/modules/models.py`) and
    /// `hyvideo/config.py`, or of the small model of the same architecture.
    pub fn preset(name: &str) -> Option<HunyuanConfig> {
        let published = HunyuanConfig {
            name: name.to_string(),
            dim: 3072,
            heads: 24,
            mlp_dim: 4 * 3072,
            double_layers: 20,
            single_layers: 40,
            refiner_layers: 2,
            in_channels: 16,
            out_channels: 16,
            text_dim: 4096,
            text_len: 256,
            pooled_dim: 768,
            freq_dim: 256,
            patch: [1, 2, 2],
            rope: [16, 56, 56],
            theta: 256.0,
            eps: 1e-6,
        };
        match name {
            "hunyuan-video" => Some(published),
            "hunyuan-mini" => Some(HunyuanConfig {
                dim: 192,
                heads: 6,
                mlp_dim: 4 * 192,
                double_layers: 2,
                single_layers: 5,
                text_dim: 64,
                text_len: 16,
                pooled_dim: 64,
                rope: [8, 12, 12],
                ..published
            }),
            _ => None,
        }
    }
    /// Reads a `config.json` in the authors' or in diffusers' keys. A checkpoint of published sizes has the
    /// name of its preset; any other takes the name the file gives it, or `hunyuan`.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or the file describes another model.
    pub fn parse(json: &str) -> Result<HunyuanConfig, ConfigError> {
        let (file, given) = read::<ConfigFile>(json).map_err(|source| ConfigError::Json {
            model: "HunyuanVideo",
            keys: "heads_num, mm_double_blocks_depth or num_attention_heads, num_layers",
            source,
        })?;
        let sizes = file.config()?;
        let named = |name: &str| HunyuanConfig {
            name: name.to_string(),
            ..sizes.clone()
        };
        let mut presets = HunyuanConfig::PRESETS.into_iter();
        let published = presets.find(|name| HunyuanConfig::preset(name) == Some(named(name)));
        Ok(named(published.or(given.as_deref()).unwrap_or("hunyuan")))
    }
    /// Latent elements of one channel in a token.
    pub fn patch_volume(&self) -> usize {
        self.patch.iter().product()
    }
    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.heads
    }
    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        let (d, mlp_dim) = (self.dim, self.mlp_dim);
        let norms = 2 * self.head_dim() as u64;
        let mlp = linear(d, mlp_dim) + linear(mlp_dim, d);
        let stream = linear(d, 6 * d) + linear(d, 3 * d) + norms + linear(d, d) + mlp;
        let single = linear(d, 3 * d) + linear(d, 3 * d + mlp_dim) + norms + linear(d + mlp_dim, d);
        let attention = linear(d, 3 * d) + linear(d, d);
        let refiner_block = attention + linear(d, 4 * d) + linear(4 * d, d) + linear(d, 2 * d) + 4 * d as u64;
        let number = linear(self.freq_dim, d) + linear(d, d);
        let vector = |from| linear(from, d) + linear(d, d);
        let text = linear(self.text_dim, d) + number + vector(self.text_dim);
        let patch = linear(self.in_channels * self.patch_volume(), d);
        let head = linear(d, 2 * d) + linear(d, self.out_channels * self.patch_volume());
        patch
            + text
            + self.refiner_layers as u64 * refiner_block
            + 2 * number // timestep and guidance
            + vector(self.pooled_dim)
            + self.double_layers as u64 * 2 * stream
            + self.single_layers as u64 * single
            + head
    }
}

/// Both key styles of a `config.json`; what neither gives has the value of the published model.
#[derive(Deserialize)]
struct ConfigFile {
    image_condition_type: Option<String>,
    #[serde(alias = "guidance_embed")]
    guidance_embeds: bool,
    hidden_size: Option<usize>,
    attention_head_dim: Option<usize>,
    #[serde(alias = "num_attention_heads")]
    heads_num: usize,
    #[serde(alias = "num_layers")]
    mm_double_blocks_depth: usize,
    #[serde(alias = "num_single_layers")]
    mm_single_blocks_depth: usize,
    #[serde(alias = "num_refiner_layers", default = "refiner_layers")]
    refiner_layers: usize,
    #[serde(alias = "mlp_ratio")]
    mlp_width_ratio: f64,
    in_channels: usize,
    out_channels: usize,
    #[serde(alias = "text_embed_dim")]
    text_states_dim: usize,
    #[serde(alias = "pooled_projection_dim")]
    text_states_dim_2: usize,
    #[serde(default = "text_len")]
    text_len: usize,
    patch_size: PatchSize,
    #[serde(default = "one")]
    patch_size_t: usize,
    #[serde(alias = "rope_axes_dim")]
    rope_dim_list: [usize; 3],
    #[serde(default = "theta")]
    rope_theta: f64,
}

/// diffusers gives the sides, and the frames elsewhere.
#[derive(Deserialize)]
#[serde(untagged)]
enum PatchSize {
    Side(usize),
    All([usize; 3]),
}

fn refiner_layers() -> usize {
    2
}
fn text_len() -> usize {
    256
}
fn one() -> usize {
    1
}
fn theta() -> f64 {
    256.0
}

impl ConfigFile {
    fn config(self) -> Result<HunyuanConfig, ConfigError> {
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        if self.image_condition_type.is_some() {
            return unsupported("this checkpoint takes an image; only HunyuanVideo text-to-video is supported".into());
        }
        if !self.guidance_embeds {
            return unsupported(
                "this checkpoint does not embed the guidance scale; only the guidance-distilled HunyuanVideo is supported".into(),
            );
        }
        let (heads, rope) = (self.heads_num, self.rope_dim_list);
        let dim = match (self.hidden_size, self.attention_head_dim) {
            (Some(dim), _) => dim,
            (None, Some(head_dim)) => heads * head_dim,
            (None, None) => {
                return unsupported("`config.json` gives neither `hidden_size` nor `attention_head_dim`".into());
            }
        };
        let head_dim: usize = rope.iter().sum();
        if heads * head_dim != dim || rope.iter().any(|channels| channels % 2 != 0) || self.mm_double_blocks_depth == 0
        {
            return unsupported(format!(
                "width {dim}, {heads} heads, rotary channels {rope:?}, {} double blocks: heads must divide the width into \
                 parts of as many channels as all axes have, each an even number, and there must be a double block",
                self.mm_double_blocks_depth
            ));
        }
        Ok(HunyuanConfig {
            name: String::new(),
            dim,
            heads,
            mlp_dim: (dim as f64 * self.mlp_width_ratio) as usize,
            double_layers: self.mm_double_blocks_depth,
            single_layers: self.mm_single_blocks_depth,
            refiner_layers: self.refiner_layers,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            text_dim: self.text_states_dim,
            text_len: self.text_len,
            pooled_dim: self.text_states_dim_2,
            freq_dim: 256,
            patch: match self.patch_size {
                PatchSize::Side(side) => [self.patch_size_t, side, side],
                PatchSize::All(patch) => patch,
            },
            rope,
            theta: self.rope_theta,
            eps: 1e-6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_model_has_the_published_number_of_parameters() {
        let published = HunyuanConfig::preset("hunyuan-video").unwrap();
        assert_eq!(published.parameters(), 12_821_012_544);
    }

    /// `HunyuanVideoTransformer3DModel` as published.
    const DIFFUSERS: &str = r#"{"_class_name": "HunyuanVideoTransformer3DModel", "attention_head_dim": 128,
        "guidance_embeds": true, "in_channels": 16, "mlp_ratio": 4.0, "num_attention_heads": 24, "num_layers": 20,
        "num_refiner_layers": 2, "num_single_layers": 40, "out_channels": 16, "patch_size": 2, "patch_size_t": 1,
        "pooled_projection_dim": 768, "qk_norm": "rms_norm", "rope_axes_dim": [16, 56, 56], "rope_theta": 256.0,
        "text_embed_dim": 4096}"#;

    #[test]
    fn both_styles_of_config_file_name_the_same_model() {
        let authors = r#"{"mm_double_blocks_depth": 20, "mm_single_blocks_depth": 40, "rope_dim_list": [16, 56, 56],
            "hidden_size": 3072, "heads_num": 24, "mlp_width_ratio": 4, "guidance_embed": true, "in_channels": 16,
            "out_channels": 16, "text_states_dim": 4096, "text_states_dim_2": 768, "patch_size": [1, 2, 2]}"#;
        let preset = HunyuanConfig::preset("hunyuan-video").unwrap();
        assert_eq!(HunyuanConfig::parse(authors).unwrap(), preset);
        assert_eq!(HunyuanConfig::parse(DIFFUSERS).unwrap(), preset);
    }

    #[test]
    fn variants_that_need_more_than_a_prompt_and_a_scale_are_refused() {
        let image = DIFFUSERS.replace(
            "\"in_channels\"",
            "\"image_condition_type\": \"latent_concat\", \"in_channels\"",
        );
        let error = HunyuanConfig::parse(&image).unwrap_err().to_string();
        assert!(error.contains("text-to-video"), "{error}");
        let undistilled = DIFFUSERS.replace("\"guidance_embeds\": true", "\"guidance_embeds\": false");
        let error = HunyuanConfig::parse(&undistilled).unwrap_err().to_string();
        assert!(error.contains("guidance-distilled"), "{error}");
    }
}
