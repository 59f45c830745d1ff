//! Amending, our own: any policy, with what its skipped steps lacked made good once a step is computed again.
//!
//! A policy has to forecast a prediction that it skips. As soon as the next one is computed, the skipped ones are
//! known better: they lie between two computed ones. The latent went wrong by `Σ Δσ_s·(v̂_s − v_s)`; the polynomial
//! through the computed predictions over the noise level stands for `v_s`; and since every solver here is linear in
//! the predictions, the computed one can carry the difference, over its own `Δσ`. It costs no pass and no read, and
//! a few latents, which are small beside the hidden states that most policies keep.
//!
//! `Δσ` is how far a velocity moves the latent of a flow (Wan, HunyuanVideo). A DDIM or SDE step on the v of a diffusion
//! model (CogVideoX) also scales the latent: there the share is an approximation that nobody has measured.
//!
//! A pass that computes every unit is a computed one; one that computes none is a skipped one; what lies in between
//! knows more than an interpolation, and is left as it is. A branch that is rebuilt from the other one's prediction in
//! the same step takes over what that one was amended by, so nothing is left to amend in it.

use crate::PolicySpec;
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Another policy, amended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amended {
    /// The policy.
    pub of: Box<PolicySpec>,
    /// Degree of the polynomial: 1 the line through two computed predictions, 2 the parabola through three.
    #[serde(default = "default::degree")]
    pub degree: usize,
    /// Predictions kept of each branch: how far back skipped steps are amended and computed ones are known.
    #[serde(default = "default::depth")]
    pub depth: usize,
    #[serde(skip)]
    sigmas: Vec<f32>, // one more than steps
    #[serde(skip)]
    end: usize,
    #[serde(skip)]
    done: Vec<Done>, // per branch
}

mod default {
    pub fn degree() -> usize {
        2
    }
    pub fn depth() -> usize {
        8
    }
}

/// What one guidance branch has done.
#[derive(Clone, Debug, Default, PartialEq)]
struct Done {
    computed: Vec<usize>, // steps, newest first
    skipped: Vec<usize>,  // steps since then
    units: usize,         // computed in this pass
    told: bool,           // this pass was told of the other branch
    amended: bool,        // this pass, or the last one
}

impl Amended {
    /// This policy, amended.
    pub fn new(of: PolicySpec) -> Amended {
        let (degree, depth) = (default::degree(), default::depth());
        Amended { of: Box::new(of), degree, depth, sigmas: vec![], end: 0, done: vec![] }
    }
}

impl CachePolicy for Amended {
    fn is_hybrid() -> bool {
        // The policy that it amends may be.
        true
    }
    fn steps(&self, planned: usize) -> usize {
        self.of.policy().steps(planned)
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("degree", self.degree)?;
        at_least_one("depth", self.depth)?;
        self.sigmas = run.sigmas.iter().copied().chain([0.0]).collect();
        (self.end, self.done) = (run.end(), vec![Done::default(); run.branches]);
        if self.of.amends() {
            return Err(Unfit("a policy that amends cannot be amended again: leave `amended` away".into()));
        }
        Ok(self.of.as_policy().begin(run)?.keeping(run, Value::Made, self.depth))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let act = self.of.as_policy().next(at, seen);
        let done = &mut self.done[at.branch];
        if at.unit == 0 && !matches!(act, Move::Look { .. } | Move::Note { .. }) {
            (done.units, done.told, done.amended) = (0, false, false);
        }
        match &act {
            Move::Compute { to, keep, .. } => {
                done.units += (*to).min(self.end) - at.unit;
                if *to < self.end || *to == self.end && *keep == Keep::Hold {
                    return act;
                }
            }
            Move::Reuse { value, terms, .. } => {
                done.told |= terms.iter().any(|term| matches!(term.of, Source::Now { .. }));
                let ends = match value {
                    Value::Delta { to, .. } => *to == self.end,
                    Value::State { unit } => *unit == self.end,
                    Value::Raw { unit } => unit + 1 == self.end,
                    _ => true,
                };
                if ends && done.units == 0 && !done.told {
                    done.skipped.push(at.step);
                }
                if done.told && self.done[COND].amended {
                    self.done[at.branch].skipped.clear();
                }
                return act;
            }
            Move::Look { .. } | Move::Note { .. } => return act,
        }
        if done.units < self.end {
            return act;
        }
        let skipped = std::mem::take(&mut done.skipped);
        let amend = if at.full { vec![] } else { self.lacking(at, &skipped) };
        let done = &mut self.done[at.branch];
        done.computed.insert(0, at.step);
        done.amended = !amend.is_empty();
        act.amended(amend)
    }
    fn warnings(&self) -> Vec<String> {
        self.of.policy().warnings()
    }
}

impl PolicySpec {
    fn amends(&self) -> bool {
        match self {
            PolicySpec::Amended(_) => true,
            PolicySpec::Planned(planned) => planned.amend,
            _ => false,
        }
    }
    /// The policy itself, or the one that is amended.
    pub fn inner(&mut self) -> &mut PolicySpec {
        match self {
            PolicySpec::Amended(amended) => amended.of.inner(),
            policy => policy,
        }
    }
}

impl Amended {
    /// What the predictions put in place of those `skipped` lacked, in units of the step at `at`.
    fn lacking(&self, at: At, skipped: &[usize]) -> Vec<Term> {
        let age = |step: usize| at.step - step - 1;
        let length = |step: usize| self.sigmas[step] - self.sigmas[step + 1];
        let before = self.done[at.branch].computed.iter().copied();
        let known = before.take(self.degree).filter(|&step| age(step) < self.depth);
        let nodes: Vec<usize> = std::iter::once(at.step).chain(known).collect();
        let skipped: Vec<usize> = skipped.iter().copied().filter(|&step| age(step) < self.depth).collect();
        if nodes.len() < 2 || skipped.is_empty() {
            return vec![];
        }
        let share = |step: usize| length(step) / length(at.step);
        let weight = |node: usize| skipped.iter().map(|&step| share(step) * self.lagrange(&nodes, node, step)).sum();
        let of = |node: usize| match node == at.step {
            true => Term::fresh(weight(node), Value::Output),
            false => Term::kept(weight(node), Value::Made, at.branch, age(node)),
        };
        let made = |&step: &usize| Term::kept(-share(step), Value::Made, at.branch, age(step));
        nodes.iter().map(|&node| of(node)).chain(skipped.iter().map(made)).collect()
    }
    /// Weight of the prediction of `node` in the polynomial through those of all `nodes`, at the noise level of `step`.
    fn lagrange(&self, nodes: &[usize], node: usize, step: usize) -> f32 {
        let sigma = |step: usize| self.sigmas[step];
        let others = nodes.iter().filter(|&&other| other != node);
        others.map(|&other| (sigma(step) - sigma(other)) / (sigma(node) - sigma(other))).product()
    }
}
