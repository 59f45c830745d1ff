//! `mixcache list`: what a sweep would run, and what it would cost, before anything runs.

use super::Chosen;
use crate::experiment::Experiment;
use crate::runner::Runner;
use crate::subject::Subject;
use anyhow::Result;
use mixcache_core::models::Chain;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::{Dit, Feature, Planes, pass};
use mixcache_policies::plan::*;
use mixcache_policies::store::{Costs, Store, WalkError};
use std::time::Instant;

/// Show what a sweep would run, with predicted memory, compute and time.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let (runs, sampler, video) = (&experiment.runs, &experiment.sampler, experiment.video);
    let rate = flops_per_s(&experiment, &subject)?;
    println!("{}", experiment.title);
    println!(
        "{}, {} parameters; {} frames of {}×{}; {} steps; guidance {}; device {}",
        experiment.model.name,
        subject.model.config().parameters(),
        video.frames,
        video.width,
        video.height,
        sampler.steps,
        sampler.guidance,
        experiment.model.device
    );
    println!(
        "{} prompts × {} seeds × {} repeats",
        runs.prompts.len(),
        runs.seeds.len(),
        runs.repeats
    );
    println!(
        "time is predicted from one block of the model, which runs at {:.1} GFLOP/s here\n",
        rate / 1e9
    );
    println!(
        "{:>12} {:>9} {:>12} {:>9} {:>6}  policy",
        "cache MiB", "compute", "TFLOP", "seconds", "reads"
    );
    let mut total_s = 0.0;
    for variant in &experiment.policies {
        let mut policy = variant.spec.policy();
        let steps = policy.steps(sampler.steps);
        let prompt = &runs.prompts[0];
        let full = runner.run(variant, prompt, sampler.steps)?.0.total_flops();
        let run = runner.run(variant, prompt, steps)?.0;
        match dry_walk(&mut *policy, run.clone(), &subject) {
            Err(error) => println!("{:>52}  {}: cannot run: {error}", "", variant.label),
            Ok(plan) => {
                let mib = plan.claimed_bytes as f64 / (1u64 << 20) as f64;
                // What a policy decides by looking at tensors is not known before it runs.
                let known = plan.decided.then_some(plan.costs);
                let flops = known.map_or(run.total_flops(), |costs| costs.flops);
                let upper = if known.is_some() { " " } else { "≤" };
                let reads = known.map_or("?".into(), |costs| costs.reads.to_string());
                println!(
                    "{mib:>12.2} {upper}{:>8.3} {upper}{:>11.3} {upper}{:>8.1} {reads:>6}  {}",
                    flops / full,
                    flops / 1e12,
                    flops / rate,
                    variant.label
                );
                total_s += flops / rate;
            }
        }
    }
    let clips = (runs.prompts.len() * runs.seeds.len()) as f64 * runs.repeats as f64;
    println!("\nat most {:.1} minutes in all", total_s * clips / 60.0);
    Ok(())
}

/// Operations a second of one block of each kind of the model's width on its device.
fn flops_per_s(experiment: &Experiment, subject: &Subject) -> Result<f64> {
    let device = subject.model.device();
    let shortest = subject.model.config().shortest();
    let block = shortest.random(0, device, subject.model.dtype());
    let [f, h, w] = subject.grid;
    // At most about a thousand tokens: enough to fill the device, little enough to be quick.
    let grid = [f.min(8), h.min(32), w.min(32)];
    let prompt = subject.prompt(&experiment.runs.prompts[0])?;
    let chain = block.on(grid, 1, prompt.states.dims()[1])?;
    let shape = chain.latent_shape();
    let latent = Latent::from_host(mixcache_core::noise::noise(0, &shape), shape, device);
    let cond = block.condition(prompt, experiment.sampler.guidance)?;
    let forward = || {
        let (hidden, ctx) = chain.embed(&latent, 500.0, &cond);
        chain
            .head(
                (0..chain.units().len()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx)),
                &ctx,
            )
            .to_host()
    };
    forward();
    let start = Instant::now();
    let passes = 3;
    for _ in 0..passes {
        forward();
    }
    let flops = chain.rest_flops() + chain.units().iter().map(|unit| unit.flops).sum::<f64>();
    Ok(passes as f64 * flops / start.elapsed().as_secs_f64())
}

struct Plan {
    claimed_bytes: u64,
    costs: Costs,
    /// Whether every decision was made without a look at a tensor.
    decided: bool,
}

/// Walks a policy over nothing: costs as they will be counted, no arithmetic.
fn dry_walk(policy: &mut dyn CachePolicy, run: Run, subject: &Subject) -> Result<Plan, WalkError> {
    let claim = policy.begin(&run)?;
    let dry = Dry { subject };
    let signals = claim
        .time_signal
        .map(|signal| dry.time_signals(signal, &run.timesteps))
        .unwrap_or_default();
    let host_reads = !signals.is_empty() as usize;
    let mut store = Store::new(run.clone(), &claim, signals)?;
    for step in 0..run.steps() {
        let now = vec![Nothing; run.branches];
        for branch in 0..run.branches {
            let at = At {
                step,
                branch,
                unit: 0,
                full: run.is_full(step),
            };
            pass(&dry, policy, &mut store, at, &Nothing, &(), &now[..branch])?;
        }
    }
    let costs = store.costs();
    Ok(Plan {
        claimed_bytes: store.claimed_bytes(),
        costs,
        decided: costs.reads == host_reads,
    })
}

/// A tensor without numbers.
#[derive(Clone)]
struct Nothing;

impl Feature for Nothing {
    type Scalar = ();
    fn add_scaled(self, _: f32, _: &Nothing) -> Nothing {
        Nothing
    }
    fn scaled(&self, _: f32) -> Nothing {
        Nothing
    }
    fn since(&self, _: Nothing) -> Nothing {
        Nothing
    }
    fn l1_pair(&self, _: &Nothing) -> [(); 2] {
        [(); 2]
    }
    fn read(scalars: Vec<()>) -> Vec<f32> {
        vec![f32::NAN; scalars.len()]
    }
}

impl Planes for Nothing {
    fn low_pass(&self) -> Nothing {
        Nothing
    }
}

/// A chain without tensors; only its time signals, which do not depend on the clip, are real.
struct Dry<'a> {
    subject: &'a Subject,
}

impl Dit for Dry<'_> {
    type Hidden = Nothing;
    type Latent = Nothing;
    type Cond = ();
    type Ctx = ();
    fn embed(&self, _: &Nothing, _: f32, _: &()) -> (Nothing, ()) {
        (Nothing, ())
    }
    fn eval(&self, _: usize, _: &Nothing, _: &()) -> Nothing {
        Nothing
    }
    fn join(&self, _: usize, hidden: Nothing, _: &Nothing, _: &()) -> Nothing {
        hidden
    }
    fn first_input(&self, _: &Nothing, _: &()) -> Nothing {
        Nothing
    }
    fn head(&self, _: Nothing, _: &()) -> Nothing {
        Nothing
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        self.subject
            .chain(1, "")
            .expect("every model knows the empty prompt")
            .time_signals(signal, timesteps)
    }
}
