//! Sizes of a Wan transformer: presets, and the `config.json` of a checkpoint.

use crate::models::config::{ConfigError, linear, read};
use crate::models::time::Sinusoid;
use serde::Deserialize;

/// Sizes of a Wan transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct WanConfig {
    /// Name under which calibrated coefficients of cache policies know it.
    pub name: String,
    /// Width `d`.
    pub dim: usize,
    /// Width of the feed-forward.
    pub ffn_dim: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads of `dim / heads` channels.
    pub heads: usize,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Width of the text encoder's states.
    pub text_dim: usize,
    /// Tokens a prompt is padded to.
    pub text_len: usize,
    /// Length of the timestep's sinusoid.
    pub freq_dim: usize,
    /// Latent frames, rows and columns of a token.
    pub patch: [usize; 3],
    /// Guard of every norm.
    pub eps: f64,
    /// How the timestep's sinusoid is computed.
    pub sinusoid: Sinusoid,
    /// Of two experts of these sizes (Wan2.2): the timestep from which up the one for high noise runs, below it the
    /// one for low noise.
    pub boundary: Option<f32>,
}

/// Of Wan2.2's text-to-video experts: 0.875 of 1000 timesteps (`wan/configs/wan_t2v_A14B.py`; `boundary_ratio` in
/// diffusers' `model_index.json`).
const BOUNDARY: f32 = 875.0;

impl WanConfig {
    /// Names of the presets.
    pub const PRESETS: [&str; 4] = ["wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.2-t2v-a14b", "wan-mini"];

    /// A preset by name: sizes of `wan/configs/wan_t2v_{1_3B,14B,A14B}.py`, or of the embedded model.
    pub fn preset(name: &str) -> Option<WanConfig> {
        let wan = |dim, ffn_dim, layers, heads| WanConfig {
            name: name.to_string(),
            dim,
            ffn_dim,
            layers,
            heads,
            in_channels: 16,
            out_channels: 16,
            text_dim: 4096,
            text_len: 512,
            freq_dim: 256,
            patch: [1, 2, 2],
            eps: 1e-6,
            sinusoid: Sinusoid::default(),
            boundary: None,
        };
        match name {
            "wan2.1-t2v-1.3b" => Some(wan(1536, 8960, 30, 12)),
            "wan2.1-t2v-14b" => Some(wan(5120, 13824, 40, 40)),
            "wan2.2-t2v-a14b" => Some(WanConfig {
                boundary: Some(BOUNDARY),
                ..wan(5120, 13824, 40, 40)
            }),
            "wan-mini" => Some(WanConfig {
                text_dim: 64,
                text_len: 16,
                ..wan(192, 768, 8, 6)
            }),
            _ => None,
        }
    }
    /// Reads a `config.json` in the authors' or in diffusers' keys. Published checkpoints have the name
    /// of their preset; any other takes the name the file gives it, or `wan`.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or the file describes another model.
    pub fn parse(json: &str) -> Result<WanConfig, ConfigError> {
        let (file, name) = read::<ConfigFile>(json).map_err(|source| ConfigError::Json {
            model: "Wan",
            keys: "num_heads, num_layers, ffn_dim",
            source,
        })?;
        let mut config = file.config()?;
        config.name = name.unwrap_or("wan".to_string());
        Ok(config.named())
    }
    /// The same sizes for each of two experts, of which checkpoints have a `config.json` each.
    pub fn of_experts(self) -> WanConfig {
        let boundary = Some(BOUNDARY);
        WanConfig { boundary, ..self }.named()
    }
    /// With the name of the preset of these sizes, if there is one.
    fn named(mut self) -> WanConfig {
        let published = WanConfig::PRESETS.iter().find(|preset| {
            let preset = WanConfig::preset(preset).expect("listed");
            let name = preset.name.clone();
            preset == WanConfig { name, ..self.clone() }
        });
        if let Some(preset) = published {
            self.name = preset.to_string();
        }
        self
    }
    /// Transformers of these sizes: one, or two experts that share a run.
    pub fn experts(&self) -> usize {
        1 + self.boundary.is_some() as usize
    }
    /// Latent elements of one channel in a token.
    pub fn patch_volume(&self) -> usize {
        self.patch.iter().product()
    }
    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.heads
    }
    /// Number of parameters, of all experts.
    pub fn parameters(&self) -> u64 {
        let d = self.dim;
        let patch = linear(self.in_channels * self.patch_volume(), d);
        let text = linear(self.text_dim, d) + linear(d, d);
        let time = linear(self.freq_dim, d) + linear(d, d) + linear(d, 6 * d);
        let attention = 4 * linear(d, d) + 2 * d as u64; // with norm_q, norm_k
        let ffn = linear(d, self.ffn_dim) + linear(self.ffn_dim, d);
        let block = 2 * attention + ffn + 8 * d as u64; // modulation and the affine norm
        let head = linear(d, self.out_channels * self.patch_volume()) + 2 * d as u64;
        self.experts() as u64 * (patch + text + time + self.layers as u64 * block + head)
    }
}

