//! The policy that a recording was made with, by the keys of its configuration.

use super::number;
use anyhow::{Context, Result};
use mixcache_policies::PolicySpec;
use mixcache_policies::data::{Data, MagRatios, TeaCoefficients};
use mixcache_policies::plan::{CachePolicy, Signal, TimeSignal};
use serde_json::{Value as Json, json};

/// The policy of a recording, and the steps in which it was not allowed to act.
pub(super) struct Recipe {
    pub policy: Box<dyn CachePolicy>,
    pub full: (usize, usize),
    pub data: Data,
    /// Name of the recorded metric that the looks must show.
    pub metric: &'static str,
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
    pub fn of(name: &str, config: &Json) -> Result<Result<Recipe, String>> {
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
        } else if has("coefficients") {
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
            let lite = or("use_lite_mode", false.into()) == true;
            if !lite && !config["cache_identifiers"].is_array() {
                return Ok(Err("a fused unit's attention is no unit of its own".into()));
            }
            let knobs = json!({
                "kind": "taylor-seer",
                "interval": config["cache_interval"],
                "order": config["max_order"],
                "warmup": config["disable_cache_before_step"],
                "schedule": "diffusers",
                "scope": if lite { "output" } else { "modules" },
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
            signal: match signal {
                input if input.starts_with("modulated input") => Signal::Input,
                embedding if embedding.starts_with("temb") => Signal::Time(TimeSignal::Embedding),
                _ => Signal::Time(TimeSignal::Projection),
            },
            polynomial: polynomial.iter().filter_map(Json::as_f64).collect(),
            range: [f64::NEG_INFINITY, f64::INFINITY],
        };
        let full = match config["forced"].as_str() {
            Some("first and last step") => (1, 1),
            // The reference counts calls, two a step.
            _ => (
                get("ret_steps_calls")? as usize / 2,
                (get("steps")? as usize).saturating_sub(get("cutoff_calls")? as usize / 2),
            ),
        };
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
