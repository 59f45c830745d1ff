//! The one sampling loop: every video of the project comes out of it, cached or not.

use crate::models::Chain;
use crate::noise;
use crate::sampler::{Sampler, SamplerKind};
use crate::schedule::Schedule;
use crate::tensors::Latent;
use burn::tensor::Tensor;
use mixcache_policies::chain::{Dit, Feature, pass};
use mixcache_policies::data::Data;
use mixcache_policies::plan::{At, COND, CachePolicy, Event, Run};
use mixcache_policies::store::{Costs, Store, WalkError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Classifier-free guidance: `v = v_u + scale·(v_c − v_u)`.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Guidance {
    /// One conditional pass a step: no guidance, or one whose scale is an input of the model.
    None,
    /// Two passes a step, conditional first.
    TwoPass {
        /// Guidance scale.
        scale: f32,
    },
    /// One pass a step over a batch of two, conditional first.
    Batched {
        /// Guidance scale.
        scale: f32,
    },
}

impl Guidance {
    /// Passes a step: what a policy sees as branches.
    pub fn branches(self) -> usize {
        match self {
            Guidance::None | Guidance::Batched { .. } => 1,
            Guidance::TwoPass { .. } => 2,
        }
    }
    /// Latents in one pass, for one video.
    pub fn batch(self) -> usize {
        match self {
            Guidance::None | Guidance::TwoPass { .. } => 1,
            Guidance::Batched { .. } => 2,
        }
    }
    /// The scale, 1 where no predictions are combined.
    pub fn scale(self) -> f32 {
        match self {
            Guidance::None => 1.0,
            Guidance::TwoPass { scale } | Guidance::Batched { scale } => scale,
        }
    }
}

/// What the cache of a run may do, beside what model and schedule decide.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Steps at either end in which reuse is forbidden.
    pub full: (usize, usize),
    /// Limit on everything the cache holds at once.
    pub budget_bytes: u64,
}

impl CacheLimits {
    /// No limits: the policy alone decides.
    pub const NONE: CacheLimits = CacheLimits {
        full: (0, 0),
        budget_bytes: u64::MAX,
    };
}

/// What a policy is told of a run: the chain made for the batch of `guidance`. That the prompts of the branches differ in
/// tokens, a chain does not know.
pub fn run_of(
    chain: &impl Chain,
    schedule: &Schedule,
    guidance: Guidance,
    limits: CacheLimits,
    data: Arc<Data>,
) -> Run {
    Run {
        model: chain.model().to_string(),
        units: chain.units(),
        rest_flops: chain.rest_flops(),
        branches: guidance.branches(),
        branches_alike: true,
        guidance: guidance.scale(),
        sigmas: schedule.sigmas[..schedule.steps()].to_vec(),
        timesteps: schedule.timesteps.clone(),
        full: limits.full,
        switches: chain.switches(&schedule.timesteps),
        signals: chain.signals(),
        hidden_bytes: chain.hidden_bytes(),
        input_bytes: chain.input_bytes(),
        latent_bytes: chain.latent_bytes(),
        budget_bytes: limits.budget_bytes,
        data,
    }
}

/// One video to make.
pub struct Job<'a, Cond> {
    /// What the policy is told.
    pub run: Run,
    /// Noise levels.
    pub schedule: Schedule,
    /// Solver.
    pub sampler: SamplerKind,
    /// Guidance.
    pub guidance: Guidance,
    /// Initial noise, of one video even when the guidance is batched.
    pub noise: Latent,
    /// Seed of the noise that a solver adds on its way, if it does.
    pub seed: u64,
    /// A condition for each pass of a step: `[cond]`, `[cond, uncond]`, or for batched guidance one whose
    /// batch is `[cond, uncond]`.
    pub conds: &'a [Cond],
}

/// A latent on its way, for observers that must not steer.
pub struct StepReport<'a> {
    /// The step that was just taken.
    pub step: usize,
    /// The latent after it.
    pub latent: &'a Latent,
}

