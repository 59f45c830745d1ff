//! Noise levels and solvers give the numbers of diffusers and of the Wan authors.

use burn::tensor::Device;
use mixcache_core::sampler::Sampler;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_core::weights::Weights;
use std::path::Path;

fn recorded(file: &str) -> Weights {
    Weights::open(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/schedulers")
            .join(file),
    )
    .unwrap()
}

/// Names of the recorded runs.
fn tags(file: &Weights) -> Vec<String> {
    file.keys()
        .filter_map(|key| key.strip_suffix(".sigmas"))
        .map(str::to_string)
        .collect()
}

/// `shift5.0_n50` in a tag.
fn setting(tag: &str) -> (f64, usize) {
    let shift = tag.split("shift").nth(1).unwrap().split('_').next().unwrap();
    let steps = tag.split("_n").nth(1).unwrap().split('_').next().unwrap();
    (shift.parse().unwrap(), steps.parse().unwrap())
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Feeds the recorded velocities, and compares the latent after every step.
fn follow(file: &Weights, tag: &str, mut sampler: Sampler<Latent>) -> f32 {
    let velocity = file.floats(&format!("{tag}.velocity")).unwrap();
    let latents = file.floats(&format!("{tag}.traj")).unwrap();
    let shape = [1, 1, 2, 3, 4];
    let elements = shape.iter().product();
    let latent = |values: &[f32]| Latent::from_host(values.to_vec(), shape, &Device::flex());
    let mut x = latent(&latents[..elements]);
    let mut worst: f32 = 0.0;
    for (i, v) in velocity.chunks_exact(elements).enumerate() {
        x = sampler.step(i, &latent(v), x);
        worst = worst.max(furthest(&x.to_host(), &latents[(i + 1) * elements..(i + 2) * elements]));
    }
    worst
}

/// Rounding of a sigma near 1 in f32, computed in f64 by one side and f32 by the other.
const SIGMA_MAX: f32 = 2e-6;

#[test]
fn euler_follows_diffusers_and_hunyuan_video() {
    let file = recorded("euler.safetensors");
    assert_eq!(tags(&file).len(), 6);
    for tag in tags(&file) {
        // `customsigmas` passes the levels itself, so they are shifted once.
        let grid = if tag.starts_with("customsigmas") {
            Grid::Flow
        } else {
            Grid::FlowTwice
        };
        let (shift, steps) = setting(&tag);
        let schedule = Schedule::new(grid, steps, shift);
        assert!(
            furthest(&schedule.sigmas, &file.floats(&format!("{tag}.sigmas")).unwrap()) < SIGMA_MAX,
            "{tag}"
        );
        let timesteps = file.floats(&format!("{tag}.timesteps")).unwrap();
        assert!(furthest(&schedule.timesteps, &timesteps) < 1000.0 * SIGMA_MAX, "{tag}");
        let sampler = Sampler::Euler {
            sigmas: schedule.sigmas,
        };
        let error = follow(&file, &tag, sampler);
        println!("{tag}: {error:.1e}");
        assert!(error < 2e-5, "{tag}: {error:e}"); // up to 50 f32 additions of numbers near 3
    }
}

#[test]
fn unipc_follows_diffusers_and_the_wan_authors() {
    let file = recorded("unipc.safetensors");
    assert_eq!(tags(&file).len(), 10);
    for tag in tags(&file) {
        let upstream = tag.starts_with("upstream_wan");
        let grid = if upstream { Grid::Wan } else { Grid::DiffusersMultistep };
        let order = tag.split("_o").nth(1).map_or(2, |order| order.parse().unwrap());
        let (shift, steps) = setting(&tag);
        let schedule = Schedule::new(grid, steps, shift);
        assert!(
            furthest(&schedule.sigmas, &file.floats(&format!("{tag}.sigmas")).unwrap()) < SIGMA_MAX,
            "{tag}"
        );
        assert_eq!(
            schedule.timesteps,
            file.floats(&format!("{tag}.timesteps")).unwrap(),
            "{tag}"
        );
        let error = follow(&file, &tag, Sampler::unipc(&schedule, order));
        println!("{tag}: {error:.1e}");
        // The first level is 1e-6 from 1, where λ amplifies the rounding of a sigma.
        assert!(error < 2e-4, "{tag}: {error:e}");
    }
}
