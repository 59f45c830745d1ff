//! MixCache's drift and impacts. Our own design (the paper names a Gaussian perturbation analysis, no formula):
//! disturb the reused quantity Q of each granularity at a few probe steps, `Q + σ·rms(Q)·n`, n ~ N(0, 1); finish
//! the run exactly; the impact is the gain `‖x̃ − x‖ / (σ‖x‖)` of the final latent, averaged over clips and
//! probe steps, and scaled so that a whole step has 1.

use super::{Clip, Origin};
use crate::dynamics::Quantity;
use crate::metrics::relative_l2;
use crate::runner::Prepared;
use anyhow::Result;
use burn::tensor::{FloatDType, Tensor, TensorData};
use mixcache_core::denoise::denoise;
use mixcache_core::models::{Cond, Ctx, ModelChain};
use mixcache_core::noise::noise;
use mixcache_core::tensors::{Hidden, Latent};
use mixcache_policies::chain::{Dit, Feature};
use mixcache_policies::data::{Impact, MixCalibration};
use mixcache_policies::mix::Mix;
use mixcache_policies::off::Off;
use mixcache_policies::plan::*;
use std::ops::Range;

/// Size of the disturbance, as a share of the disturbed quantity's rms.
const SIGMA: f32 = 0.05;
/// Seed of the disturbance; the noise of the clips comes from the experiment's seeds.
const DISTURBANCE_SEED: u64 = 0x6d69_7863;

/// What has been measured so far.
#[derive(Default)]
pub(super) struct Measured {
    drifts: Vec<f32>,
    gains: [Vec<f64>; 3],
}

impl Measured {
    /// Adds a clip, disturbed at these steps.
    pub(super) fn add(&mut self, clip: &Clip, probes: &[usize], tick: &dyn Fn()) -> Result<()> {
        let steps = clip.job.run.steps();
        let middle = (steps as f32 * 0.15) as usize..(steps as f32 * 0.85) as usize;
        let readings = clip.exact.readings.iter();
        let guided = readings.filter(|r| r.quantity == Quantity::Guided && middle.contains(&r.step));
        self.drifts.extend(guided.map(|reading| reading.value));
        for &step in probes {
            for (grain, disturbance) in disturbances(&clip.job, step, &clip.exact.latents[step])
                .into_iter()
                .enumerate()
            {
                if let Some(disturbance) = disturbance {
                    let disturbed = disturbed(&clip.job, disturbance)?;
                    self.gains[grain].push(relative_l2(&disturbed, &clip.latent)? / SIGMA as f64);
                }
                tick();
            }
        }
        Ok(())
    }
    pub(super) fn finish(self, origin: &Origin) -> MixCalibration {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let [step, cfg, block] = self
            .gains
            .map(|grain| if grain.is_empty() { f64::NAN } else { mean(&grain) });
        // Without guidance in two passes there is no branch difference; the granularity is never chosen.
        let impact = |gain: f64| if gain.is_nan() { 1.0 } else { (gain / step) as f32 };
        MixCalibration {
            model: origin.model.clone(),
            source: format!("{}, gain of a step {step:.3}", origin.source),
            sampler: origin.sampler.clone(),
            steps: origin.steps,
            guidance: origin.guidance,
            drift: median(self.drifts),
            impact: Impact {
                step: 1.0,
                cfg: impact(cfg),
                block: impact(block),
            },
        }
    }
}

/// Steps at which clips are disturbed: from W_min of MixCache, before which no policy reuses, to the last but one.
pub(super) fn probe_steps(steps: usize, probes: usize) -> Vec<usize> {
    let first = ((Mix::default().warmup_min * steps as f32).ceil() as usize).max(1);
    let last = steps.saturating_sub(2);
    (0..probes)
        .map(|i| first + i * (last - first) / (probes - 1).max(1))
        .collect()
}

/// Where a run is disturbed, and by what.
struct Disturbance {
    timestep: f32,
    place: Place,
}

enum Place {
    /// Added to the predictions: of both branches, or of the unconditional one alone.
    Prediction { noise: Latent, both: bool },
    /// Added to the hidden state after a unit, in both branches.
    Hidden { after: usize, noise: Hidden },
}

