//! `mixcache verify`: a benchmark is also a test. Checks what every figure rests on.

use super::Chosen;
use crate::runner::{Prepared, Runner};
use crate::subject::Subject;
use crate::terminal;
use anyhow::{Result, bail};
use mixcache_core::noise::of_step;
use mixcache_core::sampler::Sampler;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::{Dit, Feature};
use mixcache_policies::replay::Replay;
use serde::Serialize;

/// A speed-up may exceed 1/compute by this factor before it counts as wrong: two single runs on a
/// machine with other work differ by about so much.
const TIMING_SLACK: f64 = 1.15;

/// Check that off equals the plain model, traces replay, memory is as claimed, no speed-up is too good.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

/// One thing that every figure rests on.
#[derive(Serialize)]
struct Check {
    holds: bool,
    what: String,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle_for(args.json)?;
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let (prompt, seed) = (&experiment.runs.prompts[0], experiment.runs.seeds[0]);
    let planned = experiment.sampler.steps;
    let mut checks: Vec<Check> = vec![];
    let mut check = |holds: bool, what: String| {
        if !args.json {
            terminal::say_item(&format!("{} {what}", if holds { "ok   " } else { "WRONG" }));
        }
        checks.push(Check { holds, what });
    };

    let mut off_s = f64::INFINITY;
    for variant in &experiment.policies {
        let mut policy = variant.spec.policy();
        let steps = policy.steps(planned);
        let outcome = runner.denoise(variant, &mut *policy, prompt, seed, steps)?;
        let latent = outcome.latent.to_host();
        let label = &variant.label;
        if *label == "off" {
            off_s = outcome.denoise_s;
            let plain = plain(&runner.prepare(variant, prompt, seed, steps)?);
            check(latent == plain, "off equals the plain forward, bit for bit".into());
        }
        let replayed = runner.denoise(variant, &mut Replay::new(&outcome.trace), prompt, seed, steps)?;
        let (reads, looks) = (replayed.costs.reads, replayed.costs.looks);
        let same = replayed.latent.to_host() == latent && (reads, looks) == (0, 0);
        check(same, format!("{label}: its trace replays, bit for bit, without a read"));
        let (claimed, peak) = (outcome.claimed_bytes, outcome.costs.peak_bytes);
        check(
            peak <= claimed,
            format!("{label}: holds {peak} bytes at its peak, claims {claimed}"),
        );
        let compute = outcome.costs.flops / runner.run(variant, prompt, planned)?.0.total_flops();
        let speedup = off_s / outcome.denoise_s;
        check(
            speedup <= TIMING_SLACK / compute,
            format!(
                "{label}: {speedup:.2}× faster at {compute:.3} of the compute (at most {:.2}×)",
                1.0 / compute
            ),
        );
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    }
    match checks.iter().filter(|check| !check.holds).count() {
        0 => Ok(()),
        n => bail!("{n} checks failed"),
    }
}

/// Denoises without the walk: what `off` must equal.
fn plain(job: &Prepared) -> Vec<f32> {
    let (chain, mut latent) = (&job.chain, job.noise.clone());
    let mut sampler = Sampler::new(job.sampler, &job.schedule);
    for (step, &timestep) in job.schedule.timesteps.iter().enumerate() {
        let forward = |cond| {
            let (hidden, ctx) = chain.embed(&latent, timestep, cond);
            chain.head(
                (0..job.run.end()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx)),
                &ctx,
            )
        };
        let predictions: Vec<Latent> = job.conds.iter().map(forward).collect();
        let velocity = match &predictions[..] {
            [cond, uncond] => uncond.clone().add_scaled(
                job.schedule.scale(job.guidance.scale(), step),
                &cond.since(uncond.clone()),
            ),
            _ => predictions[0].clone(),
        };
        latent = sampler.step(step, &velocity, latent, || of_step(job.seed, step, &velocity));
    }
    latent.to_host()
}
