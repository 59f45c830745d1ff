//! What the sampling loop promises whatever the policy: limits kept, reads counted, precision chosen.

mod common;

use burn::tensor::{Device, FloatDType, Tensor};
use common::half_precision_is_within_its_digits;
use mixcache_core::denoise::{CacheLimits, Guidance, Job, Outcome, denoise, run_of};
use mixcache_core::models::Chain;
use mixcache_core::models::wan::{Wan, WanCond, WanConfig};
use mixcache_core::noise::noise;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Schedule;
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::plan::{At, CachePolicy, Claim, Move, Probe, Run, TimeSignal, Unfit, Value};
use mixcache_policies::store::WalkError;
use std::path::Path;

const GUIDANCE: Guidance = Guidance::TwoPass { scale: 3.0 };

fn wan(dtype: FloatDType) -> Wan {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wan/wan_a");
    let config = WanConfig::parse(&std::fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    let config = WanConfig { text_len: 4, ..config };
    let weights = Weights::open(&case.join("original.safetensors")).unwrap();
    Wan::load(config, weights, &Device::flex(), dtype).unwrap()
}

fn conds(wan: &Wan) -> [WanCond; 2] {
    [1.0, 0.0].map(|x| wan.condition(Tensor::full([1, 2, 48], x, wan.device())).unwrap())
}

fn run(wan: &Wan, policy: &mut dyn CachePolicy, limits: CacheLimits) -> Result<Outcome, WalkError> {
    let chain = wan.on([2, 4, 4], 1).unwrap();
    let schedule = Schedule::new(SamplerKind::Unipc.grid(), 4, 5.0);
    let shape = chain.latent_shape();
    let job = Job {
        run: run_of(&chain, &schedule, GUIDANCE, limits, Default::default()),
        schedule,
        sampler: SamplerKind::Unipc,
        guidance: GUIDANCE,
        noise: Latent::from_host(noise(1, &shape), shape, wan.device()),
        seed: 1,
        conds: &conds(wan),
    };
    denoise(&chain, policy, job, &mut |_| {})
}

/// Keeps the residual of the whole chain, looks at the time signal, reuses in one step.
struct Whole(Option<Value>);

impl CachePolicy for Whole {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let value = Value::Delta { from: 0, to: run.end() };
        self.0 = Some(value);
        let claim = Claim::default().keeping(run, value, 1);
        let time_signal = Some(TimeSignal::Embedding);
        Ok(Claim { time_signal, ..claim })
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let Some(value @ Value::Delta { to, .. }) = self.0 else {
            unreachable!()
        };
        match (at.unit, seen) {
            (0, []) => Move::Look {
                probes: vec![Probe::Time],
            },
            (0, [drift]) if at.step == 2 => {
                assert!(drift.is_finite() && *drift > 0.0);
                Move::newest(value, at)
            }
            (0, _) => Move::store(to),
            _ => Move::compute(to + 1),
        }
    }
}

#[test]
fn what_a_cache_holds_is_known_and_refused_before_the_run() {
    let wan = wan(FloatDType::F32);
    // 8 tokens of width 64 in f32; a residual stored for each branch, and a clone while one is computed.
    let hidden_bytes = 2 * 2 * 2 * 64 * 4;
    let limits = |budget_bytes| CacheLimits {
        budget_bytes,
        ..CacheLimits::NONE
    };
    let outcome = run(&wan, &mut Whole(None), limits(3 * hidden_bytes)).unwrap();
    assert_eq!(outcome.claimed_bytes, 3 * hidden_bytes);
    assert_eq!(outcome.costs.peak_bytes, 3 * hidden_bytes);
    let refused = run(&wan, &mut Whole(None), limits(3 * hidden_bytes - 1)).err();
    let (needed, budget) = (3 * hidden_bytes, 3 * hidden_bytes - 1);
    assert_eq!(refused, Some(WalkError::OverBudget { needed, budget }));
}

#[test]
fn the_signal_of_all_timesteps_is_one_read() {
    let outcome = run(&wan(FloatDType::F32), &mut Whole(None), CacheLimits::NONE).unwrap();
    assert_eq!((outcome.costs.reads, outcome.costs.looks), (1, 8));
}

#[test]
fn full_steps_forbid_reuse() {
    let limits = CacheLimits {
        full: (0, 2),
        ..CacheLimits::NONE
    };
    let refused = run(&wan(FloatDType::F32), &mut Whole(None), limits).err();
    assert_eq!(refused, Some(WalkError::Forbidden { step: 2 }));
}

#[test]
fn half_precision_gives_the_same_video_within_its_digits() {
    let latent = |dtype| {
        let outcome = run(&wan(dtype), &mut Whole(None), CacheLimits::NONE).unwrap();
        outcome.latent.to_host()
    };
    half_precision_is_within_its_digits(latent);
}

#[test]
fn half_precision_halves_the_cache() {
    let claimed = |dtype| {
        run(&wan(dtype), &mut Whole(None), CacheLimits::NONE)
            .unwrap()
            .claimed_bytes
    };
    assert_eq!(claimed(FloatDType::F16), 3 * 2 * 2 * 2 * 64 * 2);
    // On a CPU only the layers are of bf16: what is cached stays in f32.
    assert_eq!(claimed(FloatDType::BF16), claimed(FloatDType::F32));
    assert_eq!(claimed(FloatDType::F32), 2 * claimed(FloatDType::F16));
}

#[test]
fn random_weights_run_like_real_ones() {
    let config = WanConfig {
        layers: 2,
        ..WanConfig::preset("wan-mini").unwrap()
    };
    let wan = Wan::random(config, 3, &Device::flex(), FloatDType::F32);
    let chain = wan.on([1, 4, 4], 1).unwrap();
    let schedule = Schedule::new(SamplerKind::Euler.grid(), 2, 1.0);
    let job = Job {
        run: run_of(&chain, &schedule, Guidance::None, CacheLimits::NONE, Default::default()),
        schedule,
        sampler: SamplerKind::Euler,
        guidance: Guidance::None,
        noise: Latent::from_host(noise(1, &chain.latent_shape()), chain.latent_shape(), wan.device()),
        seed: 1,
        conds: &[wan.condition(Tensor::ones([1, 3, 64], wan.device())).unwrap()],
    };
    let outcome = denoise(&chain, &mut Whole(None), job, &mut |_| {}).unwrap();
    assert!(outcome.latent.to_host().iter().all(|x| x.is_finite()));
}
