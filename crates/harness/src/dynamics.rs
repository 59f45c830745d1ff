//! How a model's numbers change from step to step without a cache: what every cache policy lives on.
//!
//! One uncached run is watched from inside. All changes are relative L1 distances to the step before,
//! `mean|a − b| / mean|b|`; the magnitude ratio is MagCache's (arXiv 2506.09045),
//! `mean over tokens of ‖R_i‖₂ / ‖R_{i−1}‖₂` of the residual of the whole stack.

use anyhow::Result;
use mixcache_core::denoise::{Job, denoise};
use mixcache_core::tensors::{Hidden, Latent};
use mixcache_policies::chain::{Dit, Feature};
use mixcache_policies::off::Off;
use mixcache_policies::plan::{COND, Run, TimeSignal, UNCOND};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What was measured.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Change of the prediction of one branch.
    Prediction,
    /// Change of the guided prediction.
    Guided,
    /// Change of the residual of the whole stack.
    Residual,
    /// Magnitude ratio of the residual of the whole stack.
    Magnitude,
    /// Change of the residual of one block.
    Block,
    /// Distance of the unconditional prediction from the conditional one, in the same step.
    Branches,
    /// Change of the difference between the branches.
    BranchDifference,
    /// Change of what the first unit computes on, [`mixcache_policies::plan::Signal::Input`].
    Input,
}

/// One measurement: where, what, how much.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// Sampler step.
    pub step: usize,
    /// Guidance branch, where the quantity has one.
    pub branch: Option<usize>,
    /// Block, where the quantity has one.
    pub block: Option<usize>,
    /// What.
    pub quantity: Quantity,
    /// How much.
    pub value: f32,
}

/// A quantity at a step, over all clips.
#[derive(Clone, Debug, Serialize)]
pub struct Average {
    /// What.
    pub quantity: Quantity,
    /// Sampler step.
    pub step: usize,
    /// Noise level of the step.
    pub sigma: f32,
    /// Guidance branch, where the quantity has one.
    pub branch: Option<usize>,
    /// Block, where the quantity has one.
    pub block: Option<usize>,
    /// Mean over clips.
    pub mean: f64,
    /// Standard deviation over clips.
    pub deviation: f64,
    /// Clips.
    pub clips: usize,
}

/// What an uncached run was seen to do.
pub struct Watch {
    /// Everything measured.
    pub readings: Vec<Reading>,
    /// Every prediction, in order: the branches of a step one after the other.
    pub predictions: Vec<Latent>,
    /// The latent before each step, and the final one.
    pub latents: Vec<Latent>,
}

/// Watches one uncached run.
///
/// # Errors
/// When the run fails.
pub fn watch<D>(dit: &D, job: Job<'_, D::Cond>) -> Result<Watch>
where
    D: Dit<Hidden = Hidden, Latent = Latent>,
    D::Cond: Clone,
{
    let conds: Vec<(usize, D::Cond)> = job.conds.iter().cloned().enumerate().collect();
    let watched = Watched {
        dit,
        run: job.run.clone(),
        state: RefCell::default(),
    };
    let job = Job {
        conds: &conds,
        run: job.run,
        schedule: job.schedule,
        sampler: job.sampler,
        guidance: job.guidance,
        noise: job.noise,
        seed: job.seed,
    };
    let mut latents = vec![job.noise.clone()];
    denoise(&watched, &mut Off::default(), job, &mut |report| {
        latents.push(report.latent.clone())
    })?;
    let State {
        readings, predictions, ..
    } = watched.state.into_inner();
    Ok(Watch {
        readings,
        predictions,
        latents,
    })
}

/// A model that notes what it computes.
struct Watched<'a, D> {
    dit: &'a D,
    run: Run,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    branches: [Branch; 2],
    guided: Option<Latent>,
    difference: Option<Latent>,
    readings: Vec<Reading>,
    predictions: Vec<Latent>,
}

/// What a branch computed last.
#[derive(Default)]
struct Branch {
    step: usize,
    prediction: Option<Latent>,
    residual: Option<Hidden>,
    input: Option<Hidden>,
    blocks: Vec<Hidden>,
    /// Hidden states of the pass under way: after the embedding, and before the current block.
    start: Option<Hidden>,
    block_start: Option<Hidden>,
}

