//! A solver lets a prediction of an earlier step have been another one: in the latent, and in all that it remembers.
//!
//! Every solver is linear in the predictions, so the answer to one of them can be worked out once, in plain numbers, and
//! times what that prediction lacked it is what latent and memory lack. To add that to a later prediction instead would
//! do for Euler's method alone: one of several steps uses a prediction again, with weights of its own.
//!
//! The step that tells what was lacking was itself computed from a latent that was off, so its prediction answers, too,
//! in a way that only the model knows. There are two limits. Where what is off lies among the details that the model
//! has settled on, the velocity stays; where it is noise to the model, the data that it foretells stay, and the velocity
//! moves by what is off over the noise level. This takes the middle: an assumption, whose error is at most half a limit.
//! It matters in the last steps, which are long beside their noise levels.

use crate::sampler::{Prediction, Sampler};
use mixcache_policies::chain::Feature;

impl<Z: Feature> Sampler<Z> {
    /// Lets the prediction of step `past` have been another one by `lacked`, when the step `now` was the last to be
    /// taken. `latent` is the one after it; so is the latent that is returned.
    pub fn amend(&mut self, [past, now]: [usize; 2], lacked: &Z, latent: Z) -> Z {
        let mut answer = self.anew();
        let latent_share = answer.answer_to(past, now);
        for (own, share) in self.memory().into_iter().zip(answer.memory()) {
            *own = own.clone().add_scaled(share.0 as f32, lacked);
        }
        latent.add_scaled(latent_share.0 as f32, lacked)
    }
    /// The same solver at its first step, for other latents.
    fn anew<Y>(&self) -> Sampler<Y> {
        match self {
            Sampler::Euler { sigmas } => Sampler::Euler { sigmas: sigmas.clone() },
            Sampler::Unipc(unipc) => Sampler::Unipc(unipc.anew()),
            Sampler::Dpmpp(dpmpp) => Sampler::Dpmpp(dpmpp.anew()),
            Sampler::Ddim { sigmas } => Sampler::Ddim { sigmas: sigmas.clone() },
            Sampler::DpmppSde(dpmpp) => Sampler::DpmppSde(dpmpp.anew()),
        }
    }
    fn memory(&mut self) -> Vec<&mut Z> {
        match self {
            Sampler::Euler { .. } | Sampler::Ddim { .. } => vec![],
            Sampler::Unipc(unipc) => unipc.memory(),
            Sampler::Dpmpp(dpmpp) => dpmpp.memory(),
            Sampler::DpmppSde(dpmpp) => dpmpp.memory(),
        }
    }
    /// How much the prediction of `step` is taken to move with its latent: half way between the two limits.
    fn slope(&self, step: usize) -> f64 {
        let (level, prediction) = match self {
            Sampler::Euler { sigmas } => (sigmas[step] as f64, Prediction::Flow),
            Sampler::Unipc(unipc) => (unipc.sigmas[step], Prediction::Flow),
            Sampler::Dpmpp(dpmpp) => (dpmpp.sigmas[step], Prediction::Flow),
            Sampler::Ddim { sigmas } => (sigmas[step] as f64, Prediction::V),
            Sampler::DpmppSde(dpmpp) => (dpmpp.shares[step] as f64, Prediction::V),
        };
        let [velocity_stays, data_stay] = match prediction {
            Prediction::Flow => [0.0, 1.0 / level],
            // Of latents `α·data + σ·noise`, where `α·noise − σ·data` is predicted and `level = σ/(α + σ)`.
            Prediction::V => [1.0 - 2.0 * level, (1.0 - level) / level],
        };
        0.5 * (velocity_stays + data_stay)
    }
}

impl Sampler<Share> {
    /// What a latent of zero becomes until `now`, when all predictions are zero but that of step `past`, which is one,
    /// and the answer of the last.
    fn answer_to(&mut self, past: usize, now: usize) -> Share {
        (0..=now).fold(Share(0.0), |latent, step| {
            let prediction = match step {
                _ if step == past => 1.0,
                _ if step == now => self.slope(now) * latent.0,
                _ => 0.0,
            };
            self.step(step, &Share(prediction), latent, || Share(0.0))
        })
    }
}

