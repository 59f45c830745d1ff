//! `mixcache list`: what a sweep would run, and what it would cost, before anything runs.

use super::Chosen;
use crate::dry::walk;
use crate::experiment::{Experiment, Variant};
use crate::memory::Need;
use crate::runner::Runner;
use crate::schema::guidance_in_words;
use crate::subject::{Subject, dtype};
use crate::terminal::{self, Side};
use anyhow::Result;
use mixcache_core::models::Chain;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::Dit;
use mixcache_policies::data::Kind;
use mixcache_policies::planned::OWN_MOMENTS;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Show what a sweep would run, with predicted memory, compute and time.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// What a sweep would run.
#[derive(Serialize)]
struct Listing {
    title: String,
    /// What it needs at least.
    memory: String,
    substituted: String,
    model: String,
    parameters: u64,
    frames: usize,
    height: usize,
    width: usize,
    steps: usize,
    guidance: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    true_cfg: Option<f32>,
    device: String,
    prompts: usize,
    seeds: usize,
    repeats: u32,
    /// Of two blocks of the model, on its device: what seconds are predicted from.
    flops_per_s: f64,
    policies: Vec<Planned>,
    /// Calibrated data that they draw on.
    data: Vec<Drawn>,
    /// For all prompts, seeds and repeats.
    total_s: f64,
}

/// One configuration of a policy.
#[derive(Serialize)]
struct Planned {
    label: String,
    #[serde(flatten)]
    costs: Predicted,
}

/// Calibrated data, and who draws on it.
#[derive(Serialize)]
struct Drawn {
    kind: Kind,
    name: String,
    /// None where no file beside the experiment has it.
    file: Option<PathBuf>,
    policies: Vec<String>,
}

/// What one clip costs.
#[derive(Serialize)]
#[serde(untagged)]
enum Predicted {
    CannotRun {
        error: String,
    },
    Runs {
        cache_claimed_bytes: u64,
        /// Whether the rest is known before it runs. If a policy decides by looking at tensors, it is an upper limit.
        decided: bool,
        compute_fraction: f64,
        flops: f64,
        denoise_s: f64,
        reads: Option<usize>,
    },
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let listing = listing(&args.chosen.settle_for(args.json)?)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&listing)?),
        false => print(&listing),
    }
    Ok(())
}

fn listing(experiment: &Experiment) -> Result<Listing> {
    let memory = Need::of(experiment)?.to_string(); // before anything is loaded
    let subject = Subject::load(experiment)?;
    let runner = Runner::new(experiment, &subject);
    let (runs, sampler, video) = (&experiment.runs, &experiment.sampler, experiment.video);
    let rate = flops_per_s(experiment, &subject)?;
    let policies: Vec<Planned> = experiment
        .policies
        .iter()
        .map(|variant| planned(experiment, &subject, &runner, variant, rate))
        .collect::<Result<_>>()?;
    let clips = (runs.prompts.len() * runs.seeds.len()) as f64 * runs.repeats as f64;
    Ok(Listing {
        title: experiment.title.clone(),
        memory,
        substituted: experiment.substituted.clone(),
        model: experiment.model.name.clone(),
        parameters: subject.model.config().parameters(),
        frames: video.frames,
        height: video.height,
        width: video.width,
        steps: sampler.steps,
        guidance: sampler.guidance,
        true_cfg: sampler.true_cfg,
        device: experiment.model.device.clone(),
        prompts: runs.prompts.len(),
        seeds: runs.seeds.len(),
        repeats: runs.repeats,
        flops_per_s: rate,
        total_s: clips * policies.iter().map(Planned::denoise_s).sum::<f64>(),
        policies,
        data: drawn(experiment),
    })
}

/// The calibrated data that the policies draw on, and from which file it is.
fn drawn(experiment: &Experiment) -> Vec<Drawn> {
    let mut all: Vec<Drawn> = vec![];
    for variant in &experiment.policies {
        let Some((kind, name)) = variant.spec.draws_on() else {
            continue;
        };
        // Told the clip's own moments, a policy still takes the model's gains.
        let name = match name {
            OWN_MOMENTS => &experiment.model.name,
            name => name,
        };
        let known = all.iter().position(|one| (one.kind, one.name.as_str()) == (kind, name));
        let place = known.unwrap_or_else(|| {
            all.push(Drawn {
                kind,
                name: name.into(),
                file: experiment.origins.get(&(kind, name.to_string())).cloned(),
                policies: vec![],
            });
            all.len() - 1
        });
        let policies = &mut all[place].policies;
        if !policies.contains(&variant.series) {
            policies.push(variant.series.clone());
        }
    }
    all
}

