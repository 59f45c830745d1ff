//! Which model a checkpoint looks like, told by a few of its keys: for errors that name what was found instead.

use crate::weights::Weights;

/// A kind of checkpoint.
struct Kind {
    name: &'static str,
    /// Keys that it alone has.
    signs: &'static [&'static str],
    /// What stands in front of a block's number.
    blocks: &'static [&'static str],
    /// A tensor whose first axis is the width.
    width: &'static str,
}

const KINDS: [Kind; 9] = [
    Kind {
        name: "Wan in its authors' keys",
        signs: &["text_embedding.0.weight", "head.modulation"],
        blocks: &["blocks."],
        width: "patch_embedding.weight",
    },
    Kind {
        name: "Wan in diffusers' keys",
        signs: &["condition_embedder.time_proj.weight", "scale_shift_table"],
        blocks: &["blocks."],
        width: "patch_embedding.weight",
    },
    Kind {
        name: "HunyuanVideo in its authors' keys",
        signs: &["img_in.proj.weight", "txt_in.input_embedder.weight"],
        blocks: &["double_blocks.", "single_blocks."],
        width: "img_in.proj.weight",
    },
    Kind {
        name: "HunyuanVideo in diffusers' keys",
        signs: &["x_embedder.proj.weight", "context_embedder.proj_in.weight"],
        blocks: &["transformer_blocks.", "single_transformer_blocks."],
        width: "x_embedder.proj.weight",
    },
    Kind {
        name: "CogVideoX in its authors' keys",
        signs: &["model.diffusion_model.mixins.patch_embed.text_proj.weight"],
        blocks: &["model.diffusion_model.transformer.layers."],
        width: "model.diffusion_model.mixins.patch_embed.proj.weight",
    },
    Kind {
        name: "CogVideoX in diffusers' keys",
        signs: &["patch_embed.text_proj.weight"],
        blocks: &["transformer_blocks."],
        width: "patch_embed.proj.weight",
    },
    Kind {
        name: "a T5 text encoder in its authors' keys",
        signs: &["token_embedding.weight"],
        blocks: &["blocks."],
        width: "norm.weight",
    },
    Kind {
        name: "a T5 text encoder in transformers' keys",
        signs: &["encoder.final_layer_norm.weight"],
        blocks: &["encoder.block."],
        width: "encoder.final_layer_norm.weight",
    },
    Kind {
        name: "a video autoencoder",
        signs: &["encoder.", "decoder."],
        blocks: &[],
        width: "",
    },
];

/// What a checkpoint looks like, in words; none when it looks like nothing that is known.
pub fn likeness(weights: &Weights) -> Option<String> {
    let has = |sign: &&str| match sign.ends_with('.') {
        true => weights.keys().any(|key| key.starts_with(sign)),
        false => weights.shape(sign).is_some(),
    };
    // Of a checkpoint that is not complete, some signs may be missing.
    let complete = KINDS.iter().find(|kind| kind.signs.iter().all(has));
    let kind = complete.or_else(|| KINDS.iter().find(|kind| kind.signs.iter().any(has)))?;
    let blocks: Vec<String> = kind
        .blocks
        .iter()
        .map(|list| blocks(weights, list).to_string())
        .collect();
    let width = weights.shape(kind.width).and_then(|shape| shape.first());
    let sizes = match (blocks.is_empty(), width) {
        (true, _) => String::new(),
        (false, None) => format!(", {} blocks", blocks.join(" + ")),
        (false, Some(width)) => format!(", {} blocks of width {width}", blocks.join(" + ")),
    };
    Some(format!("{}{sizes}", kind.name))
}

/// How many blocks there are in a list, by the highest of their numbers.
fn blocks(weights: &Weights, list: &str) -> usize {
    let number = |key: &str| -> Option<usize> { key.strip_prefix(list)?.split('.').next()?.parse().ok() };
    weights.keys().filter_map(number).max().map_or(0, |last| last + 1)
}
