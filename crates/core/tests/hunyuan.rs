//! HunyuanVideo under the walk: what is cached, what is measured, what is refused.

mod common;

use burn::tensor::{Device, FloatDType, Tensor};
use common::half_precision_is_within_its_digits;
use mixcache_core::denoise::{CacheLimits, Guidance, Job, Outcome, denoise, run_of};
use mixcache_core::models::hunyuan::{Hunyuan, HunyuanConfig};
use mixcache_core::models::{Chain, Prompt, PromptShapeError};
use mixcache_core::noise::noise;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Schedule;
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::data::{Data, TeaCoefficients};
use mixcache_policies::plan::{CachePolicy, Move, Signal, UnitKind};
use mixcache_policies::tea::Tea;
use std::path::Path;

/// Tokens of the prompts.
const TEXT: usize = 3;

fn recorded(dtype: FloatDType) -> Hunyuan {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hunyuan/hy_a");
    let config = HunyuanConfig::parse(&std::fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    let weights = Weights::open(&case.join("original.safetensors")).unwrap();
    Hunyuan::load(config, weights, &Device::flex(), dtype).unwrap()
}

fn prompt(hunyuan: &Hunyuan, value: f32) -> Prompt {
    let (config, device) = (hunyuan.config(), hunyuan.device());
    Prompt {
        states: Tensor::full([1, TEXT, config.text_dim], value, device),
        pooled: Tensor::full([1, config.pooled_dim], value, device),
    }
}

/// TeaCache on the identity of the model's input.
fn tea(threshold: f64) -> (Tea, Data) {
    let identity = TeaCoefficients {
        model: "any".into(),
        source: "p(d) = d".into(),
        signal: Signal::Input,
        polynomial: vec![1.0, 0.0],
        range: [0.0, f64::INFINITY],
    };
    let data = Data {
        tea: [("identity".into(), identity)].into(),
        ..Data::default()
    };
    (Tea::new(threshold, "identity"), data)
}

fn run(hunyuan: &Hunyuan, guidance: f32, threshold: f64) -> Outcome {
    let chain = hunyuan.on([2, 4, 4], TEXT).unwrap();
    let schedule = Schedule::new(SamplerKind::Euler.grid(), 4, 7.0);
    let shape = chain.latent_shape();
    let (mut tea, data) = tea(threshold);
    let job = Job {
        run: run_of(&chain, &schedule, Guidance::None, CacheLimits::NONE, data.into()),
        schedule,
        sampler: SamplerKind::Euler,
        guidance: Guidance::None,
        noise: Latent::from_host(noise(1, &shape), shape, hunyuan.device()),
        seed: 1,
        conds: &[hunyuan.condition(prompt(hunyuan, 1.0), guidance).unwrap()],
    };
    denoise(&chain, &mut tea, job, &mut |_| {}).unwrap()
}

#[test]
fn a_double_block_is_two_units_and_a_single_block_one() {
    let hunyuan = recorded(FloatDType::F32);
    let units = hunyuan.on([2, 4, 4], TEXT).unwrap().units();
    let shown: Vec<_> = units.iter().map(|unit| (unit.block, unit.kind)).collect();
    let (attn, mlp, fused) = (UnitKind::SelfAttn, UnitKind::Mlp, UnitKind::Fused);
    assert_eq!(
        shown,
        [(0, attn), (0, mlp), (1, attn), (1, mlp), (2, fused), (3, fused)]
    );
}

#[test]
fn the_cache_holds_video_and_text_but_the_signal_is_of_the_video() {
    let outcome = run(&recorded(FloatDType::F32), 6.0, 0.05);
    // 8 video tokens of width 32 in f32: a residual, a clone while one is computed, and the last signal.
    let token_bytes = 32 * 4;
    assert_eq!(
        outcome.claimed_bytes,
        2 * (8 + TEXT as u64) * token_bytes + 8 * token_bytes
    );
    assert_eq!(outcome.costs.peak_bytes, outcome.claimed_bytes);
    // A look a step, a read for each but the first, which has nothing to compare with.
    assert_eq!((outcome.costs.looks, outcome.costs.reads), (4, 3));
}

#[test]
fn a_signal_that_is_looked_at_changes_no_video() {
    let hunyuan = recorded(FloatDType::F32);
    let (never, always) = (run(&hunyuan, 6.0, 0.0), run(&hunyuan, 6.0, f64::INFINITY));
    let reused = |outcome: &Outcome| {
        outcome
            .trace
            .iter()
            .filter(|e| matches!(e.act, Move::Reuse { .. }))
            .count()
    };
    assert_eq!((reused(&never), reused(&always)), (0, 3));
    assert_eq!(never.costs.flops, run_flops(&hunyuan));
    assert!(always.costs.flops < never.costs.flops);
}

fn run_flops(hunyuan: &Hunyuan) -> f64 {
    let chain = hunyuan.on([2, 4, 4], TEXT).unwrap();
    4.0 * (chain.rest_flops() + chain.units().iter().map(|unit| unit.flops).sum::<f64>())
}

#[test]
fn the_guidance_scale_is_an_input() {
    let hunyuan = recorded(FloatDType::F32);
    let latent = |guidance| run(&hunyuan, guidance, 0.0).latent.to_host();
    assert_eq!(latent(6.0), latent(6.0));
    assert_ne!(latent(6.0), latent(1.0));
}

#[test]
fn half_precision_gives_the_same_video_within_its_digits() {
    let latent = |dtype| run(&recorded(dtype), 6.0, 0.0).latent.to_host();
    half_precision_is_within_its_digits(latent);
}

#[test]
fn random_weights_run_like_real_ones() {
    let config = HunyuanConfig {
        double_layers: 1,
        single_layers: 1,
        ..HunyuanConfig::preset("hunyuan-mini").unwrap()
    };
    let hunyuan = Hunyuan::random(config, 3, &Device::flex(), FloatDType::F32);
    let outcome = run(&hunyuan, 6.0, 0.0);
    assert!(outcome.latent.to_host().iter().all(|x| x.is_finite()));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_its_sizes() {
    let hunyuan = recorded(FloatDType::F32);
    let states = Tensor::zeros([1, TEXT, 23], hunyuan.device());
    let wide = Prompt {
        states,
        ..prompt(&hunyuan, 1.0)
    };
    let refused = hunyuan.condition(wide, 6.0).err().unwrap().to_string();
    assert!(
        refused.contains("3 tokens of width 23") && refused.contains("of width 24"),
        "{refused}"
    );
    let pooled = Tensor::zeros([1, 13], hunyuan.device());
    let wide = Prompt {
        pooled,
        ..prompt(&hunyuan, 1.0)
    };
    let (found, expected) = (13, 12);
    let refused = hunyuan.condition(wide, 6.0).err();
    assert_eq!(refused, Some(PromptShapeError::Pooled { found, expected }));
}

#[test]
fn a_signal_that_the_model_does_not_have_is_refused() {
    let hunyuan = recorded(FloatDType::F32);
    let chain = hunyuan.on([2, 4, 4], TEXT).unwrap();
    let schedule = Schedule::new(SamplerKind::Euler.grid(), 4, 7.0);
    let (mut tea, mut data) = tea(0.1);
    let projection = Signal::Time(mixcache_policies::plan::TimeSignal::Projection);
    data.tea.get_mut("identity").unwrap().signal = projection;
    let run = run_of(&chain, &schedule, Guidance::None, CacheLimits::NONE, data.into());
    let claim = tea.begin(&run).unwrap();
    let refused = claim.check(&run).unwrap_err().to_string();
    assert!(
        refused.contains("time projection, which hunyuan does not have"),
        "{refused}"
    );
}
