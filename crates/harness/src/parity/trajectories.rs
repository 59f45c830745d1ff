//! Cached sampling runs: latents at every step, decisions, what was measured, which blocks ran.

use super::{Case, max_abs, number, read_json};
use anyhow::{Context, Result, ensure};
use burn::tensor::{FloatDType, Tensor, TensorData};
use mixcache_core::denoise::{CacheLimits, Guidance, Job, Outcome, denoise, run_of};
use mixcache_core::models::wan::reference::relative_l2;
use mixcache_core::models::wan::{Sinusoid, Wan, WanConfig};
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::data::{Data, TeaCoefficients};
use mixcache_policies::first_blocks::FirstBlocks;
use mixcache_policies::off::Off;
use mixcache_policies::plan::*;
use mixcache_policies::tea::Tea;
use serde_json::Value as Json;
use std::path::Path;

/// The recording's own tolerances: latents within 1e-4 relative L2, metrics within 1e-4 relative.
const LATENTS: f64 = 1e-4;
const METRICS: f64 = 1e-4;

/// Compares each recorded policy beside the folder of the model.
pub(super) fn compare(case: &mut Case, path: &Path, json: &Json) -> Result<()> {
    let model = path.parent().context("a case stands in a folder")?;
    let folder = model
        .parent()
        .context("the model's folder stands among the recorded policies")?;
    let setting = Setting::read(model, json, case)?;
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    for file in files {
        let recorded = read_json(&file)?;
        let Some(name) = recorded["policy"].as_str() else {
            continue;
        };
        case.name = format!("{}/{name}", folder.file_name().unwrap_or_default().to_string_lossy());
        match Recipe::of(name, &recorded["config"])? {
            Ok(recipe) => setting.compare(case, recipe, &recorded, &file.with_extension("safetensors"))?,
            Err(why) => case.not_covered(why),
        }
    }
    Ok(())
}

/// The policy of a recording, and the steps in which it was not allowed to act.
struct Recipe {
    policy: Box<dyn CachePolicy>,
    full: (usize, usize),
    data: Data,
    /// Name of the recorded metric that the looks must show.
    metric: &'static str,
}

impl Recipe {
    fn of(name: &str, config: &Json) -> Result<Result<Recipe, String>> {
        let get = |key: &str| number(config, &format!("/{key}"));
        let count = |key: &str| get(key).map_or(0, |n| n as usize);
        let recipe = |policy, metric| Recipe {
            policy,
            full: (0, 0),
            data: Data::default(),
            metric,
        };
        let has = |key: &str| config.get(key).is_some();
        if name == "no_cache" {
            return Ok(Ok(recipe(Box::<Off>::default(), "")));
        }
        if name.starts_with("first_block_cache") && has("threshold") {
            let policy = FirstBlocks::new(get("threshold")? as f32, 1, 0);
            return Ok(Ok(recipe(Box::new(policy), "diff")));
        }
        if has("Fn_compute_blocks") {
            if !config["taylorseer_order"].is_null() {
                return Ok(Err("DBCache with a Taylor forecast of the residual".into()));
            }
            let threshold = get("residual_diff_threshold")? as f32;
            let mut policy = FirstBlocks::new(threshold, count("Fn_compute_blocks"), count("Bn_compute_blocks"));
            policy.warmup = count("max_warmup_steps");
            policy.max_continuous = count("max_continuous_cached_steps");
            policy.max_cached = count("max_cached_steps");
            return Ok(Ok(recipe(Box::new(policy), "diff")));
        }
        if has("coefficients") && has("use_ret_steps") {
            let polynomial = config["coefficients"].as_array().context("no list `coefficients`")?;
            let signal = config["signal"].as_str().context("no text `signal`")?;
            let coefficients = TeaCoefficients {
                model: "any".into(),
                source: "the recording".into(),
                signal: if signal.starts_with("temb") {
                    TimeSignal::Embedding
                } else {
                    TimeSignal::Projection
                },
                polynomial: polynomial.iter().filter_map(Json::as_f64).collect(),
                range: [f64::NEG_INFINITY, f64::INFINITY],
            };
            let steps = count("steps");
            // The reference counts calls, two a step.
            let full = (
                get("ret_steps_calls")? as usize / 2,
                steps.saturating_sub(get("cutoff_calls")? as usize / 2),
            );
            let data = Data {
                tea: [("recorded".into(), coefficients)].into(),
                ..Data::default()
            };
            let policy = Box::new(Tea::new(get("threshold")?, "recorded"));
            return Ok(Ok(Recipe {
                policy,
                full,
                data,
                metric: "rel_l1",
            }));
        }
        Ok(Err("its policy is not built yet".into()))
    }
}

