//! Wan as a chain of units: three a block, in execution order.

use super::{Attention, Block, Wan, WanCond, patch, rotary};
use crate::models::ops::{add_gated, attention, norm, project, project_gelu, rms_norm, rms_rotate};
use crate::tensors::{Hidden, Latent, host};
use burn::tensor::Tensor;
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{TimeSignal, Unit, UnitKind};

/// Rows of a block's modulation table.
const SHIFT_SELF: usize = 0;
const SCALE_SELF: usize = 1;
const GATE_SELF: usize = 2;
const SHIFT_FFN: usize = 3;
const SCALE_FFN: usize = 4;
const GATE_FFN: usize = 5;

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

/// A latent size that the model's patches do not divide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("latents of {grid:?} frames, rows, columns do not divide into patches of {patch:?}: choose a multiple")]
pub struct GridError {
    grid: [usize; 3],
    patch: [usize; 3],
}

impl Wan {
    /// The model on latents of `grid` = frames, rows, columns, `batch` of them in a pass.
    ///
    /// # Errors
    /// [`GridError`] when patches do not divide the grid.
    pub fn on(&self, grid: [usize; 3], batch: usize) -> Result<WanChain<'_>, GridError> {
        let patch = self.config.patch;
        if (0..3).any(|i| grid[i] == 0 || !grid[i].is_multiple_of(patch[i])) {
            return Err(GridError { grid, patch });
        }
        let tokens = [0, 1, 2].map(|i| grid[i] / patch[i]);
        Ok(WanChain {
            wan: self,
            grid,
            batch,
            rotary: rotary::tables(tokens, self.config.head_dim(), &self.device),
        })
    }
}

impl WanChain<'_> {
    /// Shape of its latents, `[b, c, f, h, w]`.
    pub fn latent_shape(&self) -> [usize; 5] {
        let [f, h, w] = self.grid;
        [self.batch, self.wan.config.in_channels, f, h, w]
    }
    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.wan.config.name
    }
    /// Video tokens of one latent.
    pub fn tokens(&self) -> usize {
        self.grid.iter().product::<usize>() / self.wan.config.patch_volume()
    }
    /// The chain, with the floating-point operations of a pass over the whole batch.
    pub fn units(&self) -> Vec<Unit> {
        let config = &self.wan.config;
        let flops = config.unit_flops(self.tokens(), self.batch);
        (0..config.layers)
            .flat_map(|block| {
                UNITS
                    .into_iter()
                    .zip(flops)
                    .map(move |(kind, flops)| Unit { block, kind, flops })
            })
            .collect()
    }
    /// Floating-point operations outside the chain in one pass.
    pub fn rest_flops(&self) -> f64 {
        self.wan.config.rest_flops(self.tokens(), self.batch)
    }
    /// Bytes of one hidden state.
    pub fn hidden_bytes(&self) -> u64 {
        let bytes = burn::tensor::DType::from(self.wan.dtype).size();
        (self.batch * self.tokens() * self.wan.config.dim * bytes) as u64
    }
    /// Bytes of one prediction.
    pub fn latent_bytes(&self) -> u64 {
        let [f, h, w] = self.grid;
        (self.batch * self.wan.config.out_channels * f * h * w * size_of::<f32>()) as u64
    }

    fn block(&self, i: usize) -> (&Block, UnitKind) {
        (&self.wan.blocks[i / UNITS.len()], UNITS[i % UNITS.len()])
    }
    /// Layer norm without weights, then scale and shift of this timestep: one fused call.
    fn modulated(&self, x: &Tensor<3>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<3> {
        norm(x, scale.add_scalar(1.0), shift, self.wan.config.eps).cast(self.wan.dtype)
    }
    fn self_attention(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx) -> Tensor<3> {
        let row = |k| row(&block.modulation, &ctx.modulation, k);
        let x = self.modulated(x, row(SCALE_SELF), row(SHIFT_SELF));
        let Attention {
            q,
            k,
            v,
            o,
            norm_q,
            norm_k,
        } = &block.self_attn;
        let eps = self.wan.config.eps;
        let turned =
            |layer, scale| rms_rotate(project(x.clone(), layer), scale, &self.rotary, eps).cast(self.wan.dtype);
        let (q, k) = (turned(q, norm_q), turned(k, norm_k));
        project(attention(q, k, project(x, v), self.wan.config.heads), o)
    }
    fn cross_attention(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx) -> Tensor<3> {
        let [scale, shift] = block.cross_norm.clone();
        let (eps, dtype) = (self.wan.config.eps, self.wan.dtype);
        let x = norm(x, scale, shift, eps).cast(dtype);
        let Attention {
            q,
            k,
            v,
            o,
            norm_q,
            norm_k,
        } = &block.cross_attn;
        let text = ctx.text.clone();
        let q = rms_norm(project(x, q), norm_q, eps).cast(dtype);
        let k = rms_norm(project(text.clone(), k), norm_k, eps).cast(dtype);
        project(attention(q, k, project(text, v), self.wan.config.heads), o)
    }
    fn feed_forward(&self, block: &Block, x: &Tensor<3>, ctx: &WanCtx) -> Tensor<3> {
        let row = |k| row(&block.modulation, &ctx.modulation, k);
        let x = self.modulated(x, row(SCALE_FFN), row(SHIFT_FFN));
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
            modulation: wan.time.project(time.clone()).reshape([6, wan.config.dim]),
            time,
            text: cond.0.clone(),
        };
        (Hidden(project(patches, &wan.patch)), ctx)
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &WanCtx) -> Hidden {
        let (block, kind) = self.block(i);
        Hidden(match kind {
            UnitKind::SelfAttn => self.self_attention(block, &hidden.0, ctx),
            UnitKind::CrossAttn => self.cross_attention(block, &hidden.0, ctx),
            UnitKind::Mlp => self.feed_forward(block, &hidden.0, ctx),
        })
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &WanCtx) -> Hidden {
        let (block, kind) = self.block(i);
        let row = |k| Some(row(&block.modulation, &ctx.modulation, k));
        let gate = match kind {
            UnitKind::SelfAttn => row(GATE_SELF),
            UnitKind::CrossAttn => None,
            UnitKind::Mlp => row(GATE_FFN),
        };
        Hidden(add_gated(hidden.0, raw.0.clone(), gate))
    }
    fn head(&self, hidden: Hidden, ctx: &WanCtx) -> Latent {
        let wan = self.wan;
        let table = wan.head_modulation.clone() + ctx.time.clone(); // [2, d]: shift, scale
        let scale: Tensor<1> = table.clone().narrow(0, 1, 1).squeeze_dim(0);
        let shift = table.narrow(0, 0, 1).squeeze_dim(0);
        let normed = norm(&hidden.0, scale.add_scalar(1.0), shift, wan.config.eps);
        Latent(patch::latent(project(normed, &wan.head), self.grid, wan.config.patch))
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        let wan = self.wan;
        let embedding = wan.time.embed(timesteps, &wan.device);
        let signals = match signal {
            TimeSignal::Embedding => embedding,
            TimeSignal::Projection => wan.time.project(embedding),
        };
        let width = signals.dims()[1];
        host(signals).chunks_exact(width).map(<[f32]>::to_vec).collect()
    }
}
