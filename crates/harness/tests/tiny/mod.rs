//! Text encoders that fit into a test, as a checkpoint keeps them.

use mixcache_core::noise::noise;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::path::Path;

/// An encoder with random weights, in transformers' layout.
pub fn encoder(folder: &Path, config: &str, shapes: &[(&str, &[usize])]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config).unwrap();
    let bytes = |shape: &[usize]| noise(1, shape).into_iter().flat_map(f32::to_le_bytes).collect();
    let bytes: Vec<Vec<u8>> = shapes.iter().map(|(_, shape)| bytes(shape)).collect();
    let views = shapes.iter().zip(&bytes).map(|((key, shape), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
        let tensor = if key.ends_with(".bias") { "" } else { ".weight" };
        (format!("{key}{tensor}"), view)
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// The tokenizer of the tests, with these tokens around a text.
pub fn tokenizer(folder: &Path, before: Option<&str>, behind: Option<&str>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/tokenizer/tokenizer.json");
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let around: Vec<_> = [before.map(special), Some(text), behind.map(special)]
        .into_iter()
        .flatten()
        .collect();
    json["post_processor"]["single"] = around.into();
    json["post_processor"]["special_tokens"]["<s>"] = json!({"id": "<s>", "ids": [2], "tokens": ["<s>"]});
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), json.to_string()).unwrap();
}

/// A `t5` or `umt5` of one block, and its tokenizer.
pub fn t5(folder: &Path, kind: &str, width: usize) {
    tokenizer(&folder.join("tokenizer"), None, Some("</s>"));
    let config = json!({"model_type": kind, "feed_forward_proj": "gated-gelu", "vocab_size": 256, "d_model": width,
        "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "eos_token_id": 1});
    encoder(
        &folder.join("text_encoder"),
        &config.to_string(),
        &[
            ("shared", &[256, width]),
            ("encoder.final_layer_norm", &[width]),
            ("encoder.block.0.layer.0.layer_norm", &[width]),
            ("encoder.block.0.layer.0.SelfAttention.q", &[32, width]),
            ("encoder.block.0.layer.0.SelfAttention.k", &[32, width]),
            ("encoder.block.0.layer.0.SelfAttention.v", &[32, width]),
            ("encoder.block.0.layer.0.SelfAttention.o", &[width, 32]),
            (
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
                &[32, 4],
            ),
            ("encoder.block.0.layer.1.layer_norm", &[width]),
            ("encoder.block.0.layer.1.DenseReluDense.wi_0", &[32, width]),
            ("encoder.block.0.layer.1.DenseReluDense.wi_1", &[32, width]),
            ("encoder.block.0.layer.1.DenseReluDense.wo", &[width, 32]),
        ],
    );
}
