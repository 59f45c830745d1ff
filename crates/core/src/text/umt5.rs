//! UMT5's encoder (arXiv 2304.09151), Wan's text encoder at its largest size.
//!
//! Blocks of self-attention and a gated feed-forward, each behind an RMS norm. Positions enter as a bias on the
//! scores, from a table of each block's own; queries are not scaled; linear layers have no bias. Prompts run one by
//! one without padding: masked tokens would change nothing.
//!
//! It runs once a prompt, so it computes in f32 and holds one block at a time.

mod config;
mod keys;
mod position;
pub mod reference;

pub use config::Umt5Config;

use crate::linear::Linear;
use crate::models::ops::{gelu_tanh, project, rms_norm};
use crate::weights::{Layout, Loader, Weights, WeightsError};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, FloatDType, Tensor};

/// A UMT5 encoder whose weights stay in their files until they are needed.
pub struct Umt5 {
    config: Umt5Config,
    weights: Weights,
    layout: Layout,
    device: Device,
}

/// Tokens that the encoder cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// A prompt without tokens.
    #[error("a prompt has no tokens: expected at least the end token, which the tokenizer adds")]
    None,
    /// A token of another vocabulary.
    #[error("token {id} is outside the encoder's vocabulary of {vocabulary}: the tokenizer belongs to another encoder")]
    Unknown {
        /// The token.
        id: u32,
        /// Tokens that the encoder knows.
        vocabulary: usize,
    },
}

impl Umt5 {
    /// An encoder on a checkpoint in the Wan authors' or in transformers' key layout, whichever the keys show.
    /// Checks all names and shapes, reads no weights yet.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn open(config: Umt5Config, weights: Weights, device: &Device) -> Result<Umt5, WeightsError> {
        let layout = keys::layout(&weights);
        let mut loader = Loader::shapes(weights.clone(), layout, device);
        embed(&config, &[0], &mut loader);
        for i in 0..config.layers {
            Block::build(&config, i, &mut loader);
        }
        loader.take("norm.weight", [config.dim]);
        // Older files hold the token table twice.
        loader.ignore("encoder.embed_tokens.weight");
        loader.finish()?;
        Ok(Umt5 {
            config,
            weights,
            layout,
            device: device.clone(),
        })
    }
    /// Sizes of this encoder.
    pub fn config(&self) -> &Umt5Config {
        &self.config
    }
    /// States of each prompt's tokens, `[1, tokens, dim]` in f32. Every block is read once for all prompts;
    /// `loaded` is told how many are done.
    ///
    /// # Errors
    /// [`TokensError`] when a prompt has no tokens, or one that the encoder does not know.
    pub fn encode(&self, prompts: &[Vec<u32>], loaded: &mut dyn FnMut(usize)) -> Result<Vec<Tensor<3>>, TokensError> {
        let (config, vocabulary) = (&self.config, self.config.vocabulary);
        if prompts.iter().any(Vec::is_empty) {
            return Err(TokensError::None);
        }
        if let Some(&id) = prompts.iter().flatten().find(|id| **id as usize >= vocabulary) {
            return Err(TokensError::Unknown { id, vocabulary });
        }
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
        Ok(states.into_iter().map(|x| rms_norm(x, &norm, config.eps)).collect())
    }
    fn loader(&self) -> Loader<'_> {
        Loader::files(self.weights.clone(), self.layout, &self.device, FloatDType::F32)
    }
}

/// Vectors of tokens, `[1, tokens, dim]`: of the table only their rows are read.
fn embed(config: &Umt5Config, ids: &[u32], loader: &mut Loader) -> Tensor<3> {
    let shape = [config.vocabulary, config.dim];
    let row = |id: &u32| loader.row("token_embedding.weight", *id as usize, shape);
    Tensor::cat(ids.iter().map(row).collect(), 0).unsqueeze()
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
    fn build(config: &Umt5Config, i: usize, loader: &mut Loader) -> Block {
        let (d, inner) = (config.dim, config.heads * config.head_dim);
        let key = |part: &str| format!("blocks.{i}.{part}");
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
            positions: loader.take(&key("pos_embedding.embedding.weight"), [config.buckets, config.heads]),
        }
    }
    /// What the distance of two of `n` tokens adds to their scores, `[1, heads, n, n]`.
    fn bias(&self, config: &Umt5Config, n: usize) -> Tensor<4> {
        let buckets = position::buckets(config, n, &self.positions.device());
        let of_pairs = self.positions.clone().select(0, buckets); // [n·n, heads]
        of_pairs.transpose().reshape([1, self.heads, n, n])
    }
    /// Self-attention of `x` `[1, n, d]`, with the norm in front of it.
    fn attend(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let x = rms_norm(x, &self.norms[0], self.eps);
        let split = |layer: &Linear| {
            let y = project(x.clone(), layer);
            let [b, n, inner] = y.dims();
            y.reshape([b, n, self.heads, inner / self.heads]).swap_dims(1, 2) // [1, heads, n, head_dim]
        };
        let scores = split(&self.q).matmul(split(&self.k).transpose()) + bias;
        let mixed = softmax(scores, 3).matmul(split(&self.v));
        project(mixed.swap_dims(1, 2).flatten(2, 3), &self.o)
    }
    /// Gated feed-forward of `x` `[1, n, d]`, with the norm in front of it.
    fn feed(&self, x: Tensor<3>) -> Tensor<3> {
        let x = rms_norm(x, &self.norms[1], self.eps);
        let gate = gelu_tanh(project(x.clone(), &self.gate));
        project(gate * project(x, &self.up), &self.down)
    }
}
