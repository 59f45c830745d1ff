//! `mixcache generate`: one prompt to one video file, with or without a cache.

use super::{Means, announce, embed};
use crate::checkpoint::Checkpoint;
use crate::experiment::Experiment;
use crate::runner::Runner;
use crate::subject::Subject;
use crate::video;
use anyhow::{Context, Result, ensure};
use mixcache_core::denoise::Outcome;
use std::path::PathBuf;
use tempfile::NamedTempFile;

/// Make a video of a prompt, as an experiment would: its model, size, sampler and one of its policies.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("settings").args(["experiment", "model"]).required(true)))]
pub struct Args {
    /// Experiment: a name in `experiments/`, or path of a .toml file.
    experiment: Option<String>,
    /// Model, e.g. wan2.1-t2v-1.3b, instead of an experiment: the one that comes with it decides the rest.
    #[arg(long)]
    model: Option<String>,
    #[command(flatten)]
    means: Means,
    /// What to show.
    #[arg(long)]
    prompt: String,
    /// Seed of the noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A policy of the experiment, by its label; without it, none.
    #[arg(long, default_value = "off")]
    policy: String,
    /// Pixels, e.g. 832x480, instead of the experiment's.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = pixels)]
    size: Option<[usize; 2]>,
    /// Frames, instead of the experiment's.
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Steps of the sampler, instead of the experiment's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    steps: Option<u16>,
    /// The file to write: .mp4, or .png for an animated PNG without loss.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// `WIDTHxHEIGHT`.
fn pixels(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x');
    let sides = sides.and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides
        .filter(|sides| !sides.contains(&0))
        .ok_or("expected WIDTHxHEIGHT in pixels, e.g. 832x480".into())
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
    let experiment = named(&args)?;
    // What does not fit is said before a text encoder runs for minutes.
    Subject::hollow(&settled(&args, experiment.clone())?)?;
    let _states = encode(&mut args, &experiment)?; // a file for as long as this clip takes
    let experiment = settled(&args, experiment)?;
    announce(&experiment);
    let (subject, outcome, full) = make(&args, &experiment)?;
    let frames = subject.decoded(outcome.latent.to_host()).frames;
    let frames = frames.expect("checked before");
    frames.ensure_finite().context("the run has diverged")?;
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
fn encode(args: &mut Args, experiment: &Experiment) -> Result<Option<NamedTempFile>> {
    let has_encoder = |path: &&PathBuf| Checkpoint::find(path).text.is_some();
    let means = &mut args.means;
    let Some(weights) = means
        .weights
        .as_ref()
        .filter(has_encoder)
        .filter(|_| means.embeddings.is_none())
    else {
        return Ok(None);
    };
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile()?;
    let prompts = [&args.prompt, &experiment.runs.negative_prompt, ""].map(str::to_string);
    embed::write(
        &experiment.model.name,
        weights,
        &embed::once(prompts),
        "cpu",
        "f32",
        file.path(),
    )?;
    means.embeddings = Some(file.path().to_path_buf());
    Ok(Some(file))
}

/// The experiment that was named, or the one that comes with the model.
fn named(args: &Args) -> Result<Experiment> {
    let path = match (&args.experiment, &args.model) {
        (Some(name), _) => Experiment::find(name)?,
        (None, Some(model)) => Experiment::of_model(model)?,
        (None, None) => unreachable!("clap asks for one of the group"),
    };
    Experiment::read(&path)
}

/// The experiment with all options applied, of its policies the one that was named, and the prompt alone.
fn settled(args: &Args, experiment: Experiment) -> Result<Experiment> {
    let mut experiment = args.means.settle(experiment)?;
    let video = &mut experiment.video;
    [video.width, video.height] = args.size.unwrap_or([video.width, video.height]);
    video.frames = args.frames.unwrap_or(video.frames);
    let sampler = &mut experiment.sampler;
    sampler.steps = args.steps.map_or(sampler.steps, usize::from);
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
    experiment.policies = vec![variant];
    experiment.runs.prompts = vec![args.prompt.clone()];
    Ok(experiment)
}

/// The latent, and the operations of an uncached run.
fn make(args: &Args, experiment: &Experiment) -> Result<(Subject, Outcome, f64)> {
    let variant = &experiment.policies[0];
    let subject = Subject::load(experiment)?;
    ensure!(
        subject.makes_frames(),
        "the checkpoint has no autoencoder to decode with: see what was substituted, above"
    );
    let runner = Runner::new(experiment, &subject);
    runner.check()?;
    let mut policy = variant.spec.policy();
    let planned = experiment.sampler.steps;
    let steps = policy.steps(planned);
    ensure!(steps > 0, "{}: no steps", variant.label);
    let outcome = runner.denoise(variant, &mut *policy, &args.prompt, args.seed, steps)?;
    let full = runner.run(variant, &args.prompt, planned)?.0.total_flops();
    drop(runner);
    Ok((subject, outcome, full))
}
