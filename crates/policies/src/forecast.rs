//! Taylor series through stored values (TaylorSeer, arXiv 2503.06923, eq. 5–7): the derivatives are
//! divided differences of the values that computed steps left, each over the gap between its two steps.

use crate::plan::{At, Claim, Move, Run, Term, Value};
use std::collections::VecDeque;

/// When each branch last wrote a value; with it, what the value should be now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Forecast {
    order: usize,
    written: Vec<VecDeque<usize>>, // steps, per branch, newest first
}

impl Forecast {
    /// Up to the `order`-th derivative; 0 repeats the newest value.
    pub(crate) fn new(order: usize, run: &Run) -> Forecast {
        Forecast {
            order,
            written: vec![VecDeque::new(); run.branches],
        }
    }
    /// The memory it needs for `value`, in every branch.
    pub(crate) fn claim(&self, claim: Claim, run: &Run, value: Value) -> Claim {
        claim.keeping(run, value, self.order + 1)
    }
    /// The pass at `at` stores its values.
    pub(crate) fn wrote(&mut self, at: At) {
        let written = &mut self.written[at.branch];
        written.truncate(self.order);
        written.push_front(at.step);
    }
    /// What the branch has stored so far gives no derivative.
    pub(crate) fn forget(&mut self, at: At) {
        self.written[at.branch].clear();
    }
    /// Whether the branch has stored anything yet.
    pub(crate) fn is_ready(&self, at: At) -> bool {
        !self.written[at.branch].is_empty()
    }
    /// Weights of the stored values, newest first, in the forecast for the step of `at`.
    pub(crate) fn weights(&self, at: At) -> Vec<f32> {
        taylor(self.written[at.branch].iter().copied(), at.step)
    }
    /// `value` as forecast for the step of `at`, from as many derivatives as there are values for.
    pub(crate) fn reuse(&self, value: Value, at: At) -> Move {
        let weights = self.weights(at);
        let term = |(age, weight)| Term::kept(weight, value, at.branch, age);
        Move::reuse(value, weights.into_iter().enumerate().map(term).collect())
    }
}

/// Weights of the values written at these steps, newest first, in the Taylor series at `step`:
/// `Σ_j k^j/j! · F^(j)`, where `F^(j)` at a step is the difference of `F^(j−1)` there and at the step written
/// before, over the gap between the two, and `k` counts from the newest.
pub(crate) fn taylor(written: impl ExactSizeIterator<Item = usize> + Clone, step: usize) -> Vec<f32> {
    let count = written.len();
    let steps: Vec<f32> = written.map(|step| step as f32).collect();
    let mut weights = vec![0.0; count];
    let unit = |age: usize| (0..count).map(|i| (i == age) as u8 as f32).collect();
    let mut derivatives: Vec<Vec<f32>> = (0..count).map(unit).collect(); // at each step, as weights on the values
    let (mut factor, k) = (1.0, step as f32 - steps.first().copied().unwrap_or(0.0));
    for order in 0..count {
        for (weight, d) in weights.iter_mut().zip(&derivatives[0]) {
            *weight += factor * d;
        }
        factor *= k / (order + 1) as f32;
        let difference = |(d, s): (&[Vec<f32>], &[f32])| {
            let over_gap = |(new, old): (&f32, &f32)| (new - old) / (s[0] - s[1]);
            d[0].iter().zip(&d[1]).map(over_gap).collect()
        };
        derivatives = derivatives.windows(2).zip(steps.windows(2)).map(difference).collect();
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(written: &[usize], step: usize, f: fn(f32) -> f32) -> f32 {
        let weights = taylor(written.iter().copied(), step);
        written.iter().zip(weights).map(|(&s, w)| w * f(s as f32)).sum()
    }

    #[test]
    fn order_0_repeats_and_order_1_continues_the_line_through_unequal_gaps() {
        assert_eq!(taylor([7].into_iter(), 9), [1.0]);
        assert_eq!(forecast(&[9, 4], 11, |s| 3.0 * s + 1.0), 34.0);
    }

    #[test]
    fn order_2_is_the_series_of_backward_differences_not_the_parabola() {
        // s² at 2, 4, 6: F' = 10 at 6 and 6 at 4, F'' = 2. Two steps on: 36 + 2·10 + 2²/2·2 = 60, the parabola has 64.
        assert_eq!(forecast(&[6, 4, 2], 8, |s| s * s), 60.0);
    }
}
