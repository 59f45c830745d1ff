//! PlanCache, our own: compute where a calibrated forecast would be wrong and it would matter.
//!
//! MixCache (arXiv 2508.12691) decides at run time what to reuse; TaylorSeer (arXiv 2503.06923) extrapolates what
//! it reuses; DPCache (arXiv 2602.22654) plans whole steps by dynamic programming. This joins the three on what a
//! few uncached runs tell: how the predictions of all steps and branches hang together, `E⟨p_i, p_j⟩`, and
//! how much an error made in a step has grown at the end. From these follow
//! - the **forecast**: the linear combination of kept predictions with the least mean square error, its weights
//!   adding up to 1 (kriging; a Taylor series is one such combination);
//! - its **error**, for every step, branch and history of computed steps;
//! - the **amendment**: once a step is computed again, the steps skipped before it are known better, by
//!   interpolation; the solver lets their predictions have been those;
//! - the **plan**: which steps to compute, to skip, or to run with the conditional branch alone, so that what
//!   the errors leave in the final latent is least for a given number of passes.
//!
//! In the plan, lengths of steps are those of a flow, `Δσ`; for DDIM or an SDE on v (CogVideoX) they are an approximation
//! that nobody has measured.
//!
//! Only predictions are kept: no hidden state, no measurement, no threshold. The one knob is the compute.
//!
//! A plan that is given may also reuse ranges of blocks, which the model of errors knows nothing of: that is how an
//! oracle is searched (`mixcache oracle`). Such a step is neither amended nor does it tell others what to forecast,
//! and only then hidden states are kept.

mod acts;
mod moments;
pub mod ranges;
mod schedule;

use crate::data::{Kind, find};
use crate::plan::*;
use moments::Predictor;
use ranges::Ranges;
use schedule::Planner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Compute where the forecast would be wrong and it would matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Name of the moments.
    pub moments: String,
    /// Share of the run's passes that may be computed.
    #[serde(default = "default::all")]
    pub compute: f64,
    /// A plan instead of one for `compute`: a letter a step, `F` computed, `o` skipped, `u` the unconditional
    /// branch alone skipped, or a letter of `blocks`. Empty: plan for `compute`.
    #[serde(default)]
    pub plan: String,
    /// Ranges of blocks that a `plan` may reuse, by their letters: `b=2..6` forecasts what blocks 2 to 5 add,
    /// with the weights of the prediction's forecast, and computes the others.
    #[serde(default, with = "ranges", skip_serializing_if = "Ranges::is_empty")]
    pub blocks: Ranges,
    /// Predictions kept of each branch.
    #[serde(default = "default::depth")]
    pub depth: usize,
    /// Most steps skipped in a row.
    #[serde(default = "default::gap")]
    pub gap: usize,
    /// Whether the unconditional branch may be skipped alone.
    #[serde(default = "default::yes")]
    pub cfg: bool,
    /// Whether a computed step makes good what the skipped ones before it lacked.
    #[serde(default = "default::yes")]
    pub amend: bool,
    /// Whether errors count by what was measured to become of them until the end; else all alike.
    #[serde(default = "default::yes")]
    pub gain: bool,
    /// The forecast.
    #[serde(default)]
    pub weights: Weights,
    /// Allow moments of another model.
    #[serde(default)]
    pub foreign: bool,
    #[serde(skip)]
    letters: String,
    #[serde(skip)]
    moves: Vec<Vec<acts::Pass>>, // per step, per branch
}

mod default {
    pub fn depth() -> usize {
        3
    }
    pub fn gap() -> usize {
        5
    }
    pub fn yes() -> bool {
        true
    }
    pub fn all() -> f64 {
        1.0
    }
}

