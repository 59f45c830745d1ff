//! A Llama 3 decoder (arXiv 2407.21783) as a text encoder: HunyuanVideo takes what its tokens have become two blocks
//! before the end, without a final norm (`hyvideo/text_encoder`, `hidden_state_skip_layer = 2`).
//!
//! Blocks of causal self-attention, with fewer heads for keys and values than for queries, and a gated feed-forward,
//! each behind an RMS norm. Like [`super::t5`] it computes in f32 and holds one block at a time.

mod config;
pub mod reference;

pub use config::LlamaConfig;

use super::attention::{attend, causal};
use super::embedding::{self, TokensError, check};
use crate::linear::Linear;
use crate::models::ops::{project, rms_norm, rotate};
use crate::models::rotary;
use crate::weights::{Layout, Loader, Weights, WeightsError};
use burn::tensor::activation::silu;
use burn::tensor::{Device, FloatDType, Tensor};

/// Blocks at the end that are left out.
const SKIPPED: usize = 2;

/// A Llama decoder whose weights stay in their files until they are needed.
pub struct Llama {
    config: LlamaConfig,
    weights: Weights,
    layout: Layout,
    device: Device,
}

impl Llama {
    /// A decoder on a checkpoint in transformers' key layout, with or without the language model's head. Checks all
    /// names and shapes, reads no weights yet.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn open(config: LlamaConfig, weights: Weights, device: &Device) -> Result<Llama, WeightsError> {
        let layout: Layout = match weights.shape("model.norm.weight") {
            Some(_) => |place| place.behind("model."),
            None => std::convert::identity,
        };
        let mut loader = Loader::shapes(weights.clone(), layout, device);
        embed(&config, &[0], &mut loader);
        for i in 0..config.layers {
            Block::build(&config, i, &mut loader);
        }
        loader.take("norm.weight", [config.dim]);
        loader.ignore(|key| key == "lm_head.weight");
        loader.finish()?;
        Ok(Llama {
            config,
            weights,
            layout,
            device: device.clone(),
        })
    }
    /// Sizes of this decoder.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }
    /// How many blocks are run.
    pub fn depth(&self) -> usize {
        self.config.layers - SKIPPED
    }
    /// States of each prompt's tokens, `[1, tokens, dim]` in f32. Every block is read once for all prompts;
    /// `loaded` is told how many are done.
    ///
    /// # Errors
    /// [`TokensError`] when a prompt has no tokens, or one that the decoder does not know.
    pub fn encode(&self, prompts: &[Vec<u32>], loaded: &mut dyn FnMut(usize)) -> Result<Vec<Tensor<3>>, TokensError> {
        let config = &self.config;
        check(prompts, config.vocabulary)?;
        let mut loader = self.loader();
        let mut states: Vec<_> = prompts.iter().map(|ids| embed(config, ids, &mut loader)).collect();
        for i in 0..self.depth() {
            let block = Block::build(config, i, &mut loader);
            for x in &mut states {
                *x = block.forward(config, x.clone());
            }
            loaded(i + 1);
        }
        Ok(states)
    }
    fn loader(&self) -> Loader<'_> {
        Loader::files(self.weights.clone(), self.layout, &self.device, FloatDType::F32)
    }
}

/// Vectors of tokens, `[1, tokens, dim]`.
fn embed(config: &LlamaConfig, ids: &[u32], loader: &mut Loader) -> Tensor<3> {
    embedding::embed("embed_tokens.weight", [config.vocabulary, config.dim], ids, loader)
}

struct Block {
    norms: [Tensor<1>; 2], // in front of the attention, of the feed-forward
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn build(config: &LlamaConfig, i: usize, loader: &mut Loader) -> Block {
        let (d, ffn) = (config.dim, config.ffn_dim);
        let [queries, keys] = [config.heads, config.key_heads].map(|heads| heads * config.head_dim);
        let mut linear = |part: &str, from, to| loader.linear_without_bias(&format!("layers.{i}.{part}"), from, to);
        Block {
            q: linear("self_attn.q_proj", d, queries),
            k: linear("self_attn.k_proj", d, keys),
            v: linear("self_attn.v_proj", d, keys),
            o: linear("self_attn.o_proj", queries, d),
            gate: linear("mlp.gate_proj", d, ffn),
            up: linear("mlp.up_proj", d, ffn),
            down: linear("mlp.down_proj", ffn, d),
            norms: ["input_layernorm", "post_attention_layernorm"]
                .map(|norm| loader.take(&format!("layers.{i}.{norm}.weight"), [d])),
        }
    }
    fn forward(&self, config: &LlamaConfig, x: Tensor<3>) -> Tensor<3> {
        let (n, device) = (x.dims()[1], x.device());
        let normed = rms_norm(x.clone(), &self.norms[0], config.eps, FloatDType::F32);
        let turn = rotary::tables([n, 1, 1], [config.head_dim, 0, 0], config.theta, &device);
        let q = rotate(in_pairs(project(normed.clone(), &self.q), config.head_dim), &turn);
        let k = rotate(in_pairs(project(normed.clone(), &self.k), config.head_dim), &turn);
        let [k, v] = [k, project(normed, &self.v)].map(|y| shared(y, config));
        let scale = 1.0 / (config.head_dim as f64).sqrt();
        let attention = attend([q, k, v], config.heads, scale, causal(n, &device));
        let x = x + project(attention, &self.o);
        let normed = rms_norm(x.clone(), &self.norms[1], config.eps, FloatDType::F32);
        let gate = silu(project(normed.clone(), &self.gate));
        x + project(gate * project(normed, &self.up), &self.down)
    }
}

/// Channels `j` and `j + head_dim/2` of every head side by side, where [`rotate`] expects a pair. Queries and keys
/// are reordered alike, so their products stay what they are.
fn in_pairs(x: Tensor<3>, head_dim: usize) -> Tensor<3> {
    let [b, n, width] = x.dims();
    let halves = x.reshape([b, n, width / head_dim, 2, head_dim / 2]);
    halves.swap_dims(3, 4).reshape([b, n, width])
}

/// Keys or values, each head of them once for every query head that it serves.
fn shared(x: Tensor<3>, config: &LlamaConfig) -> Tensor<3> {
    let ([b, n, _], queries) = (x.dims(), config.heads / config.key_heads);
    let heads = x.reshape([b, n, config.key_heads, 1, config.head_dim]);
    heads
        .repeat_dim(3, queries)
        .reshape([b, n, config.heads * config.head_dim])
}
