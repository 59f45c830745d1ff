//! MagCache (arXiv 2506.09045; Zehong-Ma/MagCache@df81cb1 `MagCache4Wan2.1`): the residual's magnitude shrinks
//! from step to step as it did in one calibrated run. With γ_i its ratio at step i, and A = Πγ, E = Σ|1 − A|, n
//! counted since the last computed step: skip iff E < δ and n ≤ K, else compute and begin anew. No measurement.

use crate::data::{Kind, find};
use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Skip while the calibrated magnitude has changed little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mag {
    /// Name of the magnitude ratios.
    pub ratios: String,
    /// δ: the accumulated error at which a step is computed.
    #[serde(default = "default::threshold")]
    pub threshold: f64,
    /// K: most steps skipped in a row.
    #[serde(default = "default::max_skip")]
    pub max_skip: usize,
    /// ρ: share of the run's passes, at its start, that are computed.
    #[serde(default = "default::retention")]
    pub retention: f64,
    /// Skip at E = δ as well: the authors' HunyuanVideo code and diffusers do, their Wan code does not.
    #[serde(default)]
    pub inclusive: bool,
    /// Take √γ for γ, which a comment in the code says the paper's figures used.
    #[serde(default)]
    pub sqrt: bool,
    /// Allow ratios of another model.
    #[serde(default)]
    pub foreign: bool,
    #[serde(skip)]
    state: State,
}

mod default {
    pub fn threshold() -> f64 {
        0.12
    }
    pub fn max_skip() -> usize {
        2
    }
    pub fn retention() -> f64 {
        0.2
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    ratios: Vec<Vec<f64>>, // per branch, per step
    measured: usize,       // steps of the calibrated run
    retained: usize,       // passes
    since: Vec<Since>,     // per branch
    whole: WholeStep,
}

/// What has gathered since the last computed step.
#[derive(Copy, Clone, Debug, PartialEq)]
struct Since {
    product: f64,
    error: f64,
    steps: usize,
}

const NOTHING: Since = Since { product: 1.0, error: 0.0, steps: 0 };

impl Mag {
    /// MagCache with the named ratios and the defaults of the authors' Wan code.
    pub fn new(ratios: &str) -> Mag {
        Mag {
            ratios: ratios.into(),
            threshold: default::threshold(),
            max_skip: default::max_skip(),
            retention: default::retention(),
            inclusive: false,
            sqrt: false,
            foreign: false,
            state: State::default(),
        }
    }
}

impl CachePolicy for Mag {
    fn draws_on(&self) -> Option<(Kind, &str)> {
        Some((Kind::Ratios, &self.ratios))
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let of = find(run, "set of magnitude ratios", &run.data.ratios, &self.ratios, |r| &r.model, self.foreign)?;
        let (steps, branches) = (run.steps(), run.branches);
        if of.cond.is_empty() || !(of.uncond.is_empty() || of.uncond.len() == of.cond.len()) {
            let (name, cond, uncond) = (&self.ratios, of.cond.len(), of.uncond.len());
            return Err(Unfit(format!("ratios `{name}`: {cond} in `cond`, {uncond} in `uncond`: expected as many")));
        }
        let at_steps = |branch: usize| {
            let ratios = if branch == UNCOND && !of.uncond.is_empty() { &of.uncond } else { &of.cond };
            let ratio = |step| ratios[nearest(step, ratios.len(), steps)] as f64;
            (0..steps).map(|step| if self.sqrt { ratio(step).sqrt() } else { ratio(step) }).collect()
        };
        let (whole, claim) = WholeStep::new(Form::Residual, run);
        self.state = State {
            ratios: (0..branches).map(at_steps).collect(),
            measured: of.cond.len(),
            retained: ((steps * branches) as f64 * self.retention) as usize,
            since: vec![NOTHING; branches],
            whole,
        };
        Ok(claim)
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let state = &mut self.state;
        let since = &mut state.since[at.branch];
        if !at.full && at.step > 0 && at.step * state.ratios.len() + at.branch >= state.retained {
            since.product *= state.ratios[at.branch][at.step];
            since.error += (1.0 - since.product).abs();
            since.steps += 1;
            let within = since.error < self.threshold || self.inclusive && since.error == self.threshold;
            if within && since.steps <= self.max_skip {
                return state.whole.next(at, false);
            }
        }
        *since = NOTHING;
        state.whole.next(at, true)
    }
    fn warnings(&self) -> Vec<String> {
        let Some(steps) = self.state.ratios.first().map(Vec::len) else { return vec![] };
        let measured = self.state.measured;
        if steps == measured {
            return vec![];
        }
        let name = &self.ratios;
        vec![format!("MagCache: the ratios `{name}` come from {measured} steps; {steps} steps took the nearest")]
    }
}

/// The calibrated step nearest to `step` of `steps`, first to first and last to last.
fn nearest(step: usize, calibrated: usize, steps: usize) -> usize {
    if steps < 2 {
        return 0;
    }
    (step as f64 * (calibrated - 1) as f64 / (steps - 1) as f64).round_ties_even() as usize
}