impl Planned {
    /// PlanCache with these moments, for a share of the run's passes.
    pub fn new(moments: &str, compute: f64) -> Planned {
        Planned {
            moments: moments.into(),
            compute,
            plan: String::new(),
            blocks: Ranges::new(),
            depth: default::depth(),
            gap: default::gap(),
            cfg: true,
            amend: true,
            gain: true,
            weights: Weights::default(),
            foreign: false,
            letters: String::new(),
            moves: vec![],
        }
    }
    /// The plan that `begin` made, a letter a step.
    pub fn letters(&self) -> &str {
        &self.letters
    }
    /// The letters that a `plan` may be made of, and the floating-point operations of a step under each.
    ///
    /// # Errors
    /// [`Unfit`] naming a range of `blocks` that the model does not have, or its letter.
    pub fn alphabet(&self, run: &Run) -> Result<BTreeMap<char, f64>, Unfit> {
        let acts = acts::alphabet(&self.blocks, run)?;
        Ok(acts.iter().map(|(&letter, act)| (letter, act.flops(run))).collect())
    }
}

/// Name of the moments of the very clip that is made: with them the policy is told what only the uncached run can
/// know. Its plan is then exact under its error model, an estimate of what an oracle would gain and
/// no bound: the model is linear, and does not know which early error tips a clip over into another.
pub const OWN_MOMENTS: &str = "own";

impl crate::PolicySpec {
    /// Whether the policy is told what only an uncached run of the same clip can know.
    pub fn knows_the_clip(&self) -> bool {
        matches!(self, crate::PolicySpec::Planned(planned) if planned.moments == OWN_MOMENTS)
    }
}

/// Weights of the kept predictions in a forecast.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// Those of least mean square error on the calibrated clips.
    #[default]
    Kriging,
    /// Those of a Taylor series.
    Taylor,
}

impl CachePolicy for Planned {
    fn is_hybrid() -> bool {
        true
    }
    fn draws_on(&self) -> Option<(Kind, &str)> {
        Some((Kind::Moments, &self.moments))
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("depth", self.depth)?;
        if !(0.0..=1.0).contains(&self.compute) {
            return Err(Unfit(format!("`compute = {}`: expected a share of the passes, 0 to 1", self.compute)));
        }
        if self.gap > GAP_MAX {
            return Err(Unfit(format!("`gap = {}`: expected at most {GAP_MAX}", self.gap)));
        }
        if self.plan.is_empty() && !self.blocks.is_empty() {
            return Err(Unfit("`blocks` without `plan`: the planner does not choose ranges, give the plan that does".into()));
        }
        let of = find(run, "moments", &run.data.moments, &self.moments, |m| &m.model, self.foreign)?;
        of.check(run, &self.moments)?;
        let end = run.sigmas.iter().skip(1).copied().chain([0.0]);
        let lengths = run.sigmas.iter().zip(end).map(|(from, to)| (from - to) as f64);
        let gains = of.gain.iter().map(|&gain| if self.gain { gain } else { 1.0 });
        let planner = Planner {
            predictor: Predictor::new(of, run, self.weights),
            depth: self.depth,
            gap: self.gap,
            cfg: self.cfg,
            amend: self.amend,
            lengths: lengths.collect(),
            gains: gains.collect(),
        };
        let passes = run.steps() * run.branches;
        let budget = (self.compute * passes as f64 + 1e-9) as usize;
        let alphabet = acts::alphabet(&self.blocks, run)?;
        let planned = match self.plan.is_empty() {
            true => planner.plan(run, budget).map(acts::scheduled),
            false => Some(acts::read(&self.plan, &alphabet, run)?),
        };
        let plan = planned.ok_or_else(|| {
            Unfit(format!(
                "`compute = {}`: {budget} of {passes} passes do not reach the end with `gap = {}`: compute more, or allow longer gaps",
                self.compute, self.gap
            ))
        })?;
        self.letters = acts::letters(&plan, &alphabet);
        self.moves = acts::moves(&planner, run, &plan);
        let claim = Claim::default().keeping(run, Value::Output, self.depth);
        let used = alphabet.values().filter(|act| plan.contains(act));
        let residuals = used.filter_map(acts::Act::residual);
        Ok(residuals.fold(claim, |claim, residual| claim.keeping(run, residual, self.depth)))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        self.moves[at.step][at.branch][&at.unit].clone()
    }
    fn warnings(&self) -> Vec<String> {
        let told = "it was told the uncached run of this clip: an estimate of what an oracle would gain, no policy";
        if self.moments == OWN_MOMENTS { vec![told.into()] } else { vec![] }
    }
}

/// A plan takes 2^gap comparisons a history: beyond this it would be felt, and no gap that long pays.
const GAP_MAX: usize = 12;
