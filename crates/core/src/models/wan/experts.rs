//! Wan2.2: two transformers of one shape that share a run. The one for high noise makes the first steps, the one for
//! low noise the rest (`wan/text2video.py`); a pass is one's alone.

use super::{Wan, WanChain, WanCond, WanConfig, WanCtx};
use crate::models::Chain;
use crate::models::patch::GridError;
use crate::models::prompt::PromptShapeError;
use crate::tensors::{Hidden, Latent, host};
use burn::tensor::{Device, FloatDType, Tensor};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, TimeSignal, Unit};

/// Two Wan transformers with their weights on a device.
pub struct WanExperts {
    config: WanConfig,
    high: Wan,
    low: Wan,
}

/// A prompt after the text projections of the expert for high and of the one for low noise.
#[derive(Clone, Debug)]
pub struct WanExpertsCond {
    high: WanCond,
    low: WanCond,
}

/// What stays fixed within one pass.
pub struct WanExpertsCtx {
    expert: Expert,
    ctx: WanCtx,
}

/// Which of the two.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Expert {
    High,
    Low,
}

/// Two Wan transformers on latents of one size.
pub struct WanExpertsChain<'a> {
    config: &'a WanConfig,
    high: WanChain<'a>,
    low: WanChain<'a>,
}

impl WanExpertsCond {
    /// Several conditions along the batch axis: `[cond, uncond]` for guidance in one pass.
    pub fn batch(conds: Vec<WanExpertsCond>) -> WanExpertsCond {
        let (high, low) = conds.into_iter().map(|cond| (cond.high, cond.low)).unzip();
        WanExpertsCond {
            high: WanCond::batch(high),
            low: WanCond::batch(low),
        }
    }
}

impl WanExperts {
    /// The expert for high noise and that for low, both of these sizes.
    pub fn of(config: WanConfig, high: Wan, low: Wan) -> WanExperts {
        WanExperts { config, high, low }
    }
    /// Sizes of each.
    pub fn config(&self) -> &WanConfig {
        &self.config
    }
    /// Where their weights lie.
    pub fn device(&self) -> &Device {
        self.high.device()
    }
    /// The dtype they compute in.
    pub fn dtype(&self) -> FloatDType {
        self.high.dtype()
    }
    /// Prepares a prompt for both.
    ///
    /// # Errors
    /// [`PromptShapeError`] when it is too long or of another width.
    pub fn condition(&self, text: Tensor<3>) -> Result<WanExpertsCond, PromptShapeError> {
        Ok(WanExpertsCond {
            high: self.high.condition(text.clone())?,
            low: self.low.condition(text)?,
        })
    }
    /// The models on latents of `grid` = frames, rows, columns, `batch` of them in a pass.
    ///
    /// # Errors
    /// [`GridError`] when patches do not divide the grid.
    pub fn on(&self, grid: [usize; 3], batch: usize) -> Result<WanExpertsChain<'_>, GridError> {
        Ok(WanExpertsChain {
            config: &self.config,
            high: self.high.on(grid, batch)?,
            low: self.low.on(grid, batch)?,
        })
    }
}

impl<'a> WanExpertsChain<'a> {
    fn expert(&self, timestep: f32) -> Expert {
        match self.config.boundary {
            Some(boundary) if timestep < boundary => Expert::Low,
            _ => Expert::High,
        }
    }
    fn chain(&self, expert: Expert) -> &WanChain<'a> {
        match expert {
            Expert::High => &self.high,
            Expert::Low => &self.low,
        }
    }
}

impl Chain for WanExpertsChain<'_> {
    fn model(&self) -> &str {
        &self.config.name
    }
    fn latent_shape(&self) -> [usize; 5] {
        self.high.latent_shape()
    }
    fn hidden_shape(&self) -> [usize; 3] {
        self.high.hidden_shape()
    }
    fn tokens(&self) -> usize {
        self.high.tokens()
    }
    fn dtype(&self) -> FloatDType {
        self.high.dtype()
    }
    fn signals(&self) -> Vec<Signal> {
        self.high.signals()
    }
    fn units(&self) -> Vec<Unit> {
        self.high.units()
    }
    fn rest_flops(&self) -> f64 {
        self.high.rest_flops()
    }
    fn switches(&self, timesteps: &[f32]) -> Vec<usize> {
        let is_first = |&step: &usize| self.expert(timesteps[step]) != self.expert(timesteps[step - 1]);
        (1..timesteps.len()).filter(is_first).collect()
    }
}

impl Dit for WanExpertsChain<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = WanExpertsCond;
    type Ctx = WanExpertsCtx;

    fn embed(&self, latent: &Latent, timestep: f32, cond: &WanExpertsCond) -> (Hidden, WanExpertsCtx) {
        let expert = self.expert(timestep);
        let cond = match expert {
            Expert::High => &cond.high,
            Expert::Low => &cond.low,
        };
        let (hidden, ctx) = self.chain(expert).embed(latent, timestep, cond);
        (hidden, WanExpertsCtx { expert, ctx })
    }
    fn eval(&self, i: usize, hidden: &Hidden, of: &WanExpertsCtx) -> Hidden {
        self.chain(of.expert).eval(i, hidden, &of.ctx)
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, of: &WanExpertsCtx) -> Hidden {
        self.chain(of.expert).join(i, hidden, raw, &of.ctx)
    }
    fn first_input(&self, hidden: &Hidden, of: &WanExpertsCtx) -> Hidden {
        self.chain(of.expert).first_input(hidden, &of.ctx)
    }
    fn head(&self, hidden: Hidden, of: &WanExpertsCtx) -> Latent {
        self.chain(of.expert).head(hidden, &of.ctx)
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        let runs = timesteps.chunk_by(|a, b| self.expert(*a) == self.expert(*b));
        let rows = runs.map(|run| self.chain(self.expert(run[0])).time_rows(signal, run));
        let signals = Tensor::cat(rows.collect(), 0); // one read for both
        let width = signals.dims()[1];
        host(signals).chunks_exact(width).map(<[f32]>::to_vec).collect()
    }
}