/// The model, its inputs and the sampler of all recordings in a folder.
struct Setting {
    wan: Wan,
    latent: Latent,
    texts: [Tensor<3>; 2],
    schedule: Schedule,
    guidance: f32,
}

impl Setting {
    fn read(model: &Path, json: &Json, case: &Case) -> Result<Setting> {
        let inputs = Weights::open(&model.join("inputs.safetensors"))?;
        let floats = |key: &str| inputs.floats(key).with_context(|| format!("no float tensor `{key}`"));
        let text = |key: &str| -> Result<Tensor<3>> {
            let shape = inputs.shape(key).and_then(|s| <[usize; 3]>::try_from(s).ok());
            let shape = shape.with_context(|| format!("`{key}`: expected three dimensions"))?;
            Ok(Tensor::from_data(TensorData::new(floats(key)?, shape), case.device))
        };
        let texts = [text("prompt_embeds")?, text("negative_prompt_embeds")?];
        let shape = inputs.shape("latents").and_then(|s| <[usize; 5]>::try_from(s).ok());
        let shape = shape.context("`latents`: expected five dimensions")?;
        let latent = Latent::from_host(floats("latents")?, shape, case.device);
        let config = std::fs::read_to_string(model.join("config.json")).context("no config.json")?;
        let config = WanConfig {
            sinusoid: Sinusoid::F32, // the recordings come from diffusers
            text_len: texts[0].dims()[1],
            ..WanConfig::parse(&config)?
        };
        let weights = Weights::open(&model.join("diffusers.safetensors"))?;
        let steps = number(json, "/case/steps")? as usize;
        Ok(Setting {
            wan: Wan::load(config, weights, case.device, FloatDType::F32)?,
            latent,
            texts,
            // "set_timesteps(steps)" of the reference shifts twice.
            schedule: Schedule::new(Grid::FlowTwice, steps, number(json, "/case/shift")?),
            guidance: number(json, "/case/guidance")? as f32,
        })
    }

