//! Guidance in an interval (arXiv 2404.07724; Step-AG, arXiv 2506.08351, guides the first 20–30 % of the steps):
//! outside it the conditional branch runs alone.

use crate::cfg::unguided;
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Guide a part of the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidanceInterval {
    /// Start of the interval, as a share of the steps.
    #[serde(default)]
    pub from: f32,
    /// End of the interval, as a share of the steps.
    pub to: f32,
    #[serde(skip)]
    guided: (usize, usize),
    #[serde(skip)]
    end: usize,
}

impl CachePolicy for GuidanceInterval {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        needs_guidance(run, "guidance in an interval")?;
        if !(0.0 <= self.from && self.from <= self.to && self.to <= 1.0) {
            return Err(Unfit(format!("`from = {}`, `to = {}`: expected 0 ≤ from ≤ to ≤ 1", self.from, self.to)));
        }
        let at_share = |share: f32| (share * run.steps() as f32).round() as usize;
        self.guided = (at_share(self.from), at_share(self.to));
        self.end = run.end();
        Ok(Claim::default())
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let (from, to) = self.guided;
        let guided = at.full || (from..to).contains(&at.step);
        if guided || at.branch == COND { Move::compute(self.end) } else { unguided() }
    }
}
