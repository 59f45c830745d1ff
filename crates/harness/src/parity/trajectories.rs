//! Cached sampling runs: latents at every step, decisions, what was measured, which blocks ran.

use super::recipe::Recipe;
use super::{Case, max_abs, number, read_json};
use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::denoise::{CacheLimits, Guidance, Job, Outcome, denoise, run_of};
use mixcache_core::models::cogvideox::CogVideoXConfig;
use mixcache_core::models::hunyuan::HunyuanConfig;
use mixcache_core::models::reference::relative_l2;
use mixcache_core::models::wan::WanConfig;
use mixcache_core::models::{Cond, Config, Model, Prompt, Sinusoid};
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::plan::*;
use serde_json::Value as Json;
use std::path::Path;

/// The recording's own tolerances: latents within 1e-4 relative L2, metrics within 1e-4 relative.
const LATENTS: f64 = 1e-4;
const METRICS: f64 = 1e-4;

/// Compares each recorded policy beside the folder of the model.
pub(super) fn compare(case: &mut Case, path: &Path, json: &Json, setting: ReadSetting) -> Result<()> {
    let model = path.parent().context("a case stands in a folder")?;
    let folder = model
        .parent()
        .context("the model's folder stands among the recorded policies")?;
    let setting = setting(&Inputs::open(model, case.device)?, json)?;
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
        let true_cfg = recorded["true_cfg"].as_f64().map(|scale| scale as f32);
        let guided = true_cfg.map_or(String::new(), |scale| format!(" with true CFG {scale}"));
        let among = folder.file_name().unwrap_or_default().to_string_lossy();
        case.name = format!("{among}/{name}{guided}");
        match Recipe::of(name, &recorded["config"])? {
            Ok(recipe) => {
                let guidance = true_cfg.map_or(setting.guidance, |scale| Guidance::TwoPass { scale });
                setting.compare(case, recipe, guidance, &recorded, &file.with_extension("safetensors"))?
            }
            Err(why) => case.not_covered(why),
        }
    }
    Ok(())
}

/// The inputs of all recordings in a folder.
pub(super) struct Inputs<'a> {
    model: &'a Path,
    tensors: Weights,
    device: &'a Device,
}

impl Inputs<'_> {
    fn open<'a>(model: &'a Path, device: &'a Device) -> Result<Inputs<'a>> {
        let tensors = Weights::open(&model.join("inputs.safetensors"))?;
        Ok(Inputs { model, tensors, device })
    }
    fn tensor<const D: usize>(&self, key: &str) -> Result<Tensor<D>> {
        let shape = self.tensors.shape(key).and_then(|s| <[usize; D]>::try_from(s).ok());
        let shape = shape.with_context(|| format!("`{key}`: expected a tensor of {D} dimensions"))?;
        let values = self
            .tensors
            .floats(key)
            .with_context(|| format!("`{key}`: expected floats"))?;
        Ok(Tensor::from_data(TensorData::new(values, shape), self.device))
    }
    fn latent(&self) -> Result<Latent> {
        Ok(Latent(self.tensor("latents")?))
    }
    fn load(&self, config: impl FnOnce(&str) -> Result<Config>) -> Result<Model> {
        let text = std::fs::read_to_string(self.model.join("config.json")).context("no config.json")?;
        let weights = Weights::open(&self.model.join("diffusers.safetensors"))?;
        Ok(config(&text)?.load(weights, self.device, FloatDType::F32)?)
    }
}

/// How a kind of recording is read.
type ReadSetting = fn(&Inputs, &Json) -> Result<Setting>;

/// The model, its inputs and the sampler of all recordings in a folder.
pub(super) struct Setting {
    model: Model,
    latent: Latent,
    /// For each branch that a recording may have.
    conds: Vec<Cond>,
    text_tokens: usize,
    sampler: SamplerKind,
    schedule: Schedule,
    guidance: Guidance,
}