    fn compare(&self, case: &mut Case, recipe: Recipe, recorded: &Json, tensors: &Path) -> Result<()> {
        let tensors = Weights::open(tensors)?;
        let latents = tensors.floats("latents").context("no float tensor `latents`")?;
        if let (Some(sigmas), Some(timesteps)) = (tensors.floats("sigmas"), tensors.floats("timesteps")) {
            case.measured(
                "sigmas, largest difference",
                max_abs(&self.schedule.sigmas, &sigmas),
                2e-6,
            );
            case.measured(
                "timesteps, largest difference",
                max_abs(&self.schedule.timesteps, &timesteps),
                2e-3,
            );
        }
        let metric = recipe.metric;
        let (outcome, ours) = self.denoise(recipe)?;
        let size = latents.len() / (self.schedule.steps() + 1);
        ensure!(
            ours.len() * size == latents.len(),
            "`latents`: found {} numbers",
            latents.len()
        );
        let worst = ours
            .iter()
            .zip(latents.chunks(size))
            .map(|(a, b)| relative_l2(a, b))
            .fold(0.0, f64::max);
        case.measured("latents at every step, relative L2 (worst)", worst, LATENTS);

        let decisions = recorded["decisions"].as_array().cloned().unwrap_or_default();
        if !decisions.is_empty() {
            let mut different = 0;
            let (mut furthest, mut compared) = (0.0f64, 0);
            for decision in &decisions {
                let place = place_of(decision)?;
                let computed = !events(&outcome, place).any(|e| matches!(e.act, Move::Reuse { .. }));
                different += (Some(computed) != decision["compute"].as_bool()) as usize;
                let seen = events(&outcome, place).find_map(|e| e.seen.first().copied());
                if let (Some(theirs), Some(seen)) = (decision[metric].as_f64(), seen) {
                    furthest = furthest.max((seen as f64 - theirs).abs() / theirs.abs());
                    compared += 1;
                }
            }
            case.measured(
                format!("{} decisions, different ones", decisions.len()),
                different as f64,
                0.0,
            );
            case.measured(
                format!("{compared} values of {metric}, relative difference (worst)"),
                furthest,
                METRICS,
            );
        }
        let rows = recorded["trace"].as_array().cloned().unwrap_or_default();
        let mut different = 0;
        for row in &rows {
            let ran = self.blocks_run(&outcome, place_of(row)?);
            let theirs = ["attn1", "attn2", "ffn"].map(|module| row[module].as_str().unwrap_or_default().to_string());
            different += (ran != theirs) as usize;
        }
        if !rows.is_empty() {
            case.measured(
                format!("{} passes, with other blocks run", rows.len()),
                different as f64,
                0.0,
            );
        }
        Ok(())
    }

    fn denoise(&self, mut recipe: Recipe) -> Result<(Outcome, Vec<Vec<f32>>)> {
        let [_, _, f, h, w] = self.latent.0.dims();
        let chain = self.wan.on([f, h, w], 1)?;
        let guidance = Guidance::TwoPass { scale: self.guidance };
        let limits = CacheLimits {
            full: recipe.full,
            ..CacheLimits::NONE
        };
        let run = run_of(&chain, &self.schedule, guidance, limits, recipe.data.into());
        let conds = [
            self.wan.condition(self.texts[0].clone())?,
            self.wan.condition(self.texts[1].clone())?,
        ];
        let mut latents = vec![self.latent.to_host()];
        let (schedule, noise) = (self.schedule.clone(), self.latent.clone());
        let job = Job {
            run,
            schedule,
            sampler: SamplerKind::Euler,
            guidance,
            noise,
            conds: &conds,
        };
        let outcome = denoise(&chain, &mut *recipe.policy, job, &mut |report| {
            latents.push(report.latent.to_host())
        })?;
        Ok((outcome, latents))
    }

    /// For self-attention, cross-attention and feed-forward: '1' for each block that ran.
    fn blocks_run(&self, outcome: &Outcome, place: (usize, usize)) -> [String; 3] {
        let units = 3 * self.wan.config().layers;
        let mut ran = vec![false; units];
        for event in events(outcome, place) {
            if let Move::Compute { to, .. } = event.act {
                ran[event.at.unit..to.min(units)].fill(true);
            }
        }
        [0, 1, 2].map(|kind| {
            ran.iter()
                .skip(kind)
                .step_by(3)
                .map(|&ran| if ran { '1' } else { '0' })
                .collect()
        })
    }
}

fn events(outcome: &Outcome, (step, branch): (usize, usize)) -> impl Iterator<Item = &Event> {
    outcome
        .trace
        .iter()
        .filter(move |event| (event.at.step, event.at.branch) == (step, branch))
}

fn place_of(row: &Json) -> Result<(usize, usize)> {
    let branch = match row["branch"].as_str() {
        Some("cond") => COND,
        Some("uncond") => UNCOND,
        other => anyhow::bail!("branch {other:?}: expected cond or uncond"),
    };
    Ok((number(row, "/step")? as usize, branch))
}
