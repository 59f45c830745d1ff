//! `mixcache list`: what a sweep would run, and what it would cost, before anything runs.

use super::Chosen;
use crate::dry::walk;
use crate::experiment::Experiment;
use crate::memory::Need;
use crate::runner::Runner;
use crate::subject::Subject;
use anyhow::Result;
use mixcache_core::models::Chain;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::Dit;
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
    println!("memory: {}\n", Need::of(&experiment)?);
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
        "time is predicted from two blocks of the model, which run at {:.1} GFLOP/s here\n",
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
        match walk(&mut *policy, run.clone(), &subject) {
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

/// Operations a second of two blocks of the model's width on its device.
fn flops_per_s(experiment: &Experiment, subject: &Subject) -> Result<f64> {
    let device = subject.model.device();
    let short = subject
        .model
        .config()
        .with_blocks(2)
        .random(0, device, subject.model.dtype());
    let [f, h, w] = subject.grid;
    // At most about a thousand tokens: enough to fill the device, little enough to be quick.
    let grid = [f.min(8), h.min(32), w.min(32)];
    let prompt = subject.prompt(&experiment.runs.prompts[0])?;
    let chain = short.on(grid, 1, prompt.states.dims()[1])?;
    let shape = chain.latent_shape();
    let latent = Latent::from_host(mixcache_core::noise::noise(0, &shape), shape, device);
    let cond = short.condition(prompt, experiment.sampler.guidance)?;
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