impl State {
    fn note(&mut self, step: usize, branch: Option<usize>, block: Option<usize>, quantity: Quantity, value: f32) {
        self.readings.push(Reading {
            step,
            branch,
            block,
            quantity,
            value,
        });
    }
}

fn change<F: Feature>(new: &F, old: &F) -> f32 {
    let numbers = F::read(new.l1_pair(old).into());
    numbers[0] / numbers[1]
}

impl<D: Dit<Hidden = Hidden, Latent = Latent>> Dit for Watched<'_, D> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = (usize, D::Cond);
    type Ctx = (usize, D::Ctx);

    fn embed(&self, latent: &Latent, timestep: f32, (branch, cond): &Self::Cond) -> (Hidden, Self::Ctx) {
        let (hidden, ctx) = self.dit.embed(latent, timestep, cond);
        let input = self.dit.first_input(&hidden, &ctx);
        let mut state = self.state.borrow_mut();
        let own = &mut state.branches[*branch];
        own.start = Some(hidden.clone());
        let step = own.step;
        if let Some(old) = own.input.replace(input.clone()) {
            state.note(step, Some(*branch), None, Quantity::Input, change(&input, &old));
        }
        drop(state);
        (hidden, (*branch, ctx))
    }
    fn eval(&self, i: usize, hidden: &Hidden, (branch, ctx): &Self::Ctx) -> Hidden {
        if i == 0 || self.run.units[i].block != self.run.units[i - 1].block {
            self.state.borrow_mut().branches[*branch].block_start = Some(hidden.clone());
        }
        self.dit.eval(i, hidden, ctx)
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, (branch, ctx): &Self::Ctx) -> Hidden {
        let hidden = self.dit.join(i, hidden, raw, ctx);
        let block = self.run.units[i].block;
        if self.run.units.get(i + 1).is_none_or(|next| next.block != block) {
            let mut state = self.state.borrow_mut();
            let own = &mut state.branches[*branch];
            let residual = hidden.since(own.block_start.take().expect("a block starts before it ends"));
            let step = own.step;
            let value = own.blocks.get(block).map(|old| change(&residual, old));
            match own.blocks.get_mut(block) {
                Some(old) => *old = residual,
                None => own.blocks.push(residual),
            }
            if let Some(value) = value {
                state.note(step, Some(*branch), Some(block), Quantity::Block, value);
            }
        }
        hidden
    }
    fn first_input(&self, hidden: &Hidden, (_, ctx): &Self::Ctx) -> Hidden {
        self.dit.first_input(hidden, ctx)
    }
    fn head(&self, hidden: Hidden, (branch, ctx): &Self::Ctx) -> Latent {
        let mut state = self.state.borrow_mut();
        let own = &mut state.branches[*branch];
        let step = own.step;
        own.step += 1;
        let residual = hidden.since(own.start.take().expect("a pass starts with an embedding"));
        let prediction = self.dit.head(hidden, ctx);
        state.predictions.push(prediction.clone());
        let own = &mut state.branches[*branch];
        let old_residual = own.residual.replace(residual.clone());
        let old_prediction = own.prediction.replace(prediction.clone());
        if let (Some(old_residual), Some(old_prediction)) = (old_residual, old_prediction) {
            let magnitude = Hidden::read(vec![residual.magnitude_ratio(&old_residual)])[0];
            for (quantity, value) in [
                (Quantity::Prediction, change(&prediction, &old_prediction)),
                (Quantity::Residual, change(&residual, &old_residual)),
                (Quantity::Magnitude, magnitude),
            ] {
                state.note(step, Some(*branch), None, quantity, value);
            }
        }
        if *branch + 1 == self.run.branches {
            self.step_ends(&mut state, step, &prediction);
        }
        prediction
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        self.dit.time_signals(signal, timesteps)
    }
}

