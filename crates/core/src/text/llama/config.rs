//! Sizes of a Llama decoder, from the `config.json` of a checkpoint.

use super::SKIPPED;
use crate::models::ConfigError;
use serde::Deserialize;

/// Sizes of a Llama decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width `d`.
    pub dim: usize,
    /// Width of the feed-forward.
    pub ffn_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub key_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Base of the rotary embedding.
    pub theta: f64,
    /// Guard of every norm.
    pub eps: f64,
}

impl LlamaConfig {
    /// Reads a `config.json` in transformers' keys.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or the file describes another decoder.
    pub fn parse(json: &str) -> Result<LlamaConfig, ConfigError> {
        let file: ConfigFile = serde_json::from_str(json).map_err(|source| ConfigError::Json {
            model: "Llama",
            keys: "hidden_size, num_key_value_heads, rms_norm_eps",
            source,
        })?;
        let unsupported = |why: String| Err(ConfigError::Unsupported(why));
        if file.model_type != "llama" {
            return unsupported(format!("`model_type` = \"{}\": expected \"llama\"", file.model_type));
        }
        let (heads, key_heads, layers) = (
            file.num_attention_heads,
            file.num_key_value_heads,
            file.num_hidden_layers,
        );
        if key_heads == 0 || !heads.is_multiple_of(key_heads) || layers <= SKIPPED {
            return unsupported(format!(
                "{heads} heads, {key_heads} for keys and values, {layers} blocks: expected heads in equal groups and \
                 more than {SKIPPED} blocks"
            ));
        }
        let Some(theta) = file.rope_theta.or(file.rope_parameters.map(|rope| rope.rope_theta)) else {
            return unsupported("`config.json` gives neither `rope_theta` nor `rope_parameters`".into());
        };
        Ok(LlamaConfig {
            vocabulary: file.vocab_size,
            dim: file.hidden_size,
            ffn_dim: file.intermediate_size,
            layers,
            heads,
            key_heads,
            head_dim: file.head_dim.unwrap_or(file.hidden_size / heads),
            theta,
            eps: file.rms_norm_eps,
        })
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
}

/// Where transformers 5 keeps the base.
#[derive(Deserialize)]
struct Rope {
    rope_theta: f64,
}
