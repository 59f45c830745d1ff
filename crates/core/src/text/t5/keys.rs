//! The two key layouts of T5 checkpoints. The Wan authors' names are ours (`models_t5_umt5-xxl-enc-bf16`);
//! transformers' differ by renaming only.

use crate::weights::{Layout, Weights};

/// The authors' part of a key, transformers' part. `norm.weight` comes first: later names end in it.
const RENAMED: [(&str, &str); 10] = [
    ("norm.weight", "encoder.final_layer_norm.weight"),
    ("token_embedding.", "shared."),
    ("blocks.", "encoder.block."),
    (".pos_embedding.embedding.", ".attn.relative_attention_bias."),
    (".attn.", ".layer.0.SelfAttention."),
    (".norm1.", ".layer.0.layer_norm."),
    (".norm2.", ".layer.1.layer_norm."),
    (".ffn.gate.0.", ".layer.1.DenseReluDense.wi_0."),
    (".ffn.fc1.", ".layer.1.DenseReluDense.wi_1."),
    (".ffn.fc2.", ".layer.1.DenseReluDense.wo."),
];

/// The layout of this checkpoint.
pub fn layout(weights: &Weights) -> Layout {
    let has = |key: &str| weights.shape(key).is_some();
    if has("shared.weight") {
        |place| place.renamed(&RENAMED)
    } else if has("encoder.embed_tokens.weight") {
        |place| place.renamed(&RENAMED).renamed(&[("shared.", "encoder.embed_tokens.")])
    } else {
        std::convert::identity
    }
}