impl Setting {
    /// Wan with guidance in two passes.
    pub fn of_wan(inputs: &Inputs, json: &Json) -> Result<Setting> {
        let texts = [
            inputs.tensor("prompt_embeds")?,
            inputs.tensor("negative_prompt_embeds")?,
        ];
        let text_tokens = texts[0].dims()[1];
        let model = inputs.load(|config| {
            Ok(Config::Wan(WanConfig {
                sinusoid: Sinusoid::F32, // the recordings come from diffusers
                text_len: text_tokens,
                ..WanConfig::parse(config)?
            }))
        })?;
        let cond = |text| Ok(model.condition(Prompt::averaged(text), 1.0)?);
        Ok(Setting {
            latent: inputs.latent()?,
            conds: texts.into_iter().map(cond).collect::<Result<_>>()?,
            text_tokens,
            sampler: SamplerKind::Euler,
            // "set_timesteps(steps)" of the reference shifts twice.
            schedule: schedule(json, Grid::FlowTwice)?,
            guidance: Guidance::TwoPass {
                scale: number(json, "/case/guidance")? as f32,
            },
            model,
        })
    }
    /// HunyuanVideo, whose guidance scale is an input; a recording may have classifier-free guidance beside it.
    pub fn of_hunyuan(inputs: &Inputs, json: &Json) -> Result<Setting> {
        let model = inputs.load(|config| Ok(Config::Hunyuan(HunyuanConfig::parse(config)?)))?;
        let guidance = number(json, "/case/guidance")? as f32;
        let mut branches = vec![("prompt_embeds", "pooled", number(json, "/case/valid")? as usize)];
        let negative = ("negative_prompt_embeds", "negative_pooled");
        if let Some([_, rows, _]) = inputs.tensors.shape(negative.0) {
            branches.push((negative.0, negative.1, *rows)); // recorded without padding
        }
        let cond = |&(states, pooled, tokens): &(&str, &str, usize)| {
            let states = inputs.tensor::<3>(states)?.narrow(1, 0, tokens);
            let pooled = inputs.tensor(pooled)?;
            Ok(model.condition(Prompt { states, pooled }, guidance)?)
        };
        Ok(Setting {
            latent: inputs.latent()?,
            conds: branches.iter().map(cond).collect::<Result<_>>()?,
            text_tokens: branches.iter().map(|branch| branch.2).max().unwrap_or(0),
            sampler: SamplerKind::Euler,
            schedule: schedule(json, Grid::Flow)?,
            guidance: Guidance::None,
            model,
        })
    }
    /// CogVideoX with guidance in two passes; its prompts are padded already.
    pub fn of_cogvideox(inputs: &Inputs, json: &Json) -> Result<Setting> {
        let model = inputs.load(|config| Ok(Config::CogVideoX(CogVideoXConfig::parse(config)?)))?;
        let texts = [
            inputs.tensor("prompt_embeds")?,
            inputs.tensor("negative_prompt_embeds")?,
        ];
        let text_tokens = texts[0].dims()[1];
        let cond = |text| Ok(model.condition(Prompt::averaged(text), 1.0)?);
        Ok(Setting {
            latent: inputs.latent()?,
            conds: texts.into_iter().map(cond).collect::<Result<_>>()?,
            text_tokens,
            sampler: SamplerKind::Ddim,
            schedule: schedule(json, SamplerKind::Ddim.grid())?,
            guidance: Guidance::TwoPass {
                scale: number(json, "/case/guidance")? as f32,
            },
            model,
        })
    }

    fn compare(
        &self,
        case: &mut Case,
        recipe: Recipe,
        guidance: Guidance,
        recorded: &Json,
        tensors: &Path,
    ) -> Result<()> {
        let tensors = Weights::open(tensors)?;
        let latents = tensors.floats("latents").context("no float tensor `latents`")?;
        for (name, ours, tolerance) in [
            ("sigmas", &self.schedule.sigmas, 2e-6),
            ("timesteps", &self.schedule.timesteps, 2e-3),
        ] {
            if let Some(recorded) = tensors.floats(name) {
                case.measured(
                    format!("{name}, largest difference"),
                    max_abs(ours, &recorded),
                    tolerance,
                );
            }
        }
        let metric = recipe.metric;
        let Sampled {
            outcome,
            units,
            latents: ours,
        } = self.denoise(recipe, guidance)?;
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
        let passes = passes(recorded)?;
        let differs = |pass: &&Pass| {
            let mut kinds = pass.kinds.iter();
            kinds.any(|(kinds, theirs)| blocks_run(&units, &outcome, pass.place, kinds) != *theirs)
        };
        let different = passes.iter().filter(differs);
        if !passes.is_empty() {
            case.measured(
                format!("{} passes, with other blocks run", passes.len()),
                different.count() as f64,
                0.0,
            );
        }
        Ok(())
    }

