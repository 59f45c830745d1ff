//! From a prediction to the next latent.

use crate::ddim;
use crate::dpmpp::{Dpmpp, SecondOrder};
use crate::dpmpp_sde::DpmppSde;
use crate::schedule::{Grid, Schedule};
use crate::unipc::Unipc;
use mixcache_policies::chain::Feature;
use serde::{Deserialize, Serialize};

/// What a model predicts, which decides how its latents carry noise.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The velocity `noise − data` of a flow: latents are `(1 − σ)·data + σ·noise`.
    Flow,
    /// `α·noise − σ·data`, where latents are `α·data + σ·noise` and keep their variance.
    V,
}

/// A solver.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// First order: `x ← x + v·(σ_next − σ)`.
    Euler,
    /// UniPC of order 2 with corrector (arXiv 2302.04867), the default of Wan.
    Unipc,
    /// DPM-Solver++ of order 2 (arXiv 2211.01095), the other solver of Wan.
    Dpmpp,
    /// DDIM (arXiv 2010.02502), for models that predict v: CogVideoX.
    Ddim,
    /// DPM-Solver++ of order 2 that adds noise in every step (arXiv 2211.01095, SDE): CogVideoX-5B as its authors show it.
    DpmppSde,
}

impl SamplerKind {
    /// The noise levels that the models' authors use with it.
    pub fn grid(self) -> Grid {
        match self {
            SamplerKind::Euler => Grid::Flow,
            SamplerKind::Unipc => Grid::Wan,
            SamplerKind::Dpmpp => Grid::WanDpmpp,
            SamplerKind::Ddim | SamplerKind::DpmppSde => Grid::CogVideoX,
        }
    }
    /// What a model must predict for it.
    pub fn prediction(self) -> Prediction {
        match self {
            SamplerKind::Euler | SamplerKind::Unipc | SamplerKind::Dpmpp => Prediction::Flow,
            SamplerKind::Ddim | SamplerKind::DpmppSde => Prediction::V,
        }
    }
}

/// A solver in the middle of a run.
pub enum Sampler<Z> {
    /// First order: no memory.
    Euler {
        /// Noise levels of the run.
        sigmas: Vec<f32>,
    },
    /// Predictor and corrector over earlier predictions.
    Unipc(Unipc<Z>),
    /// Predictor over earlier predictions.
    Dpmpp(Dpmpp<Z>),
    /// First order, variance kept: no memory.
    Ddim {
        /// Shares of noise of the run.
        sigmas: Vec<f32>,
    },
    /// Predictor over two predictions, and fresh noise.
    DpmppSde(DpmppSde<Z>),
}

impl<Z: Feature> Sampler<Z> {
    /// A solver at its first step.
    pub fn new(kind: SamplerKind, schedule: &Schedule) -> Sampler<Z> {
        match kind {
            SamplerKind::Euler => Sampler::Euler {
                sigmas: schedule.sigmas.clone(),
            },
            SamplerKind::Unipc => Sampler::unipc(schedule, 2),
            SamplerKind::Dpmpp => Sampler::dpmpp(schedule, 2, SecondOrder::Midpoint),
            SamplerKind::Ddim => Sampler::Ddim {
                sigmas: schedule.sigmas.clone(),
            },
            SamplerKind::DpmppSde => Sampler::DpmppSde(DpmppSde::new(&schedule.sigmas)),
        }
    }
    /// UniPC of an order from 1 to 3.
    pub fn unipc(schedule: &Schedule, order: usize) -> Sampler<Z> {
        Sampler::Unipc(Unipc::new(&schedule.sigmas, order))
    }
    /// DPM++ of an order from 1 to 3.
    pub fn dpmpp(schedule: &Schedule, order: usize, second: SecondOrder) -> Sampler<Z> {
        Sampler::Dpmpp(Dpmpp::new(&schedule.sigmas, order, second))
    }
    /// The latent after step `i`, given the one before it and what the model predicted there. Steps must
    /// be taken in order: a multistep solver remembers the earlier ones. `fresh` draws standard normal noise for this
    /// step; most solvers take none.
    pub fn step(&mut self, i: usize, prediction: &Z, latent: Z, fresh: impl FnOnce() -> Z) -> Z {
        match self {
            Sampler::Euler { sigmas } => latent.add_scaled(sigmas[i + 1] - sigmas[i], prediction),
            Sampler::Unipc(unipc) => unipc.step(i, prediction, latent),
            Sampler::Dpmpp(dpmpp) => dpmpp.step(i, prediction, latent),
            Sampler::Ddim { sigmas } => ddim::step([sigmas[i], sigmas[i + 1]], prediction, latent),
            Sampler::DpmppSde(dpmpp) => dpmpp.step(i, prediction, latent, fresh),
        }
    }
    /// Lets the prediction of step `past` have been another one by `lacked`, when the step `now` was the last to be
    /// taken: the latent after it, and all that the solver remembers, become what they would be then, given the same
    /// other predictions.
    pub fn amend(&mut self, [past, now]: [usize; 2], lacked: &Z, latent: Z) -> Z {
        let mut response = self.anew();
        let latent_share = response.to_one(past, now);
        for (own, share) in self.memory().into_iter().zip(response.memory()) {
            *own = own.clone().add_scaled(share.0 as f32, lacked);
        }
        latent.add_scaled(latent_share.0 as f32, lacked)
    }
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
}

impl Sampler<Share> {
    /// Every solver is linear in the predictions: what becomes of a single one, of step `past`, is what a latent of
    /// zero becomes until `now`, when all predictions are zero but that one.
    fn to_one(&mut self, past: usize, now: usize) -> Share {
        let step = |latent, step| self.step(step, &Share((step == past) as u8 as f64), latent, || Share(0.0));
        (0..=now).fold(Share(0.0), step)
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
