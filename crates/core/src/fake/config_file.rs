//! The `config.json` of a checkpoint.

use crate::inventory::KeyLayout;
use crate::models::Config;
use crate::models::cogvideox::CogVideoXConfig;
use crate::models::hunyuan::HunyuanConfig;
use crate::models::wan::WanConfig;
use crate::vae::VaeConfig;
use serde_json::{Value, json};

/// As the model's authors, or diffusers, write it.
pub fn json(config: &Config, layout: KeyLayout) -> Value {
    match (config, layout) {
        (Config::Wan(config), KeyLayout::Original) => wan(config),
        (Config::Wan(config), KeyLayout::Diffusers) => wan_diffusers(config),
        (Config::Hunyuan(config), KeyLayout::Original) => hunyuan(config),
        (Config::Hunyuan(config), KeyLayout::Diffusers) => hunyuan_diffusers(config),
        (Config::CogVideoX(config), _) => cogvideox(config), // the authors' checkpoint comes with none
    }
}

/// That of an autoencoder, as diffusers writes it.
pub fn vae_json(config: &VaeConfig) -> Value {
    let (class, sizes) = match config {
        VaeConfig::Wan(config) => ("AutoencoderKLWan", serde_json::to_value(config)),
        VaeConfig::Hunyuan(config) => ("AutoencoderKLHunyuanVideo", serde_json::to_value(config)),
        VaeConfig::CogVideoX(config) => ("AutoencoderKLCogVideoX", serde_json::to_value(config)),
    };
    let mut json = sizes.expect("plain data");
    json["_class_name"] = class.into();
    json
}

fn wan(config: &WanConfig) -> Value {
    json!({
        "_class_name": "WanModel",
        "dim": config.dim,
        "eps": config.eps,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": config.in_channels,
        "model_type": "t2v",
        "num_heads": config.heads,
        "num_layers": config.layers,
        "out_dim": config.out_channels,
        "text_dim": config.text_dim,
        "text_len": config.text_len,
    })
}

fn wan_diffusers(config: &WanConfig) -> Value {
    json!({
        "_class_name": "WanTransformer3DModel",
        "attention_head_dim": config.head_dim(),
        "cross_attn_norm": true,
        "eps": config.eps,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "image_dim": null,
        "in_channels": config.in_channels,
        "num_attention_heads": config.heads,
        "num_layers": config.layers,
        "out_channels": config.out_channels,
        "patch_size": config.patch,
        "qk_norm": "rms_norm_across_heads",
        "text_dim": config.text_dim,
    })
}

fn hunyuan(config: &HunyuanConfig) -> Value {
    json!({
        "guidance_embed": true,
        "heads_num": config.heads,
        "hidden_size": config.dim,
        "in_channels": config.in_channels,
        "mlp_width_ratio": config.mlp_dim as f64 / config.dim as f64,
        "mm_double_blocks_depth": config.double_layers,
        "mm_single_blocks_depth": config.single_layers,
        "out_channels": config.out_channels,
        "patch_size": config.patch,
        "rope_dim_list": config.rope,
        "text_states_dim": config.text_dim,
        "text_states_dim_2": config.pooled_dim,
    })
}

fn hunyuan_diffusers(config: &HunyuanConfig) -> Value {
    json!({
        "_class_name": "HunyuanVideoTransformer3DModel",
        "attention_head_dim": config.head_dim(),
        "guidance_embeds": true,
        "in_channels": config.in_channels,
        "mlp_ratio": config.mlp_dim as f64 / config.dim as f64,
        "num_attention_heads": config.heads,
        "num_layers": config.double_layers,
        "num_refiner_layers": config.refiner_layers,
        "num_single_layers": config.single_layers,
        "out_channels": config.out_channels,
        "patch_size": config.patch[1],
        "patch_size_t": config.patch[0],
        "pooled_projection_dim": config.pooled_dim,
        "qk_norm": "rms_norm",
        "rope_axes_dim": config.rope,
        "rope_theta": config.theta,
        "text_embed_dim": config.text_dim,
    })
}

fn cogvideox(config: &CogVideoXConfig) -> Value {
    let [rows, columns] = config.base.map(|n| n * config.patch[1]);
    json!({
        "_class_name": "CogVideoXTransformer3DModel",
        "attention_head_dim": config.head_dim(),
        "in_channels": config.in_channels,
        "max_text_seq_length": config.text_len,
        "norm_eps": config.eps,
        "num_attention_heads": config.heads,
        "num_layers": config.layers,
        "out_channels": config.out_channels,
        "patch_size": config.patch[1],
        "sample_height": rows,
        "sample_width": columns,
        "text_embed_dim": config.text_dim,
        "time_embed_dim": config.time_dim,
        "use_rotary_positional_embeddings": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::tiny;

    #[test]
    fn every_model_reads_back_the_sizes_that_were_written() {
        for name in ["wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "hunyuan-video", "cogvideox-5b"] {
            let full = Config::preset(name).unwrap();
            for config in [tiny(&full), full] {
                for layout in [KeyLayout::Original, KeyLayout::Diffusers] {
                    assert_eq!(Config::parse(&json(&config, layout).to_string()).unwrap(), config);
                }
            }
        }
    }
}
