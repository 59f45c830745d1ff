//! CLIP's text encoder (arXiv 2103.00020): HunyuanVideo takes its one vector for all of a prompt.
//!
//! Blocks of causal self-attention and a feed-forward, each behind a layer norm, on tokens with learned positions.
//! The vector is the end token's, after a last norm; what a batch pads behind it is never seen.

mod config;
pub mod reference;

pub use config::ClipConfig;

use super::attention::{attend, causal};
use super::embedding::{TokensError, check, embed};
use crate::linear::Linear;
use crate::models::ops::{norm, project};
use crate::weights::{Layout, Loader, Weights, WeightsError};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, FloatDType, Tensor};

/// A CLIP text encoder; its weights are read while it runs, as those of the larger encoders are.
pub struct Clip {
    config: ClipConfig,
    weights: Weights,
    layout: Layout,
    device: Device,
}

impl Clip {
    /// An encoder on a checkpoint in transformers' key layout, which may hold the image encoder as well. Checks all
    /// names and shapes, reads no weights yet.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn open(config: ClipConfig, weights: Weights, device: &Device) -> Result<Clip, WeightsError> {
        let layout: Layout = match weights.shape("final_layer_norm.weight") {
            Some(_) => std::convert::identity,
            None => |place| place.behind("text_model."),
        };
        let clip = Clip {
            config,
            weights: weights.clone(),
            layout,
            device: device.clone(),
        };
        let mut loader = Loader::shapes(weights, layout, device);
        clip.embed(&[0], &mut loader);
        for i in 0..clip.config.layers {
            Block::build(&clip.config, i, &mut loader);
        }
        affine("final_layer_norm", clip.config.dim, &mut loader);
        let beside = ["vision_model.", "visual_projection.", "text_projection.", "logit_scale"];
        loader.ignore(|key| beside.iter().any(|part| key.starts_with(part)) || key.ends_with("position_ids"));
        loader.finish()?;
        Ok(clip)
    }
    /// Sizes of this encoder.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }
    /// The vector of each prompt, whose last token is the end token, `[1, dim]` in f32.
    ///
    /// # Errors
    /// [`TokensError`] when a prompt has no tokens, or one that the encoder does not know.
    pub fn pooled(&self, prompts: &[Vec<u32>]) -> Result<Vec<Tensor<2>>, TokensError> {
        let config = &self.config;
        check(prompts, config.vocabulary)?;
        let mut loader = Loader::files(self.weights.clone(), self.layout, &self.device, FloatDType::F32);
        let mut states: Vec<_> = prompts.iter().map(|ids| self.embed(ids, &mut loader)).collect();
        for i in 0..config.layers {
            let block = Block::build(config, i, &mut loader);
            for x in &mut states {
                *x = block.forward(config, x.clone());
            }
        }
        let last = affine("final_layer_norm", config.dim, &mut loader);
        let end = |x: Tensor<3>| x.clone().narrow(1, x.dims()[1] - 1, 1);
        Ok(states
            .into_iter()
            .map(|x| normed(&end(x), &last, config.eps).squeeze_dim(1))
            .collect())
    }
    /// Vectors of tokens at their positions, `[1, tokens, dim]`.
    fn embed(&self, ids: &[u32], loader: &mut Loader) -> Tensor<3> {
        let (d, positions): (_, Vec<u32>) = (self.config.dim, (0..ids.len() as u32).collect());
        let [tokens, places] = ["token", "position"].map(|table| format!("embeddings.{table}_embedding.weight"));
        embed(&tokens, [self.config.vocabulary, d], ids, loader)
            + embed(&places, [self.config.tokens_max, d], &positions, loader)
    }
}

struct Block {
    norms: [[Tensor<1>; 2]; 2], // in front of the attention, of the feed-forward
    qkv: [Linear; 3],
    out: Linear,
    ffn: [Linear; 2],
}

impl Block {
    fn build(config: &ClipConfig, i: usize, loader: &mut Loader) -> Block {
        let (d, ffn) = (config.dim, config.ffn_dim);
        let key = |part: &str| format!("encoder.layers.{i}.{part}");
        Block {
            norms: ["layer_norm1", "layer_norm2"].map(|part| affine(&key(part), d, loader)),
            qkv: ["q", "k", "v"].map(|part| loader.linear(&key(&format!("self_attn.{part}_proj")), d, d)),
            out: loader.linear(&key("self_attn.out_proj"), d, d),
            ffn: [
                loader.linear(&key("mlp.fc1"), d, ffn),
                loader.linear(&key("mlp.fc2"), ffn, d),
            ],
        }
    }
    fn forward(&self, config: &ClipConfig, x: Tensor<3>) -> Tensor<3> {
        let (n, device) = (x.dims()[1], x.device());
        let y = normed(&x, &self.norms[0], config.eps);
        let qkv = self.qkv.each_ref().map(|layer| project(y.clone(), layer));
        let scale = 1.0 / ((config.dim / config.heads) as f64).sqrt();
        let x = x + project(attend(qkv, config.heads, scale, causal(n, &device)), &self.out);
        let [first, second] = &self.ffn;
        let y = project(normed(&x, &self.norms[1], config.eps), first);
        let active = y.clone() * sigmoid(y.mul_scalar(1.702)); // `quick_gelu`
        x + project(active, second)
    }
}

/// Weight and bias of a layer norm.
fn affine(key: &str, width: usize, loader: &mut Loader) -> [Tensor<1>; 2] {
    ["weight", "bias"].map(|part| loader.take(&format!("{key}.{part}"), [width]))
}

fn normed(x: &Tensor<3>, [weight, bias]: &[Tensor<1>; 2], eps: f64) -> Tensor<3> {
    norm(x, weight.clone(), bias.clone(), eps, FloatDType::F32)
}
