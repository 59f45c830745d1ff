//! Block cache on a fixed interval: between refreshes a range of blocks is replaced by its residual.
//! Δ-DiT's offset caching (arXiv 2406.01125, eq. 4) with one range for all steps.

use crate::plan::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Reuse the residual of a range of blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Steps from one full computation to the next; 1 computes all.
    pub interval: usize,
    /// Start of the range, as a share of the blocks.
    pub from: f32,
    /// End of the range, as a share of the blocks.
    pub to: f32,
    #[serde(skip)]
    units: Range<usize>,
    #[serde(skip)]
    end: usize,
}

impl CachePolicy for Block {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        let block = |share: f32| (share * run.blocks() as f32).round() as usize;
        self.units = run.units_of(block(self.from)..block(self.to));
        self.end = run.end();
        if self.units.is_empty() {
            let (from, to, blocks) = (self.from, self.to, run.blocks());
            return Err(Unfit(format!("`from = {from}`, `to = {to}` leaves no block of {blocks}: expected 0 ≤ from < to ≤ 1")));
        }
        Ok(Claim::default().keeping(run, self.delta(), 1))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        if at.full || at.step.is_multiple_of(self.interval) {
            return Move::store(self.end);
        }
        match at.unit {
            unit if unit == self.units.start => Move::newest(self.delta(), at),
            unit if unit < self.units.start => Move::compute(self.units.start),
            _ => Move::compute(self.end),
        }
    }
}

impl Block {
    fn delta(&self) -> Value {
        Value::Delta { from: self.units.start, to: self.units.end }
    }
}
