//! Sizes of a CogVideoX transformer: presets, and the `config.json` of a checkpoint.

use crate::models::config::{ConfigError, linear, read};
use serde::Deserialize;

/// Sizes of a CogVideoX transformer with rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct CogVideoXConfig {
    /// Name under which calibrated coefficients of cache policies know it.
    pub name: String,
    /// Width `d`, also the length of the timestep's sinusoid.
    pub dim: usize,
    /// Attention heads of `dim / heads` channels.
    pub heads: usize,
    /// Width of the feed-forward.
    pub mlp_dim: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Width of the text encoder's states.
    pub text_dim: usize,
    /// Tokens that the text encoder pads a prompt to.
    pub text_len: usize,
    /// Width of the time embedding.
    pub time_dim: usize,
    /// Latent frames, rows and columns of a token.
    pub patch: [usize; 3],
    /// Rows and columns of tokens of the clips it was trained on: others are stretched onto them.
    pub base: [usize; 2],
    /// Guard of the norms, but for those of queries and keys.
    pub eps: f64,
}

impl CogVideoXConfig {
    /// Names of the presets.
    pub const PRESETS: [&str; 1] = ["cogvideox-5b"];

    /// A preset by name: the sizes of `transformer/config.json` of THUDM/CogVideoX-5b.
    pub fn preset(name: &str) -> Option<CogVideoXConfig> {
        (name == "cogvideox-5b").then(|| CogVideoXConfig {
            name: name.to_string(),
            dim: 48 * 64,
            heads: 48,
            mlp_dim: 4 * 3072,
            layers: 42,
            in_channels: 16,
            out_channels: 16,
            text_dim: 4096,
            text_len: 226,
            time_dim: 512,
            patch: [1, 2, 2],
            base: [30, 45],
            eps: 1e-5,
        })
    }
    /// Reads a `config.json` in diffusers' keys (the authors' checkpoint comes with none). A checkpoint of
    /// published sizes has the name of its preset; any other takes the name the file gives it, or `cogvideox`.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or the file describes another model.
    pub fn parse(json: &str) -> Result<CogVideoXConfig, ConfigError> {
        let (file, given) = read::<ConfigFile>(json).map_err(|source| ConfigError::Json {
            model: "CogVideoX",
            keys: "num_attention_heads, time_embed_dim, num_layers",
            source,
        })?;
        let sizes = file.config()?;
        let named = |name: &str| CogVideoXConfig {
            name: name.to_string(),
            ..sizes.clone()
        };
        let mut presets = CogVideoXConfig::PRESETS.into_iter();
        let published = presets.find(|name| CogVideoXConfig::preset(name) == Some(named(name)));
        Ok(named(published.or(given.as_deref()).unwrap_or("cogvideox")))
    }
    /// Latent elements of one channel in a token.
    pub fn patch_volume(&self) -> usize {
        self.patch.iter().product()
    }
    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.heads
    }
    /// Channels of a head that turn with frame, row and column: a quarter, three eighths, three eighths
    /// (`get_3d_rotary_pos_embed`).
    pub fn rope(&self) -> [usize; 3] {
        let eighth = self.head_dim() / 8;
        [2 * eighth, 3 * eighth, 3 * eighth]
    }
    /// Where frames, rows and columns of a grid of tokens lie. A clip of another size than the model was trained
    /// on is scaled to fit within that size, centred (`get_resize_crop_region_for_grid`).
    pub fn places(&self, [f, h, w]: [usize; 3]) -> [Vec<f64>; 3] {
        let [rows, columns] = self.base.map(|n| n as f64);
        let scale = (rows / h as f64).min(columns / w as f64);
        let along = |n: usize, base: f64| -> Vec<f64> {
            let size = (n as f64 * scale).round_ties_even();
            let start = ((base - size) / 2.0).round_ties_even();
            // The last of n places ends where the size does, as far as n − 1 of n steps reach.
            let last = (start + size) * (n - 1) as f64 / n as f64;
            let steps = (n - 1).max(1) as f64;
            (0..n).map(|i| start + (last - start) * i as f64 / steps).collect()
        };
        [(0..f).map(|i| i as f64).collect(), along(h, rows), along(w, columns)]
    }
    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        let (d, time) = (self.dim, self.time_dim);
        let norm = 2 * d as u64;
        let heads = 2 * 2 * self.head_dim() as u64;
        let modulations = linear(time, 12 * d);
        let mlp = linear(d, self.mlp_dim) + linear(self.mlp_dim, d);
        let block = modulations + 2 * norm + 4 * linear(d, d) + heads + mlp;
        let patch = linear(self.in_channels * self.patch_volume(), d);
        let head = 2 * norm + linear(time, 2 * d) + linear(d, self.out_channels * self.patch_volume());
        patch + linear(self.text_dim, d) + linear(d, time) + linear(time, time) + self.layers as u64 * block + head
    }
}

