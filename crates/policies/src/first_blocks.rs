//! DBCache Fn/Bn (vipshop/cache-dit@f86744a `cache_manager.py`) and First Block Cache (ParaAttention), which is
//! F1B0: always run the first `first` and last `last` blocks; replace the middle by its residual while the residual
//! of the first blocks stays within δ (relative L1) of what it was when the middle was last computed.

use crate::forecast::Forecast;
use crate::plan::*;
use crate::scm;
use serde::{Deserialize, Serialize};

/// The first step whose residual cache-dit compares with the one before to get a derivative (its counter begins at
/// −1 in the step that first stores, and must exceed 1).
const FIRST_SLOPE_STEP: usize = 3;

/// Skip the middle while the first blocks change little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstBlocks {
    /// δ: the change of the first blocks' residual at which the middle is computed.
    pub threshold: f32,
    /// Fn: blocks run before the test.
    #[serde(default = "one")]
    pub first: usize,
    /// Bn: blocks run after the middle.
    #[serde(default)]
    pub last: usize,
    /// Steps computed before the first test; without any, Wan collapses (early residuals look alike).
    #[serde(default)]
    pub warmup: usize,
    /// Most steps reused in a row; 0 = no limit.
    #[serde(default)]
    pub max_continuous: usize,
    /// Most steps reused in a run; 0 = no limit.
    #[serde(default)]
    pub max_cached: usize,
    /// Changes, summed over the run, from which on all is computed; 0 = no limit.
    #[serde(default)]
    pub max_accumulated: f32,
    /// The highest derivative with which the middle's residual is forecast; 0 reuses the newest.
    #[serde(default)]
    pub order: usize,
    /// The unconditional branch goes by the change that the conditional one measured in this step.
    #[serde(default)]
    pub shared_cfg: bool,
    /// Step mask (`slow`, `medium`, `fast`, `ultra`, or one digit a step): where it has 1 the middle is computed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mask: String,
    /// Where the mask has 0, reuse without a test.
    #[serde(default)]
    pub mask_static: bool,
    #[serde(skip)]
    head: usize,
    #[serde(skip)]
    tail: usize,
    #[serde(skip)]
    end: usize,
    #[serde(skip)]
    steps_masked: Option<Vec<bool>>, // true: compute
    #[serde(skip)]
    past: Vec<Past>, // per branch
    #[serde(skip)]
    cond_drift: Option<f32>, // of this step
    #[serde(skip)]
    forecast: Forecast,
}

#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct Past {
    in_a_row: usize,  // reused
    in_all: usize,    // reused
    accumulated: f32, // change
}

fn one() -> usize {
    1
}

impl FirstBlocks {
    /// F`first`B`last` with threshold δ, no warm-up and no limits.
    pub fn new(threshold: f32, first: usize, last: usize) -> FirstBlocks {
        FirstBlocks {
            threshold,
            first,
            last,
            warmup: 0,
            max_continuous: 0,
            max_cached: 0,
            max_accumulated: 0.0,
            order: 0,
            shared_cfg: false,
            mask: String::new(),
            mask_static: false,
            head: 0,
            tail: 0,
            end: 0,
            steps_masked: None,
            past: vec![],
            cond_drift: None,
            forecast: Forecast::default(),
        }
    }
    fn head_delta(&self) -> Value {
        Value::Delta { from: 0, to: self.head }
    }
    fn middle_delta(&self) -> Value {
        Value::Delta { from: self.head, to: self.tail }
    }
    /// What is settled without a test, in the order of the reference.
    fn settled(&self, at: At) -> Option<bool> {
        if at.full || at.step < self.warmup || !self.forecast.is_ready(at) {
            return Some(true);
        }
        match &self.steps_masked {
            Some(mask) if mask[at.step] => return Some(true),
            Some(_) if self.mask_static => return Some(false),
            _ => {}
        }
        let past = self.past[at.branch];
        let reached = |limit: usize, count: usize| limit > 0 && count >= limit;
        let computed = reached(self.max_cached, past.in_all)
            || reached(self.max_continuous, past.in_a_row)
            || self.max_accumulated > 0.0 && past.accumulated >= self.max_accumulated;
        computed.then_some(true)
    }
}

impl CachePolicy for FirstBlocks {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let blocks = run.blocks();
        if self.first == 0 || self.first + self.last >= blocks {
            return Err(Unfit(format!(
                "`first = {}`, `last = {}` of {blocks} blocks: expected at least one first block and one between",
                self.first, self.last
            )));
        }
        let middle = run.units_of(self.first..blocks - self.last);
        (self.head, self.tail, self.end) = (middle.start, middle.end, run.end());
        self.steps_masked = if self.mask.is_empty() { None } else { Some(scm::mask(&self.mask, run.steps())?) };
        (self.past, self.cond_drift) = (vec![Past::default(); run.branches], None);
        self.forecast = Forecast::new(self.order, run);
        Ok(self.forecast.claim(Claim::default().holding(run, self.head_delta()), run, self.middle_delta()))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        if at.unit == 0 {
            return Move::hold(self.head);
        }
        if at.unit == self.tail {
            return Move::compute(self.end);
        }
        if at.branch == COND && seen.is_empty() {
            self.cond_drift = None;
        }
        let compute = match (self.settled(at), seen) {
            (Some(compute), _) => compute,
            (None, []) if !(self.shared_cfg && self.cond_drift.is_some()) => {
                return Move::Look { probes: vec![Probe::Fresh(self.head_delta())] };
            }
            (None, _) => {
                let drift = seen.first().copied().or(self.cond_drift).unwrap_or(f32::INFINITY);
                self.cond_drift = Some(drift);
                self.past[at.branch].accumulated += drift;
                drift >= self.threshold
            }
        };
        let past = &mut self.past[at.branch];
        if compute {
            past.in_a_row = 0;
            if at.step < FIRST_SLOPE_STEP {
                self.forecast.forget(at);
            }
            self.forecast.wrote(at);
            return Move::store(self.tail);
        }
        (past.in_a_row, past.in_all) = (past.in_a_row + 1, past.in_all + 1);
        self.forecast.reuse(self.middle_delta(), at)
    }
}
