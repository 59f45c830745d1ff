//! Which steps to compute: the schedule of least expected error for a number of passes, by dynamic programming.
//!
//! Between two computed steps lies a gap of skipped ones. Its error in the final latent is
//! `‖Σ g_s·Δσ_s·e_s‖²`, with `e_s` the error of the guided prediction ([`Predictor::error`]), `Δσ_s` the length of
//! the solver's step, and `g_s` the measured gain from there to the end. Where the computed step behind the gap
//! amends it, `e_s` is what is left then: the error of the interpolation, no more of the forecast. Errors within a gap
//! are summed as the vectors they are, those of different gaps as if they were orthogonal; what the latent lacks
//! while a gap lasts is taken not to matter. Under that model the plan is exact.

use super::moments::{Combination, Predictor, Skip};
use crate::plan::Run;
use std::collections::BTreeMap;

/// What each step does; `None` computes it.
pub(super) type Plan = Vec<Option<Skip>>;

/// The cheapest way found to a computed step with so many passes.
#[derive(Clone)]
struct Reached {
    error: f64,
    before: Option<(Vec<usize>, usize)>, // the history and the passes at the computed step before
    cfg: u32,                            // which steps of the gap in between are `Skip::Cfg`, as bits
}

/// Per number of passes.
type Costs = Vec<Option<Reached>>;

pub(super) struct Planner<'a> {
    pub(super) predictor: Predictor<'a>,
    /// Predictions kept of each branch.
    pub(super) depth: usize,
    /// Most steps skipped in a row.
    pub(super) gap: usize,
    /// Whether the unconditional branch may be skipped alone.
    pub(super) cfg: bool,
    /// Whether a computed step makes good what the skipped ones before it lacked.
    pub(super) amend: bool,
    /// Δσ of each step.
    pub(super) lengths: Vec<f64>,
    /// What becomes of an error until the end.
    pub(super) gains: Vec<f64>,
}

