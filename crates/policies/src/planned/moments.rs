//! What second moments of the predictions say: the best linear forecast, and how wrong it will be.

use super::Weights;
use crate::data::Moments;
use crate::forecast::taylor;
use crate::linear::solve;
use crate::plan::{COND, Run, UNCOND, Unfit};

/// A linear combination of predictions, each by its row in the matrix of moments.
pub(super) type Combination = Vec<(usize, f64)>;

/// How a step avoids computing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// Both branches are forecast.
    Step,
    /// The unconditional branch is forecast, with the conditional one at hand.
    Cfg,
}

/// Added to the diagonal, as a share of the mean moment: kept predictions are nearly collinear, and the moments
/// of f32 predictions are known to some 1e-7 of themselves.
const RIDGE: f64 = 1e-7;

pub(super) struct Predictor<'a> {
    of: &'a Moments,
    branches: usize,
    guidance: f64,
    weights: Weights,
}

impl<'a> Predictor<'a> {
    pub(super) fn new(of: &'a Moments, run: &Run, weights: Weights) -> Predictor<'a> {
        Predictor { of, branches: run.branches, guidance: run.guidance as f64, weights }
    }
    fn row(&self, step: usize, branch: usize) -> usize {
        step * self.branches + branch
    }
    /// `E⟨a, b⟩`.
    pub(super) fn product(&self, a: &Combination, b: &Combination) -> f64 {
        let with = |&(i, x): &(usize, f64)| b.iter().map(|&(j, y)| y * self.of.moment(i, j)).sum::<f64>() * x;
        a.iter().map(with).sum()
    }
    /// The prediction of `branch` at `step`, from those kept at the steps `full` (newest first), and for
    /// [`Skip::Cfg`] from the conditional one of `step` itself.
    pub(super) fn forecast(&self, full: &[usize], step: usize, branch: usize, skip: Skip) -> Combination {
        let kept = |branch: usize| full.iter().map(move |&step| self.row(step, branch));
        let now = || std::iter::once(self.row(step, COND));
        let rows: Vec<usize> = match skip {
            Skip::Step => kept(branch).collect(),
            Skip::Cfg => now().chain(kept(UNCOND)).chain(kept(COND)).collect(),
        };
        let series = || taylor(full.iter().copied(), step).into_iter().map(f64::from);
        let weights: Vec<f64> = match (self.weights, skip) {
            (Weights::Kriging, _) => self.kriging(&rows, self.row(step, branch)),
            (Weights::Taylor, Skip::Step) => series().collect(),
            (Weights::Taylor, Skip::Cfg) => std::iter::once(1.0).chain(series()).chain(series().map(|w| -w)).collect(),
        };
        rows.into_iter().zip(weights).collect()
    }
    /// What the guided prediction of `step` lacks when it is skipped: forecast − truth.
    pub(super) fn error(&self, full: &[usize], step: usize, skip: Skip) -> Combination {
        let gains: &[f64] = if self.branches == 2 { &[self.guidance, 1.0 - self.guidance] } else { &[1.0] };
        let mut error = vec![];
        for (branch, gain) in gains.iter().enumerate() {
            if skip == Skip::Cfg && branch == COND {
                continue;
            }
            let forecast = self.forecast(full, step, branch, skip);
            error.extend(forecast.into_iter().map(|(row, weight)| (row, gain * weight)));
            error.push((self.row(step, branch), -gain));
        }
        error
    }
    /// Weights `w` with `Σ w = 1` that minimise `E‖p_target − Σ w_i·p_rows[i]‖²`: ordinary kriging. The sum
    /// matters: a velocity holds the clip's noise, the same in every step, of which nothing may be lost.
    fn kriging(&self, rows: &[usize], target: usize) -> Vec<f64> {
        let (&base, others) = rows.split_first().expect("something is kept");
        let scale = self.of.moment(base, base);
        // Everything as a difference from the first of the kept predictions.
        let product =
            |i: usize, j: usize| self.of.moment(i, j) - self.of.moment(i, base) - self.of.moment(base, j) + scale;
        let with_ridge = |&i: &usize, &j: &usize| product(i, j) + if i == j { RIDGE * scale } else { 0.0 };
        let a: Vec<Vec<f64>> = others.iter().map(|i| others.iter().map(|j| with_ridge(i, j)).collect()).collect();
        let b: Vec<f64> = others.iter().map(|&i| product(i, target)).collect();
        let rest = solve(&a, &b);
        std::iter::once(1.0 - rest.iter().sum::<f64>()).chain(rest).collect()
    }
}

impl Moments {
    /// Whether they were taken on a run like this one.
    pub(super) fn check(&self, run: &Run, name: &str) -> Result<(), Unfit> {
        // Rounding of f32 is far below, the gap between two levels of even a thousand steps above.
        let same = |a: &f32, b: &f32| (a - b).abs() < 1e-4;
        let expect = |holds: bool, what: &str, theirs: String, ours: String| match holds {
            true => Ok(()),
            false => Err(Unfit(format!(
                "moments `{name}` were taken with {what} {theirs}, this run has {ours}: calibrate on a run like it"
            ))),
        };
        expect(self.branches == run.branches, "passes a step:", self.branches.to_string(), run.branches.to_string())?;
        expect(self.guidance == run.guidance, "guidance", self.guidance.to_string(), run.guidance.to_string())?;
        let alike = self.sigmas.len() == run.steps() && self.sigmas.iter().zip(&run.sigmas).all(|(a, b)| same(a, b));
        let list = |sigmas: &[f32]| format!("{} noise levels from {:?}", sigmas.len(), &sigmas[..sigmas.len().min(3)]);
        expect(alike, "a schedule of", list(&self.sigmas), list(&run.sigmas))
    }
}
