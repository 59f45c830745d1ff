//! Wan as a chain of units: three a block, in execution order.

use super::{Attention, Block, Wan, WanCond, WanConfig};
use crate::models::Chain;
use crate::models::ops::{add_gated, attention, modulated, norm, project, project_gelu, rms_norm, rms_rotate};
use crate::models::patch::{self, Channels, GridError, token_grid};
use crate::models::rotary;
use crate::tensors::{Hidden, Latent, host};
use burn::tensor::activation::silu;
use burn::tensor::{FloatDType, Tensor};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, TimeSignal, Unit, UnitKind};
use std::sync::Arc;

/// Rows of a block's modulation table.
const SHIFT_SELF: usize = 0;
const SCALE_SELF: usize = 1;
const GATE_SELF: usize = 2;
const SHIFT_FFN: usize = 3;
const SCALE_FFN: usize = 4;
const GATE_FFN: usize = 5;

/// Base of the rotary frequencies, `rope_params` of the authors' code.
const THETA: f64 = 10000.0;

/// Units of a block.
const UNITS: [UnitKind; 3] = [UnitKind::SelfAttn, UnitKind::CrossAttn, UnitKind::Mlp];

/// A Wan model on latents of one size.
pub struct WanChain<'a> {
    wan: &'a Wan,
    grid: [usize; 3], // latent frames, rows, columns
    batch: usize,
    rotary: [Tensor<4>; 2],
}

/// What stays fixed within one pass.
pub struct WanCtx {
    time: Tensor<2>,       // e [1, d]
    modulation: Tensor<2>, // e0 [6, d]
    text: Tensor<3>,       // [b, text_len, d]
}

impl WanConfig {
    /// Block and kind of each unit of the chain, in execution order.
    pub fn unit_kinds(&self) -> Vec<(usize, UnitKind)> {
        let of_block = |block| UNITS.map(|kind| (block, kind));
        (0..self.layers).flat_map(of_block).collect()
    }
}

impl Wan {
    /// The model on latents of `grid` = frames, rows, columns, `batch` of them in a pass.
    ///
    /// # Errors
    /// [`GridError`] when patches do not divide the grid.
    pub fn on(&self, grid: [usize; 3], batch: usize) -> Result<WanChain<'_>, GridError> {
        let tokens = token_grid(grid, self.config.patch)?;
        // Rows and columns have `2·⌊head_dim/6⌋` channels each, frames the rest.
        let head_dim = self.config.head_dim();
        let side = 2 * (head_dim / 6);
        Ok(WanChain {
            wan: self,
            grid,
            batch,
            rotary: rotary::tables(tokens, [head_dim - 2 * side, side, side], THETA, &self.device),
        })
    }
}

impl Chain for WanChain<'_> {
    fn model(&self) -> &str {
        &self.wan.config.name
    }
    fn latent_shape(&self) -> [usize; 5] {
        let [f, h, w] = self.grid;
        [self.batch, self.wan.config.in_channels, f, h, w]
    }
    fn hidden_shape(&self) -> [usize; 3] {
        [self.batch, self.tokens(), self.wan.config.dim]
    }
    fn tokens(&self) -> usize {
        self.grid.iter().product::<usize>() / self.wan.config.patch_volume()
    }
    fn dtype(&self) -> FloatDType {
        self.wan.dtype
    }
    fn signals(&self) -> Vec<Signal> {
        let [embedding, projection] = [TimeSignal::Embedding, TimeSignal::Projection].map(Signal::Time);
        vec![embedding, projection, Signal::Input]
    }
    fn units(&self) -> Vec<Unit> {
        let config = &self.wan.config;
        let [self_attn, cross_attn, mlp] = config.unit_flops(self.tokens(), self.batch);
        let unit = |(block, kind)| Unit {
            block,
            kind,
            flops: match kind {
                UnitKind::SelfAttn => self_attn,
                UnitKind::CrossAttn => cross_attn,
                _ => mlp,
            },
        };
        config.unit_kinds().into_iter().map(unit).collect()
    }
    fn rest_flops(&self) -> f64 {
        self.wan.config.rest_flops(self.tokens(), self.batch)
    }
}

