//! HunyuanVideo as a chain of units: two for a double block, one for a single block.

use super::{Block, Double, Heads, Hunyuan, HunyuanCond, HunyuanConfig, Single, Stream};
use crate::models::Chain;
use crate::models::modulation::Modulation;
use crate::models::ops::{add_gated, attention, modulated, project, project_gelu, rms_norm, rms_rotate, vectors};
use crate::models::patch::{self, Channels, GridError, token_grid};
use crate::models::rotary;
use crate::tensors::{Hidden, Latent, host};
use burn::tensor::activation::silu;
use burn::tensor::{FloatDType, Tensor};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, TimeSignal, Unit, UnitKind};
use std::sync::Arc;

/// Units of a double block; a single block is one.
const UNITS: [UnitKind; 2] = [UnitKind::SelfAttn, UnitKind::Mlp];

/// A HunyuanVideo model on latents and prompts of one size.
pub struct HunyuanChain<'a> {
    hunyuan: &'a Hunyuan,
    grid: [usize; 3],   // latent frames, rows, columns
    text_tokens: usize, // of the longest prompt
    video_rotary: [Tensor<4>; 2],
    rotary: [Tensor<4>; 2], // of all tokens: those of the text do not turn
}

/// What stays fixed within one pass.
pub struct HunyuanCtx {
    /// SiLU of the conditioning vector, `[1, d]` in the dtype of hidden states.
    signal: Tensor<2>,
    rotary: [Tensor<4>; 2], // of the video and of this prompt
}

impl HunyuanConfig {
    /// Block and kind of each unit of the chain, in execution order.
    pub fn unit_kinds(&self) -> Vec<(usize, UnitKind)> {
        let doubles = (0..self.double_layers).flat_map(|block| UNITS.map(|kind| (block, kind)));
        let singles = (0..self.single_layers).map(|i| (self.double_layers + i, UnitKind::Fused));
        doubles.chain(singles).collect()
    }
}

impl Hunyuan {
    /// The model on a latent of `grid` = frames, rows, columns and prompts of at most `text_tokens` tokens: what is
    /// counted of a pass, operations and bytes, is of a prompt of so many.
    ///
    /// # Errors
    /// [`GridError`] when patches do not divide the grid.
    pub fn on(&self, grid: [usize; 3], text_tokens: usize) -> Result<HunyuanChain<'_>, GridError> {
        let config = &self.config;
        let tokens = token_grid(grid, config.patch)?;
        let video_rotary = rotary::tables(tokens, config.rope, config.theta, &self.device);
        Ok(HunyuanChain {
            hunyuan: self,
            grid,
            text_tokens,
            rotary: rotary::with_still(video_rotary.clone(), text_tokens),
            video_rotary,
        })
    }
}

impl Chain for HunyuanChain<'_> {
    fn model(&self) -> &str {
        &self.hunyuan.config.name
    }
    fn latent_shape(&self) -> [usize; 5] {
        let [f, h, w] = self.grid;
        [1, self.hunyuan.config.in_channels, f, h, w]
    }
    fn hidden_shape(&self) -> [usize; 3] {
        [1, self.tokens() + self.text_tokens, self.hunyuan.config.dim]
    }
    fn tokens(&self) -> usize {
        self.grid.iter().product::<usize>() / self.hunyuan.config.patch_volume()
    }
    fn dtype(&self) -> FloatDType {
        self.hunyuan.dtype
    }
    fn signals(&self) -> Vec<Signal> {
        vec![Signal::Time(TimeSignal::Embedding), Signal::Input]
    }
    fn units(&self) -> Vec<Unit> {
        let config = &self.hunyuan.config;
        let [attn, mlp, fused] = config.unit_flops(self.tokens() + self.text_tokens);
        let unit = |(block, kind)| Unit {
            block,
            kind,
            flops: match kind {
                UnitKind::SelfAttn => attn,
                UnitKind::Mlp => mlp,
                _ => fused,
            },
        };
        config.unit_kinds().into_iter().map(unit).collect()
    }
    fn rest_flops(&self) -> f64 {
        self.hunyuan.config.rest_flops(self.tokens(), self.text_tokens)
    }
}

