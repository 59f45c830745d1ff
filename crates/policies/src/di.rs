//! DiCache (arXiv 2508.17356; Bujiazi/DiCache@dd7f0de `WAN2.1/run_wan_dicache.py`): always run the first blocks; while
//! the accumulated change of their output from step to step stays below δ, skip the rest. In its place, with R the
//! residuals of the last two computed steps and r those of the first blocks: x + R₋₂ + g·(R₋₁ − R₋₂),
//! g = mean|r − r₋₂| / mean|r₋₁ − r₋₂|.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Skip while the first blocks' output has changed little; extrapolate as far as their residual has moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Di {
    /// δ: the accumulated change at which a step is computed (.08 for Wan, .1 for HunyuanVideo).
    pub threshold: f32,
    /// Blocks that always run.
    pub probe_depth: usize,
    /// Share of the run's passes, at its start, that are computed.
    pub retention: f64,
    /// g is clamped to 1..this (2 for Wan, 1.5 for HunyuanVideo).
    pub gain_max: f32,
    #[serde(skip)]
    head: usize,
    #[serde(skip)]
    end: usize,
    #[serde(skip)]
    retained: usize, // passes
    #[serde(skip)]
    sum: Vec<f32>, // per branch
}

impl Default for Di {
    fn default() -> Self {
        Di {
            threshold: 0.08,
            probe_depth: 1,
            retention: 0.2,
            gain_max: 2.0,
            head: 0,
            end: 0,
            retained: 0,
            sum: vec![],
        }
    }
}

impl CachePolicy for Di {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("probe_depth", self.probe_depth)?;
        if self.probe_depth >= run.blocks() {
            let (depth, blocks) = (self.probe_depth, run.blocks());
            return Err(Unfit(format!("`probe_depth = {depth}` of {blocks} blocks: nothing is left to skip")));
        }
        (self.head, self.end) = (run.units_of(0..self.probe_depth).end, run.end());
        self.retained = ((run.steps() * run.branches) as f64 * self.retention) as usize;
        self.sum = vec![0.0; run.branches];
        let claim = |claim: Claim, branch| {
            claim
                .keeping_of(branch, self.probe(), 1)
                .holding_of(branch, self.head_delta(), 2)
                .keeping_of(branch, self.delta(), 2)
        };
        Ok((0..run.branches).fold(Claim::default(), claim))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        if at.unit == 0 {
            return Move::hold(self.head);
        }
        let forced = at.full || at.step * self.sum.len() + at.branch < self.retained;
        let sum = &mut self.sum[at.branch];
        match seen {
            _ if forced => {}
            &[change, gain] => {
                *sum += change;
                if *sum < self.threshold {
                    return self.extrapolated(at, gain);
                }
            }
            _ => return Move::Look { probes: self.probes(at) },
        }
        *sum = 0.0;
        Move::store(self.end)
    }
}

impl Di {
    fn probe(&self) -> Value {
        Value::State { unit: self.head }
    }
    fn head_delta(&self) -> Value {
        Value::Delta { from: 0, to: self.head }
    }
    fn delta(&self) -> Value {
        Value::Delta { from: 0, to: self.end }
    }
    /// The change of the probe since the step before, and g.
    fn probes(&self, at: At) -> Vec<Probe> {
        let r = |weight, age| Term::kept(weight, self.head_delta(), at.branch, age);
        let moved = vec![Term::fresh(1.0, self.head_delta()), r(-1.0, 1)];
        vec![Probe::Fresh(self.probe()), Probe::ratio(moved, vec![r(1.0, 0), r(-1.0, 1)])]
    }
    /// Stands behind the first blocks, so their own residual is taken back.
    fn extrapolated(&self, at: At, gain: f32) -> Move {
        let residual = |weight, age| Term::kept(weight, self.delta(), at.branch, age);
        let own = Term::fresh(-1.0, self.head_delta());
        let terms = if gain.is_finite() {
            let gain = gain.clamp(1.0, self.gain_max);
            vec![own, residual(gain, 0), residual(1.0 - gain, 1)]
        } else {
            vec![own, residual(1.0, 0)] // one computed step so far
        };
        Move::reuse(Value::Delta { from: self.head, to: self.end }, terms)
    }
}
