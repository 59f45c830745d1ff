//! CogVideoX under the walk: what is cached, what is measured, both ways of guidance.

mod common;

use burn::tensor::{Device, FloatDType, Tensor};
use common::half_precision_is_within_its_digits;
use mixcache_core::denoise::{CacheLimits, Guidance, Job, Outcome, denoise, run_of};
use mixcache_core::models::Chain;
use mixcache_core::models::cogvideox::{CogVideoX, CogVideoXCond, CogVideoXConfig};
use mixcache_core::models::reference::relative_l2;
use mixcache_core::noise::noise;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Schedule;
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::off::Off;
use mixcache_policies::plan::{CachePolicy, UnitKind};
use mixcache_policies::step::Step;
use std::path::Path;

/// Tokens of the prompts.
const TEXT: usize = 10;

fn recorded(dtype: FloatDType) -> CogVideoX {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cogvideox/cog_a");
    let config = CogVideoXConfig::parse(&std::fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    let weights = Weights::open(&case.join("diffusers.safetensors")).unwrap();
    CogVideoX::load(config, weights, &Device::flex(), dtype).unwrap()
}

fn cond(cogvideox: &CogVideoX, value: f32) -> CogVideoXCond {
    let states = Tensor::full([1, TEXT, cogvideox.config().text_dim], value, cogvideox.device());
    cogvideox.condition(states).unwrap()
}

/// Four DDIM steps with guidance 6.
fn run(cogvideox: &CogVideoX, policy: &mut dyn CachePolicy, guidance: Guidance) -> Outcome {
    run_by(SamplerKind::Ddim, 1, cogvideox, policy, guidance)
}

/// Four steps of any solver with guidance 6; the seed is that of added noise.
fn run_by(
    sampler: SamplerKind,
    seed: u64,
    cogvideox: &CogVideoX,
    policy: &mut dyn CachePolicy,
    guidance: Guidance,
) -> Outcome {
    let chain = cogvideox.on([2, 4, 4], guidance.batch(), TEXT).unwrap();
    let schedule = Schedule::new(sampler.grid(), 4, 1.0);
    let both = vec![cond(cogvideox, 1.0), cond(cogvideox, -0.5)];
    let conds = match guidance {
        Guidance::Batched { .. } => vec![CogVideoXCond::batch(both)],
        _ => both,
    };
    let shape = [1, cogvideox.config().in_channels, 2, 4, 4];
    let job = Job {
        run: run_of(&chain, &schedule, guidance, CacheLimits::NONE, Default::default()),
        schedule,
        sampler,
        guidance,
        noise: Latent::from_host(noise(1, &shape), shape, cogvideox.device()),
        seed,
        conds: &conds,
    };
    denoise(&chain, policy, job, &mut |_| {}).unwrap()
}

const TWO_PASS: Guidance = Guidance::TwoPass { scale: 6.0 };

#[test]
fn a_block_is_two_units() {
    let cogvideox = recorded(FloatDType::F32);
    let units = cogvideox.on([2, 4, 4], 1, TEXT).unwrap().units();
    let shown: Vec<_> = units.iter().map(|unit| (unit.block, unit.kind)).collect();
    let (attn, mlp) = (UnitKind::SelfAttn, UnitKind::Mlp);
    assert_eq!(shown, [(0, attn), (0, mlp), (1, attn), (1, mlp)]);
}

#[test]
fn one_pass_over_both_branches_is_two_passes() {
    let cogvideox = recorded(FloatDType::F32);
    let latent = |guidance| run(&cogvideox, &mut Off::default(), guidance).latent.to_host();
    let distance = relative_l2(&latent(Guidance::Batched { scale: 6.0 }), &latent(TWO_PASS));
    // Sums in another order, through four steps.
    assert!(distance < 1e-5, "{distance:e}");
}

#[test]
fn a_solver_that_adds_noise_adds_the_same_with_and_without_a_cache() {
    let cogvideox = recorded(FloatDType::F32);
    let latent = |seed, policy: &mut dyn CachePolicy| {
        let outcome = run_by(SamplerKind::DpmppSde, seed, &cogvideox, policy, TWO_PASS);
        outcome.latent.to_host()
    };
    let uncached = latent(1, &mut Off::default());
    let mut every: Step = serde_json::from_str(r#"{"interval": 1}"#).unwrap(); // stores, reuses nothing
    assert_eq!(latent(1, &mut every), uncached);
    assert_ne!(latent(2, &mut Off::default()), uncached);
}

#[test]
fn the_cache_of_a_branch_holds_video_and_text() {
    let cogvideox = recorded(FloatDType::F32);
    let mut step: Step = serde_json::from_str(r#"{"interval": 2}"#).unwrap();
    let outcome = run(&cogvideox, &mut step, TWO_PASS);
    // 8 video tokens and the text, of width 64 in f32: a residual for each branch, and a clone while one is computed.
    let hidden_bytes = (8 + TEXT as u64) * 64 * 4;
    assert_eq!(outcome.claimed_bytes, 3 * hidden_bytes);
    assert_eq!(outcome.costs.peak_bytes, outcome.claimed_bytes);
    let full = run(&cogvideox, &mut Off::default(), TWO_PASS);
    assert!(outcome.costs.flops < 0.6 * full.costs.flops);
    assert_ne!(outcome.latent.to_host(), full.latent.to_host());
}

#[test]
fn half_precision_gives_the_same_video_within_its_digits() {
    let latent = |dtype| run(&recorded(dtype), &mut Off::default(), TWO_PASS).latent.to_host();
    half_precision_is_within_its_digits(latent);
}

#[test]
fn random_weights_run_like_real_ones() {
    let config = CogVideoXConfig {
        dim: 64,
        heads: 2,
        mlp_dim: 128,
        layers: 2,
        ..CogVideoXConfig::preset("cogvideox-5b").unwrap()
    };
    let cogvideox = CogVideoX::random(config, 3, &Device::flex(), FloatDType::F32);
    let outcome = run(&cogvideox, &mut Off::default(), TWO_PASS);
    assert!(outcome.latent.to_host().iter().all(|x| x.is_finite()));
}

#[test]
fn a_prompt_of_another_width_is_refused_with_its_sizes() {
    let cogvideox = recorded(FloatDType::F32);
    let states = Tensor::zeros([1, TEXT, 23], cogvideox.device());
    let refused = cogvideox.condition(states).err().unwrap().to_string();
    assert!(
        refused.contains("10 tokens of width 23") && refused.contains("of width 24"),
        "{refused}"
    );
}