impl HunyuanChain<'_> {
    /// The block of a unit, and what the unit computes.
    fn block(&self, i: usize) -> (Arc<Block>, UnitKind) {
        let Hunyuan { config, blocks, .. } = self.hunyuan;
        match i.checked_sub(UNITS.len() * config.double_layers) {
            None => (blocks.get(i / UNITS.len()), UNITS[i % UNITS.len()]),
            Some(single) => (blocks.get(config.double_layers + single), UnitKind::Fused),
        }
    }
    /// Norm, shift and scale in front of a unit.
    fn enter(&self, x: &Tensor<3>, modulation: &Modulation, ctx: &HunyuanCtx) -> Tensor<3> {
        let [shift, scale] = vectors(&ctx.signal, &modulation.shift_scale);
        modulated(x, scale, shift, self.hunyuan.config.eps, self.hunyuan.dtype)
    }
    /// Gate and sum behind a unit.
    fn leave(&self, x: Tensor<3>, raw: Tensor<3>, modulation: &Modulation, ctx: &HunyuanCtx) -> Tensor<3> {
        let [gate] = vectors(&ctx.signal, &modulation.gate);
        add_gated(x, raw, Some(gate))
    }
    /// Queries and keys normed, and turned where there is an angle to turn by; values.
    fn qkv(&self, x: Tensor<3>, heads: &Heads, rotary: Option<&[Tensor<4>; 2]>) -> [Tensor<3>; 3] {
        let (eps, dtype) = (self.hunyuan.config.eps, self.hunyuan.dtype);
        let [q, k, v] = [0, 1, 2].map(|i| project(x.clone(), &heads.qkv[i]));
        let placed = |x, scale| match rotary {
            Some(rotary) => rms_rotate(x, scale, rotary, eps, dtype),
            None => rms_norm(x, scale, eps, dtype),
        };
        [placed(q, &heads.norm_q), placed(k, &heads.norm_k), v]
    }
    /// Video and text tokens apart.
    fn apart(&self, x: Tensor<3>) -> [Tensor<3>; 2] {
        let (video, all) = (self.tokens(), x.dims()[1]);
        [x.clone().narrow(1, 0, video), x.narrow(1, video, all - video)]
    }
    /// The tables of the video and of a prompt of `text_tokens` tokens.
    ///
    /// # Panics
    /// When the prompt is longer than those the chain was made for.
    fn rotary(&self, text_tokens: usize) -> [Tensor<4>; 2] {
        let longest = self.text_tokens;
        assert!(text_tokens <= longest, "a prompt of at most {longest} tokens");
        let cut = |table: Tensor<4>| table.narrow(1, 0, self.tokens() + text_tokens);
        match text_tokens == longest {
            true => self.rotary.clone(),
            false => self.rotary.clone().map(cut),
        }
    }
    /// A hidden state of video and text.
    fn together(&self, streams: [Tensor<3>; 2]) -> Hidden {
        self.hidden(Tensor::cat(streams.into(), 1))
    }
    fn hidden(&self, tokens: Tensor<3>) -> Hidden {
        let video = self.tokens();
        Hidden { tokens, video }
    }

    fn joint_attention(&self, block: &Double, hidden: &Hidden, ctx: &HunyuanCtx) -> Hidden {
        let [video, text] = self.apart(hidden.tokens.clone());
        let qkv = |x: Tensor<3>, stream: &Stream, rotary| {
            self.qkv(self.enter(&x, &stream.attn_mod, ctx), &stream.heads, rotary)
        };
        let (video, text) = (
            qkv(video, &block.video, Some(&self.video_rotary)),
            qkv(text, &block.text, None),
        );
        let mut all = video
            .into_iter()
            .zip(text)
            .map(|(video, text)| Tensor::cat(vec![video, text], 1));
        let mut next = || all.next().expect("queries, keys, values");
        let products = block.video.attn_out.products();
        let mixed = attention(next(), next(), next(), self.hunyuan.config.heads, products);
        let [video, text] = self.apart(mixed);
        self.together([
            project(video, &block.video.attn_out),
            project(text, &block.text.attn_out),
        ])
    }
    fn feed_forward(&self, block: &Double, hidden: &Hidden, ctx: &HunyuanCtx) -> Hidden {
        let [video, text] = self.apart(hidden.tokens.clone());
        let mlp = |x: Tensor<3>, stream: &Stream| {
            let [first, second] = &stream.mlp;
            project(project_gelu(self.enter(&x, &stream.mlp_mod, ctx), first), second)
        };
        self.together([mlp(video, &block.video), mlp(text, &block.text)])
    }
    fn fused(&self, block: &Single, hidden: &Hidden, ctx: &HunyuanCtx) -> Hidden {
        let x = self.enter(&hidden.tokens, &block.modulation, ctx);
        let [q, k, v] = self.qkv(x.clone(), &block.heads, Some(&ctx.rotary));
        let products = block.attn_out.products();
        let mixed = attention(q, k, v, self.hunyuan.config.heads, products);
        let mixed = project(mixed, &block.attn_out);
        self.hidden(mixed + project(project_gelu(x, &block.mlp), &block.mlp_out))
    }
    /// Gates and sums of both streams of a double block.
    fn leave_both(&self, hidden: Hidden, raw: &Hidden, [video, text]: [&Modulation; 2], ctx: &HunyuanCtx) -> Hidden {
        let [video_x, text_x] = self.apart(hidden.tokens);
        let [video_raw, text_raw] = self.apart(raw.tokens.clone());
        self.together([
            self.leave(video_x, video_raw, video, ctx),
            self.leave(text_x, text_raw, text, ctx),
        ])
    }
}

