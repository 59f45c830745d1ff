//! `mixcache calibrate`: measure what MixCache needs to know of a model, sampler and size.
//!
//! Our own design (the paper names a Gaussian perturbation analysis, no formula): disturb the reused
//! quantity Q of each granularity at a few probe steps, `Q + σ·rms(Q)·n`, n ~ N(0, 1); finish the run
//! exactly; the impact is the gain `‖x̃ − x‖ / (σ‖x‖)` of the final latent, averaged over prompts and
//! probe steps, and scaled so that a whole step has 1.

use super::Chosen;
use crate::clock::utc_now;
use crate::experiment::{Experiment, Variant};
use crate::metrics::relative_l2;
use crate::runner::{Prepared, Runner, name_of};
use crate::subject::Subject;
use anyhow::{Context, Result, ensure};
use burn::tensor::{FloatDType, Tensor, TensorData};
use indicatif::{ProgressBar, ProgressStyle};
use mixcache_core::denoise::denoise;
use mixcache_core::models::{Cond, Ctx, ModelChain};
use mixcache_core::noise::noise;
use mixcache_core::tensors::{Hidden, Latent};
use mixcache_policies::chain::{Dit, Feature};
use mixcache_policies::data::{Impact, MixCalibration};
use mixcache_policies::mix::Mix;
use mixcache_policies::off::Off;
use mixcache_policies::plan::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

/// Size of the disturbance, as a share of the disturbed quantity's rms.
const SIGMA: f32 = 0.05;
/// Seed of the disturbance; the noise of the clips comes from the experiment's seeds.
const DISTURBANCE_SEED: u64 = 0x6d69_7863;

/// Measure the drift and the impacts that MixCache draws on; write them with their provenance.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Steps at which a run is disturbed.
    #[arg(long, default_value_t = 5)]
    probes: usize,
    /// Name of the calibration; without it, the model's.
    #[arg(long)]
    name: Option<String>,
    /// The file to write; without it, calibration/NAME.toml beside the experiment.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    ensure!(args.probes > 0, "`--probes 0`: expected at least one");
    let name = args.name.clone().unwrap_or(experiment.model.name.clone());
    let folder = Experiment::find(&args.chosen.experiment)?.with_file_name("calibration");
    let path = args.output.clone().unwrap_or(folder.join(format!("{name}.toml")));
    let calibration = measure(&experiment, args.probes)?;
    let text = toml::to_string(&BTreeMap::from([(name, calibration)]))?;
    std::fs::create_dir_all(path.parent().context("a file needs a folder")?)?;
    std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{text}\nwritten to {}", path.display());
    Ok(())
}

