//! An embedded model makes the video that diffusers made with its weights.

use burn::tensor::{Device, FloatDType};
use mixcache_core::denoise::{CacheLimits, Guidance, Job, denoise, run_of};
use mixcache_core::mini::{self, GRID};
use mixcache_core::models::Chain;
use mixcache_core::models::reference::relative_l2;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::off::Off;
use std::path::Path;

/// The recorded run used the weights as they are embedded. What is left is the order of f32 sums, which
/// guidance 4 and ten steps amplify.
const RELATIVE_L2_MAX: f64 = 5e-5;

#[test]
fn wan_mini_follows_its_recorded_trajectory() {
    follows_its_recorded_trajectory("wan-mini", 4.0);
}

#[test]
fn hunyuan_mini_follows_its_recorded_trajectory() {
    follows_its_recorded_trajectory("hunyuan-mini", 3.0);
}

/// `scale` is the guidance of the recording.
fn follows_its_recorded_trajectory(name: &str, scale: f32) {
    let device = Device::flex();
    let embedded = mini::find(name).unwrap();
    let mini = embedded.load(&device, FloatDType::F32).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let file = Weights::open(&golden.join(name).join("reference.safetensors")).unwrap();
    let schedule = Schedule::new(Grid::Flow, 10, embedded.shift);
    assert_eq!(schedule.timesteps, file.floats("timesteps").unwrap());

    let guidance = match mini.model.config().embeds_guidance() {
        true => Guidance::None,
        false => Guidance::TwoPass { scale },
    };
    let prompts = ["a cat moves left on blue", ""].map(|words| mini.text.encode(words, &device).unwrap());
    let chain = mini
        .model
        .on(GRID, guidance.batch(), prompts[0].states.dims()[1])
        .unwrap();
    let conds = prompts.map(|prompt| mini.model.condition(prompt, scale).unwrap());
    let job = Job {
        run: run_of(&chain, &schedule, guidance, CacheLimits::NONE, Default::default()),
        schedule,
        sampler: SamplerKind::Euler,
        guidance,
        noise: Latent::from_host(file.floats("noise").unwrap(), chain.latent_shape(), &device),
        seed: 1,
        conds: &conds[..guidance.branches()],
    };
    let flops = job.run.total_flops();
    let recorded = file.floats("latents").unwrap();
    let mut after = recorded.chunks_exact(16 * 8 * 16 * 16).skip(1);
    let outcome = denoise(&chain, &mut Off::default(), job, &mut |report| {
        let distance = relative_l2(&report.latent.to_host(), after.next().unwrap());
        println!("step {}: {distance:.1e}", report.step);
        assert!(distance < RELATIVE_L2_MAX, "step {}: {distance:e}", report.step);
    })
    .unwrap();
    assert!(after.next().is_none());
    assert_eq!(outcome.costs.reads, 0);
    assert_eq!(outcome.costs.flops, flops);
    let passes = (10 * guidance.branches()) as f64;
    println!("{:.1} ms a pass", outcome.denoise_s * 1000.0 / passes);

    let video = mini.codec.decode(&outcome.latent);
    assert_eq!(video.dims(), [16, 64, 64, 3]);
    let ours = video.try_into_data().unwrap().try_into_vec::<f32>().unwrap();
    let frames = file.bytes("frames").unwrap();
    let squares: f32 = ours
        .iter()
        .zip(&*frames)
        .map(|(a, b)| (a - *b as f32 / 255.0).powi(2))
        .sum();
    let psnr_db = -10.0 * (squares / frames.len() as f32).log10();
    println!("frames against the recorded: {psnr_db:.1} dB");
    assert!(psnr_db > 50.0, "{psnr_db} dB"); // rounding to 8 bits alone leaves 59 dB
}
