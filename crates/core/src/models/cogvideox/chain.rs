//! CogVideoX as a chain of units: two a block.

use super::{Affine, Block, CogVideoX, CogVideoXCond, CogVideoXConfig, Entrance};
use crate::models::Chain;
use crate::models::modulation::Modulation;
use crate::models::ops::{add_gated, attention, norm, project, project_gelu, rotate, vectors};
use crate::models::patch::{self, Channels, GridError, token_grid};
use crate::models::rotary;
use crate::tensors::{Hidden, Latent, host};
use burn::tensor::activation::silu;
use burn::tensor::{FloatDType, Tensor};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, TimeSignal, Unit, UnitKind};
use std::sync::Arc;

/// Units of a block.
const UNITS: [UnitKind; 2] = [UnitKind::SelfAttn, UnitKind::Mlp];

/// Base of the rotary frequencies, and guard of the norms of queries and keys (`CogVideoXTransformer3DModel`).
const THETA: f64 = 10000.0;
const HEAD_EPS: f64 = 1e-6;

/// A CogVideoX model on latents and prompts of one size.
pub struct CogVideoXChain<'a> {
    cogvideox: &'a CogVideoX,
    grid: [usize; 3], // latent frames, rows, columns
    batch: usize,
    text_tokens: usize,
    rotary: [Tensor<4>; 2], // of all tokens: those of the text do not turn
}

/// What stays fixed within one pass.
pub struct CogVideoXCtx {
    /// SiLU of the time embedding, `[1, time_dim]` in the dtype of hidden states.
    signal: Tensor<2>,
}

impl CogVideoXConfig {
    /// Block and kind of each unit of the chain, in execution order.
    pub fn unit_kinds(&self) -> Vec<(usize, UnitKind)> {
        let of_block = |block| UNITS.map(|kind| (block, kind));
        (0..self.layers).flat_map(of_block).collect()
    }
}

impl CogVideoX {
    /// The model on latents of `grid` = frames, rows, columns, `batch` of them in a pass, and prompts of
    /// `text_tokens` tokens.
    ///
    /// # Errors
    /// [`GridError`] when patches do not divide the grid.
    pub fn on(&self, grid: [usize; 3], batch: usize, text_tokens: usize) -> Result<CogVideoXChain<'_>, GridError> {
        let config = &self.config;
        let places = config.places(token_grid(grid, config.patch)?);
        let video_rotary = rotary::tables_at(places, config.rope(), THETA, &self.device);
        Ok(CogVideoXChain {
            cogvideox: self,
            grid,
            batch,
            text_tokens,
            rotary: rotary::with_still(video_rotary, text_tokens),
        })
    }
}

impl Chain for CogVideoXChain<'_> {
    fn model(&self) -> &str {
        &self.cogvideox.config.name
    }
    fn latent_shape(&self) -> [usize; 5] {
        let [f, h, w] = self.grid;
        [self.batch, self.cogvideox.config.in_channels, f, h, w]
    }
    fn hidden_shape(&self) -> [usize; 3] {
        [self.batch, self.tokens() + self.text_tokens, self.cogvideox.config.dim]
    }
    fn tokens(&self) -> usize {
        self.grid.iter().product::<usize>() / self.cogvideox.config.patch_volume()
    }
    fn dtype(&self) -> FloatDType {
        self.cogvideox.dtype
    }
    fn signals(&self) -> Vec<Signal> {
        vec![Signal::Time(TimeSignal::Embedding), Signal::Input]
    }
    fn units(&self) -> Vec<Unit> {
        let config = &self.cogvideox.config;
        let [attn, mlp] = config.unit_flops(self.tokens() + self.text_tokens, self.batch);
        let unit = |(block, kind)| Unit {
            block,
            kind,
            flops: if kind == UnitKind::SelfAttn { attn } else { mlp },
        };
        config.unit_kinds().into_iter().map(unit).collect()
    }
    fn rest_flops(&self) -> f64 {
        self.cogvideox.config.rest_flops(self.tokens(), self.batch)
    }
}

