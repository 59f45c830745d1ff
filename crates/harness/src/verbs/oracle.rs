//! `mixcache oracle`: the best plan that can be found for clips whose uncached run is known.
//!
//! Starts from PlanCache's plan, which is exact under its error model ([`mixcache_policies::planned`]), and changes it
//! step by step: every change is tried by running the clips, and kept if their final latents come nearer to the
//! uncached ones. What is found is a schedule that exists, so the best there is can only be better: a lower bound of
//! what an oracle would reach, searched on the clips that it is measured on.

use super::Chosen;
use crate::experiment::{Experiment, Variant};
use crate::metrics::relative_l2;
use crate::runner::Runner;
use crate::subject::{Subject, blocks_of_units};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use mixcache_policies::data::Recorded;
use mixcache_policies::plan::{CachePolicy, Event};
use mixcache_policies::planned::Planned;
use mixcache_policies::{PolicySpec, plan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};

/// Search the best plan of {full, step, cfg} for a share of the compute, with real runs on the experiment's clips.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Share of the passes that may be computed.
    #[arg(long)]
    compute: f64,
    /// Plans to try.
    #[arg(long, default_value_t = 60)]
    tries: usize,
    /// Name of the moments to plan and forecast with; without it, the model's.
    #[arg(long)]
    moments: Option<String>,
    /// File for the decisions on the first clip, for `kind = "trace"`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Clips that a plan is tried on.
struct Bench<'a> {
    runner: &'a Runner<'a>,
    clips: Vec<(&'a str, u64, Vec<f32>)>, // prompt, seed, uncached latent
    steps: usize,
    policy: Planned,
}

impl Bench<'_> {
    /// The geometric mean over clips of the relative error of the final latent, and the decisions on the first.
    fn error(&self, letters: &str) -> Result<(f64, Vec<Event>)> {
        let (mut logs, mut first) = (vec![], None);
        let mut policy = self.policy.clone();
        policy.plan = letters.into();
        let variant = Variant {
            spec: PolicySpec::Planned(policy.clone()),
            label: "planned".into(),
            ..Variant::off()
        };
        for (prompt, seed, exact) in &self.clips {
            let outcome = self
                .runner
                .denoise(&variant, &mut policy.clone(), prompt, *seed, self.steps)?;
            logs.push(relative_l2(&outcome.latent.to_host(), exact)?.max(1e-12).ln());
            first.get_or_insert(outcome.trace);
        }
        Ok((
            (logs.iter().sum::<f64>() / logs.len() as f64).exp(),
            first.unwrap_or_default(),
        ))
    }
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let name = args.moments.clone().unwrap_or(experiment.model.name.clone());
    let bench = bench(&experiment, &runner, Planned::new(&name, args.compute))?;
    let (run, _) = runner.run(&Variant::off(), bench.clips[0].0, bench.steps)?;

    let mut planned = bench.policy.clone();
    planned.begin(&run)?;
    let mut best = planned.letters();
    let (start, mut decisions) = bench.error(&best)?;
    let mut least = start;
    println!("PlanCache  {best}  error {start:.5}");
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed} (ETA {eta})").expect("a valid template");
    let bar = ProgressBar::new(args.tries as u64).with_style(style);
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..args.tries {
        let tried = changed(&best, &run, &mut draw);
        let (error, trace) = bench.error(&tried)?;
        if error < least {
            bar.suspend(|| println!("better     {tried}  error {error:.5}"));
            (best, least, decisions) = (tried, error, trace);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "\n{} clips, {} plans tried: the error falls from {start:.5} to {least:.5}, {:.1} dB; in an experiment:\n\
         [[policy]]\nkind = \"planned\"\nname = \"Oracle (searched)\"\nmoments = \"{name}\"\nplan = \"{best}\"",
        bench.clips.len(),
        args.tries,
        20.0 * (start / least).log10()
    );
    match args.output {
        Some(path) => write(&path, &experiment, &bench, decisions),
        None => Ok(()),
    }
}