/// A latent of one number: how much of a prediction is in it.
#[derive(Clone)]
struct Share(f64);

impl Feature for Share {
    type Scalar = f64;
    fn add_scaled(self, weight: f32, other: &Share) -> Share {
        Share(self.0 + weight as f64 * other.0)
    }
    fn scaled(&self, weight: f32) -> Share {
        Share(weight as f64 * self.0)
    }
    fn since(&self, before: Share) -> Share {
        Share(self.0 - before.0)
    }
    fn l1_pair(&self, other: &Share) -> [f64; 2] {
        [(self.0 - other.0).abs(), other.0.abs()]
    }
    fn read(scalars: Vec<f64>) -> Vec<f32> {
        scalars.into_iter().map(|share| share as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpmpp::SecondOrder;
    use crate::sampler::SamplerKind;
    use crate::schedule::Schedule;

    const STEPS: usize = 12;

    /// Latents of a run along a field that is a polynomial of the level, and at the step `now` moves with the latent, by
    /// `slope`. The predictions of the steps `off` are wrong, and amended after `now`.
    fn latents(mut sampler: Sampler<Share>, schedule: &Schedule, now: usize, slope: f64, off: &[usize]) -> Vec<f64> {
        let mut latent = Share(0.7);
        let step = |step: usize| {
            let level = schedule.sigmas[step] as f64;
            let moved = if step == now { slope * latent.0 } else { 0.0 };
            let wrong = |step: usize| 1.0 + step as f64;
            let error = if off.contains(&step) { wrong(step) } else { 0.0 };
            let prediction = Share(1.0 - 0.5 * level + 2.0 * level * level + moved + error);
            latent = sampler.step(step, &prediction, latent.clone(), || Share(0.3));
            for &past in off.iter().filter(|_| step == now) {
                latent = sampler.amend([past, now], &Share(-wrong(past)), latent.clone());
            }
            latent.0
        };
        (0..STEPS).map(step).collect()
    }

    #[test]
    fn amended_predictions_might_have_been_right_from_the_start() {
        let flow = |level: f64| 0.5 / level;
        let v = |level: f64| 0.5 * ((1.0 - level) / level + 1.0 - 2.0 * level);
        let schedule = |kind: SamplerKind| Schedule::new(kind.grid(), STEPS, 3.0);
        use SamplerKind::*;
        for (kind, order) in [
            (Euler, 1),
            (Unipc, 2),
            (Unipc, 3),
            (Dpmpp, 2),
            (Dpmpp, 3),
            (Ddim, 1),
            (DpmppSde, 2),
        ] {
            let schedule = schedule(kind);
            // In the middle, after a gap of two and with a step computed before the amending one; and at the end.
            for (now, off) in [(5, &[3, 4][..]), (6, &[2, 4, 5]), (STEPS - 1, &[STEPS - 3, STEPS - 2])] {
                let level = schedule.sigmas[now] as f64;
                let slope = if kind.prediction() == Prediction::V {
                    v(level)
                } else {
                    flow(level)
                };
                let solver = || match kind {
                    Unipc => Sampler::unipc(&schedule, order),
                    Dpmpp => Sampler::dpmpp(&schedule, order, SecondOrder::Midpoint),
                    _ => Sampler::new(kind, &schedule),
                };
                let run = |off: &[usize]| latents(solver(), &schedule, now, slope, off);
                let (right, amended) = (run(&[]), run(off));
                for step in 0..STEPS {
                    // Errors of 4 and more, weights of solvers in f32.
                    let apart = (right[step] - amended[step]).abs();
                    assert!(
                        step < now || apart < 1e-4,
                        "{kind:?} of order {order}, step {step} after {now}: {apart}"
                    );
                }
                assert!(
                    (right[now - 1] - amended[now - 1]).abs() > 0.05,
                    "{kind:?}: nothing was off"
                );
            }
        }
    }
}
