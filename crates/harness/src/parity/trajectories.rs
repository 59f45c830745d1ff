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
use mixcache_policies::PolicySpec;
use mixcache_policies::data::{Data, MagRatios, TeaCoefficients};
use mixcache_policies::plan::*;
use serde_json::{Value as Json, json};
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
    /// A policy that needs no data, free to act in every step.
    fn plain(knobs: Json, metric: &'static str) -> Result<Recipe> {
        let spec: PolicySpec = serde_json::from_value(knobs.clone()).with_context(|| format!("knobs {knobs}"))?;
        Ok(Recipe {
            policy: spec.policy(),
            full: (0, 0),
            data: Data::default(),
            metric,
        })
    }
    /// Knows a policy by the keys of its configuration; those left out have the reference's defaults.
    fn of(name: &str, config: &Json) -> Result<Result<Recipe, String>> {
        let has = |key: &str| config.get(key).is_some();
        let or = |key: &str, default: Json| {
            config
                .get(key)
                .filter(|found| !found.is_null())
                .cloned()
                .unwrap_or(default)
        };
        let count = |key: &str, default: usize| or(key, default.into()).as_u64().unwrap_or_default() as usize;
        Ok(Ok(if name == "no_cache" {
            Recipe::plain(json!({ "kind": "off" }), "")?
        } else if name.starts_with("first_block_cache") && has("threshold") {
            Recipe::plain(
                json!({ "kind": "first-blocks", "threshold": config["threshold"] }),
                "diff",
            )?
        } else if has("Fn_compute_blocks") {
            let knobs = json!({
                "kind": "first-blocks",
                "threshold": config["residual_diff_threshold"],
                "first": config["Fn_compute_blocks"],
                "last": config["Bn_compute_blocks"],
                "warmup": or("max_warmup_steps", 0.into()),
                "max_continuous": or("max_continuous_cached_steps", 0.into()),
                "max_cached": or("max_cached_steps", 0.into()),
                "order": or("taylorseer_order", 0.into()),
            });
            Recipe::plain(knobs, "diff")?
        } else if has("coefficients") && has("use_ret_steps") {
            Recipe::tea(config)?
        } else if has("mag_ratios") {
            let knobs = json!({
                "kind": "mag",
                "ratios": "recorded",
                "threshold": config["threshold"],
                "max_skip": config["max_skip_steps"],
                "retention": config["retention_ratio"],
                "inclusive": true,
            });
            let ratios = MagRatios {
                model: "any".into(),
                source: "the recording".into(),
                cond: serde_json::from_value(config["mag_ratios"].clone()).context("`mag_ratios`")?,
                uncond: vec![],
            };
            let ratios = [("recorded".into(), ratios)].into();
            let data = Data {
                ratios,
                ..Data::default()
            };
            Recipe {
                data,
                ..Recipe::plain(knobs, "")?
            }
        } else if has("residual_order") {
            let knobs = json!({
                "kind": "sea",
                "threshold": config["threshold"],
                "order": config["residual_order"],
                "max_continuous": or("max_consecutive_cached", 2.into()),
            });
            let full = (count("retention_steps", 1), count("cache_end_steps", 1));
            Recipe {
                full,
                ..Recipe::plain(knobs, "distance")?
            }
        } else if has("cache_interval") {
            let knobs = json!({
                "kind": "taylor-seer",
                "interval": config["cache_interval"],
                "order": config["max_order"],
                "warmup": config["disable_cache_before_step"],
                "schedule": "diffusers",
                "scope": if or("use_lite_mode", false.into()) == true { "output" } else { "modules" },
            });
            Recipe::plain(knobs, "")?
        } else if name.starts_with("faster_cache") {
            let below = |window: &str, default: f64| config[window][1].as_f64().unwrap_or(default);
            let knobs = json!({
                "kind": "faster",
                "schedule": "timesteps",
                "below": below("spatial_attention_timestep_skip_range", 681.0),
                "cfg_below": below("unconditional_batch_timestep_skip_range", 641.0),
                "interval": or("spatial_attention_block_skip_range", 2.into()),
                "weight": config["attention_weight"],
                "cond_only": true,
                "cfg_interval": or("unconditional_batch_skip_range", 5.into()),
            });
            Recipe::plain(knobs, "")?
        } else if name.starts_with("pab") {
            let bound = |kind: &str, end: usize, default: f64| {
                config[format!("{kind}_attention_timestep_skip_range")][end]
                    .as_f64()
                    .unwrap_or(default)
            };
            let knobs = json!({
                "kind": "pab",
                "interval": or("spatial_attention_block_skip_range", 1.into()),
                "low": bound("spatial", 0, 100.0),
                "high": bound("spatial", 1, 800.0),
                "cross_interval": or("cross_attention_block_skip_range", 1.into()),
                "cross_low": bound("cross", 0, 100.0),
                "cross_high": bound("cross", 1, 800.0),
                "shared_state": name.ends_with("sequential_shared_state"),
            });
            Recipe::plain(knobs, "")?
        } else {
            return Ok(Err("no policy is known by these settings".into()));
        }))
    }
    fn tea(config: &Json) -> Result<Recipe> {
        let get = |key: &str| number(config, &format!("/{key}"));
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
        // The reference counts calls, two a step.
        let (first, last) = (get("ret_steps_calls")? as usize / 2, get("cutoff_calls")? as usize / 2);
        let full = (first, (get("steps")? as usize).saturating_sub(last));
        let tea = [("recorded".into(), coefficients)].into();
        let data = Data { tea, ..Data::default() };
        let knobs = json!({ "kind": "tea", "threshold": get("threshold")?, "coefficients": "recorded" });
        Ok(Recipe {
            full,
            data,
            ..Recipe::plain(knobs, "rel_l1")?
        })
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
            if compared > 0 {
                case.measured(
                    format!("{compared} values of {metric}, relative difference (worst)"),
                    furthest,
                    METRICS,
                );
            }
        }
        let rows = recorded["trace"].as_array().cloned().unwrap_or_default();
        let mut different = 0;
        for row in &rows {
            let theirs = ["attn1", "attn2", "ffn"].map(|module| row[module].as_str().unwrap_or_default().to_string());
            if row["branch"] != "batched" {
                different += (self.blocks_run(&outcome, place_of(row)?) != theirs) as usize;
                continue;
            }
            // One pass of both branches, or of the conditional one alone.
            let step = number(row, "/step")? as usize;
            let both = number(row, "/batch")? == 2.0;
            let uncond = theirs
                .each_ref()
                .map(|blocks| if both { blocks.clone() } else { "0".repeat(blocks.len()) });
            different += (self.blocks_run(&outcome, (step, COND)) != theirs) as usize;
            different += (self.blocks_run(&outcome, (step, UNCOND)) != uncond) as usize;
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