impl Dit for HunyuanChain<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = HunyuanCond;
    type Ctx = HunyuanCtx;

    fn embed(&self, latent: &Latent, timestep: f32, cond: &HunyuanCond) -> (Hidden, HunyuanCtx) {
        let Hunyuan {
            config, device, dtype, ..
        } = self.hunyuan;
        let patches = patch::patches(latent.0.clone().cast(*dtype), config.patch);
        let (text, summary) = (cond.text.clone(), cond.summary.clone());
        let rotary = self.rotary(text.dims()[1]);
        let hidden = self.together([
            project(patches, &self.hunyuan.patch),
            self.hunyuan.refiner.refine(text, summary, timestep, device),
        ]);
        let vector = self.hunyuan.time.embed(&[timestep], device) + cond.vector.clone();
        let signal = silu(vector).cast(*dtype);
        (hidden, HunyuanCtx { signal, rotary })
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &HunyuanCtx) -> Hidden {
        let (block, kind) = self.block(i);
        match &*block {
            Block::Double(block) if kind == UnitKind::SelfAttn => self.joint_attention(block, hidden, ctx),
            Block::Double(block) => self.feed_forward(block, hidden, ctx),
            Block::Single(block) => self.fused(block, hidden, ctx),
        }
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &HunyuanCtx) -> Hidden {
        let (block, kind) = self.block(i);
        match &*block {
            Block::Double(block) => {
                let modulations = [&block.video, &block.text].map(|stream| stream.modulation(kind));
                self.leave_both(hidden, raw, modulations, ctx)
            }
            Block::Single(block) => self.hidden(self.leave(hidden.tokens, raw.tokens.clone(), &block.modulation, ctx)),
        }
    }
    fn first_input(&self, hidden: &Hidden, ctx: &HunyuanCtx) -> Hidden {
        let (first, _) = self.block(0);
        let modulation = match &*first {
            Block::Double(block) => &block.video.attn_mod,
            Block::Single(block) => &block.modulation,
        };
        Hidden::of_video(self.enter(&hidden.video_tokens(), modulation, ctx))
    }
    fn head(&self, hidden: Hidden, ctx: &HunyuanCtx) -> Latent {
        let Hunyuan { config, head, .. } = self.hunyuan;
        let [shift] = vectors(&ctx.signal, &self.hunyuan.head_shift);
        let [scale] = vectors(&ctx.signal, &self.hunyuan.head_scale);
        let x = modulated(&hidden.video_tokens(), scale, shift, config.eps, FloatDType::F32);
        let patches = project(x, head);
        Latent(patch::latent(patches, Channels::First, self.grid, config.patch))
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        assert_eq!(signal, TimeSignal::Embedding, "the only signal of the timestep alone");
        let signals = self.hunyuan.time.embed(timesteps, &self.hunyuan.device);
        let width = signals.dims()[1];
        host(signals).chunks_exact(width).map(<[f32]>::to_vec).collect()
    }
}

impl Stream {
    /// That of one of its units.
    fn modulation(&self, unit: UnitKind) -> &Modulation {
        match unit {
            UnitKind::SelfAttn => &self.attn_mod,
            _ => &self.mlp_mod,
        }
    }
}
