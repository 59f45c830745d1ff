//! What policies know of a model before they run: measured on clips that nothing is reported on.

mod mag;
mod mix;
mod planned;
mod tea;

use crate::clock::utc_now;
use crate::dynamics::{Watch, watch};
use crate::experiment::{Experiment, Variant};
use crate::progress;
use crate::runner::{Prepared, Runner, name_of};
use crate::subject::{Subject, preset};
use anyhow::{Result, ensure};
use mixcache_core::models::Chain;
use mixcache_policies::data::{MagRatios, MixCalibration, Moments, TeaCoefficients};
use mixcache_policies::plan::Signal;
use std::collections::BTreeMap;
pub use tea::Point;

/// What can be calibrated.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum What {
    /// MixCache's drift and impacts.
    Mix,
    /// PlanCache's moments and gains.
    Planned,
    /// MagCache's ratios.
    Mag,
    /// TeaCache's polynomials.
    Tea,
}

/// Where a calibration comes from.
#[derive(Clone, Debug, Default)]
struct Origin {
    model: String,
    source: String,
    sampler: String,
    steps: usize,
    guidance: f32,
}

/// One clip without a cache.
struct Clip<'a> {
    job: Prepared<'a>,
    exact: Watch,
    /// Its final latent, on the host.
    latent: Vec<f32>,
}

/// What was calibrated.
#[derive(Default)]
pub struct Calibrated {
    /// MixCache's.
    pub mix: Option<MixCalibration>,
    /// PlanCache's.
    pub planned: Option<Moments>,
    /// MagCache's.
    pub mag: Option<MagRatios>,
    /// TeaCache's by signal, with the points of each fit.
    pub tea: BTreeMap<String, (TeaCoefficients, Vec<Point>)>,
}

/// Runs the prompts and seeds of `experiment` without a cache, and disturbed; `probes` steps for MixCache.
///
/// # Errors
/// When there are too few steps, or a run fails.
pub fn calibrate(experiment: &Experiment, what: &[What], probes: usize) -> Result<Calibrated> {
    let (runs, sampler) = (&experiment.runs, &experiment.sampler);
    let steps = sampler.steps;
    ensure!(
        steps >= 8,
        "{steps} steps are too few to calibrate on: expected at least 8"
    );
    ensure!(probes > 0, "`--probes 0`: expected at least one");
    let name = &experiment.model.name;
    ensure!(
        preset(name)?.experts() == 1,
        "{name} has two experts: what is calibrated would join steps of both; calibrate a model of one"
    );
    let subject = Subject::load(experiment)?;
    let runner = Runner::new(experiment, &subject);
    let wants = |one: What| what.contains(&one);
    let mix_probes = mix::probe_steps(steps, probes);

    let mut runs_per_clip = 1;
    if wants(What::Mix) {
        runs_per_clip += 3 * probes;
    }
    if wants(What::Planned) {
        runs_per_clip += planned::probe_steps(steps).len();
    }
    let clips = runs.prompts.len() * runs.seeds.len();
    let bar = progress::bar(clips * runs_per_clip);
    let tick = || bar.inc(1);

    let (mut mix, mut planned) = (mix::Measured::default(), planned::Measured::default());
    let (mut readings, mut points, mut run) = (vec![], BTreeMap::<String, (Signal, Vec<Point>)>::new(), None);
    for prompt in &runs.prompts {
        for &seed in &runs.seeds {
            let job = runner.prepare(&Variant::off(), prompt, seed, steps)?;
            let exact = watch(&job.chain, job.job(&job.conds))?;
            let latent = exact.latents[steps].to_host();
            let clip = Clip { job, exact, latent };
            tick();
            if wants(What::Mix) {
                mix.add(&clip, &mix_probes, &tick)?;
            }
            if wants(What::Planned) {
                planned.add(&clip, &tick)?;
            }
            for signal in clip.job.chain.signals() {
                let of = points.entry(name_of(&signal)).or_insert((signal, vec![]));
                of.1.extend(tea::points(&clip, signal));
            }
            readings.extend(clip.exact.readings);
            run = Some(clip.job.run);
        }
    }
    bar.finish_and_clear();
    let run = run.expect("an experiment has prompts and seeds");
    let origin = Origin {
        model: experiment.model.name.clone(),
        source: format!(
            "mixcache calibrate {} ({} prompts × {} seeds, revision {}, {})",
            experiment.name,
            runs.prompts.len(),
            runs.seeds.len(),
            env!("MIXCACHE_GIT_REVISION"),
            utc_now()
        ),
        sampler: name_of(&sampler.kind),
        steps,
        guidance: sampler.true_cfg.unwrap_or(sampler.guidance),
    };
    let tea = points
        .into_iter()
        .filter(|_| wants(What::Tea))
        .map(|(name, (signal, points))| {
            let (coefficients, _) = tea::fit(&points, signal, &origin);
            (name, (coefficients, points))
        });
    Ok(Calibrated {
        tea: tea.collect(),
        mag: wants(What::Mag).then(|| mag::ratios(&readings, &origin, &run)),
        planned: wants(What::Planned).then(|| planned.finish(&origin, &run)),
        mix: wants(What::Mix).then(|| mix.finish(&origin)),
    })
}

/// The moments of one clip, which is run for it without a cache; all errors count alike without `gain`.
///
/// # Errors
/// When the run fails.
pub fn moments_of(job: &Prepared, model: &str, gain: Option<Vec<f64>>) -> Result<Moments> {
    let exact = watch(&job.chain, job.job(&job.conds))?;
    Ok(Moments {
        model: model.into(),
        source: "this clip, uncached".into(),
        branches: job.run.branches,
        guidance: job.run.guidance,
        sigmas: job.run.sigmas.clone(),
        gain: gain.unwrap_or(vec![1.0; job.run.steps()]),
        moments: planned::moments(&exact.predictions),
    })
}
