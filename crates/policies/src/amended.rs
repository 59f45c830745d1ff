//! Amending, our own: any policy, with what its skipped steps lacked made good once a step is computed again.
//!
//! A policy has to forecast a prediction that it skips. As soon as the next one is computed, the skipped ones are
//! known better: they lie between two computed ones. The polynomial through the computed predictions over the noise
//! level stands for what was skipped. This policy says by how much that differs from what was put in its place; every
//! solver is linear in the predictions, so the sampler can let it have been right all along, in the latent as in what
//! the solver remembers. It costs no pass and no read, and a few latents, which are small beside the hidden states
//! that most policies keep.
//!
//! A pass that computes every unit is a computed one; one that computes none is a skipped one; what lies in between
//! knows more than an interpolation, and is left as it is.
//!
//! A branch that was rebuilt from the other one, as cfg caching does, is the sum of that one and of their difference,
//! each interpolated between the steps at which it is known: the other one was computed more often, and bends; the
//! difference hardly does. Until it is computed itself, it takes over what the other one turns out to have lacked in a
//! step that both skipped: guidance would multiply what is made good in one of them alone.

use crate::PolicySpec;
use crate::data::Kind;
use crate::plan::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    sigmas: Vec<f32>,
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
    computed: Vec<usize>,                 // steps, newest first
    skipped: Vec<usize>,                  // steps since then
    told: bool,                           // in one of those it was rebuilt from the other branch
    units: usize,                         // computed in this pass
    lacked: BTreeMap<usize, Combination>, // what this pass amended, by step
    taken: BTreeMap<usize, Combination>,  // what was taken over of the other branch since, by step
}

/// A weighted sum of predictions, by branch and step.
type Combination = BTreeMap<(usize, usize), f32>;

/// A weighted sum of branches, interpolated as one.
type Series<'a> = &'a [(f32, usize)];
const REBUILT: [Series; 2] = [&[(1.0, COND)], &[(1.0, UNCOND), (-1.0, COND)]];

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
    fn draws_on(&self) -> Option<(Kind, &str)> {
        self.of.draws_on()
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("degree", self.degree)?;
        at_least_one("depth", self.depth)?;
        self.sigmas = run.sigmas.clone();
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
            done.units = 0;
            done.lacked.clear();
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
                if !ends || done.units > 0 {
                    return act;
                }
                done.skipped.push(at.step);
                let told = terms.iter().find_map(|term| match (term.of, term.weight) {
                    (Source::Now { branch }, Weight::Flat(weight)) => Some((branch, weight)),
                    _ => None,
                });
                let taken = told.map(|(branch, weight)| self.taken_over(at, branch, weight)).unwrap_or_default();
                let act = act.amending(in_terms(at, &taken));
                self.done[at.branch].taken.extend(taken);
                return act;
            }
            Move::Look { .. } | Move::Note { .. } => return act,
        }
        if done.units < self.end {
            return act;
        }
        done.computed.insert(0, at.step);
        let own: &[Series] = &[&[(1.0, at.branch)]];
        let lacked = self.lacking(at, if self.done[at.branch].told { &REBUILT } else { own });
        let act = act.amending(in_terms(at, &lacked));
        let done = &mut self.done[at.branch];
        (done.lacked, done.told) = (lacked, false);
        done.skipped.clear();
        done.taken.clear();
        act
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
    /// What the predictions put in place since the last computed one lacked, beside what was taken over already; they
    /// stand to be the sum of `parts`.
    fn lacking(&self, at: At, parts: &[Series]) -> BTreeMap<usize, Combination> {
        let done = &self.done[at.branch];
        let lacked = |&step: &usize| {
            let parts = parts.iter().map(|series| self.interpolated(at, series, step));
            let interpolated = parts.collect::<Option<Vec<_>>>()?.into_iter().flatten();
            let taken = done.taken.get(&step).into_iter().flatten().map(|(&place, weight)| (-weight, place));
            let mut sum = Combination::new();
            for (weight, place) in interpolated.chain([(-1.0, (at.branch, step))]).chain(taken) {
                *sum.entry(place).or_default() += weight;
            }
            self.are_kept(at, &sum).then_some((step, sum))
        };
        done.skipped.iter().filter_map(lacked).collect()
    }
    /// What `branch` has just amended of the steps that the branch at `at` skipped as well, times `weight`.
    fn taken_over(&self, at: At, branch: usize, weight: f32) -> BTreeMap<usize, Combination> {
        let own = &self.done[at.branch].skipped;
        let both = self.done[branch].lacked.iter().filter(|(step, lacked)| own.contains(step) && self.are_kept(at, lacked));
        let times = |lacked: &Combination| lacked.iter().map(|(&place, share)| (place, weight * share)).collect();
        both.map(|(&step, lacked)| (step, times(lacked))).collect()
    }
    fn are_kept(&self, at: At, lacked: &Combination) -> bool {
        lacked.keys().all(|&(branch, step)| self.is_kept(at, branch, step))
    }
    /// A series at `step`, by weights of predictions (branch, step): of the first computed one from there on, and of those
    /// before. None where it is unknown on one side.
    fn interpolated(&self, at: At, series: Series, step: usize) -> Option<Vec<(f32, (usize, usize))>> {
        let is_known = |step: &usize| {
            let is_kept = |branch| self.is_kept(at, branch, *step);
            series.iter().all(|&(_, branch)| self.done[branch].computed.contains(step) && is_kept(branch))
        };
        let computed = self.done[at.branch].computed.iter().chain(&self.done[COND].computed).copied();
        let known: BTreeSet<usize> = computed.filter(is_known).collect();
        let after = known.range(step..).next()?;
        let before = known.range(..step).rev().take(self.degree);
        let nodes: Vec<usize> = before.chain([after]).copied().collect();
        if nodes.len() < 2 && *after != step {
            return None;
        }
        let of = |&node: &usize| series.iter().map(move |&(sign, branch)| (sign, (branch, node)));
        Some(nodes.iter().flat_map(|node| of(node).map(|(sign, place)| (sign * self.lagrange(&nodes, *node, step), place))).collect())
    }
    fn is_kept(&self, at: At, branch: usize, step: usize) -> bool {
        age(at, branch, step).is_none_or(|age| age < self.depth)
    }
    /// Weight of the prediction of `node` in the polynomial through those of all `nodes`, at the noise level of `step`.
    fn lagrange(&self, nodes: &[usize], node: usize, step: usize) -> f32 {
        let sigma = |step: usize| self.sigmas[step];
        let others = nodes.iter().filter(|&&other| other != node);
        others.map(|&other| (sigma(step) - sigma(other)) / (sigma(node) - sigma(other))).product()
    }
}

fn in_terms(at: At, lacked: &BTreeMap<usize, Combination>) -> Vec<Lacked> {
    let term = |(&(branch, step), &weight): (&(usize, usize), &f32)| match age(at, branch, step) {
        Some(age) => Term::kept(weight, Value::Made, branch, age),
        None => Term::fresh(weight, Value::Output),
    };
    lacked.iter().map(|(&step, of)| Lacked { step, terms: of.iter().map(term).collect() }).collect()
}

/// How many writes ago a branch made the prediction of `step`, of which none is kept while it is in hand. A branch that
/// had its pass before in this step has one write more.
fn age(at: At, branch: usize, step: usize) -> Option<usize> {
    (at.step - step).checked_sub((branch == at.branch) as usize)
}