/// What matters of diffusers' `config.json`.
#[derive(Deserialize)]
struct ConfigFile {
    num_attention_heads: usize,
    attention_head_dim: usize,
    in_channels: usize,
    out_channels: usize,
    time_embed_dim: usize,
    text_embed_dim: usize,
    num_layers: usize,
    sample_width: usize,
    sample_height: usize,
    patch_size: usize,
    patch_size_t: Option<usize>,
    ofs_embed_dim: Option<usize>,
    max_text_seq_length: usize,
    norm_eps: f64,
    use_rotary_positional_embeddings: bool,
    #[serde(default)]
    use_learned_positional_embeddings: bool,
}

impl ConfigFile {
    fn config(self) -> Result<CogVideoXConfig, ConfigError> {
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        if !self.use_rotary_positional_embeddings {
            return unsupported(
                "this checkpoint adds positions to its input (CogVideoX-2B); only CogVideoX-5B, which rotates by them, is supported".into(),
            );
        }
        if self.use_learned_positional_embeddings || self.in_channels != self.out_channels {
            return unsupported("this checkpoint takes an image; only CogVideoX text-to-video is supported".into());
        }
        if self.patch_size_t.is_some() || self.ofs_embed_dim.is_some() {
            return unsupported(
                "this checkpoint joins frames into patches (CogVideoX 1.5); only CogVideoX-5B is supported".into(),
            );
        }
        if !self.attention_head_dim.is_multiple_of(16) || self.num_attention_heads == 0 {
            return unsupported(format!(
                "{} heads of {} channels: there must be a head, and a multiple of 16 channels, for three axes of pairs",
                self.num_attention_heads, self.attention_head_dim
            ));
        }
        let dim = self.num_attention_heads * self.attention_head_dim;
        Ok(CogVideoXConfig {
            name: String::new(),
            dim,
            heads: self.num_attention_heads,
            mlp_dim: 4 * dim,
            layers: self.num_layers,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            text_dim: self.text_embed_dim,
            text_len: self.max_text_seq_length,
            time_dim: self.time_embed_dim,
            patch: [1, self.patch_size, self.patch_size],
            base: [self.sample_height, self.sample_width].map(|side| side / self.patch_size),
            eps: self.norm_eps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CogVideoXTransformer3DModel` of THUDM/CogVideoX-5b.
    const PUBLISHED: &str = r#"{"_class_name": "CogVideoXTransformer3DModel", "activation_fn": "gelu-approximate",
        "attention_bias": true, "attention_head_dim": 64, "dropout": 0.0, "flip_sin_to_cos": true, "freq_shift": 0,
        "in_channels": 16, "max_text_seq_length": 226, "norm_elementwise_affine": true, "norm_eps": 1e-05,
        "num_attention_heads": 48, "num_layers": 42, "out_channels": 16, "patch_size": 2, "sample_frames": 49,
        "sample_height": 60, "sample_width": 90, "spatial_interpolation_scale": 1.875,
        "temporal_compression_ratio": 4, "temporal_interpolation_scale": 1.0, "text_embed_dim": 4096,
        "time_embed_dim": 512, "timestep_activation_fn": "silu", "use_rotary_positional_embeddings": true}"#;

    #[test]
    fn the_published_model_has_as_many_parameters_as_diffusers_builds() {
        let published = CogVideoXConfig::preset("cogvideox-5b").unwrap();
        assert_eq!(published.parameters(), 5_570_283_072);
    }

    #[test]
    fn the_published_config_names_the_preset() {
        let preset = CogVideoXConfig::preset("cogvideox-5b").unwrap();
        assert_eq!(CogVideoXConfig::parse(PUBLISHED).unwrap(), preset);
    }

    #[test]
    fn variants_that_compute_something_else_are_refused() {
        for (from, to, expected) in [
            ("embeddings\": true", "embeddings\": false", "CogVideoX-2B"),
            ("\"in_channels\": 16", "\"in_channels\": 32", "takes an image"),
            (
                "\"patch_size\": 2",
                "\"patch_size\": 2, \"patch_size_t\": 2",
                "CogVideoX 1.5",
            ),
        ] {
            let error = CogVideoXConfig::parse(&PUBLISHED.replace(from, to))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn places_count_from_zero_at_the_trained_size_and_are_stretched_to_fit_at_others() {
        let cogvideox = CogVideoXConfig::preset("cogvideox-5b").unwrap();
        let [frames, rows, columns] = cogvideox.places([13, 30, 45]);
        assert_eq!((frames[12], rows[29], columns[44]), (12.0, 29.0, 44.0));
        assert_eq!((frames[1], rows[1], columns[1]), (1.0, 1.0, 1.0));
        // As diffusers 0.36.0 places them: 24×40 becomes 27×45, two rows from the top, half of three rounded to even.
        let [_, rows, columns] = cogvideox.places([1, 24, 40]);
        let expected = [(rows[0], 2.0), (rows[1], 3.121_376_81), (rows[23], 27.791_666_67)];
        for (place, expected) in expected.into_iter().chain([(columns[1], 1.125), (columns[39], 43.875)]) {
            assert!((place - expected).abs() < 1e-8, "{place}, expected {expected}"); // as many digits are given
        }
    }
}
