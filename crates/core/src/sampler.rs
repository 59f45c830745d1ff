//! From a predicted velocity to the next latent.

use crate::schedule::{Grid, Schedule};
use crate::unipc::Unipc;
use mixcache_policies::chain::Feature;
use serde::{Deserialize, Serialize};

/// A solver of the flow `dx/dσ = v`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// First order: `x ← x + v·(σ_next − σ)`.
    Euler,
    /// UniPC of order 2 with corrector (arXiv 2302.04867), the default of Wan.
    Unipc,
}

impl SamplerKind {
    /// The noise levels that the models' authors use with it.
    pub fn grid(self) -> Grid {
        match self {
            SamplerKind::Euler => Grid::Flow,
            SamplerKind::Unipc => Grid::Wan,
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
}

impl<Z: Feature> Sampler<Z> {
    /// A solver at its first step.
    pub fn new(kind: SamplerKind, schedule: &Schedule) -> Sampler<Z> {
        match kind {
            SamplerKind::Euler => Sampler::Euler {
                sigmas: schedule.sigmas.clone(),
            },
            SamplerKind::Unipc => Sampler::unipc(schedule, 2),
        }
    }
    /// UniPC of an order from 1 to 3.
    pub fn unipc(schedule: &Schedule, order: usize) -> Sampler<Z> {
        Sampler::Unipc(Unipc::new(&schedule.sigmas, order))
    }
    /// The latent after step `i`, given the one before it and the velocity predicted there. Steps must
    /// be taken in order: a multistep solver remembers the earlier ones.
    pub fn step(&mut self, i: usize, velocity: &Z, latent: Z) -> Z {
        match self {
            Sampler::Euler { sigmas } => latent.add_scaled(sigmas[i + 1] - sigmas[i], velocity),
            Sampler::Unipc(unipc) => unipc.step(i, velocity, latent),
        }
    }
}