impl WanChain<'_> {
    fn block(&self, i: usize) -> (Arc<Block>, UnitKind) {
        (self.wan.blocks.get(i / UNITS.len()), UNITS[i % UNITS.len()])
    }
    /// A block's norm, with the scale and the shift that stand in these rows of its modulation.
    fn modulated(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx, [scale, shift]: [usize; 2]) -> Tensor<3> {
        let row = |k| row(&block.modulation, &ctx.modulation, k);
        modulated(x, row(scale), row(shift), self.wan.config.eps, self.wan.dtype)
    }
    fn self_attention(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx) -> Tensor<3> {
        let x = self.modulated(block, x, ctx, [SCALE_SELF, SHIFT_SELF]);
        let Attention {
            q,
            k,
            v,
            o,
            norm_q,
            norm_k,
        } = &block.self_attn;
        let (eps, dtype) = (self.wan.config.eps, self.wan.dtype);
        let turned = |layer, scale| rms_rotate(project(x.clone(), layer), scale, &self.rotary, eps, dtype);
        let (q, k) = (turned(q, norm_q), turned(k, norm_k));
        project(attention(q, k, project(x, v), self.wan.config.heads, o.products()), o)
    }
    fn cross_attention(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx) -> Tensor<3> {
        let [scale, shift] = block.cross_norm.clone();
        let (eps, dtype) = (self.wan.config.eps, self.wan.dtype);
        let x = norm(x, scale, shift, eps, dtype);
        let Attention {
            q,
            k,
            v,
            o,
            norm_q,
            norm_k,
        } = &block.cross_attn;
        let text = ctx.text.clone();
        let q = rms_norm(project(x, q), norm_q, eps, dtype);
        let k = rms_norm(project(text.clone(), k), norm_k, eps, dtype);
        project(
            attention(q, k, project(text, v), self.wan.config.heads, o.products()),
            o,
        )
    }
    /// The signal at each of these timesteps, `[timesteps, width]`.
    pub(super) fn time_rows(&self, signal: TimeSignal, timesteps: &[f32]) -> Tensor<2> {
        let wan = self.wan;
        let embedding = wan.time.embed(timesteps, &wan.device);
        match signal {
            TimeSignal::Embedding => embedding,
            TimeSignal::Projection => project(silu(embedding), &wan.time_projection),
        }
    }
    fn feed_forward(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx) -> Tensor<3> {
        let x = self.modulated(block, x, ctx, [SCALE_FFN, SHIFT_FFN]);
        let [first, second] = &block.ffn;
        project(project_gelu(x, first), second)
    }
}

/// Row `k` of a table, learned part + part of this timestep: `[d]`.
fn row(learned: &Tensor<2>, timestep: &Tensor<2>, k: usize) -> Tensor<1> {
    (learned.clone().narrow(0, k, 1) + timestep.clone().narrow(0, k, 1)).squeeze_dim(0)
}

impl Dit for WanChain<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = WanCond;
    type Ctx = WanCtx;

    fn embed(&self, latent: &Latent, timestep: f32, cond: &WanCond) -> (Hidden, WanCtx) {
        let wan = self.wan;
        let patches = patch::patches(latent.0.clone().cast(wan.dtype), wan.config.patch);
        let time = wan.time.embed(&[timestep], &wan.device);
        let ctx = WanCtx {
            modulation: project(silu(time.clone()), &wan.time_projection).reshape([6, wan.config.dim]),
            time,
            text: cond.0.clone(),
        };
        (Hidden::of_video(project(patches, &wan.patch)), ctx)
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &WanCtx) -> Hidden {
        let (block, kind) = self.block(i);
        let x = &hidden.tokens;
        Hidden::of_video(match kind {
            UnitKind::SelfAttn => self.self_attention(&block, x, ctx),
            UnitKind::CrossAttn => self.cross_attention(&block, x, ctx),
            _ => self.feed_forward(&block, x, ctx),
        })
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &WanCtx) -> Hidden {
        let (block, kind) = self.block(i);
        let row = |k| Some(row(&block.modulation, &ctx.modulation, k));
        let gate = match kind {
            UnitKind::SelfAttn => row(GATE_SELF),
            UnitKind::CrossAttn => None,
            _ => row(GATE_FFN),
        };
        Hidden::of_video(add_gated(hidden.tokens, raw.tokens.clone(), gate))
    }
    fn first_input(&self, hidden: &Hidden, ctx: &WanCtx) -> Hidden {
        let (block, _) = self.block(0);
        Hidden::of_video(self.modulated(&block, &hidden.tokens, ctx, [SCALE_SELF, SHIFT_SELF]))
    }
    fn head(&self, hidden: Hidden, ctx: &WanCtx) -> Latent {
        let wan = self.wan;
        let table = wan.head_modulation.clone() + ctx.time.clone(); // [2, d]: shift, scale
        let scale: Tensor<1> = table.clone().narrow(0, 1, 1).squeeze_dim(0);
        let shift = table.narrow(0, 0, 1).squeeze_dim(0);
        let x = modulated(&hidden.tokens, scale, shift, wan.config.eps, FloatDType::F32);
        let patches = project(x, &wan.head);
        Latent(patch::latent(patches, Channels::Last, self.grid, wan.config.patch))
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        let signals = self.time_rows(signal, timesteps);
        let width = signals.dims()[1];
        host(signals).chunks_exact(width).map(<[f32]>::to_vec).collect()
    }
}
