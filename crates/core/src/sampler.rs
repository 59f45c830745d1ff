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
}
