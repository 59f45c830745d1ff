//! A step mask: compute where it says so, reuse elsewhere, without looking. SCM's static form (vipshop/cache-dit
//! `cache_interface.py`); what LeMiCa, ERTACache and other offline searches end in.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use crate::scm;
use serde::{Deserialize, Serialize};

/// Compute the steps of a mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// `slow`, `medium`, `fast`, `ultra` (stretched to the run's steps), or one digit a step, 1 = computed.
    pub mask: String,
    /// What a skipped step reuses.
    #[serde(default)]
    pub form: Form,
    /// The highest derivative with which it is forecast; 0 reuses the newest.
    #[serde(default)]
    pub order: usize,
    #[serde(skip)]
    computed: Vec<bool>,
    #[serde(skip)]
    whole: WholeStep,
}

impl CachePolicy for Mask {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        self.computed = scm::mask(&self.mask, run.steps())?;
        let (whole, claim) = WholeStep::forecasting(self.form, self.order, run);
        self.whole = whole;
        Ok(claim)
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        self.whole.next(at, at.full || self.computed[at.step])
    }
}
