//! UniPC (arXiv 2302.04867) in the form Wan runs it: predicts the data, B(h) = e^h − 1 ("bh2"), corrects
//! every step but the first, lowers its order at the end. With λ = ln((1 − σ)/σ).

use mixcache_policies::chain::Feature;
use std::collections::VecDeque;

/// The solver between two steps.
pub struct Unipc<Z> {
    pub(crate) sigmas: Vec<f64>,
    order: usize,
    data: VecDeque<Z>,        // predictions of the data, newest first
    last: Option<(Z, usize)>, // latent before the last predictor, and its order
}

impl<Z: Feature> Unipc<Z> {
    /// A solver of `order` 1 to 3 at its first step.
    pub fn new(sigmas: &[f32], order: usize) -> Unipc<Z> {
        assert!((1..=3).contains(&order), "UniPC has orders 1 to 3, not {order}");
        Unipc {
            sigmas: sigmas.iter().map(|sigma| *sigma as f64).collect(),
            order,
            data: VecDeque::new(),
            last: None,
        }
    }
    /// The same solver at its first step, for other latents.
    pub(crate) fn anew<Y>(&self) -> Unipc<Y> {
        Unipc {
            sigmas: self.sigmas.clone(),
            order: self.order,
            data: VecDeque::new(),
            last: None,
        }
    }
    /// All that it remembers of the steps before.
    pub(crate) fn memory(&mut self) -> Vec<&mut Z> {
        let last = self.last.as_mut().map(|(latent, _)| latent);
        self.data.iter_mut().chain(last).collect()
    }
    /// Correct the latent of step `i` with the prediction made there, then predict the next.
    pub fn step(&mut self, i: usize, velocity: &Z, latent: Z) -> Z {
        let data = latent.clone().add_scaled(-self.sigmas[i] as f32, velocity);
        let latent = match self.last.take() {
            Some((before, order)) => self.advance(i - 1, order, before, Some(&data)),
            None => latent,
        };
        self.data.push_front(data);
        self.data.truncate(self.order);
        let steps_left = self.sigmas.len() - 1 - i;
        let order = self.order.min(steps_left).min(self.data.len());
        self.last = Some((latent.clone(), order));
        self.advance(i, order, latent, None)
    }
    /// From step `i` to `i + 1`. With `corrected`, the prediction made at `i + 1`, it is the corrector.
    fn advance(&self, i: usize, order: usize, latent: Z, corrected: Option<&Z>) -> Z {
        let (from, to) = (self.sigmas[i], self.sigmas[i + 1]);
        let lambda = |sigma: f64| (1.0 - sigma).ln() - sigma.ln();
        let h = lambda(to) - lambda(from); // infinite at the end, where phi = −1 keeps the data alone
        let phi = (-h).exp_m1();
        let alpha = 1.0 - to;

        // Places of the earlier predictions in units of h, from the newest: r₁ < 0, r₂ < r₁.
        let mut places: Vec<f64> = (1..order)
            .map(|k| (lambda(self.sigmas[i - k]) - lambda(from)) / h)
            .collect();
        if corrected.is_some() {
            places.push(1.0);
        }
        let weights = match places.len() {
            0 => vec![],
            1 => vec![0.5], // the solution to first order, as the paper and Wan take it
            _ => solve(&places, h),
        };
        // x ← (σ'/σ)·x − α·φ·(m₀ + Σ w_k·(m_k − m₀)/r_k)
        let earlier = self.data.iter().skip(1).take(order - 1).chain(corrected);
        let mut newest = 1.0;
        let mut next = latent.scaled((to / from) as f32);
        for ((place, weight), prediction) in places.iter().zip(&weights).zip(earlier) {
            newest -= weight / place;
            next = next.add_scaled((-alpha * phi * weight / place) as f32, prediction);
        }
        next.add_scaled((-alpha * phi * newest) as f32, &self.data[0])
    }
}

/// Weights that make the sum exact for polynomials: `Σ_k r_k^(n−1)·w_k = b_n` with
/// `b_n = n!·φ_{n+1}(−h)·h'/B`, in the paper's recursion.
fn solve(places: &[f64], h: f64) -> Vec<f64> {
    let n = places.len();
    let u = -h;
    let b = u.exp_m1();
    let (mut phi, mut factorial) = (b / u - 1.0, 1.0);
    let mut rows: Vec<Vec<f64>> = vec![];
    for power in 0..n {
        let mut row: Vec<f64> = places.iter().map(|r| r.powi(power as i32)).collect();
        row.push(phi * factorial / b);
        rows.push(row);
        factorial *= (power + 2) as f64;
        phi = phi / u - 1.0 / factorial;
    }
    gauss(rows)
}

/// Solution of a small linear system given as rows `[coefficients | right side]`. The matrix is a
/// Vandermonde matrix of different places: it has a solution.
fn gauss(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let n = rows.len();
    for column in 0..n {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..n)
            .max_by(|a, b| size(a).total_cmp(&size(b)))
            .expect("rows remain");
        rows.swap(column, pivot);
        let top = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            let factor = row[column] / top[column];
            row.iter_mut().zip(&top).for_each(|(x, t)| *x -= factor * t);
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}
