//! A policy as what each of its settings costs and how good it is: read for a quality, or for a cost.

use super::curve::{at, extent, sorted};
use super::resample::{Estimate, mean, median, resampled};

/// One setting clip by clip: the same clips in the same order in every setting of every policy that is compared.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Shares of the uncached work.
    pub compute: Vec<f64>,
    /// Uncached seconds / seconds.
    pub speedups: Vec<f64>,
    /// In whatever measure is compared.
    pub qualities: Vec<f64>,
}

/// What is paid for a quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// Share of the uncached work, mean over clips.
    Compute,
    /// Time, as uncached seconds / seconds, median over clips: freer of noise than the speed-up of a clip.
    Speedup,
}

/// The settings of one policy.
#[derive(Clone, Debug)]
pub struct Priced {
    /// One a setting.
    pub trials: Vec<Trial>,
    /// Takes a mean quality to the scale on which it is read straight between settings.
    pub scale: fn(f64) -> f64,
}

impl Priced {
    /// What the policy pays for a mean quality of `target`, straight between its settings in the order of their quality.
    /// None where they do not reach it.
    pub fn cost(&self, cost: Cost, target: f64, clips: usize) -> Option<f64> {
        let line = self.by_quality(cost, &all(clips));
        within(&line, (self.scale)(target)).then(|| at(&line, (self.scale)(target)))
    }

    /// What the policy pays at most for a mean quality of `target` where every one of its settings is better: the price of
    /// the cheapest. None where one is not.
    pub fn cost_at_most(&self, cost: Cost, target: f64, clips: usize) -> Option<f64> {
        let line = self.by_quality(cost, &all(clips));
        let prices = line.iter().map(|point| point.1);
        let is_better =
            !line.is_empty() && (self.scale)(target) < extent(&line).0 && !within(&line, (self.scale)(target));
        is_better.then(|| match cost {
            Cost::Compute => prices.fold(f64::INFINITY, f64::min),
            Cost::Speedup => prices.fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// Compute of `other` / own compute, or own speed-up / that of `other`, both at a mean quality of `target`: above 1
    /// where this policy needs less. Both are resampled together; a resample that falls short of the target counts as its
    /// nearest setting.
    pub fn saving(&self, other: &Priced, cost: Cost, target: f64, clips: usize) -> Option<Estimate> {
        self.cost(cost, target, clips)?;
        other.cost(cost, target, clips)?;
        Some(resampled(clips, |clips| {
            let read = |priced: &Priced| at(&priced.by_quality(cost, clips), (priced.scale)(target));
            match cost {
                Cost::Compute => read(other) / read(self),
                Cost::Speedup => read(self) / read(other),
            }
        }))
    }

    /// Mean quality of the policy at a mean compute of `compute`, straight between its settings. None where they do not
    /// reach it.
    pub fn quality(&self, compute: f64, clips: usize) -> Option<f64> {
        let line = self.by_compute(&all(clips));
        within(&line, compute).then(|| at(&line, compute))
    }

    /// Of what `upper` gains over `control` at a mean compute of `compute`, the share that this policy gains. All three are
    /// resampled together; a resample that falls short of the compute counts as its nearest setting. None where one of them
    /// does not reach it, or `upper` gains nothing.
    pub fn share_of_gain(&self, control: &Priced, upper: &Priced, compute: f64, clips: usize) -> Option<Estimate> {
        self.quality(compute, clips)?;
        let room = upper.quality(compute, clips)? - control.quality(compute, clips)?;
        (room > 0.0).then(|| {
            resampled(clips, |clips| {
                let [own, low, high] = [self, control, upper].map(|priced| at(&priced.by_compute(clips), compute));
                (own - low) / (high - low)
            })
        })
    }

    fn by_quality(&self, cost: Cost, clips: &[usize]) -> Vec<(f64, f64)> {
        sorted(self.points(cost, clips).collect())
    }

    fn by_compute(&self, clips: &[usize]) -> Vec<(f64, f64)> {
        let points = self.points(Cost::Compute, clips);
        sorted(points.map(|(quality, compute)| (compute, quality)).collect())
    }

    /// Quality and cost of each setting.
    fn points(&self, cost: Cost, clips: &[usize]) -> impl Iterator<Item = (f64, f64)> {
        self.trials.iter().map(move |trial| {
            let paid = match cost {
                Cost::Compute => mean(&mut chosen(&trial.compute, clips)),
                Cost::Speedup => median(&mut chosen(&trial.speedups, clips)),
            };
            ((self.scale)(mean(&mut chosen(&trial.qualities, clips))), paid)
        })
    }
}

fn all(clips: usize) -> Vec<usize> {
    (0..clips).collect()
}

fn chosen(values: &[f64], clips: &[usize]) -> Vec<f64> {
    clips.iter().map(|&clip| values[clip]).collect()
}

fn within(line: &[(f64, f64)], x: f64) -> bool {
    /// The mean of clips that all did .3 of the work is .3 but for the last digits.
    const ROUNDING: f64 = 1e-9;
    !line.is_empty() && extent(line).0 - ROUNDING <= x && x <= extent(line).1 + ROUNDING
}
