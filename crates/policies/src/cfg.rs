//! CFG cache: inside a window run the conditional branch only, and rebuild the unconditional
//! prediction from the difference of the last refresh: ε̂_u = ε_c + (ε_u − ε_c)_s.
//! The plain form of FasterCache's CFG-Cache (arXiv 2410.19355, §3.3), without frequency bands.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Reuse the difference between the branches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cfg {
    /// Steps from one step with both branches to the next; 1 always runs both.
    pub interval: usize,
    /// Start of the window, as a share of the steps.
    #[serde(default)]
    pub from: f32,
    /// End of the window, as a share of the steps.
    #[serde(default = "one")]
    pub to: f32,
    #[serde(skip)]
    window: (usize, usize),
    #[serde(skip)]
    output: usize,
}

fn one() -> f32 {
    1.0
}

impl CachePolicy for Cfg {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        needs_guidance(run, "a CFG cache")?;
        if !(0.0 <= self.from && self.from < self.to && self.to <= 1.0) {
            return Err(Unfit(format!("`from = {}`, `to = {}`: expected 0 ≤ from < to ≤ 1", self.from, self.to)));
        }
        let at_share = |share: f32| (share * run.steps() as f32).round() as usize;
        self.window = (at_share(self.from), at_share(self.to));
        self.output = run.output();
        Ok(Claim::default().keeping(run, Value::Output, 1))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let (from, to) = self.window;
        let inside = (from..to).contains(&at.step);
        let refresh = at.full || !inside || (at.step - from).is_multiple_of(self.interval);
        match at.branch {
            _ if refresh => Move::store(self.output),
            COND => Move::compute(self.output),
            _ => rebuilt_uncond(&[(Weight::Flat(1.0), Weight::Flat(-1.0))]),
        }
    }
}

/// `ε_c + Σ_a w_a·(ε_u − ε_c)_a` over the stored differences, newest first: each entry is w and its negative.
pub(crate) fn rebuilt_uncond(ages: &[(Weight, Weight)]) -> Move {
    let kept = |weight, branch, age| Term { weight, of: Source::Kept { value: Value::Output, branch, age } };
    let mut terms = vec![Term { weight: Weight::Flat(1.0), of: Source::Now { branch: COND } }];
    for (age, &(weight, minus)) in ages.iter().enumerate() {
        terms.extend([kept(weight, UNCOND, age), kept(minus, COND, age)]);
    }
    Move::reuse(Value::Output, terms)
}

/// The conditional prediction in place of the unconditional one: a step without guidance.
pub(crate) fn unguided() -> Move {
    let now = Term { weight: Weight::Flat(1.0), of: Source::Now { branch: COND } };
    Move::reuse(Value::Output, vec![now])
}
