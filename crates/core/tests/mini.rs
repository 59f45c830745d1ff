//! The embedded model makes the video that diffusers made with its weights.

use burn::tensor::{Device, FloatDType};
use mixcache_core::denoise::{CacheLimits, Guidance, Job, denoise, run_of};
use mixcache_core::mini::{self, GRID};
use mixcache_core::models::Chain;
use mixcache_core::models::reference::relative_l2;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use mixcache_policies::plan::{At, CachePolicy, Claim, Move, Run, Unfit};
use std::path::Path;

struct Plain;

impl CachePolicy for Plain {
    fn begin(&mut self, _: &Run) -> Result<Claim, Unfit> {
        Ok(Claim::default())
    }
    fn next(&mut self, _: At, _: &[f32]) -> Move {
        Move::compute(25) // 8 blocks of 3 units, and the head
    }
}

/// The recorded run used the weights as they are embedded. What is left is the order of f32 sums, which
/// guidance 4 and ten steps amplify.
const RELATIVE_L2_MAX: f64 = 5e-5;

#[test]
fn the_embedded_model_follows_its_recorded_trajectory() {
    let device = Device::flex();
    let embedded = mini::find("wan-mini").unwrap();
    let mini = embedded.load(&device, FloatDType::F32).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wan-mini/reference.safetensors");
    let file = Weights::open(&path).unwrap();
    let schedule = Schedule::new(Grid::Flow, 10, embedded.shift);
    assert_eq!(schedule.timesteps, file.floats("timesteps").unwrap());

    let guidance = Guidance::TwoPass { scale: 4.0 };
    let chain = mini.model.on(GRID, guidance.batch(), 6).unwrap();
    let cond = |words| {
        mini.model
            .condition(mini.text.encode(words, &device).unwrap(), 1.0)
            .unwrap()
    };
    let job = Job {
        run: run_of(&chain, &schedule, guidance, CacheLimits::NONE, Default::default()),
        schedule,
        sampler: SamplerKind::Euler,
        guidance,
        noise: Latent::from_host(file.floats("noise").unwrap(), chain.latent_shape(), &device),
        conds: &[cond("a cat moves left on blue"), cond("")],
    };
    let flops = job.run.total_flops();
    let recorded = file.floats("latents").unwrap();
    let mut after = recorded.chunks_exact(16 * 8 * 16 * 16).skip(1);
    let outcome = denoise(&chain, &mut Plain, job, &mut |report| {
        let distance = relative_l2(&report.latent.to_host(), after.next().unwrap());
        println!("step {}: {distance:.1e}", report.step);
        assert!(distance < RELATIVE_L2_MAX, "step {}: {distance:e}", report.step);
    })
    .unwrap();
    assert!(after.next().is_none());
    assert_eq!(outcome.costs.reads, 0);
    assert_eq!(outcome.costs.flops, flops);
    println!("{:.1} ms a pass", outcome.denoise_s * 1000.0 / 20.0);

    let video = mini.codec.decode(&outcome.latent);
    assert_eq!(video.dims(), [16, 64, 64, 3]);
    let ours = video.try_into_data().unwrap().try_into_vec::<f32>().unwrap();
    let frames = file.bytes("frames").unwrap();
    let squares: f32 = ours
        .iter()
        .zip(frames)
        .map(|(a, b)| (a - *b as f32 / 255.0).powi(2))
        .sum();
    let psnr_db = -10.0 * (squares / frames.len() as f32).log10();
    println!("frames against the recorded: {psnr_db:.1} dB");
    assert!(psnr_db > 50.0, "{psnr_db} dB"); // rounding to 8 bits alone leaves 59 dB
}
