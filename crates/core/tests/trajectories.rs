//! Whole runs give the latents of the reference implementations, step by step: without a cache, and
//! under the recorded decisions of FirstBlockCache, DBCache and TeaCache.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::denoise::{CacheLimits, Guidance, Job, denoise, run_of};
use mixcache_core::models::wan::reference::relative_l2;
use mixcache_core::models::wan::{Wan, WanCond, WanConfig};
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::plan::{At, CachePolicy, Claim, Move, Run, Unfit, Value};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/trajectories")
}

fn tensor<const D: usize>(file: &Weights, key: &str) -> Tensor<D> {
    let shape: [usize; D] = file.shape(key).unwrap().try_into().unwrap();
    Tensor::from_data(TensorData::new(file.floats(key).unwrap(), shape), &Device::flex())
}

struct Recorded {
    wan: Wan,
    noise: Latent,
    conds: Vec<WanCond>,
    schedule: Schedule,
}

impl Recorded {
    fn open() -> Recorded {
        let folder = golden().join("model");
        let inputs = Weights::open(&folder.join("inputs.safetensors")).unwrap();
        let config = WanConfig {
            text_len: 12, // as recorded, without padding
            ..WanConfig::parse(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap()
        };
        let weights = Weights::open(&folder.join("diffusers.safetensors")).unwrap();
        let wan = Wan::load(config, weights, &Device::flex(), FloatDType::F32).unwrap();
        let cond = |key| wan.condition(tensor(&inputs, key)).unwrap();
        Recorded {
            conds: vec![cond("prompt_embeds"), cond("negative_prompt_embeds")],
            noise: Latent(tensor(&inputs, "latents")),
            schedule: Schedule::new(Grid::FlowTwice, 20, 5.0), // diffusers' set_timesteps(20)
            wan,
        }
    }
    /// The largest relative distance from the recorded latents over all steps.
    fn distance(&self, name: &str, guidance: Guidance, policy: &mut dyn CachePolicy) -> f64 {
        let file = Weights::open(&golden().join(format!("{name}.safetensors"))).unwrap();
        let recorded = file.floats("latents").unwrap();
        let chain = self.wan.on([3, 6, 8], guidance.batch()).unwrap();
        let batched = [WanCond::batch(self.conds.clone())];
        let job = Job {
            run: run_of(&chain, &self.schedule, guidance, CacheLimits::NONE, Default::default()),
            schedule: self.schedule.clone(),
            sampler: SamplerKind::Euler,
            guidance,
            noise: self.noise.clone(),
            conds: if guidance.batch() == 2 { &batched } else { &self.conds },
        };
        let mut worst: f64 = 0.0;
        let mut after = recorded.chunks_exact(16 * 3 * 6 * 8).skip(1);
        denoise(&chain, policy, job, &mut |report| {
            worst = worst.max(relative_l2(&report.latent.to_host(), after.next().unwrap()));
        })
        .unwrap();
        assert!(after.next().is_none(), "as many steps as recorded");
        println!("{name}: {worst:.1e}");
        worst
    }
}

/// 20 steps amplify the f32 rounding of a pass (1e-6) by the guidance scale of 5 and the network's own
/// gain; cached runs also repeat it.
const RELATIVE_L2_MAX: f64 = 1e-4;

/// Computes where the recorded run did, and otherwise reuses the residual of a span of blocks.
struct Decisions {
    span: (usize, usize), // blocks: first, and how many at the end stay outside
    compute: Vec<bool>,   // two branches a step
    value: Option<Value>,
}

impl Decisions {
    fn open(name: &str, span: (usize, usize)) -> Decisions {
        let json = std::fs::read_to_string(golden().join(format!("{name}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let calls = json["decisions"].as_array().unwrap();
        Decisions {
            span,
            compute: calls.iter().map(|call| call["compute"].as_bool().unwrap()).collect(),
            value: None,
        }
    }
}

impl CachePolicy for Decisions {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let units = run.units_of(self.span.0..run.blocks() - self.span.1);
        let value = Value::Delta {
            from: units.start,
            to: units.end,
        };
        self.value = Some(value);
        Ok(Claim::default().keeping(run, value, 1))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let Some(value @ Value::Delta { from, to }) = self.value else {
            unreachable!()
        };
        match at.unit {
            unit if unit < from => Move::compute(from),
            unit if unit >= to => Move::compute(12), // four blocks
            _ if self.compute.get(at.step * 2 + at.branch) == Some(&true) => Move::store(to),
            _ => Move::newest(value, at),
        }
    }
}

struct Plain;

impl CachePolicy for Plain {
    fn begin(&mut self, _: &Run) -> Result<Claim, Unfit> {
        Ok(Claim::default())
    }
    fn next(&mut self, _: At, _: &[f32]) -> Move {
        Move::compute(12)
    }
}

#[test]
fn without_a_cache_every_step_matches() {
    let recorded = Recorded::open();
    let file = Weights::open(&golden().join("no_cache.safetensors")).unwrap();
    let sigmas = file.floats("sigmas").unwrap();
    assert!(
        recorded
            .schedule
            .sigmas
            .iter()
            .zip(&sigmas)
            .all(|(a, b)| (a - b).abs() < 2e-6)
    ); // f32 rounding
    let distance = recorded.distance("no_cache", Guidance::TwoPass { scale: 5.0 }, &mut Plain);
    assert!(distance < RELATIVE_L2_MAX, "{distance:e}");
}

#[test]
fn guidance_in_one_batch_makes_the_same_video() {
    let distance = Recorded::open().distance("no_cache", Guidance::Batched { scale: 5.0 }, &mut Plain);
    assert!(distance < RELATIVE_L2_MAX, "{distance:e}");
}

#[test]
fn reusing_the_residual_of_a_span_matches_the_caches_that_do() {
    let recorded = Recorded::open();
    for (name, span) in [
        ("first_block_cache_0.2065", (1, 0)),
        ("dbcache_F1B1_mc2_0.2462", (1, 1)),
        ("dbcache_F2B0_max6_0.1212", (2, 0)),
        ("teacache_1.3B_0.1246", (0, 0)),
        ("teacache_1.3B_ret_0.2590", (0, 0)),
    ] {
        let mut policy = Decisions::open(name, span);
        let distance = recorded.distance(name, Guidance::TwoPass { scale: 5.0 }, &mut policy);
        assert!(distance < RELATIVE_L2_MAX, "{name}: {distance:e}");
    }
}
