//! The token refiner: a small transformer over the text, conditioned on the timestep and on the mean of
//! the text states (`hyvideo/modules/token_refiner.py`). It runs in every pass, in front of the chain.

use super::HunyuanConfig;
use crate::linear::Linear;
use crate::models::ops::{add_gated, attention, norm, project, vectors};
use crate::models::time::NumberEmbedding;
use crate::weights::{Loader, Part};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

/// The refiner's weights.
pub struct Refiner {
    time: NumberEmbedding,
    blocks: Vec<Block>,
    heads: usize,
    eps: f64,
}

struct Block {
    norms: [[Tensor<1>; 2]; 2], // weight and bias, in front of attention and feed-forward
    qkv: [Linear; 3],
    attn_out: Linear,
    mlp: [Linear; 2],
    gates: Linear, // [d, 2·d]
}

impl Refiner {
    /// Takes the refiner's weights; `time` embeds its timestep.
    pub fn build(config: &HunyuanConfig, time: NumberEmbedding, loader: &mut Loader) -> Refiner {
        let d = config.dim;
        let width = 4 * d; // whatever the ratio of the blocks
        let block = |i: usize| {
            let key = |part: &str| format!("txt_in.individual_token_refiner.blocks.{i}.{part}");
            Block {
                norms: ["norm1", "norm2"]
                    .map(|norm| ["weight", "bias"].map(|part| loader.take(&key(&format!("{norm}.{part}")), [d]))),
                qkv: [0, 1, 2]
                    .map(|i| loader.linear_part(&key("self_attn_qkv"), d, d, Part::outputs(i * d..(i + 1) * d, 3 * d))),
                attn_out: loader.linear(&key("self_attn_proj"), d, d),
                mlp: [
                    loader.linear(&key("mlp.fc1"), d, width),
                    loader.linear(&key("mlp.fc2"), width, d),
                ],
                gates: loader.linear(&key("adaLN_modulation.1"), d, 2 * d),
            }
        };
        Refiner {
            time,
            blocks: (0..config.refiner_layers).map(block).collect(),
            heads: config.heads,
            eps: config.eps,
        }
    }
    /// The text tokens as the chain takes them.
    ///
    /// # Shapes
    /// - `text`: `[1, tokens, d]`; `summary`: `[1, d]` in f32
    /// - output: like `text`
    pub fn refine(&self, text: Tensor<3>, summary: Tensor<2>, timestep: f32, device: &Device) -> Tensor<3> {
        let signal = silu(self.time.embed(&[timestep], device) + summary).cast(text.dtype());
        self.blocks
            .iter()
            .fold(text, |text, block| self.block(block, text, &signal))
    }
    fn block(&self, block: &Block, x: Tensor<3>, signal: &Tensor<2>) -> Tensor<3> {
        let normed = |x: &Tensor<3>, [weight, bias]: &[Tensor<1>; 2]| {
            norm(x, weight.clone(), bias.clone(), self.eps, x.dtype().into())
        };
        let [attn_norm, mlp_norm] = &block.norms;
        let [attn_gate, mlp_gate] = vectors(signal, &block.gates);
        let y = normed(&x, attn_norm);
        let [q, k, v] = [0, 1, 2].map(|i| project(y.clone(), &block.qkv[i]));
        let x = add_gated(
            x,
            project(
                attention(q, k, v, self.heads, block.attn_out.products()),
                &block.attn_out,
            ),
            Some(attn_gate),
        );
        let [first, second] = &block.mlp;
        let y = project(silu(project(normed(&x, mlp_norm), first)), second);
        add_gated(x, y, Some(mlp_gate))
    }
}
