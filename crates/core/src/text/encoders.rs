//! Prompts as the text encoders of a video model's checkpoint see them.

use super::checkpoint::{Checkpoint, CheckpointError};
use super::clip::{Clip, ClipConfig};
use super::llama::{Llama, LlamaConfig};
use super::t5::{T5, T5Config};
use super::{Tokenizer, clean};
use crate::models::Config;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// What the encoders made of a prompt.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// States of its tokens, without padding, `[1, tokens, width]` in f32.
    pub states: Tensor<3>,
    /// One vector for all of it, `[1, width]`, where the model takes one.
    pub pooled: Option<Tensor<2>>,
    /// Tokens that were left out, because the prompt is longer than the model takes.
    pub left_out: usize,
}

/// The text encoders of a checkpoint.
#[expect(clippy::large_enum_variant, reason = "there is one at a time: nothing to save")]
pub enum TextEncoders {
    /// Of Wan UMT5, of CogVideoX T5.
    T5 {
        /// Makes the states.
        encoder: T5,
        /// Its tokens.
        tokenizer: Tokenizer,
        /// Tokens to which CogVideoX pads a prompt with zeros before it is encoded; the model attends to them.
        padded_to: Option<usize>,
    },
    /// Of HunyuanVideo: a Llama decoder and CLIP.
    Hunyuan {
        /// Makes the states.
        decoder: Llama,
        /// Its tokens.
        tokenizer: Tokenizer,
        /// Most tokens of a prompt, the template not counted.
        tokens_max: usize,
        /// Makes the vector.
        clip: Clip,
        /// Its tokens.
        clip_tokenizer: Tokenizer,
    },
}

/// What HunyuanVideo tells its decoder in front of a prompt, and behind it (`hyvideo/constants.py`,
/// `PROMPT_TEMPLATE_ENCODE_VIDEO`). The states of the first part, 95 tokens, are cut off.
const TEMPLATE: [&str; 2] = [
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: \
     1. The main content and theme of the video.\
     2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects.\
     3. Actions, events, behaviors temporal relationships, physical movement changes of the objects.\
     4. background environment, light, style and atmosphere.\
     5. camera angles, movements, and transitions used in the video:<|eot_id|>\
     <|start_header_id|>user<|end_header_id|>\n\n",
    "<|eot_id|>",
];

impl TextEncoders {
    /// Whether the folder of a checkpoint holds text encoders, which may be those of another model.
    pub fn are_in(folder: &Path) -> bool {
        Checkpoint(folder).has_encoder()
    }
    /// The encoders of `model` in the folder of its checkpoint: `text_encoder/` and its tokenizer, or the file of UMT5,
    /// where diffusers or Wan's authors keep them (without a `config.json` it must be UMT5-XXL); for HunyuanVideo
    /// `text_encoder_2/` and its tokenizer as well, in a folder of its own or, as its authors advise, with the encoder.
    /// Checks names and shapes, reads no weights yet.
    ///
    /// # Errors
    /// [`CheckpointError`] naming what is missing or does not fit.
    pub fn open(model: &Config, folder: &Path, device: &Device) -> Result<TextEncoders, CheckpointError> {
        let (checkpoint, (width, pooled)) = (Checkpoint(folder), model.text_widths());
        Ok(match model {
            Config::Wan(_) | Config::CogVideoX(_) => {
                let is_wan = matches!(model, Config::Wan(_));
                let published = is_wan.then(T5Config::umt5_xxl);
                let (config, weights) =
                    checkpoint.encoder("text_encoder", T5Config::parse, published, |config| config.dim, width)?;
                let names = &["tokenizer/tokenizer.json", "google/umt5-xxl/tokenizer.json"];
                TextEncoders::T5 {
                    padded_to: (!is_wan).then(|| model.text_len()),
                    tokenizer: checkpoint.tokenizer(names, Some(config.end_token), model.text_len())?,
                    encoder: T5::open(config, weights, device)?,
                }
            }
            Config::Hunyuan(_) => {
                let (config, weights) =
                    checkpoint.encoder("text_encoder", LlamaConfig::parse, None, |config| config.dim, width)?;
                let pooled = pooled.expect("HunyuanVideo takes a vector");
                let (clip, clip_weights) =
                    checkpoint.encoder("text_encoder_2", ClipConfig::parse, None, |clip| clip.dim, pooled)?;
                TextEncoders::Hunyuan {
                    tokenizer: checkpoint.tokenizer(
                        &["tokenizer/tokenizer.json", "text_encoder/tokenizer.json"],
                        None,
                        usize::MAX,
                    )?,
                    tokens_max: model.text_len(),
                    decoder: Llama::open(config, weights, device)?,
                    clip_tokenizer: checkpoint.tokenizer(
                        &["tokenizer_2/tokenizer.json", "text_encoder_2/tokenizer.json"],
                        None,
                        clip.tokens_max,
                    )?,
                    clip: Clip::open(clip, clip_weights, device)?,
                }
            }
        })
    }
    /// Blocks that encoding will read.
    pub fn blocks(&self) -> usize {
        match self {
            TextEncoders::T5 { encoder, .. } => encoder.config().layers,
            TextEncoders::Hunyuan { decoder, .. } => decoder.depth(),
        }
    }
    /// What the model is given for each prompt. Every block is read once for all of them; `loaded` is told how many
    /// are done.
    ///
    /// # Errors
    /// [`CheckpointError`] when tokenizer and encoder do not belong together.
    pub fn encode(&self, prompts: &[String], loaded: &mut dyn FnMut(usize)) -> Result<Vec<Encoded>, CheckpointError> {
        match self {
            TextEncoders::T5 {
                encoder,
                tokenizer,
                padded_to,
            } => {
                let tokens = prompts.iter().map(|prompt| tokenizer.tokens(&clean(prompt)));
                let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
                let mut ids: Vec<_> = tokens.iter().map(|tokens| tokens.ids.clone()).collect();
                if let Some(length) = *padded_to {
                    ids.iter_mut().for_each(|ids| ids.resize(length, 0));
                }
                let states = encoder.encode(&ids, loaded)?.into_iter();
                Ok(states
                    .zip(tokens)
                    .map(|(states, tokens)| Encoded {
                        states,
                        pooled: None,
                        left_out: tokens.left_out,
                    })
                    .collect())
            }
            TextEncoders::Hunyuan {
                decoder,
                tokenizer,
                tokens_max,
                clip,
                clip_tokenizer,
            } => {
                let [before, behind] = TEMPLATE;
                let cut = tokenizer.tokens(before)?.ids.len();
                let (mut ids, mut left_out, mut clip_ids) = (vec![], vec![], vec![]);
                for prompt in prompts {
                    let mut tokens = tokenizer.tokens(&format!("{before}{prompt}{behind}"))?.ids;
                    left_out.push(tokens.len().saturating_sub(cut + tokens_max));
                    tokens.truncate(cut + tokens_max);
                    ids.push(tokens);
                    clip_ids.push(clip_tokenizer.tokens(prompt)?.ids);
                }
                let pooled = clip.pooled(&clip_ids)?;
                let states = decoder.encode(&ids, loaded)?;
                Ok(states
                    .into_iter()
                    .zip(pooled)
                    .zip(left_out)
                    .map(|((states, pooled), left_out)| Encoded {
                        states: states.clone().narrow(1, cut, states.dims()[1] - cut),
                        pooled: Some(pooled),
                        left_out,
                    })
                    .collect())
            }
        }
    }
}
