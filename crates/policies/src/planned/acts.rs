//! A plan in its three forms: letters to read and to write, what each step does, and the moves of each pass.

use super::moments::{Combination, Skip};
use super::schedule::{Plan, Planner};
use crate::plan::*;

/// A plan from its letters.
pub(super) fn read(letters: &str, run: &Run) -> Result<Plan, Unfit> {
    let skip = |(step, letter)| match letter {
        'F' => Ok(None),
        'o' if step > 0 && !run.is_full(step) => Ok(Some(Skip::Step)),
        'u' if step > 0 && !run.is_full(step) && run.branches == 2 => Ok(Some(Skip::Cfg)),
        _ => Err(Unfit(format!(
            "`plan`: found `{letter}` for step {step}, expected F, o or u (u only with guidance in two passes), and F where the run must be full"
        ))),
    };
    let plan: Plan = letters.chars().enumerate().map(skip).collect::<Result<_, _>>()?;
    match plan.len() == run.steps() {
        true => Ok(plan),
        false => Err(Unfit(format!("`plan` has {} letters, the run {} steps", plan.len(), run.steps()))),
    }
}

/// A plan's letters from what its passes do.
pub(super) fn letters(moves: &[Vec<Move>]) -> String {
    let reuses = |act: &Move| matches!(act, Move::Reuse { .. });
    let letter = |acts: &Vec<Move>| match acts.iter().filter(|act| reuses(act)).count() {
        0 => 'F',
        n if n == acts.len() => 'o',
        _ => 'u',
    };
    moves.iter().map(letter).collect()
}

/// What each pass does under a plan.
pub(super) fn moves(planner: &Planner, run: &Run, plan: &Plan) -> Vec<Vec<Move>> {
    let mut full: Vec<usize> = vec![]; // computed steps, newest first
    let mut moves = vec![];
    for (step, skip) in plan.iter().enumerate() {
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
        let act = |branch: usize| match *skip {
            None if full.is_empty() => Move::store(run.output()),
            None => Move::store(run.output()).amended(terms(branch, planner.amendment(run, plan, &full, step, branch))),
            Some(Skip::Cfg) if branch == COND => Move::compute(run.output()),
            Some(skip) => Move::reuse(Value::Output, terms(branch, planner.predictor.forecast(&full, step, branch, skip))),
        };
        moves.push((0..run.branches).map(act).collect());
        if run.switches.contains(&step) {
            full.clear();
        }
        if skip.is_none() {
            full.insert(0, step);
            full.truncate(planner.depth);
        }
    }
    moves
}
