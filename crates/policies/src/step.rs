//! Step cache on a fixed interval: compute every n-th step, reuse it in between.
//! Residual form: FORA's schedule (arXiv 2407.01425) on the whole stack. Output form under Euler: fewer steps.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Compute every n-th step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Steps from one computed step to the next; 1 computes all.
    pub interval: usize,
    /// What a skipped step reuses.
    #[serde(default)]
    pub form: Form,
    #[serde(skip)]
    whole: WholeStep,
}

impl CachePolicy for Step {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        let (whole, claim) = WholeStep::new(self.form, run);
        self.whole = whole;
        Ok(claim)
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        self.whole.next(at, at.full || at.step.is_multiple_of(self.interval))
    }
}
