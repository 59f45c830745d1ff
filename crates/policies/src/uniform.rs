//! Control: compute a given number of steps, spread evenly; what an adaptive placement must beat.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Compute `computed` steps, spread evenly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniform {
    /// Steps computed, those included that the run forbids to skip.
    pub computed: usize,
    /// What a skipped step reuses.
    #[serde(default)]
    pub form: Form,
    #[serde(skip)]
    mask: Vec<bool>,
    #[serde(skip)]
    whole: WholeStep,
}

impl CachePolicy for Uniform {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let free = free_steps(run, self.computed)?;
        let wanted = self.computed + free.len() - run.steps();
        self.mask = vec![true; run.steps()];
        for (i, &step) in free.iter().enumerate() {
            // Computed where the running total ⌊(i+1)·wanted/free⌋ advances (Bresenham's line).
            self.mask[step] = (i + 1) * wanted / free.len() > i * wanted / free.len();
        }
        let (whole, claim) = WholeStep::new(self.form, run);
        self.whole = whole;
        Ok(claim)
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        self.whole.next(at, at.full || self.mask[at.step])
    }
}

/// Steps that may be skipped: all but the first and those the run forbids. An error when `computed`
/// does not lie between the others and all.
pub(crate) fn free_steps(run: &Run, computed: usize) -> Result<Vec<usize>, Unfit> {
    let free: Vec<usize> = (1..run.steps()).filter(|&step| !run.is_full(step)).collect();
    let forced = run.steps() - free.len();
    if computed < forced || computed > run.steps() {
        let steps = run.steps();
        return Err(Unfit(format!("`computed = {computed}`: expected {forced} (steps that must be computed) to {steps}")));
    }
    Ok(free)
}