impl<D> Watched<'_, D> {
    /// What can be said of a step once its last branch is known.
    fn step_ends(&self, state: &mut State, step: usize, last: &Latent) {
        let guided = match self.run.branches {
            2 => {
                let cond = state.branches[COND].prediction.clone().expect("the first branch ran");
                state.note(step, Some(UNCOND), None, Quantity::Branches, change(last, &cond));
                let difference = cond.since(last.clone());
                if let Some(old) = state.difference.replace(difference.clone()) {
                    let value = change(&difference, &old);
                    state.note(step, None, None, Quantity::BranchDifference, value);
                }
                last.clone().add_scaled(self.run.guidance, &difference)
            }
            _ => last.clone(),
        };
        if let Some(old) = state.guided.replace(guided.clone()) {
            state.note(step, None, None, Quantity::Guided, change(&guided, &old));
        }
    }
}

/// Mean and spread over clips of every quantity at every step.
pub fn averages(readings: Vec<Reading>, sigmas: &[f32]) -> Vec<Average> {
    let mut groups: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for Reading {
        quantity,
        step,
        branch,
        block,
        value,
    } in readings
    {
        let group = groups.entry((quantity, branch, block, step)).or_default();
        group.push(value as f64);
    }
    let average = |((quantity, branch, block, step), values): (_, Vec<f64>)| {
        let clips = values.len();
        let mean = values.iter().sum::<f64>() / clips as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / clips.saturating_sub(1).max(1) as f64;
        Average {
            quantity,
            step,
            sigma: sigmas[step],
            branch,
            block,
            mean,
            deviation: variance.sqrt(),
            clips,
        }
    };
    groups.into_iter().map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, FloatDType};
    use mixcache_core::denoise::{CacheLimits, Guidance, run_of};
    use mixcache_core::mini::{self, GRID};
    use mixcache_core::models::Chain;
    use mixcache_core::noise::noise;
    use mixcache_core::sampler::SamplerKind;
    use mixcache_core::schedule::Schedule;

    #[test]
    fn the_change_of_the_guided_prediction_is_the_change_of_the_path_that_euler_takes() {
        let device = Device::flex();
        let mini = mini::find("wan-mini").unwrap().load(&device, FloatDType::F32).unwrap();
        let prompts = ["a cat spins on red", ""].map(|words| mini.text.encode(words, &device).unwrap());
        let chain = mini.model.on(GRID, 1, prompts[0].states.dims()[1]).unwrap();
        let conds = prompts.map(|prompt| mini.model.condition(prompt, 2.0).unwrap());
        let (steps, guidance) = (4, Guidance::TwoPass { scale: 2.0 });
        let schedule = Schedule::new(SamplerKind::Euler.grid(), steps, 3.0);
        let shape = chain.latent_shape();
        let job = || Job {
            run: run_of(&chain, &schedule, guidance, CacheLimits::NONE, Default::default()),
            schedule: schedule.clone(),
            sampler: SamplerKind::Euler,
            guidance,
            noise: Latent::from_host(noise(1, &shape), shape, &device),
            seed: 1,
            conds: &conds,
        };
        let mut path = vec![job().noise];
        denoise(&chain, &mut Off::default(), job(), &mut |report| {
            path.push(report.latent.clone())
        })
        .unwrap();
        let velocity = |step: usize| {
            let length = schedule.sigmas[step + 1] - schedule.sigmas[step];
            path[step + 1].since(path[step].clone()).scaled(1.0 / length)
        };

        let readings = watch(&chain, job()).unwrap().readings;
        let guided: Vec<_> = readings.iter().filter(|r| r.quantity == Quantity::Guided).collect();
        assert_eq!(guided.iter().map(|r| r.step).collect::<Vec<_>>(), [1, 2, 3]);
        for reading in guided {
            let expected = change(&velocity(reading.step), &velocity(reading.step - 1));
            // The path is rounded to f32 around values a few times the size of a step.
            assert!(
                (reading.value / expected - 1.0).abs() < 1e-3,
                "{reading:?}, expected {expected}"
            );
        }
        let blocks = readings.iter().filter(|r| r.quantity == Quantity::Block).count();
        assert_eq!(
            blocks,
            8 * 2 * (steps - 1),
            "each block in each branch, from the second step on"
        );
    }
}