/// What a run gave and what it cost.
pub struct Outcome {
    /// The denoised latent.
    pub latent: Latent,
    /// Every decision of the policy.
    pub trace: Vec<Event>,
    /// Reads, operations, bytes.
    pub costs: Costs,
    /// What the policy wants the user to know.
    pub warnings: Vec<String>,
    /// Bytes the policy claimed before the run.
    pub claimed_bytes: u64,
    /// Wall time from the first kernel to the end of the last, observers included.
    pub denoise_s: f64,
}

/// Denoises a latent under a policy. The loop itself reads nothing from the device: it waits once, at
/// the end, so that `denoise_s` is the time the device took.
///
/// # Errors
/// [`WalkError`] when the policy does not fit the run, asks for more memory than allowed (both before
/// the first kernel), or makes a move that is not open to it.
///
/// # Panics
/// When the conditions are not as many as the passes of a step, or the device fails.
pub fn denoise<D: Dit<Latent = Latent>>(
    dit: &D,
    policy: &mut dyn CachePolicy,
    job: Job<'_, D::Cond>,
    observe: &mut dyn FnMut(StepReport),
) -> Result<Outcome, WalkError>
where
    D::Hidden: Feature<Scalar = Tensor<1>>,
{
    let Job {
        run,
        schedule,
        sampler,
        guidance,
        noise: initial,
        seed,
        conds,
    } = job;
    assert_eq!(conds.len(), run.branches, "one condition for each pass of a step");
    let claim = policy.begin(&run)?;
    claim.check(&run)?;
    let device = initial.0.device();
    device.sync().expect("the device works before the run");

    let start = Instant::now();
    let signals = claim.time_signal.map(|signal| dit.time_signals(signal, &run.timesteps));
    let mut store = Store::new(run, &claim, signals.unwrap_or_default())?;
    let mut sampler = Sampler::new(sampler, &schedule);
    let mut latent = initial;
    for step in 0..schedule.steps() {
        let full = store.run().is_full(step);
        let input = match guidance {
            Guidance::Batched { .. } => Latent::batch(vec![latent.clone(), latent.clone()]),
            _ => latent.clone(),
        };
        let (mut predictions, mut amended) = (vec![], vec![]);
        for (branch, cond) in conds.iter().enumerate() {
            let at = At {
                step,
                branch,
                unit: 0,
                full,
            };
            let passed = pass(dit, policy, &mut store, at, &input, cond, &predictions)?;
            predictions.push(passed.prediction);
            for (past, lacked) in passed.lacked {
                let scale = schedule.scale(guidance.scale(), past);
                amended.push((past, guided_part(guidance, scale, branch, lacked)));
            }
        }
        let velocity = guided(guidance, schedule.scale(guidance.scale(), step), predictions);
        latent = sampler.step(step, &velocity, latent, || noise::of_step(seed, step, &velocity));
        for (past, lacked) in amended {
            latent = sampler.amend([past, step], &lacked, latent);
        }
        observe(StepReport { step, latent: &latent });
    }
    device.sync().expect("the device finishes the run");
    let denoise_s = start.elapsed().as_secs_f64();
    let mut warnings = [store.warnings(), &policy.warnings()].concat();
    warnings.dedup();
    Ok(Outcome {
        latent,
        warnings,
        claimed_bytes: store.claimed_bytes(),
        costs: store.costs(),
        trace: store.into_trace(),
        denoise_s,
    })
}

/// The prediction that the sampler follows, at the guidance scale of this step.
fn guided(guidance: Guidance, scale: f32, mut predictions: Vec<Latent>) -> Latent {
    match guidance {
        Guidance::None => return predictions.remove(0),
        Guidance::TwoPass { .. } => {}
        Guidance::Batched { .. } => predictions = predictions.remove(0).rows(),
    }
    let [cond, uncond] = <[Latent; 2]>::try_from(predictions).expect("two branches");
    let difference = cond.since(uncond.clone());
    uncond.add_scaled(scale, &difference)
}

/// What a change of one branch's prediction changes in the guided one.
fn guided_part(guidance: Guidance, scale: f32, branch: usize, change: Latent) -> Latent {
    match guidance {
        Guidance::TwoPass { .. } if branch == COND => change.scaled(scale),
        Guidance::TwoPass { .. } => change.scaled(1.0 - scale),
        Guidance::None | Guidance::Batched { .. } => guided(guidance, scale, vec![change]),
    }
}
