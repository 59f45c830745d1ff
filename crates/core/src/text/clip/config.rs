//! Sizes of a CLIP text encoder, from the `config.json` of a checkpoint.

use crate::models::ConfigError;
use serde::Deserialize;

/// Sizes of a CLIP text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width `d`.
    pub dim: usize,
    /// Width of the feed-forward.
    pub ffn_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Most tokens of a prompt.
    pub tokens_max: usize,
    /// Guard of every norm.
    pub eps: f64,
}

impl ClipConfig {
    /// Reads a `config.json` in transformers' keys, of the text encoder or, with a section `text_config`, of both.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or the file describes another encoder.
    pub fn parse(json: &str) -> Result<ClipConfig, ConfigError> {
        let file = read(json).map_err(|source| ConfigError::Json {
            model: "CLIP's text encoder",
            keys: "hidden_size, max_position_embeddings, hidden_act",
            source,
        })?;
        let (heads, dim) = (file.num_attention_heads, file.hidden_size);
        if file.hidden_act != "quick_gelu" || heads == 0 || !dim.is_multiple_of(heads) {
            return Err(ConfigError::Unsupported(format!(
                "`hidden_act` = \"{}\", {heads} heads for a width of {dim}: expected \"quick_gelu\", and heads that \
                 divide the width",
                file.hidden_act
            )));
        }
        Ok(ClipConfig {
            vocabulary: file.vocab_size,
            dim,
            ffn_dim: file.intermediate_size,
            layers: file.num_hidden_layers,
            heads,
            tokens_max: file.max_position_embeddings,
            eps: file.layer_norm_eps,
        })
    }
}

fn read(json: &str) -> serde_json::Result<ConfigFile> {
    let mut value: serde_json::Value = serde_json::from_str(json)?;
    if let Some(text) = value.get_mut("text_config") {
        value = text.take();
    }
    serde_json::from_value(value)
}

/// What older files leave out has the value of CLIP-L.
#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default = "vocab_size")]
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    #[serde(default = "twelve")]
    num_hidden_layers: usize,
    #[serde(default = "twelve")]
    num_attention_heads: usize,
    #[serde(default = "max_position_embeddings")]
    max_position_embeddings: usize,
    #[serde(default = "hidden_act")]
    hidden_act: String,
    #[serde(default = "layer_norm_eps")]
    layer_norm_eps: f64,
}

fn vocab_size() -> usize {
    49_408
}
fn twelve() -> usize {
    12
}
fn max_position_embeddings() -> usize {
    77
}
fn hidden_act() -> String {
    "quick_gelu".into()
}
fn layer_norm_eps() -> f64 {
    1e-5
}
