//! DBCache Fn/Bn (vipshop/cache-dit) and First Block Cache (ParaAttention), which is F1B0: always run
//! the first `first` and last `last` blocks; replace the middle by its residual while the residual of
//! the first blocks stays within δ (relative L1) of what it was when the middle was last computed.

use crate::plan::*;
use serde::{Deserialize, Serialize};

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
    #[serde(skip)]
    head: usize,
    #[serde(skip)]
    tail: usize,
    #[serde(skip)]
    end: usize,
    #[serde(skip)]
    reused: Vec<Reused>, // per branch
}

#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct Reused {
    in_a_row: usize,
    in_all: usize,
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
            head: 0,
            tail: 0,
            end: 0,
            reused: vec![],
        }
    }
    fn head_delta(&self) -> Value {
        Value::Delta { from: 0, to: self.head }
    }
    fn middle_delta(&self) -> Value {
        Value::Delta { from: self.head, to: self.tail }
    }
    /// Whether the middle must be computed whatever the test would say.
    fn forced(&self, at: At) -> bool {
        let reached = |limit: usize, count: usize| limit > 0 && count >= limit;
        let reused = self.reused[at.branch];
        at.full
            || at.step < self.warmup
            || reached(self.max_continuous, reused.in_a_row)
            || reached(self.max_cached, reused.in_all)
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
        self.reused = vec![Reused::default(); run.branches];
        Ok(Claim::default().holding(run, self.head_delta()).keeping(run, self.middle_delta(), 1))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        if at.unit == 0 {
            return Move::hold(self.head);
        }
        if at.unit == self.tail {
            return Move::compute(self.end);
        }
        if !self.forced(at) {
            match seen {
                [] => return Move::Look { probes: vec![Probe::Fresh(self.head_delta())] },
                [drift] if *drift < self.threshold => {
                    let reused = &mut self.reused[at.branch];
                    (reused.in_a_row, reused.in_all) = (reused.in_a_row + 1, reused.in_all + 1);
                    return Move::newest(self.middle_delta(), at);
                }
                _ => {}
            }
        }
        self.reused[at.branch].in_a_row = 0;
        Move::store(self.tail)
    }
}
