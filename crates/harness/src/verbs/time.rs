//! `mixcache time`: where the time of a pass goes, and what the policies of an experiment would gain by it.

use super::Chosen;
use crate::clock::utc_now;
use crate::dry::walk;
use crate::experiment::Variant;
use crate::machine::Machine;
use crate::runner::Runner;
use crate::subject::Subject;
use crate::timing::{Part, Parts, measure};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Time every part of a pass on the device, and predict the runs of an experiment from it.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// How often each part is timed.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Also write the numbers to this .json file.
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
    model: String,
    dtype: String,
    substituted: String,
    frames: usize,
    height: usize,
    width: usize,
    tokens: usize,
    weights_s: f64,
    memory_in_use_bytes: Option<u64>,
    memory_reserved_bytes: Option<u64>,
    pass_s: f64,
    parts: Vec<PartRecord>,
    predicted: Vec<Predicted>,
}

#[derive(Serialize)]
struct PartRecord {
    part: String,
    count: usize,
    flops: f64,
    fastest_s: f64,
    median_s: f64,
    tflops_per_s: f64,
}

#[derive(Serialize)]
struct Predicted {
    policy: String,
    run_s: f64,
    speedup: f64,
    compute_fraction: f64,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle_for(args.json)?;
    let tell = |line: String| {
        if !args.json {
            println!("{line}");
        }
    };
    let start = Instant::now();
    let subject = Subject::load(&experiment)?;
    let device = subject.model.device().clone();
    device.sync().context("the device does not answer")?;
    let weights_s = start.elapsed().as_secs_f64();
    let runner = Runner::new(&experiment, &subject);
    let (prompt, seed) = (&experiment.runs.prompts[0], experiment.runs.seeds[0]);
    let prepared = runner.prepare(&Variant::off(), prompt, seed, experiment.sampler.steps)?;
    let cond = &prepared.conds[0];
    let parts = measure(
        &prepared.chain,
        &prepared.run,
        &prepared.noise,
        cond,
        &device,
        args.repeats,
    );
    tell(shown(&parts));
    let usage = device.memory_pool_usage();
    if let Some(usage) = &usage {
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        tell(format!(
            "memory {:.1} GiB in use, {:.1} GiB reserved",
            gib(usage.bytes_in_use),
            gib(usage.bytes_reserved)
        ));
    }
    let predicted = predicted(
        &runner,
        &experiment.policies,
        &subject,
        &parts,
        prompt,
        experiment.sampler.steps,
    )?;
    tell(format!("\n{}", shown_predicted(&predicted)));
    let [f, h, w] = subject.grid;
    let record = Record {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        date: utc_now(),
        git_revision: env!("MIXCACHE_GIT_REVISION"),
        device: mixcache_core::device::describe(&device),
        cpu: Machine::detect().cpu,
        model: experiment.model.name.clone(),
        dtype: experiment.model.dtype.clone(),
        substituted: experiment.substituted.clone(),
        frames: experiment.video.frames,
        height: experiment.video.height,
        width: experiment.video.width,
        tokens: f * h * w / subject.model.config().patch_volume(),
        weights_s,
        memory_in_use_bytes: usage.as_ref().map(|usage| usage.bytes_in_use),
        memory_reserved_bytes: usage.as_ref().map(|usage| usage.bytes_reserved),
        pass_s: parts.pass_s(),
        parts: parts.parts.iter().map(PartRecord::of).collect(),
        predicted,
    };
    let text = serde_json::to_string_pretty(&record)?;
    if let Some(path) = &args.output {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        tell(format!("written to {}", path.display()));
    }
    if args.json {
        println!("{text}");
    }
    Ok(())
}

impl PartRecord {
    fn of(part: &Part) -> PartRecord {
        PartRecord {
            part: part.name.clone(),
            count: part.count,
            flops: part.flops,
            fastest_s: part.fastest_s,
            median_s: part.median_s,
            tflops_per_s: part.flops / part.median_s / 1e12,
        }
    }
}

fn shown(parts: &Parts) -> String {
    let pass_s = parts.pass_s();
    let mut text = format!(
        "{:>5} {:>11} {:>11} {:>9} {:>7}  part\n",
        "count", "fastest ms", "median ms", "TFLOP/s", "share"
    );
    for part in &parts.parts {
        text += &format!(
            "{:>5} {:>11.3} {:>11.3} {:>9.3} {:>6.1}%  {}\n",
            part.count,
            1e3 * part.fastest_s,
            1e3 * part.median_s,
            part.flops / part.median_s / 1e12,
            100.0 * part.count as f64 * part.median_s / pass_s,
            part.name
        );
    }
    text + &format!("{:>17} {:>11.3} {:>17}  pass, by its parts", "", 1e3 * pass_s, "")
}

/// What each policy would take if reuse, looks and the sampler cost nothing. Policies that look decide on
/// what they see: they cannot be predicted.
fn predicted(
    runner: &Runner,
    policies: &[Variant],
    subject: &Subject,
    parts: &Parts,
    prompt: &str,
    planned: usize,
) -> Result<Vec<Predicted>> {
    let mut rows: Vec<Predicted> = vec![];
    for variant in policies {
        let mut policy = variant.spec.policy();
        let run = runner.run(variant, prompt, policy.steps(planned))?.0;
        let full = runner.run(variant, prompt, planned)?.0.total_flops();
        let flops = walk(&mut *policy, run.clone(), subject).with_context(|| variant.label.clone())?;
        if !flops.decided || run.branches != runner.run(&Variant::off(), prompt, planned)?.0.branches {
            continue;
        }
        let seconds = walk(&mut *policy, parts.priced(run), subject)?;
        let run_s = seconds.costs.flops;
        rows.push(Predicted {
            policy: variant.label.clone(),
            run_s,
            speedup: rows.first().map_or(run_s, |off| off.run_s) / run_s,
            compute_fraction: flops.costs.flops / full,
        });
    }
    Ok(rows)
}

fn shown_predicted(rows: &[Predicted]) -> String {
    let head = format!(
        "{:>10} {:>9} {:>9}  policy, predicted",
        "seconds", "speed-up", "compute"
    );
    let line = |row: &Predicted| {
        format!(
            "\n{:>10.1} {:>8.2}× {:>9.3}  {}",
            row.run_s, row.speedup, row.compute_fraction, row.policy
        )
    };
    head + &rows.iter().map(line).collect::<String>()
}
