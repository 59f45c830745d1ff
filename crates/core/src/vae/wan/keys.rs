//! The two key layouts of Wan's autoencoder. The authors' names are ours; diffusers' differ by renaming
//! (`scripts/convert_wan_to_diffusers.py`), and by counting the decoder's blocks level by level.

use crate::inventory::KeyLayout;
use crate::weights::{Layout, Place, Weights};

/// Authors' part of a key, diffusers' part.
const RENAMED: [(&str, &str); 13] = [
    ("encoder.conv1.", "encoder.conv_in."),
    ("decoder.conv1.", "decoder.conv_in."),
    ("encoder.downsamples.", "encoder.down_blocks."),
    (".middle.0.", ".mid_block.resnets.0."),
    (".middle.1.", ".mid_block.attentions.0."),
    (".middle.2.", ".mid_block.resnets.1."),
    (".head.0.", ".norm_out."),
    (".head.2.", ".conv_out."),
    (".residual.0.", ".norm1."),
    (".residual.2.", ".conv1."),
    (".residual.3.", ".norm2."),
    (".residual.6.", ".conv2."),
    (".shortcut.", ".conv_shortcut."),
];

/// The layout of this checkpoint.
pub(in crate::vae) fn layout(weights: &Weights) -> KeyLayout {
    match weights.keys().any(|key| key.starts_with("decoder.conv_in.")) {
        true => KeyLayout::Diffusers,
        false => KeyLayout::Original,
    }
}

/// Where each tensor stands in a layout.
pub(in crate::vae) fn of(layout: KeyLayout) -> Layout {
    match layout {
        KeyLayout::Original => std::convert::identity,
        KeyLayout::Diffusers => diffusers,
    }
}

/// A part of the decoder: the `block`-th residual block of a level, or behind all `blocks` of them its upsampling.
pub(in crate::vae) fn up(layout: KeyLayout, level: usize, block: usize, blocks: usize) -> String {
    match layout {
        // The last level has no upsampling, so all before it have one more part than blocks.
        KeyLayout::Original => format!("decoder.upsamples.{}", level * (blocks + 1) + block),
        KeyLayout::Diffusers if block == blocks => format!("decoder.up_blocks.{level}.upsamplers.0"),
        KeyLayout::Diffusers => format!("decoder.up_blocks.{level}.resnets.{block}"),
    }
}

fn diffusers(mut place: Place) -> Place {
    for (ours, theirs) in [("conv1.", "quant_conv."), ("conv2.", "post_quant_conv.")] {
        if let Some(rest) = place.key.strip_prefix(ours) {
            place.key = format!("{theirs}{rest}");
        }
    }
    place.renamed(&RENAMED)
}
