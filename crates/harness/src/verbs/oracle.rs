//! `mixcache oracle`: the best plan that can be found for clips whose uncached run is known.
//!
//! Two things are told of an oracle. PlanCache told the clip (`moments = "own"`) is exact dynamic programming under a model of
//! errors ([`mixcache_policies::planned`]): an *estimate* of what can be reached, no bound, and blind to ranges of blocks. What
//! is searched here is judged by real runs, so it exists, and the best there is can only be better: a *lower bound* of an
//! oracle's quality, on the clips that it was searched on and no others.

use super::{Chosen, write_csv};
use crate::experiment::{Experiment, Variant};
use crate::oracle::{Bench, Space, Trials, Tried, beam, greedy};
use crate::runner::Runner;
use crate::subject::{Subject, blocks_of_units};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use mixcache_policies::PolicySpec;
use mixcache_policies::data::Recorded;
use mixcache_policies::plan::{CachePolicy, Event, Run};
use mixcache_policies::planned::Planned;
use mixcache_policies::planned::ranges::{self, Ranges};
use std::path::{Path, PathBuf};

/// Search the best plan of {full, step, cfg, block ranges} for a share of the compute, with real runs on the experiment's clips.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Share of the run's operations that a plan may have.
    #[arg(long)]
    compute: f64,
    /// How to search.
    #[arg(long, value_enum, default_value_t = Search::Beam)]
    search: Search,
    /// Plans that a beam keeps.
    #[arg(long, default_value_t = 4)]
    width: usize,
    /// Plans that a beam or a local search tries.
    #[arg(long, default_value_t = 60)]
    tries: usize,
    /// Ranges of blocks that a step may reuse, as `b=2..6,c=1..7`: letter, first block, one past the last.
    #[arg(long, value_name = "RANGES", default_value = "", hide_default_value = true, value_parser = ranges::parse)]
    blocks: Ranges,
    /// Plan to start from, a letter a step; without it, PlanCache's. Greedy starts from everything computed.
    #[arg(long, value_name = "LETTERS")]
    plan: Option<String>,
    /// Name of the moments to plan and forecast with; without it, the model's.
    #[arg(long)]
    moments: Option<String>,
    /// File for the decisions on the first clip, for `kind = "trace"`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// CSV file for every plan that was tried, in order.
    #[arg(long, value_name = "FILE")]
    tried: Option<PathBuf>,
}

/// How to search.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Search {
    /// From everything computed, take away what costs least quality for its compute, until the budget is met. It tries
    /// every step under every letter first, and takes as many tries as it needs.
    Greedy,
    /// Keep the best plans, and change each of them in two steps at a time.
    Beam,
    /// The same with the best plan alone.
    Local,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let name = args.moments.clone().unwrap_or(experiment.model.name.clone());
    let mut planned = Planned::new(&name, args.compute);
    let of_clip = Variant {
        spec: PolicySpec::Planned(planned.clone()),
        ..Variant::off()
    };
    let clip = experiment.runs.prompts.first().zip(experiment.runs.seeds.first());
    let (prompt, &seed) = clip.with_context(|| format!("{} has no prompts or no seeds", experiment.name))?;
    let run = runner.prepare(&of_clip, prompt, seed, experiment.sampler.steps)?.run;
    if let Some(plan) = &args.plan {
        planned.plan = plan.clone();
        planned.blocks = args.blocks.clone();
    }
    planned.begin(&run)?;
    let start = planned.letters().to_string();
    planned.blocks = args.blocks.clone();
    let space = Space::new(&planned, &run, args.compute)?;
    ensure!(
        space.fits(&start),
        "the plan to start from computes {:.3} of the run, `--compute` allows {}: start from another `--plan`, or allow more",
        space.compute(&start),
        args.compute
    );

    let bench = Bench::new(&experiment, &runner, planned)?;
    let style = ProgressStyle::with_template("{pos} plans {elapsed}").expect("a valid template");
    let bar = ProgressBar::new_spinner().with_style(style);
    let mut least = f64::INFINITY;
    let mut error = |tried: &Tried| {
        let error = bench.error(&tried.plan)?;
        if space.fits(&tried.plan) && error < least {
            least = error;
            bar.suspend(|| println!("{}  compute {:.4}  error {error:.6}", tried.plan, tried.compute));
        }
        bar.inc(1);
        Ok(error)
    };
    let mut trials = Trials::new(&space, &mut error);
    let before = trials.of(start)?;
    let best = match args.search {
        Search::Greedy => greedy(&mut trials)?,
        Search::Beam => beam(&mut trials, &before.plan, args.width, args.tries)?,
        Search::Local => beam(&mut trials, &before.plan, 1, args.tries)?,
    };
    let tried = trials.tried;
    bar.finish_and_clear();
    let blocks: String = args
        .blocks
        .iter()
        .map(|(letter, [from, to])| format!("{letter}={from}..{to},"))
        .collect();
    println!(
        "\n{} clips, {} plans tried: the error goes from {:.6} to {:.6}, {:+.1} dB; in an experiment:\n\
         [[policy]]\nkind = \"planned\"\nname = \"Oracle (searched)\"\nupper = true\nmoments = \"{name}\"\nplan = \"{}\"",
        bench.clips().count(),
        tried.len(),
        before.error,
        best.error,
        20.0 * (before.error / best.error).log10(),
        best.plan
    );
    if !blocks.is_empty() {
        println!("blocks = \"{}\"", blocks.trim_end_matches(','));
    }
    if let Some(path) = args.tried {
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = path
            .file_name()
            .with_context(|| format!("`--tried {}`: expected a file", path.display()))?;
        write_csv(folder, &name.to_string_lossy(), &tried)?;
    }
    match args.output {
        Some(path) => write(&path, &experiment, &run, &bench, bench.first(&best.plan)?.trace),
        None => Ok(()),
    }
}

fn write(path: &Path, experiment: &Experiment, run: &Run, bench: &Bench, events: Vec<Event>) -> Result<()> {
    let (prompt, seed) = bench.clips().next().expect("a bench has clips");
    let recorded = Recorded {
        model: experiment.model.name.clone(),
        source: format!(
            "mixcache oracle {} on {} clips, decisions on \"{prompt}\", seed {seed}, revision {}",
            experiment.name,
            bench.clips().count(),
            env!("MIXCACHE_GIT_REVISION")
        ),
        steps: run.steps(),
        branches: run.branches,
        blocks: blocks_of_units(&experiment.model.name)?,
        events,
    };
    std::fs::write(path, serde_json::to_string(&recorded)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("decisions in {}", path.display());
    Ok(())
}