/// Both key styles of a `config.json`; what neither gives has the value of the published models.
#[derive(Deserialize)]
struct ConfigFile {
    model_type: Option<String>,
    image_dim: Option<usize>,
    dim: Option<usize>,
    attention_head_dim: Option<usize>,
    #[serde(alias = "num_attention_heads")]
    num_heads: usize,
    num_layers: usize,
    ffn_dim: usize,
    #[serde(alias = "in_channels")]
    in_dim: usize,
    #[serde(alias = "out_channels")]
    out_dim: usize,
    #[serde(default = "text_dim")]
    text_dim: usize,
    #[serde(default = "text_len")]
    text_len: usize,
    #[serde(default = "freq_dim")]
    freq_dim: usize,
    #[serde(default = "patch")]
    patch_size: [usize; 3],
    #[serde(default = "eps")]
    eps: f64,
}

fn text_dim() -> usize {
    4096
}
fn text_len() -> usize {
    512
}
fn freq_dim() -> usize {
    256
}
fn patch() -> [usize; 3] {
    [1, 2, 2]
}
fn eps() -> f64 {
    1e-6
}

impl ConfigFile {
    fn config(self) -> Result<WanConfig, ConfigError> {
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        if self.image_dim.is_some() || self.model_type.as_deref().is_some_and(|kind| kind != "t2v") {
            return unsupported("this checkpoint takes an image; only Wan2.1 text-to-video (t2v) is supported".into());
        }
        let heads = self.num_heads;
        let dim = match (self.dim, self.attention_head_dim) {
            (Some(dim), _) => dim,
            (None, Some(head_dim)) => heads * head_dim,
            (None, None) => return unsupported("`config.json` gives neither `dim` nor `attention_head_dim`".into()),
        };
        if heads == 0 || !dim.is_multiple_of(2 * heads) || !self.freq_dim.is_multiple_of(2) {
            let freq_dim = self.freq_dim;
            return unsupported(format!(
                "dim {dim}, {heads} heads, freq_dim {freq_dim}: heads must divide dim into even parts, freq_dim must be even"
            ));
        }
        Ok(WanConfig {
            name: String::new(),
            dim,
            ffn_dim: self.ffn_dim,
            layers: self.num_layers,
            heads,
            in_channels: self.in_dim,
            out_channels: self.out_dim,
            text_dim: self.text_dim,
            text_len: self.text_len,
            freq_dim: self.freq_dim,
            patch: self.patch_size,
            eps: self.eps,
            sinusoid: Sinusoid::default(),
            boundary: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_have_the_published_numbers_of_parameters() {
        let parameters = |name| WanConfig::preset(name).unwrap().parameters();
        assert_eq!(parameters("wan2.1-t2v-1.3b"), 1_418_996_800);
        assert_eq!(parameters("wan2.1-t2v-14b"), 14_288_491_584);
        assert_eq!(parameters("wan2.2-t2v-a14b"), 2 * 14_288_491_584);
        assert_eq!(parameters("wan-mini"), 5_140_480);
    }

    #[test]
    fn both_styles_of_config_file_name_the_same_model() {
        let authors = r#"{"_class_name": "WanModel", "dim": 1536, "eps": 1e-06, "ffn_dim": 8960, "freq_dim": 256,
            "in_dim": 16, "model_type": "t2v", "num_heads": 12, "num_layers": 30, "out_dim": 16, "text_len": 512}"#;
        let diffusers = r#"{"_class_name": "WanTransformer3DModel", "attention_head_dim": 128, "ffn_dim": 8960,
            "freq_dim": 256, "image_dim": null, "in_channels": 16, "num_attention_heads": 12, "num_layers": 30,
            "out_channels": 16, "patch_size": [1, 2, 2], "text_dim": 4096, "eps": 1e-06}"#;
        let preset = WanConfig::preset("wan2.1-t2v-1.3b").unwrap();
        assert_eq!(WanConfig::parse(authors).unwrap(), preset);
        assert_eq!(WanConfig::parse(diffusers).unwrap(), preset);
    }

    #[test]
    fn the_embedded_model_comes_with_its_own_sizes() {
        let file = include_str!("../../../models/wan-mini/config.json");
        assert_eq!(WanConfig::parse(file).unwrap(), WanConfig::preset("wan-mini").unwrap());
    }

    #[test]
    fn each_expert_has_the_config_file_of_wan2_1() {
        let expert = WanConfig::preset("wan2.1-t2v-14b").unwrap();
        assert_eq!(expert.of_experts(), WanConfig::preset("wan2.2-t2v-a14b").unwrap());
    }

    #[test]
    fn an_image_model_is_refused() {
        let i2v = r#"{"dim": 5120, "ffn_dim": 13824, "in_dim": 36, "model_type": "i2v", "num_heads": 40,
            "num_layers": 40, "out_dim": 16}"#;
        assert!(WanConfig::parse(i2v).unwrap_err().to_string().contains("text-to-video"));
    }
}
