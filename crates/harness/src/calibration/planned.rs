//! What PlanCache plans with: how predictions hang together, and what becomes of an error.
//!
//! The gain of a step: its two predictions are replaced by the line through those of the two steps before, the run
//! is finished exactly, and the change of the final latent is divided by the change of the guided prediction times
//! the length of the solver's step. Measured at a few steps, denser where it falls fastest; its logarithm is taken
//! to be linear in between.

use super::{Clip, Origin};
use anyhow::Result;
use mixcache_core::denoise::denoise;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::Feature;
use mixcache_policies::data::Moments;
use mixcache_policies::plan::*;
use rayon::prelude::*;

/// What has been measured so far.
#[derive(Default)]
pub(super) struct Measured {
    sums: Vec<Vec<f64>>,
    gains: Vec<Vec<f64>>, // per probe step, per clip
    clips: usize,
}

/// Steps at which the gain is measured: 1, 2, 4, 7, 12, … of 50, the later ones evenly spread.
pub(super) fn probe_steps(steps: usize) -> Vec<usize> {
    let shares = [0.02, 0.04, 0.08, 0.14, 0.24, 0.4, 0.6, 0.8, 0.94];
    let mut probes: Vec<usize> = shares
        .iter()
        .map(|share| ((share * steps as f64).round() as usize).max(1))
        .collect();
    probes.dedup();
    probes.retain(|&step| step + 1 < steps);
    probes
}

impl Measured {
    pub(super) fn add(&mut self, clip: &Clip, tick: &dyn Fn()) -> Result<()> {
        let moments = moments(&clip.exact.predictions);
        match self.clips {
            0 => self.sums = moments,
            _ => {
                let pairs = self.sums.iter_mut().flatten().zip(moments.into_iter().flatten());
                pairs.for_each(|(sum, moment)| *sum += moment);
            }
        }
        self.clips += 1;
        let run = &clip.job.run;
        let probes = probe_steps(run.steps());
        self.gains.resize(probes.len(), vec![]);
        for (&step, gains) in probes.iter().zip(&mut self.gains) {
            let mut once = Once {
                step,
                output: run.output(),
            };
            let outcome = denoise(&clip.job.chain, &mut once, clip.job.job(&clip.job.conds), &mut |_| {})?;
            let change = outcome.latent.since(clip.exact.latents[run.steps()].clone());
            let length = clip.job.schedule.sigmas[step] - clip.job.schedule.sigmas[step + 1];
            let put_in = guided_error(&clip.exact.predictions, step, run).scaled(length);
            gains.push((square(&change) / square(&put_in)).sqrt());
            tick();
        }
        Ok(())
    }
    pub(super) fn finish(self, origin: &Origin, run: &Run) -> Moments {
        let mean = |sum: &f64| sum / self.clips as f64;
        // Ten digits: the predictions are f32.
        let rounded = |x: f64| format!("{x:.9e}").parse().expect("a number");
        // The geometric mean: a clip that tips over into another one must not speak for the rest.
        let typical = |clips: &Vec<f64>| (clips.iter().map(|gain| gain.ln()).sum::<f64>() / clips.len() as f64).exp();
        let gains: Vec<f64> = self.gains.iter().map(typical).collect();
        let probes = probe_steps(run.steps());
        Moments {
            model: origin.model.clone(),
            source: origin.source.clone(),
            branches: run.branches,
            guidance: run.guidance,
            sigmas: run.sigmas.clone(),
            gain: (0..run.steps())
                .map(|step| between(&probes, &gains, step))
                .map(|g| (g * 1e4).round() / 1e4)
                .collect(),
            moments: self
                .sums
                .iter()
                .map(|sums| sums.iter().map(mean).map(rounded).collect())
                .collect(),
        }
    }
}

/// Of one clip: `⟨p_i, p_j⟩` a latent element for `j ≤ i`.
pub(super) fn moments(predictions: &[Latent]) -> Vec<Vec<f64>> {
    let predictions: Vec<Vec<f32>> = predictions.iter().map(Latent::to_host).collect();
    let product = |a: &[f32], b: &[f32]| dot(a, b) / a.len() as f64;
    let row = |i: usize| {
        predictions[..=i]
            .iter()
            .map(|other| product(&predictions[i], other))
            .collect()
    };
    (0..predictions.len()).into_par_iter().map(row).collect()
}

/// Computes and stores everything, but in one step goes on along the last two predictions.
struct Once {
    step: usize,
    output: usize,
}

impl CachePolicy for Once {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        Ok(Claim::default().keeping(run, Value::Output, 2))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        match at.step == self.step {
            false => Move::store(self.output),
            true => {
                let kept = |(age, &weight): (usize, &f32)| Term::kept(weight, Value::Output, at.branch, age);
                Move::reuse(Value::Output, line(self.step).iter().enumerate().map(kept).collect())
            }
        }
    }
}

/// Weights of the last predictions, newest first, in the one put in place of the prediction of `step`.
fn line(step: usize) -> &'static [f32] {
    if step == 1 { &[1.0] } else { &[2.0, -1.0] }
}

/// What [`Once`] changes in the guided prediction of its step.
fn guided_error(predictions: &[Latent], step: usize, run: &Run) -> Latent {
    let of = |step: usize, branch: usize| &predictions[step * run.branches + branch];
    let error = |branch: usize| {
        let put_in = line(step).iter().enumerate();
        put_in.fold(of(step, branch).scaled(-1.0), |sum, (age, &weight)| {
            sum.add_scaled(weight, of(step - 1 - age, branch))
        })
    };
    match run.branches {
        2 => error(UNCOND)
            .scaled(1.0 - run.guidance)
            .add_scaled(run.guidance, &error(COND)),
        _ => error(COND),
    }
}

/// The gain at `step` from those at the probe steps: its logarithm lies on the line between them.
fn between(probes: &[usize], gains: &[f64], step: usize) -> f64 {
    let after = probes.partition_point(|&probe| probe < step);
    match (after.checked_sub(1), probes.get(after)) {
        (Some(before), Some(&next)) => {
            let share = (step - probes[before]) as f64 / (next - probes[before]) as f64;
            gains[before].powf(1.0 - share) * gains[after].powf(share)
        }
        (None, _) => gains[0],
        (Some(before), None) => gains[before],
    }
}

fn square(latent: &Latent) -> f64 {
    let values = latent.to_host();
    dot(&values, &values)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_between_two_probes_lies_on_the_line_between_their_logarithms_and_is_constant_outside() {
        let (probes, gains) = ([2, 4, 8], [16.0, 4.0, 1.0]);
        let at = |step| between(&probes, &gains, step);
        assert_eq!([at(0), at(2), at(4), at(8), at(11)], [16.0, 16.0, 4.0, 1.0, 1.0]);
        // Halfway: the geometric mean, up to rounding.
        assert!(
            (at(3) - 8.0).abs() < 1e-12 && (at(6) - 2.0).abs() < 1e-12,
            "{} {}",
            at(3),
            at(6)
        );
    }

    #[test]
    fn early_steps_are_probed_most_densely_and_the_last_never() {
        assert_eq!(probe_steps(50), [1, 2, 4, 7, 12, 20, 30, 40, 47]);
        assert!(probe_steps(4).iter().all(|&step| (1..3).contains(&step)));
    }
}
