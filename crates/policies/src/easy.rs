//! EasyCache (arXiv 2507.02860; H-EmbodVis/EasyCache@5127804 `EasyCache4Wan2.1`): how fast the output y follows the
//! latent x, κ = mean|y − y*| / mean|x − x*| between the last two computed steps, predicts its change: skip while
//! Σ κ·mean|x_i − x_{i−1}| / mean|y*| < τ. A skipped step returns x_i + (y* − x*). The conditional branch decides.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Skip while the latent has changed little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Easy {
    /// τ: the accumulated change at which a step is computed (.05 for Wan, .025 for HunyuanVideo).
    pub threshold: f32,
    /// Steps computed at the start (10 for Wan, 5 for HunyuanVideo).
    pub warmup: usize,
    #[serde(skip)]
    output: usize,
    #[serde(skip)]
    sum: f32,
    #[serde(skip)]
    skip: bool, // this step, in both branches
}

impl Default for Easy {
    fn default() -> Self {
        Easy {
            threshold: 0.05,
            warmup: 10,
            output: 0,
            sum: 0.0,
            skip: false,
        }
    }
}

impl CachePolicy for Easy {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        (self.output, self.sum, self.skip) = (run.output(), 0.0, false);
        let claim = Claim::default()
            .keeping_of(COND, Value::Latent, 1)
            .keeping_of(COND, Value::Output, 2)
            .keeping_of(COND, Value::Change, 2);
        Ok((1..run.branches).fold(claim, |claim, branch| claim.keeping_of(branch, Value::Change, 1)))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        if at.branch == COND {
            let forced = at.full || at.step < self.warmup;
            match seen {
                _ if forced => self.skip = false,
                &[rate, change] => {
                    self.sum += rate * change;
                    self.skip = self.sum < self.threshold; // not when either is unknown, hence infinite
                }
                _ => return Move::Look { probes: probes() },
            }
            self.sum = if self.skip { self.sum } else { 0.0 };
        }
        if self.skip { Move::newest(Value::Change, at) } else { Move::store(self.output) }
    }
}

/// κ, and mean|x_i − x_{i−1}| / mean|y*|.
fn probes() -> Vec<Probe> {
    let y = |weight, age| Term::kept(weight, Value::Output, COND, age);
    let change = |weight, age| Term::kept(weight, Value::Change, COND, age);
    let (dy, dx) = (
        vec![y(1.0, 0), y(-1.0, 1)],
        vec![y(1.0, 0), y(-1.0, 1), change(-1.0, 0), change(1.0, 1)], // x = y − (y − x)
    );
    let step = vec![Term::fresh(1.0, Value::Latent), Term::kept(-1.0, Value::Latent, COND, 0)];
    vec![Probe::ratio(dy, dx), Probe::ratio(step, vec![y(1.0, 0)])]
}