    fn denoise(&self, mut recipe: Recipe, guidance: Guidance) -> Result<Sampled> {
        let [_, _, f, h, w] = self.latent.0.dims();
        let chain = self.model.on([f, h, w], 1, self.text_tokens)?;
        let limits = CacheLimits {
            full: recipe.full,
            ..CacheLimits::NONE
        };
        let run = run_of(&chain, &self.schedule, guidance, limits, recipe.data.into());
        let units = run.units.clone();
        let mut latents = vec![self.latent.to_host()];
        let (schedule, noise) = (self.schedule.clone(), self.latent.clone());
        let job = Job {
            run,
            schedule,
            sampler: self.sampler,
            guidance,
            noise,
            seed: 0, // none is added
            conds: &self.conds[..guidance.branches()],
        };
        let outcome = denoise(&chain, &mut *recipe.policy, job, &mut |report| {
            latents.push(report.latent.to_host())
        })?;
        Ok(Sampled {
            outcome,
            units,
            latents,
        })
    }
}

/// A run of ours.
struct Sampled {
    outcome: Outcome,
    units: Vec<Unit>,
    /// Before the first step and after each.
    latents: Vec<Vec<f32>>,
}

/// '1' for each block of which all units of these kinds ran, '0' for the others.
fn blocks_run(units: &[Unit], outcome: &Outcome, place: (usize, usize), kinds: &[UnitKind]) -> String {
    let mut ran = vec![false; units.len()];
    for event in events(outcome, place) {
        if let Move::Compute { to, .. } = event.act {
            ran[event.at.unit..to.min(units.len())].fill(true);
        }
    }
    let mut blocks = vec!['1'; units.last().map_or(0, |unit| unit.block + 1)];
    for (unit, ran) in units.iter().zip(ran) {
        if kinds.contains(&unit.kind) && !ran {
            blocks[unit.block] = '0';
        }
    }
    blocks.into_iter().collect()
}

/// Which blocks of a recorded pass ran.
struct Pass {
    place: (usize, usize),
    /// By kind of unit: '1' for each block that ran, '0' for the others.
    kinds: Vec<(Vec<UnitKind>, String)>,
}

/// The recorded passes: `trace` tells modules apart, `trace_blocks_run` whole blocks of the only branch.
fn passes(recorded: &Json) -> Result<Vec<Pass>> {
    let rows = |key: &str| recorded[key].as_array().cloned().unwrap_or_default();
    let text = |row: &Json| row.as_str().unwrap_or_default().to_string();
    let mut passes = vec![];
    for row in rows("trace") {
        let modules = [
            (UnitKind::SelfAttn, "attn1"),
            (UnitKind::CrossAttn, "attn2"),
            (UnitKind::Mlp, "ffn"),
        ];
        let kinds = modules.map(|(kind, module)| (vec![kind], text(&row[module])));
        if row["branch"] != "batched" {
            passes.push(Pass {
                place: place_of(&row)?,
                kinds: kinds.into(),
            });
            continue;
        }
        // One pass of both branches, or of the conditional one alone.
        let step = number(&row, "/step")? as usize;
        let alone = number(&row, "/batch")? != 2.0;
        let uncond = kinds.clone().map(|(kinds, blocks)| match alone {
            true => (kinds, "0".repeat(blocks.len())),
            false => (kinds, blocks),
        });
        for (branch, kinds) in [(COND, kinds), (UNCOND, uncond)] {
            passes.push(Pass {
                place: (step, branch),
                kinds: kinds.into(),
            });
        }
    }
    let all = [UnitKind::SelfAttn, UnitKind::Mlp, UnitKind::Fused];
    passes.extend(rows("trace_blocks_run").iter().enumerate().map(|(step, row)| Pass {
        place: (step, COND),
        kinds: vec![(all.into(), text(row))],
    }));
    Ok(passes)
}

fn schedule(json: &Json, grid: Grid) -> Result<Schedule> {
    Ok(Schedule::new(
        grid,
        number(json, "/case/steps")? as usize,
        number(json, "/case/shift")?,
    ))
}

fn events(outcome: &Outcome, (step, branch): (usize, usize)) -> impl Iterator<Item = &Event> {
    outcome
        .trace
        .iter()
        .filter(move |event| (event.at.step, event.at.branch) == (step, branch))
}

fn place_of(row: &Json) -> Result<(usize, usize)> {
    let branch = match row["branch"].as_str() {
        Some("cond") | None => COND,
        Some("uncond") => UNCOND,
        other => anyhow::bail!("branch {other:?}: expected cond or uncond"),
    };
    Ok((number(row, "/step")? as usize, branch))
}
