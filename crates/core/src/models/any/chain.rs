//! The chain of whichever model it is.

use super::{Cond, Ctx, ModelChain};
use crate::models::Chain;
use crate::tensors::{Hidden, Latent};
use burn::tensor::FloatDType;
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, TimeSignal, Unit};

/// The same expression for a chain and a context of the same model.
macro_rules! within {
    ($chain:expr, $ctx:expr, ($one:ident, $its:ident) => $do:expr) => {
        match ($chain, $ctx) {
            (ModelChain::Wan($one), Ctx::Wan($its)) => $do,
            (ModelChain::WanExperts($one), Ctx::WanExperts($its)) => $do,
            (ModelChain::Hunyuan($one), Ctx::Hunyuan($its)) => $do,
            (ModelChain::CogVideoX($one), Ctx::CogVideoX($its)) => $do,
            _ => panic!("a context of another model"),
        }
    };
}

impl Chain for ModelChain<'_> {
    fn model(&self) -> &str {
        each!(ModelChain, self, chain => chain.model())
    }
    fn latent_shape(&self) -> [usize; 5] {
        each!(ModelChain, self, chain => chain.latent_shape())
    }
    fn hidden_shape(&self) -> [usize; 3] {
        each!(ModelChain, self, chain => chain.hidden_shape())
    }
    fn tokens(&self) -> usize {
        each!(ModelChain, self, chain => chain.tokens())
    }
    fn dtype(&self) -> FloatDType {
        each!(ModelChain, self, chain => chain.dtype())
    }
    fn signals(&self) -> Vec<Signal> {
        each!(ModelChain, self, chain => chain.signals())
    }
    fn units(&self) -> Vec<Unit> {
        each!(ModelChain, self, chain => chain.units())
    }
    fn rest_flops(&self) -> f64 {
        each!(ModelChain, self, chain => chain.rest_flops())
    }
    fn switches(&self, timesteps: &[f32]) -> Vec<usize> {
        each!(ModelChain, self, chain => chain.switches(timesteps))
    }
}

impl Dit for ModelChain<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = Cond;
    type Ctx = Ctx;

    fn embed(&self, latent: &Latent, timestep: f32, cond: &Cond) -> (Hidden, Ctx) {
        match (self, cond) {
            (ModelChain::Wan(chain), Cond::Wan(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::Wan(ctx))
            }
            (ModelChain::WanExperts(chain), Cond::WanExperts(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::WanExperts(ctx))
            }
            (ModelChain::Hunyuan(chain), Cond::Hunyuan(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::Hunyuan(ctx))
            }
            (ModelChain::CogVideoX(chain), Cond::CogVideoX(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::CogVideoX(ctx))
            }
            _ => panic!("a condition of another model"),
        }
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &Ctx) -> Hidden {
        within!(self, ctx, (chain, ctx) => chain.eval(i, hidden, ctx))
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &Ctx) -> Hidden {
        within!(self, ctx, (chain, ctx) => chain.join(i, hidden, raw, ctx))
    }
    fn first_input(&self, hidden: &Hidden, ctx: &Ctx) -> Hidden {
        within!(self, ctx, (chain, ctx) => chain.first_input(hidden, ctx))
    }
    fn head(&self, hidden: Hidden, ctx: &Ctx) -> Latent {
        within!(self, ctx, (chain, ctx) => chain.head(hidden, ctx))
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        each!(ModelChain, self, chain => chain.time_signals(signal, timesteps))
    }
}
