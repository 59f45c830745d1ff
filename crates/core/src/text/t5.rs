//! The encoders of T5 (v1.1, arXiv 2002.05202) and UMT5 (arXiv 2304.09151): of UMT5-XXL Wan takes its text states.
//!
//! Blocks of self-attention and a gated feed-forward, each behind an RMS norm. Positions enter as a bias on the
//! scores: UMT5 has a table of them in each block, T5 one in the first block, which all share. Queries are not scaled; linear
//! layers have no bias. Prompts run one by one, as long as the caller makes them: masked tokens would change nothing.
//!
//! It runs once a prompt, so it computes in f32 and holds one block at a time.

mod config;
mod keys;
mod position;
pub mod reference;

pub use config::T5Config;

use super::attention::attend;
use super::embedding::{self, TokensError, check};
use crate::inventory::Asked;
use crate::linear::Linear;
use crate::models::ops::{gelu_tanh, project, rms_norm};
use crate::weights::{Layout, Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor};

/// A T5 or UMT5 encoder whose weights stay in their files until they are needed.
pub struct T5 {
    config: T5Config,
    weights: Weights,
    layout: Layout,
    device: Device,
}

impl T5 {
    /// An encoder on a checkpoint in the Wan authors' or in transformers' key layout, whichever the keys show.
    /// Checks all names and shapes, reads no weights yet.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn open(config: T5Config, weights: Weights, device: &Device) -> Result<T5, WeightsError> {
        let layout = keys::layout(&weights);
        let mut loader = Loader::shapes(weights.clone(), layout, device);
        look(&config, &mut loader);
        // Older files hold the token table twice.
        loader.ignore(|key| key == "encoder.embed_tokens.weight");
        loader.finish()?;
        Ok(T5 {
            config,
            weights,
            layout,
            device: device.clone(),
        })
    }
    /// What an encoder of these sizes asks a checkpoint for, in the Wan authors' keys.
    pub fn inventory(config: &T5Config) -> Vec<Asked> {
        let device = Device::flex();
        let mut loader = Loader::listing(std::convert::identity, &device, FloatDType::F32);
        look(config, &mut loader);
        loader.into_asked()
    }
    /// Sizes of this encoder.
    pub fn config(&self) -> &T5Config {
        &self.config
    }
    /// States of each prompt's tokens, `[1, tokens, dim]` in f32. Every block is read once for all prompts;
    /// `loaded` is told how many are done.
    ///
    /// # Errors
    /// [`TokensError`] when a prompt has no tokens, or one that the encoder does not know.
    pub fn encode(&self, prompts: &[Vec<u32>], loaded: &mut dyn FnMut(usize)) -> Result<Vec<Tensor<3>>, TokensError> {
        let config = &self.config;
        check(prompts, config.vocabulary)?;
        let mut loader = self.loader();
        let mut states: Vec<_> = prompts.iter().map(|ids| embed(config, ids, &mut loader)).collect();
        for i in 0..config.layers {
            let block = Block::build(config, i, &mut loader);
            for x in &mut states {
                let bias = block.bias(config, x.dims()[1]);
                let attended = x.clone() + block.attend(x.clone(), bias);
                *x = attended.clone() + block.feed(attended);
            }
            loaded(i + 1);
        }
        let norm = loader.take("norm.weight", [config.dim]);
        Ok(states
            .into_iter()
            .map(|x| rms_norm(x, &norm, config.eps, FloatDType::F32))
            .collect())
    }
    fn loader(&self) -> Loader<'_> {
        Loader::files(self.weights.clone(), self.layout, &self.device, FloatDType::F32)
    }
}

/// Asks for every tensor once.
fn look(config: &T5Config, loader: &mut Loader) {
    embed(config, &[0], loader);
    for i in 0..config.layers {
        Block::build(config, i, loader);
    }
    loader.take("norm.weight", [config.dim]);
}

/// Vectors of tokens, `[1, tokens, dim]`.
fn embed(config: &T5Config, ids: &[u32], loader: &mut Loader) -> Tensor<3> {
    let shape = [config.vocabulary, config.dim];
    embedding::embed("token_embedding.weight", shape, ids, loader)
}

struct Block {
    heads: usize,
    eps: f64,
    norms: [Tensor<1>; 2], // in front of the attention, of the feed-forward
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    positions: Tensor<2>, // [buckets, heads]
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn build(config: &T5Config, i: usize, loader: &mut Loader) -> Block {
        let (d, inner) = (config.dim, config.heads * config.head_dim);
        let key = |part: &str| format!("blocks.{i}.{part}");
        let with_table = if config.shared_positions { 0 } else { i };
        let table = format!("blocks.{with_table}.pos_embedding.embedding.weight");
        let mut linear = |part: &str, from, to| loader.linear_without_bias(&key(part), from, to);
        let [q, k, v] = ["attn.q", "attn.k", "attn.v"].map(|part| linear(part, d, inner));
        Block {
            heads: config.heads,
            eps: config.eps,
            q,
            k,
            v,
            o: linear("attn.o", inner, d),
            gate: linear("ffn.gate.0", d, config.ffn_dim),
            up: linear("ffn.fc1", d, config.ffn_dim),
            down: linear("ffn.fc2", config.ffn_dim, d),
            norms: ["norm1.weight", "norm2.weight"].map(|part| loader.take(&key(part), [d])),
            positions: loader.take(&table, [config.buckets, config.heads]),
        }
    }
    /// What the distance of two of `n` tokens adds to their scores, `[1, heads, n, n]`.
    fn bias(&self, config: &T5Config, n: usize) -> Tensor<4> {
        let buckets = position::buckets(config, n, &self.positions.device());
        let of_pairs = self.positions.clone().select(0, buckets); // [n·n, heads]
        of_pairs.transpose().reshape([1, self.heads, n, n])
    }
    /// Self-attention of `x` `[1, n, d]`, with the norm in front of it.
    fn attend(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let x = rms_norm(x, &self.norms[0], self.eps, FloatDType::F32);
        let qkv = [&self.q, &self.k, &self.v].map(|layer| project(x.clone(), layer));
        project(attend(qkv, self.heads, 1.0, bias), &self.o)
    }
    /// Gated feed-forward of `x` `[1, n, d]`, with the norm in front of it.
    fn feed(&self, x: Tensor<3>) -> Tensor<3> {
        let x = rms_norm(x, &self.norms[1], self.eps, FloatDType::F32);
        let gate = gelu_tanh(project(x.clone(), &self.gate));
        project(gate * project(x, &self.up), &self.down)
    }
}
