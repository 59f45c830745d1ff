//! CogVideoX text-to-video with rotary positions (`sat/dit_video_concat.py` of THUDM/CogVideo), in any size.
//!
//! Video and text tokens lie one behind the other and share all weights but what the timestep makes of
//! them: each stream has a shift, a scale and a gate of its own. A block is two units, joint attention and
//! feed-forward. `v = α·noise − σ·data` is predicted.
//!
//! What a cache must know: the text is part of the hidden state, 226 tokens of it however short the prompt,
//! since the encoder's padding is attended; and behind the chain stand two norms, of which one depends on no
//! timestep, so that a reused last hidden state keeps its scale.

mod chain;
mod config;
mod flops;
mod keys;
pub mod reference;

pub use chain::{CogVideoXChain, CogVideoXCtx};
pub use config::CogVideoXConfig;

use crate::inventory::{Asked, KeyLayout};
use crate::linear::Linear;
use crate::models::blocks::{Blocks, Movable};
use crate::models::modulation::Modulation;
use crate::models::ops::project;
use crate::models::prompt::{PromptShapeError, check_states};
use crate::models::time::{NumberEmbedding, Sinusoid};
use crate::weights::{Loader, Part, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};

/// Weight and bias of a norm, `[d]` each.
type Affine = [Tensor<1>; 2];

/// The norm in front of a unit, and what the timestep makes of each stream.
struct Entrance {
    norm: Affine,
    video: Modulation,
    text: Modulation,
}

struct Block {
    attn: Entrance,
    qkv: [Linear; 3],
    norm_q: Affine, // of each head's channels
    norm_k: Affine,
    attn_out: Linear,
    ffn: Entrance,
    mlp: [Linear; 2],
}

/// A CogVideoX transformer with its weights on a device.
pub struct CogVideoX {
    config: CogVideoXConfig,
    device: Device,
    dtype: FloatDType,
    patch: Linear,
    text: Linear,
    time: NumberEmbedding,
    blocks: Blocks<Block>,
    last_norm: Affine, // of the chain's end, without the timestep
    head_norm: Affine,
    head_shift: Linear,
    head_scale: Linear,
    head: Linear,
}

/// The prompt as the chain takes it: after the text projection, `[b, tokens, d]`. It does not depend on the
/// timestep, so one serves a whole run.
#[derive(Clone, Debug)]
pub struct CogVideoXCond(pub Tensor<3>);

impl CogVideoXCond {
    /// Several conditions along the batch axis: `[cond, uncond]` for guidance in one pass.
    pub fn batch(conds: Vec<CogVideoXCond>) -> CogVideoXCond {
        CogVideoXCond(Tensor::cat(conds.into_iter().map(|c| c.0).collect(), 0))
    }
}

impl CogVideoX {
    /// Loads a checkpoint in the authors' or in diffusers' key layout, whichever the keys show.
    /// Weights are converted to `dtype`; norms, time embedding and head stay in f32.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(
        config: CogVideoXConfig,
        weights: Weights,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<CogVideoX, WeightsError> {
        let layout = keys::layout(&weights);
        let mut loader = Loader::files(weights, layout, device, dtype).ignoring(&keys::UNUSED);
        let cogvideox = CogVideoX::build(config, device, &mut loader);
        loader.finish()?;
        Ok(cogvideox)
    }
    /// Random weights, for runs that only measure speed and memory.
    pub fn random(config: CogVideoXConfig, seed: u64, device: &Device, dtype: FloatDType) -> CogVideoX {
        CogVideoX::build(config, device, &mut Loader::random(seed, device, dtype))
    }
    /// A model without weights, which knows its sizes and cannot run, and what it would ask a checkpoint for.
    pub fn hollow(config: CogVideoXConfig, layout: KeyLayout, dtype: FloatDType) -> (CogVideoX, Vec<Asked>) {
        let device = Device::flex();
        let mut loader = Loader::listing(keys::of(layout), &device, dtype);
        let model = CogVideoX::build(config, &device, &mut loader);
        (model, loader.into_asked())
    }
    fn build(config: CogVideoXConfig, device: &Device, loader: &mut Loader) -> CogVideoX {
        let (d, time) = (config.dim, config.time_dim);
        let head = "mixins.final_layer";
        let modulation = format!("{head}.adaLN_modulation.1");
        let [_, ph, pw] = config.patch;
        CogVideoX {
            device: device.clone(),
            dtype: loader.states(),
            patch: loader.linear_in(
                loader.dtype(),
                "mixins.patch_embed.proj",
                &[d, config.in_channels, ph, pw],
            ),
            text: loader.linear("mixins.patch_embed.text_proj", config.text_dim, d),
            time: NumberEmbedding::build("time_embed", d, time, Sinusoid::F32, loader),
            blocks: loader.blocks(config.layers, |i, loader| Block::build(&config, i, loader)),
            last_norm: affine("transformer.final_layernorm", d, loader),
            head_norm: affine(&format!("{head}.norm_final"), d, loader),
            head_shift: loader.linear_part(&modulation, time, d, Part::outputs(0..d, 2 * d)),
            head_scale: loader.linear_part(&modulation, time, d, Part::outputs(d..2 * d, 2 * d)),
            head: loader.linear_in(
                FloatDType::F32,
                &format!("{head}.linear"),
                &[config.out_channels * config.patch_volume(), d],
            ),
            config,
        }
    }
    /// Sizes of this model.
    pub fn config(&self) -> &CogVideoXConfig {
        &self.config
    }
    /// Where its weights lie.
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// The dtype of its hidden states.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }
    /// Prepares a prompt: the text projection. All rows are attended, so the padding belongs to them, as the
    /// encoder gives it.
    ///
    /// # Shapes
    /// - `text`: `[b, tokens, text_dim]`
    ///
    /// # Errors
    /// [`PromptShapeError`] when it is too long or of another width.
    pub fn condition(&self, text: Tensor<3>) -> Result<CogVideoXCond, PromptShapeError> {
        check_states(&text, self.config.text_len, self.config.text_dim)?;
        Ok(CogVideoXCond(project(text.cast(self.dtype), &self.text)))
    }
}

