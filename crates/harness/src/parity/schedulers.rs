//! Noise levels, timesteps and solver steps, fed with the recorded velocities.

use super::{Case, max_abs, number};
use anyhow::{Context, Result};
use mixcache_core::dpmpp::SecondOrder;
use mixcache_core::sampler::{Sampler, SamplerKind};
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use serde_json::Value;
use std::path::Path;

pub(super) fn compare(case: &mut Case, path: &Path, json: &Value) -> Result<()> {
    let recorded = Weights::open(&path.with_extension("safetensors"))?;
    let runs = json["runs"].as_object().context("no table `runs`")?;
    let kind = match json["kind"].as_str() {
        Some("scheduler_euler") => SamplerKind::Euler,
        Some("scheduler_unipc") => SamplerKind::Unipc,
        Some("scheduler_dpmpp") => SamplerKind::Dpmpp,
        Some("scheduler_dpmpp_sde") => SamplerKind::DpmppSde,
        _ => SamplerKind::Ddim,
    };
    let (sigma_tolerance, latent_tolerance) = (
        number(json, "/tolerance/sigmas_max_abs")?,
        number(json, "/tolerance/traj_max_abs")?,
    );
    for (name, run) in runs {
        let floats = |what: &str| {
            let key = format!("{name}.{what}");
            recorded
                .floats(&key)
                .with_context(|| format!("no float tensor `{key}`"))
        };
        let steps = number(run, "/steps")? as usize;
        let shift = number(run, "/shift").or_else(|_| number(run, "/flow_shift"))?;
        let order = run.pointer("/config/solver_order").and_then(Value::as_u64).unwrap_or(2) as usize;
        let solver = run.pointer("/config/solver_type").and_then(Value::as_str);
        let second = match (kind, solver) {
            (SamplerKind::Dpmpp, Some("heun")) => SecondOrder::Heun,
            (SamplerKind::Dpmpp, None | Some("midpoint")) => SecondOrder::Midpoint,
            (SamplerKind::Euler | SamplerKind::Ddim | SamplerKind::DpmppSde, _)
            | (SamplerKind::Unipc, None | Some("bh2")) => SecondOrder::Midpoint, // unused
            (_, Some(other)) => {
                case.not_covered(format!("{name}: solver type {other}"));
                continue;
            }
        };
        let authors = run.get("source").is_some();
        let grid = match (kind, authors) {
            (SamplerKind::Euler, _) if run["input"] == "set_timesteps(n)" => Grid::FlowTwice,
            (SamplerKind::Unipc, false) => Grid::DiffusersMultistep,
            (SamplerKind::Dpmpp, false) => Grid::Wan,
            _ => kind.grid(),
        };
        let schedule = Schedule::new(grid, steps, shift);
        case.measured(
            format!("{name}: sigmas, largest difference"),
            max_abs(&schedule.sigmas, &floats("sigmas")?),
            sigma_tolerance,
        );
        // Recorded integers must be met exactly, floats to two thousandths of a timestep.
        let integers = run["timesteps_dtype"]
            .as_str()
            .is_some_and(|dtype| dtype.contains("int"));
        case.measured(
            format!("{name}: timesteps, largest difference"),
            max_abs(&schedule.timesteps, &floats("timesteps")?),
            if integers { 0.0 } else { 2e-3 },
        );
        let latents = floats("traj")?;
        let velocities = floats("velocity")?;
        let noise = match kind {
            SamplerKind::DpmppSde => floats("noise")?,
            _ => vec![],
        };
        let size = latents.len() / (steps + 1);
        let latent = |values: &[f32]| Latent::from_host(values.to_vec(), [1, 1, 1, 1, size], case.device);
        let mut sampler = match kind {
            SamplerKind::Unipc => Sampler::unipc(&schedule, order),
            SamplerKind::Dpmpp => Sampler::dpmpp(&schedule, order, second),
            _ => Sampler::new(kind, &schedule),
        };
        let (mut now, mut worst) = (latent(&latents[..size]), 0.0f64);
        for step in 0..steps {
            let of_step = |values: &[f32]| latent(&values[step * size..][..size]);
            now = sampler.step(step, &of_step(&velocities), now, || of_step(&noise));
            worst = worst.max(max_abs(&now.to_host(), &latents[(step + 1) * size..][..size]));
        }
        case.measured(format!("{name}: latents, largest difference"), worst, latent_tolerance);
    }
    Ok(())
}
