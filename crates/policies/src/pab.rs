//! Pyramid Attention Broadcast (arXiv 2408.12588; NUS-HPC-AI-Lab/VideoSys `videosys/core/pab/pab_mgr.py`): inside a
//! window of timesteps an attention's output is computed every n-th step and reused in between, the less often
//! computed the more slowly its kind changes. On Wan the full 3-D self-attention counts as the paper's spatial one.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Reuse attention outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pab {
    /// Steps from one computed self-attention to the next; 1 computes all.
    pub interval: usize,
    /// Self-attention is reused at timesteps above this, of (0, 1000] …
    pub low: f32,
    /// … and below this.
    pub high: f32,
    /// Steps from one computed cross-attention to the next; 1 computes all.
    pub cross_interval: usize,
    /// As `low`, for cross-attention.
    pub cross_low: f32,
    /// As `high`, for cross-attention.
    pub cross_high: f32,
    /// Count passes, not steps, and keep one output for both branches, as diffusers does: with an interval of
    /// 2 the unconditional branch then reuses the conditional attention of the same step. A fault, for comparison.
    pub shared_state: bool,
    #[serde(skip)]
    kinds: Vec<UnitKind>,
    #[serde(skip)]
    inside: [Vec<bool>; 2], // of self-, cross-attention: whether it may be reused in each step
    #[serde(skip)]
    branches: usize,
}

impl Default for Pab {
    fn default() -> Self {
        Pab {
            interval: 2,
            low: 100.0,
            high: 850.0, // CogVideoX's window, the full 3-D attention among VideoSys' pipelines
            cross_interval: 6,
            cross_low: 100.0,
            cross_high: 850.0,
            shared_state: false,
            kinds: vec![],
            inside: [vec![], vec![]],
            branches: 0,
        }
    }
}

impl CachePolicy for Pab {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        at_least_one("cross_interval", self.cross_interval)?;
        if self.shared_state {
            needs_like_branches(run, "`shared_state = true`")?;
        }
        let window = |low: f32, high: f32| {
            let inside = |(step, &t): (usize, &f32)| low < t && t < high && !run.is_full(step);
            run.timesteps.iter().enumerate().map(inside).collect()
        };
        self.inside = [window(self.low, self.high), window(self.cross_low, self.cross_high)];
        self.kinds = run.units.iter().map(|unit| unit.kind).collect();
        self.branches = run.branches;
        let cached = |&unit: &usize| self.kind(unit).is_some_and(|kind| self.intervals()[kind] > 1);
        let raw = |claim: Claim, unit| claim.keeping(run, Value::Raw { unit }, 1);
        Ok((0..run.end()).filter(cached).fold(Claim::default(), raw))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        if let Some(branch) = self.reused_of(at, at.unit) {
            let value = Value::Raw { unit: at.unit };
            return Move::reuse(value, vec![Term::kept(1.0, value, branch, 0)]);
        }
        let end = self.kinds.len();
        Move::store((at.unit..end).find(|&unit| self.reused_of(at, unit).is_some()).unwrap_or(end))
    }
}

impl Pab {
    fn intervals(&self) -> [usize; 2] {
        [self.interval, self.cross_interval]
    }
    /// Which settings a unit has, if any.
    fn kind(&self, unit: usize) -> Option<usize> {
        match self.kinds[unit] {
            UnitKind::SelfAttn => Some(0),
            UnitKind::CrossAttn => Some(1),
            // The attention of a fused unit cannot be had without its feed-forward, which PAB computes anew.
            UnitKind::Mlp | UnitKind::Fused => None,
        }
    }
    /// The branch whose output the unit reuses, or none where it is computed.
    fn reused_of(&self, at: At, unit: usize) -> Option<usize> {
        let kind = self.kind(unit)?;
        let passes = if self.shared_state { self.branches } else { 1 };
        let count = if self.shared_state { at.step * passes + at.branch } else { at.step };
        let interval = self.intervals()[kind];
        let computed = |count: usize| !self.inside[kind][count / passes] || count.is_multiple_of(interval);
        if computed(count) {
            return None;
        }
        let last = (0..count).rev().find(|&earlier| computed(earlier));
        if self.shared_state { last.map(|count| count % passes) } else { Some(at.branch) }
    }
}