/// The disturbances of a step: of the guided prediction, of the branch difference, of the block residual.
fn disturbances(job: &Prepared, step: usize, latent: &Latent) -> [Option<Disturbance>; 3] {
    let timestep = job.schedule.timesteps[step];
    let blocks = middle_blocks(&job.run);
    let (mut predictions, mut residual_rms) = (vec![], 0.0);
    for cond in &job.conds {
        let (mut hidden, ctx) = job.chain.embed(latent, timestep, cond);
        let mut before = None;
        for i in 0..job.run.end() {
            if i == blocks.start {
                before = Some(hidden.clone());
            }
            hidden = job.chain.unit(i, hidden, &ctx);
            if i + 1 == blocks.end {
                residual_rms += rms(hidden.since(before.take().expect("the range has a start")).tokens);
            }
        }
        predictions.push(job.chain.head(hidden, &ctx));
    }
    residual_rms /= job.conds.len() as f32;
    let shape = latent.0.dims();
    let drawn = |rms: f32, salt: u64| {
        let values = noise(DISTURBANCE_SEED + salt, &shape)
            .into_iter()
            .map(|n| n * SIGMA * rms)
            .collect();
        Latent::from_host(values, shape, &latent.0.device())
    };
    let place = |place| Some(Disturbance { timestep, place });
    let (step_rms, cfg_rms) = match &predictions[..] {
        [cond, uncond] => {
            let difference = cond.since(uncond.clone());
            let guided = uncond.clone().add_scaled(job.guidance.scale(), &difference);
            (rms(guided.0), Some(rms(difference.0)))
        }
        _ => (rms(predictions[0].0.clone()), None),
    };
    let hidden_noise = || {
        let (hidden, _) = job.chain.embed(latent, timestep, &job.conds[0]);
        let (shape, video) = (hidden.tokens.dims(), hidden.video);
        let values: Vec<f32> = noise(DISTURBANCE_SEED + 2, &shape)
            .into_iter()
            .map(|n| n * SIGMA * residual_rms)
            .collect();
        let noise: Tensor<3> = Tensor::from_data(TensorData::new(values, shape), &hidden.tokens.device());
        let tokens = noise.cast(hidden.tokens.dtype());
        Hidden { tokens, video }
    };
    [
        place(Place::Prediction {
            noise: drawn(step_rms, 0),
            both: true,
        }),
        cfg_rms.and_then(|rms| {
            place(Place::Prediction {
                noise: drawn(rms, 1),
                both: false,
            })
        }),
        place(Place::Hidden {
            after: blocks.end - 1,
            noise: hidden_noise(),
        }),
    ]
}

/// Units of MixCache's default block range.
fn middle_blocks(run: &Run) -> Range<usize> {
    Mix::default().block_units(run).remove(0)
}

fn rms<const D: usize>(tensor: Tensor<D>) -> f32 {
    let mean_square = tensor.cast(FloatDType::F32).square().mean().into_data();
    mean_square.as_slice::<f32>().expect("cast to f32")[0].sqrt()
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

/// Runs exactly but for the disturbance; the final latent.
fn disturbed(job: &Prepared, disturbance: Disturbance) -> Result<Vec<f32>> {
    let chain = Disturbed {
        chain: &job.chain,
        disturbance,
    };
    let conds: Vec<(usize, Cond)> = job.conds.iter().cloned().enumerate().collect();
    let outcome = denoise(&chain, &mut Off::default(), job.job(&conds), &mut |_| {})?;
    Ok(outcome.latent.to_host())
}

/// A model that is disturbed at one timestep.
struct Disturbed<'a> {
    chain: &'a ModelChain<'a>,
    disturbance: Disturbance,
}

/// What stays fixed within a pass: whether it is the disturbed one, its branch, the model's own.
struct DisturbedCtx {
    here: bool,
    branch: usize,
    ctx: Ctx,
}

impl Dit for Disturbed<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = (usize, Cond);
    type Ctx = DisturbedCtx;
    fn embed(&self, latent: &Latent, timestep: f32, (branch, cond): &(usize, Cond)) -> (Hidden, DisturbedCtx) {
        let (hidden, ctx) = self.chain.embed(latent, timestep, cond);
        (
            hidden,
            DisturbedCtx {
                here: timestep == self.disturbance.timestep,
                branch: *branch,
                ctx,
            },
        )
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &DisturbedCtx) -> Hidden {
        self.chain.eval(i, hidden, &ctx.ctx)
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &DisturbedCtx) -> Hidden {
        let hidden = self.chain.join(i, hidden, raw, &ctx.ctx);
        match &self.disturbance.place {
            Place::Hidden { after, noise } if ctx.here && *after == i => hidden.add_scaled(1.0, noise),
            _ => hidden,
        }
    }
    fn first_input(&self, hidden: &Hidden, ctx: &DisturbedCtx) -> Hidden {
        self.chain.first_input(hidden, &ctx.ctx)
    }
    fn head(&self, hidden: Hidden, ctx: &DisturbedCtx) -> Latent {
        let prediction = self.chain.head(hidden, &ctx.ctx);
        match &self.disturbance.place {
            Place::Prediction { noise, both } if ctx.here && (*both || ctx.branch == UNCOND) => {
                prediction.add_scaled(1.0, noise)
            }
            _ => prediction,
        }
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        self.chain.time_signals(signal, timesteps)
    }
}
