//! BlockDance (arXiv 2503.15927): shallow blocks make the same structure step after step, deep ones do not. Inside a
//! window, the first step of each group runs whole; the others begin with the hidden state that it had behind its
//! shallow blocks, and run the deep ones alone. The learned choice of steps is not here.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Begin behind the shallow blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockDance {
    /// Shallow blocks, as a share of all.
    pub shallow: f32,
    /// Steps in a group: one whole, the others without the shallow blocks.
    pub group: usize,
    /// Start of the window, as a share of the steps.
    pub from: f32,
    /// End of the window, as a share of the steps.
    pub to: f32,
    #[serde(skip)]
    window: (usize, usize),
    #[serde(skip)]
    deep: usize, // the first deep unit
    #[serde(skip)]
    end: usize,
}

impl Default for BlockDance {
    fn default() -> Self {
        BlockDance {
            shallow: 0.5,
            group: 2,
            from: 0.4,
            to: 0.95,
            window: (0, 0),
            deep: 0,
            end: 0,
        }
    }
}

impl CachePolicy for BlockDance {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("group", self.group)?;
        let (shallow, blocks) = (self.shallow, run.blocks());
        let first_deep = (shallow * blocks as f32).round() as usize;
        if first_deep == 0 || first_deep >= blocks {
            return Err(Unfit(format!("`shallow = {shallow}` of {blocks} blocks: expected some, and some left")));
        }
        let steps = |share: f32| (share * run.steps() as f32).round() as usize;
        self.window = (steps(self.from), steps(self.to));
        (self.deep, self.end) = (run.units_of(0..first_deep).end, run.end());
        Ok(Claim::default().keeping(run, self.state(), 1))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let (from, to) = self.window;
        let whole = !(from..to).contains(&at.step) || (at.step - from).is_multiple_of(self.group);
        if at.full || whole || at.unit == self.deep {
            Move::compute(self.end)
        } else {
            Move::newest(self.state(), at)
        }
    }
}

impl BlockDance {
    fn state(&self) -> Value {
        Value::State { unit: self.deep }
    }
}
