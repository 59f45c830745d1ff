//! `mixcache generate`: one prompt to one video file, with or without a cache.

use super::{Chosen, embed};
use crate::experiment::Experiment;
use crate::runner::Runner;
use crate::subject::Subject;
use crate::video;
use anyhow::{Context, Result, ensure};
use mixcache_core::denoise::Outcome;
use std::path::PathBuf;

/// Make a video of a prompt, as an experiment would: its model, size, sampler and one of its policies.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// What to show.
    #[arg(long)]
    prompt: String,
    /// Seed of the noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A policy of the experiment, by its label; without it, none.
    #[arg(long, default_value = "off")]
    policy: String,
    /// The file to write: .mp4, or .png for an animated PNG without loss.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the verb.
pub fn run(mut args: Args) -> Result<()> {
    let write = match args.output.extension().and_then(|end| end.to_str()) {
        Some("mp4") => video::write_mp4,
        Some("png") => video::write_apng,
        _ => anyhow::bail!(
            "--output {}: expected a file that ends in .mp4 or .png",
            args.output.display()
        ),
    };
    let encoded = encode(&mut args)?;
    let made = make(&args);
    if let Some(file) = encoded {
        let _ = std::fs::remove_file(file); // it only served this clip
    }
    let (subject, outcome, full) = made?;
    let frames = subject.decoded(outcome.latent.to_host()).frames;
    let frames = frames.context("the checkpoint has no autoencoder to decode with: see what was substituted, above")?;
    write(&args.output, &frames, subject.fps)?;
    let [count, height, width] = frames.size();
    println!(
        "{count} frames of {width}×{height} in {}, {:.1} s, {:.0} % of the compute of an uncached run",
        args.output.display(),
        outcome.denoise_s,
        100.0 * outcome.costs.flops / full
    );
    Ok(())
}

/// The text states of the prompt in a file of its own, where the checkpoint can make them and none were given.
fn encode(args: &mut Args) -> Result<Option<PathBuf>> {
    let chosen = &mut args.chosen;
    let has_encoder = |folder: &&PathBuf| folder.join("text_encoder").is_dir();
    let Some(weights) = chosen
        .weights
        .as_ref()
        .filter(has_encoder)
        .filter(|_| chosen.embeddings.is_none())
    else {
        return Ok(None);
    };
    let experiment = Experiment::read(&Experiment::find(&chosen.experiment)?)?;
    let file = args.output.with_extension("text-states.safetensors");
    let mut prompts = vec![args.prompt.clone(), experiment.runs.negative_prompt, String::new()];
    prompts.dedup();
    embed::write(&experiment.model.name, weights, &prompts, "cpu", "f32", &file)?;
    chosen.embeddings = Some(file.clone());
    Ok(Some(file))
}

/// The latent, and the operations of an uncached run.
fn make(args: &Args) -> Result<(Subject, Outcome, f64)> {
    let mut experiment = args.chosen.settle()?;
    let all = &experiment.policies;
    let variant = all.iter().find(|variant| variant.label == args.policy);
    let known = || {
        all.iter()
            .map(|variant| variant.label.as_str())
            .collect::<Vec<_>>()
            .join("\n  ")
    };
    let variant = variant
        .with_context(|| {
            format!(
                "{} has no policy `{}`; it has\n  {}",
                experiment.name,
                args.policy,
                known()
            )
        })?
        .clone();
    experiment.policies = vec![variant.clone()];
    experiment.runs.prompts = vec![args.prompt.clone()];
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    runner.check()?;
    let mut policy = variant.spec.policy();
    let planned = experiment.sampler.steps;
    let steps = policy.steps(planned);
    ensure!(steps > 0, "{}: no steps", variant.label);
    let outcome = runner.denoise(&variant, &mut *policy, &args.prompt, args.seed, steps)?;
    let full = runner.run(&variant, &args.prompt, planned)?.0.total_flops();
    drop(runner);
    Ok((subject, outcome, full))
}
