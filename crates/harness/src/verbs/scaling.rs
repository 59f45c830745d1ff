//! `mixcache scaling`: does time follow the count of operations, over tokens, depth and steps?

use super::write_csv;
use crate::clock::{utc_now, utc_today};
use crate::machine::Machine;
use crate::report::scaling::{self as picture, Point, Varied};
use crate::subject::{dtype, preset};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use mixcache_core::denoise::{CacheLimits, Guidance, Job, denoise, run_of};
use mixcache_core::device;
use mixcache_core::models::{Chain, Model, Prompt};
use mixcache_core::noise::noise;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Schedule;
use mixcache_core::tensors::Latent;
use mixcache_policies::data::Data;
use mixcache_policies::off::Off;
use serde::Serialize;
use std::path::PathBuf;

/// Time uncached runs of many sizes against the operations counted for them; random weights.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Model whose width is kept.
    #[arg(long, default_value = "wan-mini")]
    model: String,
    /// cpu, wgpu, wgpu:N or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// How often each size is timed; the median counts.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Folder to write to; without it, results/scaling/MODEL-DEVICE-DATE.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Print the numbers as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record {
    command: String,
    date: String,
    git_revision: &'static str,
    device: String,
    cpu: String,
    threads: usize,
    model: String,
    dtype: String,
    repeats: usize,
    folder: PathBuf,
    sizes: Vec<Point>,
}

/// Latent frames, blocks and steps that are kept while another is varied.
const BASE: (usize, usize, usize) = (8, 8, 4);
/// Rows and columns of the latents.
const SIDE: usize = 16;

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let config = preset(&args.model)?;
    ensure!(args.repeats > 0, "`--repeats 0`: expected at least one");
    let (device, float) = (device::open(&args.device)?, dtype(&args.dtype)?);
    let (frames, layers, steps) = BASE;
    let sizes = [1, 2, 4, 8, 16, 32]
        .map(|f| (Varied::Tokens, f, layers, steps))
        .into_iter();
    let sizes = sizes.chain([1, 2, 4, 8, 16, 32].map(|l| (Varied::Depth, frames, l, steps)));
    let sizes: Vec<_> = sizes
        .chain([1, 2, 4, 8, 16, 32].map(|s| (Varied::Steps, frames, layers, s)))
        .collect();
    let tell = |line: String| {
        if !args.json {
            println!("{line}");
        }
    };
    tell(format!(
        "{:>7} {:>7} {:>7} {:>6} {:>10} {:>10} {:>9}",
        "varied", "tokens", "layers", "steps", "TFLOP", "seconds", "GFLOP/s"
    ));
    let mut points = vec![];
    for (varied, frames, layers, steps) in sizes {
        let model = config.with_blocks(layers).random(0, &device, float);
        let (flops, tokens, seconds) = time(&model, frames, steps, args.repeats)?;
        let point = Point {
            varied,
            tokens,
            layers,
            steps,
            flops,
            seconds,
        };
        tell(format!(
            "{:>7} {:>7} {:>7} {:>6} {:>10.4} {:>10.4} {:>9.1}",
            crate::runner::name_of(&varied),
            point.tokens,
            point.layers,
            point.steps,
            point.flops / 1e12,
            point.seconds,
            point.flops / point.seconds / 1e9
        ));
        points.push(point);
    }
    let place = args.device.replace(':', "");
    let folder = args
        .output
        .unwrap_or_else(|| PathBuf::from("results/scaling").join(format!("{}-{place}-{}", args.model, utc_today())));
    write_csv(&folder, "scaling.csv", &points)?;
    let (machine, date) = (Machine::detect(), utc_now());
    let record = Record {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        date,
        git_revision: env!("MIXCACHE_GIT_REVISION"),
        device: device::describe(&device),
        cpu: machine.cpu.clone(),
        threads: rayon::current_num_threads(),
        model: args.model,
        dtype: args.dtype,
        repeats: args.repeats,
        folder,
        sizes: points,
    };
    let subtitle = format!(
        "width of {}, random weights, {} · {}, {} threads · {machine} · {} · revision {}",
        record.model, record.dtype, record.device, record.threads, record.date, record.git_revision
    );
    picture::write(&record.folder, &record.sizes, &subtitle)?;
    tell(format!("written to {}", record.folder.display()));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&record)?);
    }
    Ok(())
}

/// Operations, tokens and median seconds of an uncached run.
fn time(model: &Model, frames: usize, steps: usize, repeats: usize) -> Result<(f64, usize, f64)> {
    let (device, (width, pooled)) = (model.device(), model.config().text_widths());
    let chain = model.on([frames, SIDE, SIDE], 1, 1)?;
    let shape = chain.latent_shape();
    let prompt = Prompt {
        states: Tensor::zeros([1, 1, width], device),
        pooled: Tensor::zeros([1, pooled.unwrap_or(width)], device),
    };
    let conds = [model.condition(prompt, 1.0)?];
    let (sampler, guidance) = (SamplerKind::Euler, Guidance::None);
    let schedule = Schedule::new(sampler.grid(), steps, 3.0);
    let run = run_of(&chain, &schedule, guidance, CacheLimits::NONE, Data::default().into());
    let once = || {
        let job = Job {
            run: run.clone(),
            schedule: schedule.clone(),
            sampler,
            guidance,
            noise: Latent::from_host(noise(1, &shape), shape, device),
            seed: 1,
            conds: &conds,
        };
        denoise(&chain, &mut Off::default(), job, &mut |_| {}).map(|outcome| outcome.denoise_s)
    };
    once()?; // everything is compiled and tuned here
    let mut times = (0..repeats).map(|_| once()).collect::<Result<Vec<f64>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok((run.total_flops(), chain.tokens(), times[times.len() / 2]))
}