fn planned(
    experiment: &Experiment,
    subject: &Subject,
    runner: &Runner,
    variant: &Variant,
    flops_per_s: f64,
) -> Result<Planned> {
    let mut policy = variant.spec.policy();
    let steps = experiment.sampler.steps;
    let prompt = &experiment.runs.prompts[0];
    let full = runner.run(variant, prompt, steps)?.0.total_flops();
    let run = runner.run(variant, prompt, policy.steps(steps))?.0;
    let costs = match walk(&mut *policy, run.clone(), subject) {
        Err(error) => Predicted::CannotRun {
            error: error.to_string(),
        },
        Ok(plan) => {
            let known = plan.decided.then_some(plan.costs);
            let flops = known.map_or(run.total_flops(), |costs| costs.flops);
            Predicted::Runs {
                cache_claimed_bytes: plan.claimed_bytes,
                decided: plan.decided,
                compute_fraction: flops / full,
                flops,
                denoise_s: flops / flops_per_s,
                reads: known.map(|costs| costs.reads),
            }
        }
    };
    Ok(Planned {
        label: variant.label.clone(),
        costs,
    })
}

impl Planned {
    fn denoise_s(&self) -> f64 {
        match self.costs {
            Predicted::Runs { denoise_s, .. } => denoise_s,
            Predicted::CannotRun { .. } => 0.0,
        }
    }

    /// What stands in its row.
    fn cells(&self) -> Option<Vec<String>> {
        let Predicted::Runs {
            cache_claimed_bytes,
            decided,
            compute_fraction,
            flops,
            denoise_s,
            reads,
        } = &self.costs
        else {
            return None;
        };
        let upper = if *decided { "" } else { "≤ " };
        Some(vec![
            self.label.clone(),
            format!("{:.2}", *cache_claimed_bytes as f64 / (1u64 << 20) as f64),
            format!("{upper}{compute_fraction:.3}"),
            format!("{upper}{:.3}", flops / 1e12),
            format!("{upper}{denoise_s:.1}"),
            reads.map_or("?".into(), |reads| reads.to_string()),
        ])
    }
}

fn print(listing: &Listing) {
    terminal::say(&format!(
        "{}\nmemory: {}\n{}, {} parameters; {} frames of {}×{}; {} steps; guidance {}; device {}\n\
         {} prompts × {} seeds × {} repeats\n\
         time is predicted from two blocks of the model, which run at {:.1} GFLOP/s here\n",
        listing.title,
        listing.memory,
        listing.model,
        listing.parameters,
        listing.frames,
        listing.width,
        listing.height,
        listing.steps,
        guidance_in_words(listing.guidance.into(), listing.true_cfg.map(f64::from)),
        listing.device,
        listing.prompts,
        listing.seeds,
        listing.repeats,
        listing.flops_per_s / 1e9
    ));
    let heads = [
        ("policy", Side::Left),
        ("cache MiB", Side::Right),
        ("compute", Side::Right),
        ("TFLOP", Side::Right),
        ("seconds", Side::Right),
        ("reads", Side::Right),
    ];
    println!(
        "\n{}\n",
        terminal::table(&heads, listing.policies.iter().filter_map(Planned::cells))
    );
    for planned in &listing.policies {
        if let Predicted::CannotRun { error } = &planned.costs {
            terminal::say_item(&format!("{}: cannot run: {error}\n\n", planned.label));
        }
    }
    for drawn in &listing.data {
        let file = match &drawn.file {
            Some(file) => file.display().to_string(),
            None => "no file beside the experiment".into(),
        };
        let (kind, policies) = (drawn.kind.folder(), drawn.policies.join(", "));
        terminal::say_item(&format!("{kind} `{}` from {file}: {policies}", drawn.name));
    }
    println!("at most {:.1} minutes in all", listing.total_s / 60.0);
}

/// Operations a second of two blocks of the model's width on its device.
fn flops_per_s(experiment: &Experiment, subject: &Subject) -> Result<f64> {
    let device = subject.model.device();
    let short = subject
        .model
        .config()
        .with_blocks(2)
        .random(0, device, dtype(&experiment.model.dtype)?);
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
