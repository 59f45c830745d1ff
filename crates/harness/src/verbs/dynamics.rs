//! `mixcache dynamics`: how fast a model's numbers change without a cache.

use super::{Chosen, write_csv};
use crate::dynamics::{averages, watch};
use crate::experiment::Variant;
use crate::progress;
use crate::report::dynamics as picture;
use crate::runner::Runner;
use crate::schema::guidance_in_words;
use crate::subject::Subject;
use anyhow::Result;
use mixcache_core::mini;
use std::path::PathBuf;

/// Measure how predictions and residuals change from step to step; draw them beside published curves.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Folder to write to; without it, results/dynamics/EXPERIMENT.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let steps = experiment.sampler.steps;
    let (runs, mut readings) = (&experiment.runs, vec![]);
    let bar = progress::bar(runs.prompts.len() * runs.seeds.len());
    let mut sigmas = vec![];
    for prompt in &runs.prompts {
        for &seed in &runs.seeds {
            let prepared = runner.prepare(&Variant::off(), prompt, seed, steps)?;
            sigmas = prepared.run.sigmas.clone();
            readings.extend(watch(&prepared.chain, prepared.job(&prepared.conds))?.readings);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let averages = averages(readings, &sigmas);
    let folder = args
        .output
        .unwrap_or_else(|| PathBuf::from("results/dynamics").join(&experiment.name));
    write_csv(&folder, "dynamics.csv", &averages)?;
    let subtitle = format!(
        "{} · {} · {} steps · guidance {} · {} clips · revision {}",
        experiment.model.name,
        subject.weights,
        steps,
        guidance_in_words(
            experiment.sampler.guidance.into(),
            experiment.sampler.true_cfg.map(f64::from)
        ),
        runs.prompts.len() * runs.seeds.len(),
        env!("MIXCACHE_GIT_REVISION")
    );
    // Those of our own small models are no publication.
    let mut published = experiment.data.ratios.clone();
    published.retain(|_, ratios| mini::find(&ratios.model).is_none());
    picture::write(&folder, &averages, &subtitle, &published)?;
    println!("{}", picture::summary(&averages));
    println!("written to {}", folder.display());
    Ok(())
}