impl Planner<'_> {
    /// The best plan with at most `budget` passes; none when gaps would be too long.
    pub(super) fn plan(&self, run: &Run, budget: usize) -> Option<Plan> {
        let (last, passes) = (run.steps() - 1, run.branches);
        let mut reached: Vec<BTreeMap<Vec<usize>, Costs>> = vec![BTreeMap::new(); run.steps()];
        let mut start: Costs = vec![None; budget + 1];
        *start.get_mut(passes)? = Some(Reached { error: 0.0, before: None, cfg: 0 });
        reached[0].insert(vec![0], start);
        for step in 0..last {
            let (done, ahead) = reached.split_at_mut(step + 1);
            for (history, costs) in &done[step] {
                for (length, best) in self.gaps(run, history).into_iter().enumerate() {
                    let next = step + length + 1;
                    let kept = if run.switches.contains(&next) { &[] } else { &history[..] };
                    let later: Vec<usize> = std::iter::once(next).chain(kept.iter().copied()).take(self.depth).collect();
                    let there = ahead[length].entry(later).or_insert_with(|| vec![None; budget + 1]);
                    for (used, from) in costs.iter().enumerate().filter_map(|(used, from)| Some((used, from.as_ref()?))) {
                        for (extra, &(error, cfg)) in best.iter().enumerate() {
                            let Some(cell) = there.get_mut(used + extra + passes) else { continue };
                            let error = from.error + error;
                            if cell.as_ref().is_none_or(|known| error < known.error) {
                                *cell = Some(Reached { error, before: Some((history.clone(), used)), cfg });
                            }
                        }
                    }
                }
            }
        }
        let ends = reached[last].iter().flat_map(|(history, costs)| {
            let found = costs.iter().enumerate();
            found.filter_map(move |(used, cell)| Some((cell.as_ref()?.error, history.clone(), used)))
        });
        let (_, mut history, mut used) = ends.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut plan = vec![None; run.steps()];
        while let Some((before, passes)) = reached[history[0]][&history][used].clone().and_then(|cell| {
            let (before, passes) = cell.before?;
            for (i, step) in (before[0] + 1..history[0]).enumerate() {
                plan[step] = Some(if cell.cfg >> i & 1 == 1 { Skip::Cfg } else { Skip::Step });
            }
            Some((before, passes))
        }) {
            (history, used) = (before, passes);
        }
        Some(plan)
    }
    /// The computed steps that tell of those skipped behind `history` and before `next`, newest first.
    fn known(&self, run: &Run, history: &[usize], next: usize) -> Vec<usize> {
        let told = self.amend && !run.switches.contains(&next);
        told.then_some(next).into_iter().chain(history.iter().copied()).collect()
    }
    /// What the forecast of `branch` at each of the steps `skipped` whole behind `history` lacked, as the computed step
    /// `next` tells: interpolation minus forecast.
    pub(super) fn lacked(&self, run: &Run, skipped: &[usize], history: &[usize], next: usize, branch: usize) -> Vec<(usize, Combination)> {
        let known = self.known(run, history, next);
        if known.len() == history.len() {
            return vec![];
        }
        let of = |&step: &usize| {
            let mut sum = BTreeMap::new();
            for (told, sign) in [(&known[..], 1.0), (history, -1.0)] {
                for (row, weight) in self.predictor.forecast(told, step, branch, Skip::Step) {
                    *sum.entry(row).or_insert(0.0) += sign * weight;
                }
            }
            (step, sum.into_iter().collect())
        };
        skipped.iter().map(of).collect()
    }
    /// For each length of a gap behind `history`, and each number of steps in it that skip the unconditional
    /// branch alone: the least error, and which steps those are.
    fn gaps(&self, run: &Run, history: &[usize]) -> Vec<Vec<(f64, u32)>> {
        let first = history[0] + 1;
        let open = (first..run.steps() - 1).take(self.gap).take_while(|&step| !run.is_full(step));
        let steps: Vec<usize> = open.collect();
        let kinds: &[Skip] = if self.cfg && run.branches == 2 { &[Skip::Step, Skip::Cfg] } else { &[Skip::Step] };
        let reach = |step: usize| self.lengths[step] * self.gains[step];
        let product = |(s, a): &(usize, _), (t, b): &(usize, _)| reach(*s) * reach(*t) * self.predictor.product(a, b);
        let best = |length: usize| {
            let known = self.known(run, history, first + length);
            let told = |skip: Skip| if skip == Skip::Step { &known[..] } else { history };
            let of = |&step: &usize| kinds.iter().map(move |&skip| (step, skip));
            let error = |(step, skip)| (step, self.predictor.error(told(skip), step, skip));
            let errors: Vec<_> = steps[..length].iter().flat_map(of).map(error).collect();
            let products: Vec<Vec<f64>> = errors.iter().map(|a| errors.iter().map(|b| product(a, b)).collect()).collect();
            let mut best = vec![(f64::INFINITY, 0); if kinds.len() == 2 { length + 1 } else { 1 }];
            for cfg in 0..if kinds.len() == 2 { 1u32 << length } else { 1 } {
                let chosen = |i: usize| i * kinds.len() + (cfg >> i & 1) as usize;
                let row = |i: usize| (0..length).map(|j| products[chosen(i)][chosen(j)]).sum::<f64>();
                let error = (0..length).map(row).sum::<f64>();
                let cell = &mut best[cfg.count_ones() as usize];
                if error < cell.0 {
                    *cell = (error, cfg);
                }
            }
            best
        };
        (0..=steps.len()).map(best).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weights;
    use super::*;
    use crate::data::Moments;
    use crate::plan::Unit;
    use std::sync::Arc;

    const STEPS: usize = 11;

    fn run() -> Run {
        Run {
            model: "mock".into(),
            units: vec![Unit { block: 0, kind: crate::plan::UnitKind::Mlp, flops: 1.0 }],
            rest_flops: 0.0,
            branches: 1,
            branches_alike: true,
            guidance: 1.0,
            sigmas: vec![0.5; STEPS],
            timesteps: vec![500.0; STEPS],
            full: (1, 1),
            switches: vec![],
            signals: vec![],
            hidden_bytes: 1,
            input_bytes: 1,
            latent_bytes: 1,
            budget_bytes: 1,
            data: Arc::default(),
        }
    }

    #[test]
    fn no_other_schedule_with_as_many_passes_has_a_smaller_error() {
        let of = |step: usize| [1.0, (0.7 * step as f64).sin(), (-0.3 * step as f64).exp()];
        let moment = |i, j| of(i).iter().zip(of(j)).map(|(a, b)| a * b).sum();
        let moments = Moments {
            model: "mock".into(),
            source: String::new(),
            branches: 1,
            guidance: 1.0,
            sigmas: vec![],
            gain: vec![],
            moments: (0..STEPS).map(|i| (0..=i).map(|j| moment(i, j)).collect()).collect(),
        };
        let mut planner = Planner {
            predictor: Predictor::new(&moments, &run(), Weights::Kriging),
            depth: 2,
            gap: 3,
            cfg: false,
            amend: false,
            lengths: (0..STEPS).map(|step| 2.0 - 0.1 * step as f64).collect(),
            gains: (0..STEPS).map(|step| 1.0 + 3.0 / (1.0 + step as f64)).collect(),
        };
        check(&planner);
        planner.amend = true;
        check(&planner);
    }

    /// Against every set of computed steps.
    fn check(planner: &Planner) {
        // The error of a set of computed steps, gap by gap.
        let error = |full: &[usize]| {
            let gap = |i: usize| {
                let history: Vec<usize> = full[..=i].iter().rev().take(2).copied().collect();
                let skipped = full[i] + 1..full[i + 1];
                let told = planner.amend.then_some(full[i + 1]);
                let known: Vec<usize> = told.into_iter().chain(history).collect();
                let all = skipped.flat_map(|step| {
                    let error = planner.predictor.error(&known, step, Skip::Step).into_iter();
                    let reach = planner.lengths[step] * planner.gains[step];
                    error.map(move |(row, weight)| (row, weight * reach))
                });
                let all: Vec<_> = all.collect();
                planner.predictor.product(&all, &all)
            };
            (0..full.len() - 1).map(gap).sum::<f64>()
        };
        for passes in [5, 6, 8] {
            let plan = planner.plan(&run(), passes).unwrap();
            let chosen: Vec<usize> = (0..STEPS).filter(|&step| plan[step].is_none()).collect();
            let sets = (0..1u32 << STEPS).map(|bits| (0..STEPS).filter(|i| bits >> i & 1 == 1).collect::<Vec<_>>());
            let fits = |full: &Vec<usize>| {
                full.len() <= passes && full.first() == Some(&0) && full.last() == Some(&(STEPS - 1)) && full.windows(2).all(|w| w[1] - w[0] <= 4)
            };
            let best = sets.filter(fits).map(|full| error(&full)).fold(f64::INFINITY, f64::min);
            // The same sums in another order.
            assert!(error(&chosen) <= best * (1.0 + 1e-9), "{passes} passes: {chosen:?} has {}, {best} is possible", error(&chosen));
        }
    }
}