impl Block {
    fn build(config: &CogVideoXConfig, i: usize, loader: &mut Loader) -> Block {
        let (d, head_dim) = (config.dim, config.head_dim());
        let key = |part: &str| format!("transformer.layers.{i}.{part}");
        let qkv = key("attention.query_key_value");
        let head_norm = |part| format!("mixins.adaln_layer.{part}_layernorm_list.{i}");
        Block {
            attn: Entrance::build(config, i, 0, loader),
            qkv: [0, 1, 2].map(|k| loader.linear_part(&qkv, d, d, Part::outputs(k * d..(k + 1) * d, 3 * d))),
            norm_q: affine(&head_norm("query"), head_dim, loader),
            norm_k: affine(&head_norm("key"), head_dim, loader),
            attn_out: loader.linear(&key("attention.dense"), d, d),
            ffn: Entrance::build(config, i, 1, loader),
            mlp: [
                loader.linear(&key("mlp.dense_h_to_4h"), d, config.mlp_dim),
                loader.linear(&key("mlp.dense_4h_to_h"), config.mlp_dim, d),
            ],
        }
    }
}

impl Movable for Block {
    fn on(&self, device: &Device) -> Block {
        Block {
            attn: self.attn.on(device),
            qkv: self.qkv.on(device),
            norm_q: self.norm_q.on(device),
            norm_k: self.norm_k.on(device),
            attn_out: self.attn_out.on(device),
            ffn: self.ffn.on(device),
            mlp: self.mlp.on(device),
        }
    }
}

impl Movable for Entrance {
    fn on(&self, device: &Device) -> Entrance {
        Entrance {
            norm: self.norm.on(device),
            video: self.video.on(device),
            text: self.text.on(device),
        }
    }
}

impl Entrance {
    /// That of the attention, `unit` 0, or of the feed-forward, 1. One layer makes both modulations of the
    /// video, then both of the text.
    fn build(config: &CogVideoXConfig, block: usize, unit: usize, loader: &mut Loader) -> Entrance {
        let norm = ["input", "post_attention"][unit];
        let modulations = format!("mixins.adaln_layer.adaLN_modulations.{block}.1");
        let sizes = [config.time_dim, config.dim];
        Entrance {
            norm: affine(
                &format!("transformer.layers.{block}.{norm}_layernorm"),
                config.dim,
                loader,
            ),
            video: Modulation::build(&modulations, sizes, (unit, 4), loader),
            text: Modulation::build(&modulations, sizes, (2 + unit, 4), loader),
        }
    }
}

/// Weight and bias of the norm `key`.
fn affine(key: &str, width: usize, loader: &mut Loader) -> Affine {
    ["weight", "bias"].map(|part| loader.take(&format!("{key}.{part}"), [width]))
}