fn bench<'a>(experiment: &'a Experiment, runner: &'a Runner<'a>, policy: Planned) -> Result<Bench<'a>> {
    let steps = experiment.sampler.steps;
    let mut clips = vec![];
    for prompt in &experiment.runs.prompts {
        for &seed in &experiment.runs.seeds {
            let off = Variant::off();
            let exact = runner.denoise(&off, &mut *off.spec.policy(), prompt, seed, steps)?;
            clips.push((prompt.as_str(), seed, exact.latent.to_host()));
        }
    }
    ensure!(!clips.is_empty(), "{} has no prompts", experiment.name);
    Ok(Bench {
        runner,
        clips,
        steps,
        policy,
    })
}

/// Another plan with as many passes: a computed and a skipped step change places, or both skip the unconditional
/// branch alone (or, the other way round, two such steps become one computed and one skipped).
fn changed(letters: &str, run: &plan::Run, draw: &mut ChaCha8Rng) -> String {
    let mut letters: Vec<char> = letters.chars().collect();
    let open: Vec<usize> = (1..letters.len()).filter(|&step| !run.is_full(step)).collect();
    // A plan is nearly right: most changes that help are small.
    const REACH: usize = 6;
    for _ in 0..1000 {
        let (a, b) = (
            open[draw.random_range(0..open.len())],
            open[draw.random_range(0..open.len())],
        );
        let halves = run.branches == 2 && draw.random_range(0..3) == 0;
        let pair = match (letters[a], letters[b], halves) {
            _ if a.abs_diff(b) > REACH || a == b => continue,
            ('F', 'o', true) => ['u', 'u'],
            ('u', 'u', true) => ['F', 'o'],
            (x, y, false) if x != y => [y, x],
            _ => continue,
        };
        [letters[a], letters[b]] = pair;
        break;
    }
    letters.into_iter().collect()
}

fn write(path: &Path, experiment: &Experiment, bench: &Bench, events: Vec<Event>) -> Result<()> {
    let (prompt, seed, _) = &bench.clips[0];
    let (run, _) = bench.runner.run(&Variant::off(), prompt, bench.steps)?;
    let recorded = Recorded {
        model: experiment.model.name.clone(),
        source: format!(
            "mixcache oracle {} on {} clips, decisions on \"{prompt}\", seed {seed}, revision {}",
            experiment.name,
            bench.clips.len(),
            env!("MIXCACHE_GIT_REVISION")
        ),
        steps: bench.steps,
        branches: run.branches,
        blocks: blocks_of_units(&experiment.model.name)?,
        events,
    };
    std::fs::write(path, serde_json::to_string(&recorded)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("decisions in {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_plan_has_as_many_passes_and_keeps_what_must_be_full() {
        let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/smoke.toml");
        let experiment = Experiment::read(&smoke).unwrap();
        let subject = Subject::load(&experiment).unwrap();
        let runner = Runner::new(&experiment, &subject);
        let (run, _) = runner.run(&Variant::off(), &experiment.runs.prompts[0], 12).unwrap();
        assert_eq!((run.branches, run.full), (2, (1, 1)));
        let passes = |letters: &str| {
            letters
                .chars()
                .map(|l| [('F', 2), ('u', 1), ('o', 0)].iter().find(|x| x.0 == l).unwrap().1)
                .sum::<usize>()
        };
        let mut draw = ChaCha8Rng::seed_from_u64(7);
        let mut letters = "FFoFooFouFoF".to_string();
        let (before, mut seen) = (passes(&letters), std::collections::BTreeSet::new());
        for _ in 0..200 {
            letters = changed(&letters, &run, &mut draw);
            assert_eq!(passes(&letters), before, "{letters}");
            assert!(letters.starts_with('F') && letters.ends_with('F'), "{letters}");
            seen.insert(letters.clone());
        }
        assert!(seen.len() > 50, "{} plans in 200 changes", seen.len());
    }
}
