//! DPM-Solver++ (arXiv 2211.01095, multistep) in the form Wan runs it: predicts the data, ends with a step of first
//! order. With λ = ln((1 − σ)/σ).

use mixcache_policies::chain::Feature;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How a step of second order weighs the difference of its two predictions.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondOrder {
    /// By half the weight of the newest prediction.
    #[default]
    Midpoint,
    /// By the integral over the step.
    Heun,
}

/// Runs of fewer steps than this end with a step of second order before the last of first order
/// (`lower_order_final`); it matters at order 3.
const FEW_STEPS: usize = 15;

/// The solver between two steps.
pub struct Dpmpp<Z> {
    pub(crate) sigmas: Vec<f64>,
    order: usize,
    second: SecondOrder,
    data: VecDeque<Z>, // predictions of the data, newest first
}

impl<Z: Feature> Dpmpp<Z> {
    /// A solver of `order` 1 to 3 at its first step.
    ///
    /// # Panics
    /// On any other order.
    pub fn new(sigmas: &[f32], order: usize, second: SecondOrder) -> Dpmpp<Z> {
        assert!((1..=3).contains(&order), "DPM++ has orders 1 to 3, not {order}");
        Dpmpp {
            sigmas: sigmas.iter().map(|sigma| *sigma as f64).collect(),
            order,
            second,
            data: VecDeque::new(),
        }
    }
    /// The same solver at its first step, for other latents.
    pub(crate) fn anew<Y>(&self) -> Dpmpp<Y> {
        Dpmpp {
            sigmas: self.sigmas.clone(),
            order: self.order,
            second: self.second,
            data: VecDeque::new(),
        }
    }
    /// All that it remembers of the steps before.
    pub(crate) fn memory(&mut self) -> Vec<&mut Z> {
        self.data.iter_mut().collect()
    }
    /// The latent after step `i`.
    pub fn step(&mut self, i: usize, velocity: &Z, latent: Z) -> Z {
        self.data
            .push_front(latent.clone().add_scaled(-self.sigmas[i] as f32, velocity));
        self.data.truncate(self.order);
        let steps = self.sigmas.len() - 1;
        let order_max = match steps - i {
            1 => 1,
            2 if steps < FEW_STEPS => 2,
            _ => self.order,
        };
        let order = order_max.min(self.data.len());
        let next = latent.scaled((self.sigmas[i + 1] / self.sigmas[i]) as f32);
        let weights = self.weights(i, order);
        weights
            .iter()
            .zip(&self.data)
            .fold(next, |next, (weight, data)| next.add_scaled(*weight as f32, data))
    }
    /// Weights of the newest predictions in the step from `i` to `i + 1`.
    fn weights(&self, i: usize, order: usize) -> Vec<f64> {
        let lambda = |i: usize| (1.0 - self.sigmas[i]).ln() - self.sigmas[i].ln();
        let h = lambda(i + 1) - lambda(i); // infinite at either end, where phi = −1
        let alpha = 1.0 - self.sigmas[i + 1];
        let phi = (-h).exp_m1();
        // Of the newest prediction, of its slope and of its curvature over the step.
        let constant = -alpha * phi;
        let slope = || alpha * (phi / h + 1.0);
        let curvature = || -alpha * ((phi + h) / (h * h) - 0.5);
        // Steps back in units of this one; infinite behind pure noise, where a difference tells nothing.
        let back = |k: usize| (lambda(i + 1 - k) - lambda(i - k)) / h;
        match order {
            1 => vec![constant],
            2 => {
                let weight = match self.second {
                    SecondOrder::Midpoint => 0.5 * constant,
                    SecondOrder::Heun => slope(),
                };
                let difference = weight / back(1); // × (m₀ − m₁)
                vec![constant + difference, -difference]
            }
            _ => {
                let (r0, r1) = (back(1), back(2));
                // D₁ = (1 + r₀/(r₀ + r₁))·(m₀ − m₁)/r₀ − r₀/(r₀ + r₁)·(m₁ − m₂)/r₁, D₂ = ((m₀ − m₁)/r₀ − (m₁ − m₂)/r₁)/(r₀ + r₁)
                let (share, bend) = (slope() * r0 / (r0 + r1), curvature() / (r0 + r1));
                let newer = (slope() + share + bend) / r0; // × (m₀ − m₁)
                let older = -(share + bend) / r1; // × (m₁ − m₂)
                vec![constant + newer, older - newer, -older]
            }
        }
    }
}
