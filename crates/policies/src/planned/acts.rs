//! A plan in its three forms: letters to read and to write, what each step does, and the moves of each pass.

use super::moments::{Combination, Skip};
use super::schedule::{Plan, Planner};
use crate::plan::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// All of it is computed.
    Compute,
    /// It is forecast, in one branch or in all.
    Skip(Skip),
    /// These units are reused in every branch, the rest is computed.
    Blocks(Range<usize>),
}

/// The moves of one pass, by the unit at which each is asked for.
pub(super) type Pass = BTreeMap<usize, Move>;

/// The letters that a plan of this run may be made of, with those of `ranges` of blocks.
pub(super) fn alphabet(ranges: &BTreeMap<char, [usize; 2]>, run: &Run) -> Result<BTreeMap<char, Act>, Unfit> {
    let mut acts = BTreeMap::from([('F', Act::Compute), ('o', Act::Skip(Skip::Step)), ('u', Act::Skip(Skip::Cfg))]);
    for (&letter, &[from, to]) in ranges {
        if !letter.is_ascii_lowercase() || acts.contains_key(&letter) {
            return Err(Unfit(format!("`blocks`: `{letter}`: expected a letter from a to z for a range, but o or u")));
        }
        if from >= to || to > run.blocks() {
            let blocks = run.blocks();
            return Err(Unfit(format!("`blocks`: `{letter}={from}..{to}`: expected a range of the {blocks} blocks, the second one past its last")));
        }
        let act = Act::Blocks(run.units_of(from..to));
        if acts.values().any(|known| *known == act) {
            return Err(Unfit(format!("`blocks`: `{letter}={from}..{to}`: another letter has this range already")));
        }
        acts.insert(letter, act);
    }
    if run.branches == 1 {
        acts.remove(&'u');
    }
    Ok(acts)
}

impl Act {
    /// What is kept for a step that does this, beside predictions.
    pub(super) fn residual(&self) -> Option<Value> {
        match self {
            Act::Blocks(units) => Some(Value::Delta { from: units.start, to: units.end }),
            Act::Compute | Act::Skip(_) => None,
        }
    }
    /// Floating-point operations of a step that does this.
    pub(super) fn flops(&self, run: &Run) -> f64 {
        match self {
            Act::Compute => run.branches as f64 * run.pass_flops(),
            Act::Skip(Skip::Step) => 0.0,
            Act::Skip(Skip::Cfg) => run.pass_flops(),
            Act::Blocks(units) => run.branches as f64 * (run.pass_flops() - run.flops_of(units.clone())),
        }
    }
}

/// A plan from its letters.
pub(super) fn read(letters: &str, alphabet: &BTreeMap<char, Act>, run: &Run) -> Result<Vec<Act>, Unfit> {
    let act = |(step, letter)| match alphabet.get(&letter) {
        Some(act) if *act == Act::Compute || step > 0 && !run.is_full(step) => Ok(act.clone()),
        _ => {
            let known: Vec<String> = alphabet.keys().map(char::to_string).collect();
            let u = if run.branches == 1 { "u needs guidance in two passes; " } else { "" };
            Err(Unfit(format!(
                "`plan`: found `{letter}` for step {step}, expected one of {} ({u}a range of blocks has its letter under `blocks`), and F where the run must be full",
                known.join(", ")
            )))
        }
    };
    let plan: Vec<Act> = letters.chars().enumerate().map(act).collect::<Result<_, _>>()?;
    match plan.len() == run.steps() {
        true => Ok(plan),
        false => Err(Unfit(format!("`plan` has {} letters, the run {} steps", plan.len(), run.steps()))),
    }
}

/// A plan's letters.
pub(super) fn letters(plan: &[Act], alphabet: &BTreeMap<char, Act>) -> String {
    let letter = |act| alphabet.iter().find(|(_, known)| *known == act).expect("a plan is made of its alphabet").0;
    plan.iter().map(letter).collect()
}

/// What the steps of a schedule do.
pub(super) fn scheduled(plan: Plan) -> Vec<Act> {
    plan.into_iter().map(|skip| skip.map_or(Act::Compute, Act::Skip)).collect()
}

/// What each pass of each step does under a plan.
pub(super) fn moves(planner: &Planner, run: &Run, plan: &[Act]) -> Vec<Vec<Pass>> {
    let (mut full, mut skipped): (Vec<usize>, Vec<usize>) = (vec![], vec![]); // computed, newest first; skipped since
    let mut moves = vec![];
    for (step, act) in plan.iter().enumerate() {
        if run.switches.contains(&step) {
            full.clear(); // the store was dropped: this is a first step
        }
        // Of this step itself, a pass has its own prediction in hand, or that of the branch before.
        let terms = |branch: usize, of: Combination| -> Vec<Term> {
            let term = |(row, weight): (usize, f64)| {
                let (of_step, of_branch, weight) = (row / run.branches, row % run.branches, weight as f32);
                match full.iter().position(|&full| full == of_step) {
                    Some(age) => Term::kept(weight, Value::Output, of_branch, age),
                    None if of_branch == branch => Term::fresh(weight, Value::Output),
                    None => Term { weight: Weight::Flat(weight), of: Source::Now { branch: of_branch } },
                }
            };
            of.into_iter().map(term).collect()
        };
        let forecast = |branch: usize, skip: Skip| planner.predictor.forecast(&full, step, branch, skip);
        let pass = |branch: usize| match act {
            Act::Compute if full.is_empty() => Pass::from([(0, Move::store(run.output()))]),
            Act::Compute => {
                let lacked = planner.lacked(run, &skipped, &full, step, branch).into_iter();
                let lacked = lacked.map(|(step, of)| Lacked { step, terms: terms(branch, of) });
                Pass::from([(0, Move::store(run.output()).amending(lacked.collect()))])
            }
            Act::Skip(Skip::Cfg) if branch == COND => Pass::from([(0, Move::compute(run.output()))]),
            Act::Skip(skip) => Pass::from([(0, Move::reuse(Value::Output, terms(branch, forecast(branch, *skip))))]),
            Act::Blocks(units) => {
                let value = Value::Delta { from: units.start, to: units.end };
                let weights = forecast(branch, Skip::Step).into_iter().map(|(_, weight)| weight as f32);
                let kept = weights.enumerate().map(|(age, weight)| Term::kept(weight, value, branch, age));
                let before = (units.start > 0).then(|| (0, Move::compute(units.start)));
                let reused = (units.start, Move::reuse(value, kept.collect()));
                let after = (units.end < run.end()).then(|| (units.end, Move::compute(run.output())));
                before.into_iter().chain([reused]).chain(after).collect()
            }
        };
        moves.push((0..run.branches).map(pass).collect());
        match act {
            Act::Compute => {
                skipped.clear();
                full.insert(0, step);
                full.truncate(planner.depth);
            }
            Act::Skip(Skip::Step) => skipped.push(step),
            Act::Skip(Skip::Cfg) | Act::Blocks(_) => {}
        }
    }
    moves
}
