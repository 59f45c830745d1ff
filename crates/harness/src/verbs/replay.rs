//! `mixcache replay`: make a recorded run's decisions again, without looking.

use super::Chosen;
use crate::record;
use crate::runner::Runner;
use crate::subject::Subject;
use crate::trace::read_trace;
use anyhow::{Context, Result, bail, ensure};
use mixcache_policies::replay::Replay;
use std::path::PathBuf;

/// Make a recorded run's decisions again: the same output, bit for bit, and what its looks cost.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Folder of the recording.
    #[arg(long)]
    recording: PathBuf,
    /// Key of the run, or its label (then the first run with it).
    #[arg(long)]
    run: String,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let (rows, events) = record::load(&args.recording)?;
    let row = record::find(&rows, &args.run).with_context(|| format!("in {}", args.recording.display()))?;
    let trace = read_trace(events.iter().filter(|event| event.run_key == row.run_key))?;
    let experiment = args.chosen.settle()?;
    ensure!(
        experiment.model.name == row.model,
        "the run was recorded on {}, the experiment uses {}",
        row.model,
        experiment.model.name
    );
    let variant = experiment.policies.iter().find(|variant| variant.label == row.label);
    let Some(variant) = variant else {
        bail!("experiment {} has no policy `{}` any more", experiment.name, row.label);
    };
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let (prompt, seed, steps) = (&row.prompt, row.seed, row.steps as usize);
    let decided = runner.denoise(variant, &mut *variant.spec.policy(), prompt, seed, steps)?;
    let replayed = runner.denoise(variant, &mut Replay::new(&trace), prompt, seed, steps)?;
    println!(
        "deciding again {:8.2} s, {} reads",
        decided.denoise_s, decided.costs.reads
    );
    println!(
        "replayed       {:8.2} s, {} reads",
        replayed.denoise_s, replayed.costs.reads
    );
    ensure!(
        decided.latent.to_host() == replayed.latent.to_host(),
        "the replayed trace gives another latent than the policy: the code or the model has changed since it was recorded"
    );
    println!("same latent, bit for bit");
    Ok(())
}
