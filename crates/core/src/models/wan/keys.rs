//! The two key layouts of Wan checkpoints. The authors' names are ours; diffusers' differ by renaming
//! only (`scripts/convert_wan_to_diffusers.py`).

use crate::inventory::KeyLayout;
use crate::weights::{Layout, Place, Weights};

/// Authors' part of a key, diffusers' part. `norm3` and `norm2` changed places: the affine norm in
/// front of the cross-attention is `norm3` of the authors and `norm2` of diffusers.
const RENAMED: [(&str, &str); 17] = [
    ("text_embedding.0.", "condition_embedder.text_embedder.linear_1."),
    ("text_embedding.2.", "condition_embedder.text_embedder.linear_2."),
    ("time_embedding.0.", "condition_embedder.time_embedder.linear_1."),
    ("time_embedding.2.", "condition_embedder.time_embedder.linear_2."),
    ("time_projection.1.", "condition_embedder.time_proj."),
    ("head.head.", "proj_out."),
    ("head.modulation", "scale_shift_table"),
    (".modulation", ".scale_shift_table"),
    (".self_attn.", ".attn1."),
    (".cross_attn.", ".attn2."),
    (".q.", ".to_q."),
    (".k.", ".to_k."),
    (".v.", ".to_v."),
    (".o.", ".to_out.0."),
    (".norm3.", ".norm2."),
    (".ffn.0.", ".ffn.net.0.proj."),
    (".ffn.2.", ".ffn.net.2."),
];

/// The layout of this checkpoint.
pub fn layout(weights: &Weights) -> Layout {
    let is_diffusers = weights.keys().any(|key| key.starts_with("condition_embedder."));
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
    place.renamed(&RENAMED)
}
