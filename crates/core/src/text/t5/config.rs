//! Sizes of a T5 or UMT5 encoder: Wan's, and the `config.json` of a checkpoint.

use crate::models::ConfigError;
use serde::Deserialize;

/// Sizes of a T5 or UMT5 encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
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
    /// Channels of a head; not always `dim / heads`.
    pub head_dim: usize,
    /// Buckets that distances of tokens are sorted into, both directions together.
    pub buckets: usize,
    /// Distance from which on all share the last bucket.
    pub distance_max: usize,
    /// Whether the first block's table of positions serves all: so in T5, in UMT5 each block has its own.
    pub shared_positions: bool,
    /// Guard of every norm.
    pub eps: f64,
    /// The token that ends a prompt.
    pub end_token: u32,
}

impl T5Config {
    /// UMT5-XXL, Wan's text encoder (`wan/modules/t5.py`, `umt5_xxl`).
    pub fn umt5_xxl() -> T5Config {
        T5Config {
            vocabulary: 256_384,
            dim: 4096,
            ffn_dim: 10_240,
            layers: 24,
            heads: 64,
            head_dim: 64,
            buckets: 32,
            distance_max: 128,
            shared_positions: false,
            eps: 1e-6,
            end_token: 1,
        }
    }
    /// Reads a `config.json` in transformers' keys.
    ///
    /// # Errors
    /// [`ConfigError`] when keys are missing or the file describes another encoder.
    pub fn parse(json: &str) -> Result<T5Config, ConfigError> {
        let file: ConfigFile = serde_json::from_str(json).map_err(|source| ConfigError::Json {
            model: "T5 or UMT5",
            keys: "d_model, d_kv, num_heads",
            source,
        })?;
        let (kind, activation) = (&file.model_type, &file.feed_forward_proj);
        if !["t5", "umt5"].contains(&kind.as_str()) || activation != "gated-gelu" {
            return Err(ConfigError::Unsupported(format!(
                "`model_type` = \"{kind}\", `feed_forward_proj` = \"{activation}\": expected \
                 \"umt5\" or \"t5\" with \"gated-gelu\""
            )));
        }
        let (buckets, distance_max) = (file.buckets, file.distance_max);
        // A quarter of the buckets is for the short distances of each direction, one bucket a distance.
        if buckets < 4 || !buckets.is_multiple_of(4) || distance_max <= buckets / 4 || file.num_heads == 0 {
            return Err(ConfigError::Unsupported(format!(
                "{buckets} buckets up to distance {distance_max}, {} heads: expected a multiple of 4, more than a \
                 quarter of it, and at least one head",
                file.num_heads
            )));
        }
        Ok(T5Config {
            vocabulary: file.vocab_size,
            dim: file.d_model,
            ffn_dim: file.d_ff,
            layers: file.num_layers,
            heads: file.num_heads,
            head_dim: file.d_kv,
            buckets,
            distance_max,
            shared_positions: kind == "t5",
            eps: file.layer_norm_epsilon,
            end_token: file.eos_token_id,
        })
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    feed_forward_proj: String,
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    #[serde(rename = "relative_attention_num_buckets")]
    buckets: usize,
    #[serde(rename = "relative_attention_max_distance", default = "distance_max")]
    distance_max: usize,
    layer_norm_epsilon: f64,
    eos_token_id: u32,
}

/// Older files of T5 leave it out.
fn distance_max() -> usize {
    128
}

#[cfg(test)]
mod tests {
    use super::*;

    const XXL: &str = r#"{"architectures": ["UMT5EncoderModel"], "d_ff": 10240, "d_kv": 64, "d_model": 4096,
        "dense_act_fn": "gelu_new", "eos_token_id": 1, "feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-06,
        "model_type": "umt5", "num_heads": 64, "num_layers": 24, "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32, "torch_dtype": "bfloat16", "vocab_size": 256384}"#;

    #[test]
    fn the_published_configuration_is_that_of_the_preset() {
        assert_eq!(T5Config::parse(XXL).unwrap(), T5Config::umt5_xxl());
    }

    #[test]
    fn another_encoder_is_refused_by_name() {
        for (from, to) in [("\"umt5\"", "\"bert\""), ("gated-gelu", "relu")] {
            let error = T5Config::parse(&XXL.replace(from, to)).unwrap_err().to_string();
            assert!(
                error.contains(to.trim_matches('"')) && error.contains("umt5"),
                "{error}"
            );
        }
        let error = T5Config::parse("{\"dim\": 5120}").unwrap_err().to_string();
        assert!(error.contains("UMT5") && error.contains("d_model"), "{error}");
    }
}
