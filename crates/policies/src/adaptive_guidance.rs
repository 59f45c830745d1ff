//! Adaptive Guidance (arXiv 2312.12487): once the predictions of the two branches point the same way,
//! cos(ε_c, ε_u) > γ, guidance has nothing more to add: all later steps run the conditional branch alone.

use crate::cfg::unguided;
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Drop guidance once the branches agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveGuidance {
    /// γ: the cosine above which guidance is dropped.
    pub threshold: f32,
    /// Steps that are guided whatever the cosine.
    #[serde(default)]
    pub warmup: usize,
    #[serde(skip)]
    output: usize,
    #[serde(skip)]
    dropped: bool,
}

impl CachePolicy for AdaptiveGuidance {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        needs_guidance(run, "Adaptive Guidance")?;
        (self.output, self.dropped) = (run.output(), false);
        Ok(Claim::default().keeping(run, Value::Output, 1))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let undecided = !self.dropped && !at.full && at.step > 0 && at.step >= self.warmup;
        if at.branch == COND && undecided {
            let kept = |branch| vec![Term::kept(1.0, Value::Output, branch, 0)];
            let &[cosine] = seen else {
                return Move::Look { probes: vec![Probe::Cosine { a: kept(COND), b: kept(UNCOND) }] };
            };
            self.dropped = cosine > self.threshold;
        }
        match at.branch {
            _ if !self.dropped => Move::store(self.output),
            UNCOND if !at.full => unguided(),
            _ => Move::compute(self.output),
        }
    }
}
