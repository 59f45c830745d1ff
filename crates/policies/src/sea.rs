//! SeaCache (arXiv 2602.18993; jiwoogit/SeaCache@0a91c2b, diffusers `hooks/sea_cache.py`): skip the stack while the
//! accumulated change of the latent, seen through a filter that passes what is signal at its noise level, stays below
//! δ. Per axis of frequency f, S = f⁻³ is the spectrum of clean video, and the gain (1 − σ)·S / ((1 − σ)²·S + σ²); axes
//! multiply, and the mean gain is brought to 1. This is diffusers' form; the authors' Wan code filters the modulated
//! input of the first block in place of the latent.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Skip while what is signal in the latent has changed little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sea {
    /// δ: the accumulated change at which a step is computed.
    pub threshold: f32,
    /// Highest derivative with which the residual is forecast: 0 in the authors' code, 1 by default in diffusers.
    pub order: usize,
    /// Most steps skipped in a row; 0 = no limit. 2 by default in diffusers.
    pub max_continuous: usize,
    #[serde(skip)]
    sigmas: Vec<f32>,
    #[serde(skip)]
    sum: f32,
    #[serde(skip)]
    skipped: usize, // in a row
    #[serde(skip)]
    whole: WholeStep,
}

impl Default for Sea {
    fn default() -> Self {
        Sea {
            threshold: 0.25,
            order: 0,
            max_continuous: 0,
            sigmas: vec![],
            sum: 0.0,
            skipped: 0,
            whole: WholeStep::default(),
        }
    }
}

impl CachePolicy for Sea {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let (whole, claim) = WholeStep::forecasting(Form::Residual, self.order, run);
        (self.whole, self.sigmas) = (whole, run.sigmas.clone());
        (self.sum, self.skipped) = (0.0, 0);
        Ok(claim.keeping_of(COND, Value::Latent, 1))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        if at.branch == COND {
            // Both branches are given the same latent.
            let limited = self.max_continuous > 0 && self.skipped >= self.max_continuous;
            self.sum = match seen {
                _ if at.full || at.step == 0 || limited => f32::INFINITY,
                [change] => self.sum + change,
                _ => return Move::Look { probes: vec![self.change(at.step)] },
            };
            let skip = self.sum < self.threshold;
            self.skipped = if skip { self.skipped + 1 } else { 0 };
            self.sum = if skip { self.sum } else { 0.0 };
        }
        self.whole.next(at, self.skipped == 0)
    }
}

impl Sea {
    fn change(&self, step: usize) -> Probe {
        let through = |step: usize, term: Term| {
            let weight = Weight::Spectrum { sigma: self.sigmas[step] };
            vec![Term { weight, ..term }]
        };
        Probe::Distance {
            new: through(step, Term::fresh(1.0, Value::Latent)),
            old: through(step - 1, Term::kept(1.0, Value::Latent, COND, 0)),
        }
    }
}

/// The filter's gain at each of the `size` frequencies of an axis (those of a discrete Fourier transform, in its
/// order) at noise level `sigma`; the mean over them is 1.
pub fn gains(size: usize, sigma: f32) -> Vec<f64> {
    const POWER: i32 = 3; // of video; the code's `power_exp`
    const SMALL: f64 = 1e-16; // the code's guard of the frequency zero
    let noise = (sigma as f64).clamp(1e-6, 1.0 - 1e-6);
    let signal = 1.0 - noise;
    let gain = |k: usize| {
        let frequency = k.min(size - k) as f64 / size as f64;
        let spectrum = 1.0 / (frequency.powi(POWER) + SMALL);
        signal * spectrum / (signal * signal * spectrum + noise * noise + SMALL)
    };
    let gains: Vec<f64> = (0..size).map(gain).collect();
    let mean = gains.iter().sum::<f64>() / size as f64;
    gains.into_iter().map(|gain| gain / mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_noise_leaves_the_mean_alone_and_no_noise_leaves_everything() {
        let noisy = gains(8, 1.0);
        assert!((noisy[0] - 8.0).abs() < 1e-3); // one of eight frequencies carries the mean gain of 1
        assert!(noisy[1..].iter().all(|gain| *gain < 1e-3));
        assert!(gains(8, 0.0).iter().all(|gain| (gain - 1.0).abs() < 1e-3));
    }

    #[test]
    fn gains_fall_with_the_frequency_on_either_side_of_zero() {
        let gains = gains(8, 0.7);
        assert!(gains[..5].is_sorted_by(|a, b| a > b));
        assert_eq!((gains[1], gains[3]), (gains[7], gains[5]));
    }
}
