//! Searches over plans, whatever tells the error of one. What any of them finds is a plan that exists, so the best one
//! can only be better: the quality found is a lower bound of an oracle's.

use anyhow::{Result, ensure};
use mixcache_policies::plan::Run;
use mixcache_policies::planned::Planned;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;

/// The plans among which is searched.
pub struct Space {
    /// Letters, and the share of the run's operations of one step under each.
    letters: BTreeMap<char, f64>,
    /// Steps that need not be computed.
    open: Vec<usize>,
    steps: usize,
    /// Share of the run's operations that a plan may have.
    compute: f64,
}

impl Space {
    /// Plans of `policy` with at most this share of the run's operations.
    ///
    /// # Errors
    /// When the policy's ranges of blocks do not fit the run, or every step must be full.
    pub fn new(policy: &Planned, run: &Run, compute: f64) -> Result<Space> {
        let letters = policy.alphabet(run)?.into_iter();
        let open: Vec<usize> = (1..run.steps()).filter(|&step| !run.is_full(step)).collect();
        ensure!(
            !open.is_empty(),
            "all {} steps must be full: there is nothing to search",
            run.steps()
        );
        Ok(Space {
            letters: letters
                .map(|(letter, flops)| (letter, flops / run.total_flops()))
                .collect(),
            open,
            steps: run.steps(),
            compute,
        })
    }
    /// The plan that computes everything.
    pub fn full(&self) -> String {
        "F".repeat(self.steps)
    }
    /// Share of the run's operations that a plan has.
    pub fn compute(&self, plan: &str) -> f64 {
        plan.chars().map(|letter| self.letters[&letter]).sum()
    }
    /// Whether a plan is within the budget.
    pub fn fits(&self, plan: &str) -> bool {
        self.fits_share(self.compute(plan))
    }
    fn fits_share(&self, compute: f64) -> bool {
        compute <= self.compute + 1e-9 // sums of shares, in another order
    }
    /// Another plan within the budget: two steps near each other do something else, and neither could do more.
    fn changed(&self, plan: &str, draw: &mut ChaCha8Rng) -> String {
        // A plan is nearly right: most changes that help are small.
        const REACH: usize = 6;
        let letters: Vec<char> = plan.chars().collect();
        let compute = self.compute(plan);
        let all: Vec<(char, f64)> = self.letters.iter().map(|(&letter, &cost)| (letter, cost)).collect();
        for _ in 0..1000 {
            let [a, b] = [(); 2].map(|()| self.open[draw.random_range(0..self.open.len())]);
            if a >= b || b - a > REACH {
                continue;
            }
            let rest = compute - self.letters[&letters[a]] - self.letters[&letters[b]];
            let could_do_more = |cost: f64, other: f64| {
                let mut dearer = all.iter().filter(|(_, dearer)| *dearer > cost);
                dearer.any(|(_, dearer)| self.fits_share(rest + dearer + other))
            };
            let pairs = all.iter().flat_map(|x| all.iter().map(move |y| (x, y)));
            let others = pairs.filter(|((x, cost), (y, other))| {
                (*x, *y) != (letters[a], letters[b])
                    && self.fits_share(rest + cost + other)
                    && !could_do_more(*cost, *other)
                    && !could_do_more(*other, *cost)
            });
            let others: Vec<(char, char)> = others.map(|((x, _), (y, _))| (*x, *y)).collect();
            if !others.is_empty() {
                let mut letters = letters.clone();
                (letters[a], letters[b]) = others[draw.random_range(0..others.len())];
                return letters.into_iter().collect();
            }
        }
        plan.into()
    }
}

/// A plan and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Its letters.
    pub plan: String,
    /// Share of the run's operations.
    pub compute: f64,
    /// Its error.
    pub error: f64,
}

/// Tells the error of plans, each once, and remembers them in order.
pub struct Trials<'a> {
    space: &'a Space,
    error: &'a mut dyn FnMut(&Tried) -> Result<f64>,
    /// Everything that was tried.
    pub tried: Vec<Tried>,
}

impl<'a> Trials<'a> {
    /// Nothing tried yet; `error` is told a plan without its error, and what it says is kept.
    pub fn new(space: &'a Space, error: &'a mut dyn FnMut(&Tried) -> Result<f64>) -> Trials<'a> {
        let tried = vec![];
        Trials { space, error, tried }
    }
    /// A plan and its error.
    ///
    /// # Errors
    /// What telling the error fails with.
    pub fn of(&mut self, plan: String) -> Result<Tried> {
        if let Some(known) = self.tried.iter().find(|tried| tried.plan == plan) {
            return Ok(known.clone());
        }
        let (compute, error) = (self.space.compute(&plan), f64::NAN);
        let mut tried = Tried { plan, compute, error };
        tried.error = (self.error)(&tried)?;
        self.tried.push(tried.clone());
        Ok(tried)
    }
}

/// Keeps the `width` best plans known, and changes each of them in two steps, drawn at random, round after round until `tries` plans
/// have been tried. Of width 1 it is a local search. Never worse than the plan it starts from.
///
/// # Errors
/// What telling an error fails with.
pub fn beam(trials: &mut Trials, start: &str, width: usize, tries: usize) -> Result<Tried> {
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    let mut kept = vec![trials.of(start.into())?];
    let until = trials.tried.len() + tries;
    // A small space may be exhausted before as many plans are tried.
    for _ in 0..100 * tries {
        for parent in kept.clone() {
            let plan = trials.space.changed(&parent.plan, &mut draw);
            if trials.tried.len() < until && !kept.iter().any(|known| known.plan == plan) {
                kept.push(trials.of(plan)?);
            }
        }
        kept.sort_by(|a, b| a.error.total_cmp(&b.error));
        kept.truncate(width.max(1));
        if trials.tried.len() == until {
            break;
        }
    }
    Ok(kept.swap_remove(0))
}

