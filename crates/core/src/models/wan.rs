//! Wan2.1 text-to-video (`wan/modules/model.py` of Wan-Video/Wan2.1), in any size; Wan2.2 of two such (`experts`).
//!
//! A block is three units: self-attention, cross-attention to the text, feed-forward. The velocity
//! `noise − data` is predicted.

mod chain;
mod config;
mod experts;
mod flops;
mod keys;
pub mod reference;

pub use chain::{WanChain, WanCtx};
pub use config::WanConfig;
pub use experts::{WanExperts, WanExpertsChain, WanExpertsCond, WanExpertsCtx};

use crate::inventory::{Asked, KeyLayout};
use crate::linear::Linear;
use crate::models::blocks::{Blocks, Movable};
use crate::models::ops::{project, project_gelu};
use crate::models::prompt::{PromptShapeError, check_states};
use crate::models::time::NumberEmbedding;
use crate::weights::{Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};

struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_q: Tensor<1>, // [d], over the whole width, not per head
    norm_k: Tensor<1>,
}

struct Block {
    modulation: Tensor<2>, // [6, d]: shift, scale, gate of self-attention, then of the feed-forward
    self_attn: Attention,
    cross_norm: [Tensor<1>; 2], // weight, bias: `norm3` of the authors, `norm2` of diffusers
    cross_attn: Attention,
    ffn: [Linear; 2],
}

/// A Wan transformer with its weights on a device.
pub struct Wan {
    config: WanConfig,
    device: Device,
    dtype: FloatDType,
    patch: Linear,
    text: [Linear; 2],
    time: NumberEmbedding,
    time_projection: Linear, // [d, 6·d]
    blocks: Blocks<Block>,
    head: Linear,
    head_modulation: Tensor<2>, // [2, d]: shift, scale
}

/// The prompt as the blocks see it: after the text projection, `[b, text_len, d]`. It does not depend
/// on the timestep, so one serves a whole run.
#[derive(Clone, Debug)]
pub struct WanCond(pub Tensor<3>);

impl WanCond {
    /// Several conditions along the batch axis: `[cond, uncond]` for guidance in one pass.
    pub fn batch(conds: Vec<WanCond>) -> WanCond {
        WanCond(Tensor::cat(conds.into_iter().map(|c| c.0).collect(), 0))
    }
}

impl Wan {
    /// Loads a checkpoint in the authors' or in diffusers' key layout, whichever the keys show.
    /// Weights are converted to `dtype`; norms, modulation, time embedding and head stay in f32.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(config: WanConfig, weights: Weights, device: &Device, dtype: FloatDType) -> Result<Wan, WeightsError> {
        let layout = keys::layout(&weights);
        let mut loader = Loader::files(weights, layout, device, dtype);
        let wan = Wan::build(config, device, &mut loader);
        loader.finish()?;
        Ok(wan)
    }
    /// Random weights, for runs that only measure speed and memory.
    pub fn random(config: WanConfig, seed: u64, device: &Device, dtype: FloatDType) -> Wan {
        Wan::build(config, device, &mut Loader::random(seed, device, dtype))
    }
    /// A model without weights, which knows its sizes and cannot run, and what it would ask a checkpoint for.
    pub fn hollow(config: WanConfig, layout: KeyLayout, dtype: FloatDType) -> (Wan, Vec<Asked>) {
        let device = Device::flex();
        let mut loader = Loader::listing(keys::of(layout), &device, dtype);
        let model = Wan::build(config, &device, &mut loader);
        (model, loader.into_asked())
    }
    fn build(config: WanConfig, device: &Device, loader: &mut Loader) -> Wan {
        let d = config.dim;
        let [pt, ph, pw] = config.patch;
        let blocks = loader.blocks(config.layers, |i, loader| Block::build(&config, i, loader));
        Wan {
            device: device.clone(),
            dtype: loader.states(),
            patch: loader.linear_in(loader.dtype(), "patch_embedding", &[d, config.in_channels, pt, ph, pw]),
            text: [
                loader.linear("text_embedding.0", config.text_dim, d),
                loader.linear("text_embedding.2", d, d),
            ],
            time: NumberEmbedding::build("time_embedding", config.freq_dim, d, config.sinusoid, loader),
            time_projection: loader.linear_in(FloatDType::F32, "time_projection.1", &[6 * d, d]),
            blocks,
            head: loader.linear_in(
                FloatDType::F32,
                "head.head",
                &[config.out_channels * config.patch_volume(), d],
            ),
            head_modulation: table(loader.take("head.modulation", [1, 2, d])),
            config,
        }
    }
    /// Sizes of this model.
    pub fn config(&self) -> &WanConfig {
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
    /// Prepares a prompt: rows of zeros up to `text_len` (they are attended, as in the reference), then
    /// the text projection.
    ///
    /// # Shapes
    /// - `text`: `[b, tokens, text_dim]`, the rows of real tokens
    ///
    /// # Errors
    /// [`PromptShapeError`] when it is too long or of another width.
    pub fn condition(&self, text: Tensor<3>) -> Result<WanCond, PromptShapeError> {
        let [b, tokens, width] = text.dims();
        let text_len = self.config.text_len;
        check_states(&text, text_len, self.config.text_dim)?;
        let text = text.cast(self.dtype);
        let padded = if tokens == text_len {
            text
        } else {
            let padding = Tensor::zeros([b, text_len - tokens, width], (&self.device, text.dtype()));
            Tensor::cat(vec![text, padding], 1)
        };
        let [first, second] = &self.text;
        Ok(WanCond(project(project_gelu(padded, first), second)))
    }
}

impl Block {
    fn build(config: &WanConfig, i: usize, loader: &mut Loader) -> Block {
        let d = config.dim;
        let key = |part: &str| format!("blocks.{i}.{part}");
        Block {
            modulation: table(loader.take(&key("modulation"), [1, 6, d])),
            self_attn: Attention::build(&key("self_attn"), d, loader),
            cross_norm: ["weight", "bias"].map(|part| loader.take(&key(&format!("norm3.{part}")), [d])),
            cross_attn: Attention::build(&key("cross_attn"), d, loader),
            ffn: [
                loader.linear(&key("ffn.0"), d, config.ffn_dim),
                loader.linear(&key("ffn.2"), config.ffn_dim, d),
            ],
        }
    }
}

impl Movable for Block {
    fn on(&self, device: &Device) -> Block {
        Block {
            modulation: self.modulation.on(device),
            self_attn: self.self_attn.on(device),
            cross_norm: self.cross_norm.on(device),
            cross_attn: self.cross_attn.on(device),
            ffn: self.ffn.on(device),
        }
    }
}

impl Movable for Attention {
    fn on(&self, device: &Device) -> Attention {
        Attention {
            q: self.q.on(device),
            k: self.k.on(device),
            v: self.v.on(device),
            o: self.o.on(device),
            norm_q: self.norm_q.on(device),
            norm_k: self.norm_k.on(device),
        }
    }
}

impl Attention {
    fn build(key: &str, d: usize, loader: &mut Loader) -> Attention {
        let [q, k, v, o] = ["q", "k", "v", "o"].map(|part| loader.linear(&format!("{key}.{part}"), d, d));
        let [norm_q, norm_k] = ["norm_q", "norm_k"].map(|part| loader.take(&format!("{key}.{part}.weight"), [d]));
        Attention {
            q,
            k,
            v,
            o,
            norm_q,
            norm_k,
        }
    }
}

/// `[1, n, d]` as stored to `[n, d]`.
fn table(stored: Tensor<3>) -> Tensor<2> {
    stored.squeeze_dim(0)
}