impl CogVideoXChain<'_> {
    fn block(&self, i: usize) -> (Arc<Block>, UnitKind) {
        (self.cogvideox.blocks.get(i / UNITS.len()), UNITS[i % UNITS.len()])
    }
    /// Video and text tokens apart.
    fn apart(&self, x: &Tensor<3>) -> [Tensor<3>; 2] {
        let video = self.tokens();
        [
            x.clone().narrow(1, 0, video),
            x.clone().narrow(1, video, self.text_tokens),
        ]
    }
    /// A hidden state of video and text.
    fn hidden(&self, tokens: Tensor<3>) -> Hidden {
        let video = self.tokens();
        Hidden { tokens, video }
    }
    /// Norm, shift and scale of a stream in front of a unit.
    fn enter(&self, x: &Tensor<3>, affine: &Affine, modulation: &Modulation, ctx: &CogVideoXCtx) -> Tensor<3> {
        let [shift, scale] = vectors(&ctx.signal, &modulation.shift_scale);
        twice_scaled(
            x,
            affine,
            [shift, scale],
            self.cogvideox.config.eps,
            self.cogvideox.dtype,
        )
    }
    /// Both streams in front of a unit, `[b, tokens, d]`.
    fn enter_both(&self, hidden: &Hidden, entrance: &Entrance, ctx: &CogVideoXCtx) -> Tensor<3> {
        let [video, text] = self.apart(&hidden.tokens);
        let video = self.enter(&video, &entrance.norm, &entrance.video, ctx);
        let text = self.enter(&text, &entrance.norm, &entrance.text, ctx);
        Tensor::cat(vec![video, text], 1)
    }
    /// Gate and sum of each stream behind a unit.
    fn leave_both(&self, hidden: Hidden, raw: &Hidden, entrance: &Entrance, ctx: &CogVideoXCtx) -> Hidden {
        let ([video, text], [video_raw, text_raw]) = (self.apart(&hidden.tokens), self.apart(&raw.tokens));
        let leave = |x, raw, modulation: &Modulation| {
            let [gate] = vectors(&ctx.signal, &modulation.gate);
            add_gated(x, raw, Some(gate))
        };
        self.hidden(Tensor::cat(
            vec![
                leave(video, video_raw, &entrance.video),
                leave(text, text_raw, &entrance.text),
            ],
            1,
        ))
    }
    fn joint_attention(&self, block: &Block, hidden: &Hidden, ctx: &CogVideoXCtx) -> Tensor<3> {
        let x = self.enter_both(hidden, &block.attn, ctx);
        let [q, k, v] = [0, 1, 2].map(|i| project(x.clone(), &block.qkv[i]));
        let turned = |x, affine| rotate(head_norm(x, affine), &self.rotary).cast(self.cogvideox.dtype);
        let (q, k) = (turned(q, &block.norm_q), turned(k, &block.norm_k));
        let products = block.attn_out.products();
        let mixed = attention(q, k, v, self.cogvideox.config.heads, products);
        project(mixed, &block.attn_out)
    }
    fn feed_forward(&self, block: &Block, hidden: &Hidden, ctx: &CogVideoXCtx) -> Tensor<3> {
        let [first, second] = &block.mlp;
        project(project_gelu(self.enter_both(hidden, &block.ffn, ctx), first), second)
    }
}

/// Layer norm with its own scale and shift, then those of the timestep: one norm with their product.
fn twice_scaled(
    x: &Tensor<3>,
    [weight, bias]: &Affine,
    [shift, scale]: [Tensor<1>; 2],
    eps: f64,
    into: FloatDType,
) -> Tensor<3> {
    let scale = scale.add_scalar(1.0);
    norm(
        x,
        weight.clone() * scale.clone(),
        bias.clone() * scale + shift,
        eps,
        into,
    )
}

/// Layer norm of each head's channels, in f32.
fn head_norm(x: Tensor<3>, [weight, bias]: &Affine) -> Tensor<3> {
    let ([b, n, d], [head_dim]) = (x.dims(), weight.dims());
    let heads = x.reshape([b, n * d / head_dim, head_dim]);
    norm(&heads, weight.clone(), bias.clone(), HEAD_EPS, FloatDType::F32).reshape([b, n, d])
}

impl Dit for CogVideoXChain<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = CogVideoXCond;
    type Ctx = CogVideoXCtx;

    fn embed(&self, latent: &Latent, timestep: f32, cond: &CogVideoXCond) -> (Hidden, CogVideoXCtx) {
        let CogVideoX {
            config, device, dtype, ..
        } = self.cogvideox;
        let patches = patch::patches(latent.0.clone().cast(*dtype), config.patch);
        let video = project(patches, &self.cogvideox.patch);
        let hidden = self.hidden(Tensor::cat(vec![video, cond.0.clone()], 1));
        let signal = silu(self.cogvideox.time.embed(&[timestep], device)).cast(*dtype);
        (hidden, CogVideoXCtx { signal })
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &CogVideoXCtx) -> Hidden {
        let (block, kind) = self.block(i);
        self.hidden(match kind {
            UnitKind::SelfAttn => self.joint_attention(&block, hidden, ctx),
            _ => self.feed_forward(&block, hidden, ctx),
        })
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &CogVideoXCtx) -> Hidden {
        let (block, kind) = self.block(i);
        let entrance = match kind {
            UnitKind::SelfAttn => &block.attn,
            _ => &block.ffn,
        };
        self.leave_both(hidden, raw, entrance, ctx)
    }
    fn first_input(&self, hidden: &Hidden, ctx: &CogVideoXCtx) -> Hidden {
        let first = self.cogvideox.blocks.get(0);
        let Entrance { norm, video, .. } = &first.attn;
        Hidden::of_video(self.enter(&hidden.video_tokens(), norm, video, ctx))
    }
    fn head(&self, hidden: Hidden, ctx: &CogVideoXCtx) -> Latent {
        let cogvideox = self.cogvideox;
        let config = &cogvideox.config;
        let [shift] = vectors(&ctx.signal, &cogvideox.head_shift);
        let [scale] = vectors(&ctx.signal, &cogvideox.head_scale);
        let x = last_norm(cogvideox, &hidden);
        let x = twice_scaled(&x, &cogvideox.head_norm, [shift, scale], config.eps, FloatDType::F32);
        let patches = project(x, &cogvideox.head);
        Latent(patch::latent(patches, Channels::First, self.grid, config.patch))
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        assert_eq!(signal, TimeSignal::Embedding, "the only signal of the timestep alone");
        let signals = self.cogvideox.time.embed(timesteps, &self.cogvideox.device);
        let width = signals.dims()[1];
        host(signals).chunks_exact(width).map(<[f32]>::to_vec).collect()
    }
}

/// The video behind the chain, after the norm that depends on no timestep, in f32.
pub(super) fn last_norm(cogvideox: &CogVideoX, hidden: &Hidden) -> Tensor<3> {
    let [weight, bias] = cogvideox.last_norm.clone();
    norm(
        &hidden.video_tokens(),
        weight,
        bias,
        cogvideox.config.eps,
        FloatDType::F32,
    )
}
