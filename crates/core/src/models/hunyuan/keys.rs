//! The two key layouts of HunyuanVideo checkpoints. The authors' names are ours; diffusers keeps apart
//! what the authors keep in one layer (`scripts/convert_hunyuan_video_to_diffusers.py`).

use crate::inventory::KeyLayout;
use crate::weights::{Layout, Part, Place, Weights};

/// Authors' part of a key, diffusers' part, in the order in which they are replaced.
const RENAMED: [(&str, &str); 33] = [
    ("img_in.", "x_embedder."),
    ("txt_in.input_embedder.", "context_embedder.proj_in."),
    (
        "txt_in.t_embedder.mlp.",
        "context_embedder.time_text_embed.timestep_embedder.linear_",
    ),
    ("txt_in.c_embedder.", "context_embedder.time_text_embed.text_embedder."),
    (
        "txt_in.individual_token_refiner.blocks.",
        "context_embedder.token_refiner.refiner_blocks.",
    ),
    ("time_in.mlp.", "time_text_embed.timestep_embedder.linear_"),
    ("guidance_in.mlp.", "time_text_embed.guidance_embedder.linear_"),
    (".linear_0.", ".linear_1."),
    ("vector_in.in_layer.", "time_text_embed.text_embedder.linear_1."),
    ("vector_in.out_layer.", "time_text_embed.text_embedder.linear_2."),
    ("final_layer.adaLN_modulation.1.", "norm_out.linear."),
    ("final_layer.linear.", "proj_out."),
    ("double_blocks.", "transformer_blocks."),
    ("single_blocks.", "single_transformer_blocks."),
    (".adaLN_modulation.1.", ".norm_out.linear."),
    (".self_attn_proj.", ".attn.to_out.0."),
    (".img_mod.", ".norm1."),
    (".txt_mod.", ".norm1_context."),
    (".modulation.", ".norm."),
    (".img_attn_q_norm.", ".attn.norm_q."),
    (".img_attn_k_norm.", ".attn.norm_k."),
    (".txt_attn_q_norm.", ".attn.norm_added_q."),
    (".txt_attn_k_norm.", ".attn.norm_added_k."),
    (".q_norm.", ".attn.norm_q."),
    (".k_norm.", ".attn.norm_k."),
    (".img_attn_proj.", ".attn.to_out.0."),
    (".txt_attn_proj.", ".attn.to_add_out."),
    (".img_mlp.", ".mlp."),
    (".mlp.fc1.", ".ff.net.0.proj."),
    (".mlp.fc2.", ".ff.net.2."),
    (".txt_mlp.fc1.", ".ff_context.net.0.proj."),
    (".txt_mlp.fc2.", ".ff_context.net.2."),
    (".linear2.", ".proj_out."),
];

/// Layers in front of an attention: the authors' one, diffusers' for queries, keys, values.
const APART: [(&str, [&str; 3]); 4] = [
    (".self_attn_qkv.", TO_QKV),
    (".img_attn_qkv.", TO_QKV),
    (
        ".txt_attn_qkv.",
        [".attn.add_q_proj.", ".attn.add_k_proj.", ".attn.add_v_proj."],
    ),
    (".linear1.", TO_QKV),
];
const TO_QKV: [&str; 3] = [".attn.to_q.", ".attn.to_k.", ".attn.to_v."];

/// The layout of this checkpoint.
pub fn layout(weights: &Weights) -> Layout {
    let is_diffusers = weights.keys().any(|key| key.starts_with("x_embedder."));
    of(if is_diffusers {
        KeyLayout::Diffusers
    } else {
        KeyLayout::Original
    })
}

/// Where each tensor stands in a layout.
pub fn of(layout: KeyLayout) -> Layout {
    match layout {
        KeyLayout::Original => std::convert::identity,
        KeyLayout::Diffusers => diffusers,
    }
}

fn diffusers(place: Place) -> Place {
    let is_head = place.key.starts_with("final_layer.");
    let Place { key, mut part } = place.renamed(&RENAMED);
    let Some(Part { start, len, total, .. }) = part else {
        return Place { key, part };
    };
    if let Some((together, apart)) = APART.iter().find(|(together, _)| key.contains(together)) {
        // In a single block the first layer of the feed-forward follows queries, keys and values.
        let is_mlp = *together == ".linear1." && start + len == total;
        let own = if is_mlp { ".proj_mlp." } else { apart[start / len] };
        return Place {
            key: key.replace(together, own),
            part: None,
        };
    }
    if let Some(part) = part.as_mut().filter(|_| is_head) {
        part.start = total - start - len; // shift and scale changed places
    }
    Place { key, part }
}