/// A change of one step, and the error that it was last seen to add for what it saves.
struct Change {
    step: usize,
    letter: char,
    rate: f64,
    seen: usize, // in which round
}

/// From everything computed takes away what adds least squared error for the operations that it saves, again and again, until the
/// plan is within the budget. Lazy: a change is run again only if what it added when last seen is the least, which is exact where
/// a change adds the more error the more is skipped already; predictions mostly, not always, behave so.
///
/// # Errors
/// What telling an error fails with.
pub fn greedy(trials: &mut Trials) -> Result<Tried> {
    let space = trials.space;
    let mut plan = trials.of(space.full())?;
    let of_step = |&step: &usize| space.letters.keys().map(move |&letter| (step, letter));
    let mut changes: Vec<Change> = space
        .open
        .iter()
        .flat_map(of_step)
        .map(|(step, letter)| Change {
            step,
            letter,
            rate: f64::NEG_INFINITY,
            seen: usize::MAX,
        })
        .collect();
    let mut round = 0;
    while !space.fits(&plan.plan) {
        // The most promising last.
        changes.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        let Some(mut change) = changes.pop() else { break };
        let mut letters: Vec<char> = plan.plan.chars().collect();
        letters[change.step] = change.letter;
        let changed: String = letters.into_iter().collect();
        let saved = plan.compute - space.compute(&changed);
        if saved <= 0.0 {
            continue;
        }
        let changed = trials.of(changed)?;
        if change.seen == round {
            (plan, round) = (changed, round + 1);
        } else {
            change.rate = (changed.error.powi(2) - plan.error.powi(2)) / saved;
            change.seen = round;
            changes.push(change);
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 12;

    /// Half of the computation, or so; a step in full has a share of 1/12.
    fn space(letters: &[(char, f64)], compute: f64) -> Space {
        let share = |&(letter, cost): &(char, f64)| (letter, cost / STEPS as f64);
        let open = (1..STEPS - 1).collect();
        Space {
            letters: letters.iter().map(share).collect(),
            open,
            steps: STEPS,
            compute,
        }
    }

    /// A step that is skipped errs by what it is worth, and more behind another one.
    fn rough(plan: &str) -> f64 {
        let worth = |step: usize| 1.0 + (step as f64 * 1.7).sin();
        let mut before = 0.0;
        let square = |(step, letter)| {
            let own = match letter {
                'F' => 0.0,
                'b' => 0.6,
                'u' => 0.8,
                _ => 1.0,
            };
            before = if own == 0.0 { 0.0 } else { before + own };
            own * worth(step) * before
        };
        plan.chars().enumerate().map(square).sum::<f64>().sqrt()
    }

    const LETTERS: [(char, f64); 4] = [('F', 1.0), ('b', 0.503), ('o', 0.0), ('u', 0.5)];

    #[test]
    fn a_beam_stays_within_the_budget_tries_as_often_as_told_and_ends_no_worse_than_it_began() {
        let (space, start) = (space(&LETTERS, 0.6), "FoFFoFooFFoF");
        assert!(space.fits(start));
        for width in [1, 4] {
            let mut run = |tried: &Tried| Ok(rough(&tried.plan));
            let mut trials = Trials::new(&space, &mut run);
            let best = beam(&mut trials, start, width, 50).unwrap();
            assert_eq!(trials.tried.len(), 51);
            for tried in &trials.tried {
                assert!(tried.compute <= 0.6 + 1e-9 && best.error <= tried.error, "{tried:?}");
                assert!(tried.plan.starts_with('F') && tried.plan.ends_with('F'), "{tried:?}");
            }
            assert!(best.error < rough(start), "{best:?}");
            let blocks = trials.tried.iter().filter(|tried| tried.plan.contains('b'));
            assert!(blocks.count() > 5);
        }
    }

    #[test]
    fn greedy_is_exact_where_errors_do_not_depend_on_each_other() {
        let space = space(&[('F', 1.0), ('o', 0.0)], 0.5);
        let alone = |plan: &str| {
            let skipped = plan.chars().enumerate().filter(|(_, letter)| *letter == 'o');
            skipped
                .map(|(step, _)| 1.5 + (step as f64 * 1.7).sin())
                .sum::<f64>()
                .sqrt()
        };
        let mut run = |tried: &Tried| Ok(alone(&tried.plan));
        let mut trials = Trials::new(&space, &mut run);
        let found = greedy(&mut trials).unwrap();
        let plans = (0..1u32 << STEPS).map(|bits| {
            let letter = |step: usize| if bits >> step & 1 == 1 { 'F' } else { 'o' };
            (0..STEPS).map(letter).collect::<String>()
        });
        let open = |plan: &String| plan.starts_with('F') && plan.ends_with('F') && space.fits(plan);
        let best = plans
            .filter(open)
            .map(|plan| alone(&plan))
            .fold(f64::INFINITY, f64::min);
        // The same terms in another order.
        assert!(
            found.error <= best * (1.0 + 1e-12),
            "{} where {best} is possible",
            found.error
        );
        // Lazy: each change once, and then only the best one again.
        assert!(
            trials.tried.len() <= 1 + (STEPS - 2) + STEPS / 2,
            "{} runs",
            trials.tried.len()
        );
    }

    #[test]
    fn greedy_meets_the_budget_with_every_letter() {
        let space = space(&LETTERS, 0.4);
        let mut run = |tried: &Tried| Ok(rough(&tried.plan));
        let found = greedy(&mut Trials::new(&space, &mut run)).unwrap();
        assert!(space.fits(&found.plan), "{found:?}");
        assert_eq!(found.error, rough(&found.plan));
    }
}
