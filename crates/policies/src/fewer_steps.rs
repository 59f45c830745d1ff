//! Control: take fewer sampler steps, cache nothing. What a step cache must beat at the same compute.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Fewer sampler steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewerSteps {
    /// Steps of the coarser grid.
    pub steps: usize,
    #[serde(skip)]
    end: usize,
}

impl CachePolicy for FewerSteps {
    fn steps(&self, _planned: usize) -> usize {
        self.steps
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("steps", self.steps)?;
        self.end = run.end();
        Ok(Claim::default())
    }
    fn next(&mut self, _: At, _: &[f32]) -> Move {
        Move::compute(self.end)
    }
}
