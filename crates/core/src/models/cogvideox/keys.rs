//! The two key layouts of CogVideoX checkpoints. The authors' names are ours, without their prefix; diffusers
//! keeps queries, keys and values apart, and the modulations of attention and feed-forward
//! (`scripts/convert_cogvideox_to_diffusers.py`).

use crate::inventory::KeyLayout;
use crate::weights::{Layout, Part, Place, Weights};

/// In front of every key of the authors' checkpoint.
const PREFIX: &str = "model.diffusion_model.";

/// What the authors' checkpoint holds beside weights, as part of a key: tables of positions, and the embeddings
/// of a language model that is not used.
pub const UNUSED: [&str; 4] = ["embed_tokens", "freqs_sin", "freqs_cos", "position_embedding"];

/// Authors' part of a key, diffusers' part, in the order in which they are replaced.
const RENAMED: [(&str, &str); 14] = [
    ("transformer.final_layernorm.", "norm_final."),
    ("transformer.layers.", "transformer_blocks."),
    (".attention.dense.", ".attn1.to_out.0."),
    (".mlp.dense_h_to_4h.", ".ff.net.0.proj."),
    (".mlp.dense_4h_to_h.", ".ff.net.2."),
    (".input_layernorm.", ".norm1.norm."),
    (".post_attention_layernorm.", ".norm2.norm."),
    ("time_embed.0.", "time_embedding.linear_1."),
    ("time_embed.2.", "time_embedding.linear_2."),
    ("mixins.patch_embed.", "patch_embed."),
    ("mixins.final_layer.norm_final.", "norm_out.norm."),
    ("mixins.final_layer.linear.", "proj_out."),
    ("mixins.final_layer.adaLN_modulation.1.", "norm_out.linear."),
    ("mixins.adaln_layer.", ""),
];

/// The layout of this checkpoint.
pub fn layout(weights: &Weights) -> Layout {
    let is_diffusers = !weights.keys().any(|key| key.starts_with(PREFIX));
    of(if is_diffusers {
        KeyLayout::Diffusers
    } else {
        KeyLayout::Original
    })
}

/// Where each tensor stands in a layout.
pub fn of(layout: KeyLayout) -> Layout {
    match layout {
        KeyLayout::Original => authors,
        KeyLayout::Diffusers => diffusers,
    }
}

fn authors(place: Place) -> Place {
    Place {
        key: format!("{PREFIX}{}", place.key),
        part: place.part,
    }
}

fn diffusers(place: Place) -> Place {
    let Place { key, part } = place.renamed(&RENAMED);
    if let Some((block, rest)) = numbered(&key, "query_layernorm_list.") {
        return whole(format!("transformer_blocks.{block}.attn1.norm_q.{rest}"));
    }
    if let Some((block, rest)) = numbered(&key, "key_layernorm_list.") {
        return whole(format!("transformer_blocks.{block}.attn1.norm_k.{rest}"));
    }
    let Some(Part { start, len, total, .. }) = part else {
        return whole(key);
    };
    if key.contains(".attention.query_key_value.") {
        let own = ["q", "k", "v"][start / len];
        return whole(key.replace(".attention.query_key_value.", &format!(".attn1.to_{own}.")));
    }
    if let Some((block, rest)) = numbered(&key, "adaLN_modulations.") {
        // Quarters: video's attention and feed-forward, text's attention and feed-forward.
        let quarter = total / 4;
        let (stream, unit) = (start / quarter / 2, start / quarter % 2);
        let start = stream * quarter + start % quarter;
        let rest = rest.replace("1.", "linear.");
        return Place {
            key: format!("transformer_blocks.{block}.norm{}.{rest}", unit + 1),
            part: Some(Part::outputs(start..start + len, total / 2)),
        };
    }
    Place { key, part }
}

/// The block's number and the rest of a key that begins with `list`.
fn numbered<'a>(key: &'a str, list: &str) -> Option<(&'a str, &'a str)> {
    key.strip_prefix(list)?.split_once('.')
}

fn whole(key: String) -> Place {
    Place { key, part: None }
}
