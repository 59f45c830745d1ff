//! Δ-DiT (arXiv 2406.01125, eq. 4–5): between refreshes the offset, out − in, of a run of blocks stands in for them:
//! in the noisy steps the back blocks, which add detail; after the boundary the front blocks, which draw outlines.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Reuse the back blocks first, the front blocks later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaDit {
    /// Steps from one whole step to the next; 1 computes all.
    pub interval: usize,
    /// Blocks that are reused, as a share of all.
    pub share: f32,
    /// b: where the front blocks take over, as a share of the steps.
    pub boundary: f32,
    #[serde(skip)]
    back: (usize, usize), // units
    #[serde(skip)]
    front: (usize, usize),
    #[serde(skip)]
    first_front_step: usize,
}

impl Default for DeltaDit {
    fn default() -> Self {
        DeltaDit {
            interval: 3,
            share: 0.5,
            boundary: 0.5,
            back: (0, 0),
            front: (0, 0),
            first_front_step: 0,
        }
    }
}

impl CachePolicy for DeltaDit {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        let (share, blocks) = (self.share, run.blocks());
        let reused = (share * blocks as f32).round() as usize;
        if reused == 0 || reused > blocks {
            return Err(Unfit(format!("`share = {share}` of {blocks} blocks: expected 0 < share ≤ 1, and one block")));
        }
        self.back = (run.units_of(blocks - reused..blocks).start, run.end());
        self.front = (0, run.units_of(0..reused).end);
        self.first_front_step = (self.boundary * run.steps() as f32).round() as usize;
        let front = Claim::default().keeping(run, delta(self.front), 1);
        Ok(if self.front == self.back { front } else { front.keeping(run, delta(self.back), 1) })
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let end = self.back.1;
        if at.full || at.step.is_multiple_of(self.interval) {
            return Move::store(end);
        }
        let reused = if at.step < self.first_front_step { self.back } else { self.front };
        match at.unit {
            unit if unit == reused.0 => Move::newest(delta(reused), at),
            unit if unit < reused.0 => Move::compute(reused.0),
            _ => Move::compute(end),
        }
    }
}

fn delta((from, to): (usize, usize)) -> Value {
    Value::Delta { from, to }
}
