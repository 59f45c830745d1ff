//! FasterCache (arXiv 2410.19355; Vchitect/FasterCache `scripts/`, diffusers `hooks/faster_cache.py`). Attention:
//! A₋₁ + w·(A₋₁ − A₋₂) stands in for the output, and joins the history in its turn (eq. 5). CFG-cache: from the
//! conditional prediction, ε̂_u = ε_c + w_L·Δ_L + w_H·Δ_H with Δ = ε_u − ε_c of the last step that ran both, split into
//! low and high frequencies (eq. 8–10); the weights multiply up from one skipped step to the next.

use crate::cfg::rebuilt_uncond;
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Extrapolate attention, rebuild the unconditional branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faster {
    /// Where the windows come from.
    pub schedule: Schedule,
    /// With the schedule of timesteps: attention is reused below this one, of (0, 1000].
    pub below: f32,
    /// With the schedule of timesteps: the unconditional branch is rebuilt below this one.
    pub cfg_below: f32,
    /// Steps from one computed self-attention to the next; 1 computes all.
    pub interval: usize,
    /// w: how far the attention is extrapolated.
    pub weight: f32,
    /// Reuse attention only in the conditional branch, in steps that skip the other, as diffusers does.
    pub cond_only: bool,
    /// Steps from one step with both branches to the next; 1 always runs both.
    pub cfg_interval: usize,
    /// Factor on the low frequencies of Δ at each skipped step of their window.
    pub low_boost: f32,
    /// Factor on the high frequencies.
    pub high_boost: f32,
    #[serde(skip)]
    state: State,
}

/// Where the windows come from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Shares of the steps, as Google's maxdiffusion has it for Wan (`pipelines/wan/wan_pipeline_2_1.py`): reuse
    /// from T/3 to .9·T, low frequencies boosted before T/2, high ones after.
    Wan,
    /// Timesteps, as diffusers has it: low frequencies boosted between 99 and 901, high ones below 301.
    Timesteps,
}

impl Default for Faster {
    fn default() -> Self {
        Faster {
            schedule: Schedule::Wan,
            below: 681.0,
            cfg_below: 641.0,
            interval: 2,
            weight: 0.5,
            cond_only: false,
            cfg_interval: 5,
            low_boost: 1.1,
            high_boost: 1.1,
            state: State::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    attention: Vec<usize>,  // units
    end: usize,
    steps: Vec<Allowed>,
    passes: Vec<usize>,     // per branch: how many added to its history
    boost: [f32; 2],        // of low, high frequencies, since both branches ran
}

/// What a step may do.
#[derive(Copy, Clone, Debug, PartialEq)]
struct Allowed {
    reuse_attention: bool,
    skip_uncond: bool,
    boost: [f32; 2],
}

impl CachePolicy for Faster {
    fn is_hybrid() -> bool {
        true
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        at_least_one("cfg_interval", self.cfg_interval)?;
        let attention = (0..run.end()).filter(|&unit| run.units[unit].kind == UnitKind::SelfAttn);
        self.state = State {
            attention: attention.collect(),
            end: run.end(),
            steps: (0..run.steps()).map(|step| self.allowed(run, step)).collect(),
            passes: vec![0; run.branches],
            boost: [1.0; 2],
        };
        let mut claim = Claim::default();
        let extrapolating = if self.cond_only { 1 } else { run.branches };
        for &unit in self.state.attention.iter().filter(|_| self.interval > 1) {
            claim = (0..extrapolating).fold(claim, |claim, branch| claim.keeping_of(branch, Value::Raw { unit }, 2));
        }
        let rebuilding = run.branches == 2 && self.cfg_interval > 1;
        Ok(if rebuilding { claim.keeping(run, Value::Output, 1) } else { claim })
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let state = &mut self.state;
        let allowed = state.steps[at.step];
        if allowed.skip_uncond && at.branch == UNCOND {
            state.boost = [0, 1].map(|band| state.boost[band] * allowed.boost[band]);
            let [low, high] = state.boost;
            return rebuilt_uncond(&[(Weight::Bands { low, high }, Weight::Bands { low: -low, high: -high })]);
        }
        if at.unit == 0 {
            state.passes[at.branch] += 1;
            state.boost = if allowed.skip_uncond { state.boost } else { [1.0; 2] };
        }
        let reuse = allowed.reuse_attention && (at.branch == COND || !self.cond_only);
        let stop = state.attention.iter().copied().find(|&unit| reuse && unit >= at.unit);
        match stop {
            Some(unit) if unit == at.unit => {
                let value = Value::Raw { unit };
                let kept = |weight, age| Term::kept(weight, value, at.branch, age);
                let terms = match state.passes[at.branch] {
                    0..=2 => vec![kept(1.0, 0)], // a history of one
                    _ => vec![kept(1.0 + self.weight, 0), kept(-self.weight, 1)],
                };
                Move::Reuse { value, terms, kept: true, lacked: vec![] }
            }
            // Predictions are kept of steps alone in which both branches run.
            None if !allowed.skip_uncond => Move::store(state.end + 1),
            stop => Move::store(stop.unwrap_or(state.end)),
        }
    }
}

impl Faster {
    fn allowed(&self, run: &Run, step: usize) -> Allowed {
        let (t, steps) = (run.timesteps[step], run.steps());
        let middle = step >= steps / 3 && step < steps * 9 / 10;
        let (attention, uncond, low, high) = match self.schedule {
            Schedule::Wan => (middle, middle, step < steps / 2, step >= steps / 2),
            Schedule::Timesteps => (t < self.below, t < self.cfg_below, 99.0 < t && t < 901.0, t < 301.0),
        };
        let off = |interval: usize| step > 0 && !run.is_full(step) && !step.is_multiple_of(interval);
        let skip_uncond = run.branches == 2 && uncond && off(self.cfg_interval);
        let may_extrapolate = skip_uncond || !self.cond_only || run.branches == 1;
        Allowed {
            reuse_attention: attention && off(self.interval) && may_extrapolate,
            skip_uncond,
            boost: [if low { self.low_boost } else { 1.0 }, if high { self.high_boost } else { 1.0 }],
        }
    }
}