fn measure(experiment: &Experiment, probes: usize) -> Result<MixCalibration> {
    let subject = Subject::load(experiment)?;
    let runner = Runner::new(experiment, &subject);
    let (runs, sampler) = (&experiment.runs, &experiment.sampler);
    let steps = sampler.steps;
    let (first, last) = (warm_steps(steps), steps.saturating_sub(2));
    ensure!(last > first, "{steps} steps are too few to probe: expected at least 4");
    let probe_steps: Vec<usize> = (0..probes)
        .map(|i| first + i * (last - first) / (probes - 1).max(1))
        .collect();

    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed} (ETA {eta})").expect("a valid template");
    let clips = runs.prompts.len() * runs.seeds.len();
    let bar = ProgressBar::new((clips * (1 + 3 * probes)) as u64).with_style(style);
    let (mut drifts, mut gains) = (vec![], [vec![], vec![], vec![]]);
    for prompt in &runs.prompts {
        for &seed in &runs.seeds {
            let job = runner.prepare(&Variant::off(), prompt, seed, steps)?;
            let (exact, latents, drift) = watch(&job)?;
            drifts.extend(drift);
            bar.inc(1);
            for &step in &probe_steps {
                for (grain, disturbance) in disturbances(&job, step, &latents[step]).into_iter().enumerate() {
                    if let Some(disturbance) = disturbance {
                        let disturbed = disturbed(&job, disturbance)?;
                        gains[grain].push(relative_l2(&disturbed, &exact)? / SIGMA as f64);
                    }
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let [step, cfg, block] = gains.map(|grain| if grain.is_empty() { f64::NAN } else { mean(&grain) });
    // Without guidance in two passes there is no branch difference; the granularity is never chosen.
    let impact = |gain: f64| if gain.is_nan() { 1.0 } else { (gain / step) as f32 };
    let source = format!(
        "mixcache calibrate {} ({} prompts × {} seeds, {} probe steps, gain of a step {:.3}, revision {}, {})",
        experiment.name,
        runs.prompts.len(),
        runs.seeds.len(),
        probes,
        step,
        env!("MIXCACHE_GIT_REVISION"),
        utc_now()
    );
    Ok(MixCalibration {
        model: experiment.model.name.clone(),
        source,
        sampler: name_of(&sampler.kind),
        steps,
        guidance: sampler.guidance,
        drift: median(drifts),
        impact: Impact {
            step: 1.0,
            cfg: impact(cfg),
            block: impact(block),
        },
    })
}

/// W_min of MixCache: no policy reuses earlier.
fn warm_steps(steps: usize) -> usize {
    ((Mix::default().warmup_min * steps as f32).ceil() as usize).max(1)
}

/// The exact run: its final latent, the latent before each step, and the changes of the guided
/// prediction from step to step over the middle 70 % of the steps.
fn watch(job: &Prepared) -> Result<(Vec<f32>, Vec<Latent>, Vec<f32>)> {
    let mut latents = vec![job.noise.clone()];
    let mut watch = Watch::default();
    let outcome = denoise(&job.chain, &mut watch, job.job(&job.conds), &mut |report| {
        latents.push(report.latent.clone())
    })?;
    let steps = job.run.steps();
    let middle = (steps as f32 * 0.15) as usize..(steps as f32 * 0.85) as usize;
    let drifts = outcome
        .trace
        .iter()
        .filter(|event| !event.seen.is_empty() && middle.contains(&event.at.step));
    let drifts = drifts.map(|event| event.seen[0]).collect();
    Ok((outcome.latent.to_host(), latents, drifts))
}

/// Computes everything and looks at the change of the guided prediction.
#[derive(Default)]
struct Watch {
    guidance: f32,
    branches: usize,
    output: usize,
}

impl CachePolicy for Watch {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        (self.guidance, self.branches, self.output) = (run.guidance, run.branches, run.output());
        Ok(Claim::default().keeping(run, Value::Output, 2))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        if at.step < 2 || at.branch != COND || !seen.is_empty() {
            return Move::store(self.output);
        }
        let guided = |age| match self.branches {
            2 => vec![
                Term::kept(self.guidance, Value::Output, COND, age),
                Term::kept(1.0 - self.guidance, Value::Output, UNCOND, age),
            ],
            _ => vec![Term::kept(1.0, Value::Output, COND, age)],
        };
        Move::Look {
            probes: vec![Probe::Distance {
                new: guided(0),
                old: guided(1),
            }],
        }
    }
}

/// Where a run is disturbed, and by what.
struct Disturbance {
    timestep: f32,
    place: Place,
}

enum Place {
    /// Added to the predictions: of both branches, or of the unconditional one alone.
    Prediction { noise: Latent, both: bool },
    /// Added to the hidden state after a unit, in both branches.
    Hidden { after: usize, noise: Hidden },
}

/// The disturbances of a step: of the guided prediction, of the branch difference, of the block residual.
fn disturbances(job: &Prepared, step: usize, latent: &Latent) -> [Option<Disturbance>; 3] {
    let timestep = job.schedule.timesteps[step];
    let blocks = middle_blocks(&job.run);
    let (mut predictions, mut residual_rms) = (vec![], 0.0);
    for cond in &job.conds {
        let (mut hidden, ctx) = job.chain.embed(latent, timestep, cond);
        let mut before = None;
        for i in 0..job.run.end() {
            if i == blocks.start {
                before = Some(hidden.clone());
            }
            hidden = job.chain.unit(i, hidden, &ctx);
            if i + 1 == blocks.end {
                residual_rms += rms(hidden.since(before.take().expect("the range has a start")).tokens);
            }
        }
        predictions.push(job.chain.head(hidden, &ctx));
    }
    residual_rms /= job.conds.len() as f32;
    let shape = latent.0.dims();
    let drawn = |rms: f32, salt: u64| {
        let values = noise(DISTURBANCE_SEED + salt, &shape)
            .into_iter()
            .map(|n| n * SIGMA * rms)
            .collect();
        Latent::from_host(values, shape, &latent.0.device())
    };
    let place = |place| Some(Disturbance { timestep, place });
    let (step_rms, cfg_rms) = match &predictions[..] {
        [cond, uncond] => {
            let difference = cond.since(uncond.clone());
            let guided = uncond.clone().add_scaled(job.guidance.scale(), &difference);
            (rms(guided.0), Some(rms(difference.0)))
        }
        _ => (rms(predictions[0].0.clone()), None),
    };
    let hidden_noise = || {
        let (hidden, _) = job.chain.embed(latent, timestep, &job.conds[0]);
        let (shape, video) = (hidden.tokens.dims(), hidden.video);
        let values: Vec<f32> = noise(DISTURBANCE_SEED + 2, &shape)
            .into_iter()
            .map(|n| n * SIGMA * residual_rms)
            .collect();
        let noise: Tensor<3> = Tensor::from_data(TensorData::new(values, shape), &hidden.tokens.device());
        let tokens = noise.cast(hidden.tokens.dtype());
        Hidden { tokens, video }
    };
    [
        place(Place::Prediction {
            noise: drawn(step_rms, 0),
            both: true,
        }),
        cfg_rms.and_then(|rms| {
            place(Place::Prediction {
                noise: drawn(rms, 1),
                both: false,
            })
        }),
        place(Place::Hidden {
            after: blocks.end - 1,
            noise: hidden_noise(),
        }),
    ]
}

/// Units of MixCache's default block range.
fn middle_blocks(run: &Run) -> Range<usize> {
    Mix::default().block_units(run).remove(0)
}

fn rms<const D: usize>(tensor: Tensor<D>) -> f32 {
    let mean_square = tensor.cast(FloatDType::F32).square().mean().into_data();
    mean_square.as_slice::<f32>().expect("cast to f32")[0].sqrt()
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

/// Runs exactly but for the disturbance; the final latent.
fn disturbed(job: &Prepared, disturbance: Disturbance) -> Result<Vec<f32>> {
    let chain = Disturbed {
        chain: &job.chain,
        disturbance,
    };
    let conds: Vec<(usize, Cond)> = job.conds.iter().cloned().enumerate().collect();
    let outcome = denoise(&chain, &mut Off::default(), job.job(&conds), &mut |_| {})?;
    Ok(outcome.latent.to_host())
}

/// A model that is disturbed at one timestep.
struct Disturbed<'a> {
    chain: &'a ModelChain<'a>,
    disturbance: Disturbance,
}

/// What stays fixed within a pass: whether it is the disturbed one, its branch, the model's own.
struct DisturbedCtx {
    here: bool,
    branch: usize,
    ctx: Ctx,
}

impl Dit for Disturbed<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = (usize, Cond);
    type Ctx = DisturbedCtx;
    fn embed(&self, latent: &Latent, timestep: f32, (branch, cond): &(usize, Cond)) -> (Hidden, DisturbedCtx) {
        let (hidden, ctx) = self.chain.embed(latent, timestep, cond);
        (
            hidden,
            DisturbedCtx {
                here: timestep == self.disturbance.timestep,
                branch: *branch,
                ctx,
            },
        )
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &DisturbedCtx) -> Hidden {
        self.chain.eval(i, hidden, &ctx.ctx)
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &DisturbedCtx) -> Hidden {
        let hidden = self.chain.join(i, hidden, raw, &ctx.ctx);
        match &self.disturbance.place {
            Place::Hidden { after, noise } if ctx.here && *after == i => hidden.add_scaled(1.0, noise),
            _ => hidden,
        }
    }
    fn first_input(&self, hidden: &Hidden, ctx: &DisturbedCtx) -> Hidden {
        self.chain.first_input(hidden, &ctx.ctx)
    }
    fn head(&self, hidden: Hidden, ctx: &DisturbedCtx) -> Latent {
        let prediction = self.chain.head(hidden, &ctx.ctx);
        match &self.disturbance.place {
            Place::Prediction { noise, both } if ctx.here && (*both || ctx.branch == UNCOND) => {
                prediction.add_scaled(1.0, noise)
            }
            _ => prediction,
        }
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        self.chain.time_signals(signal, timesteps)
    }
}
