//! Noise, drawn on the host: the same seed gives the same video on every device.

use crate::tensors::Latent;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Standard normal numbers in row-major order of `shape`.
///
/// The stream is ChaCha8 seeded with `seed`, turned into normals by `rand_distr`'s ziggurat. It is part
/// of what a recorded result means: a change of generator must change the version of the results.
pub fn noise(seed: u64, shape: &[usize]) -> Vec<f32> {
    drawn(seed, 0, shape)
}

/// What a solver adds in a step of a run, for a latent like this one: the same for every policy. Each step has a stream
/// of its own behind the first, which is the initial noise.
pub fn of_step(seed: u64, step: usize, like: &Latent) -> Latent {
    let shape = like.0.dims();
    Latent::from_host(drawn(seed, step as u64 + 1, &shape), shape, &like.0.device())
}

fn drawn(seed: u64, stream: u64, shape: &[usize]) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    StandardNormal.sample_iter(rng).take(shape.iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        assert_eq!(noise(0, &[2, 2]), [0.69996077, -0.14406164, 0.30288628, -1.3745139]);
        assert_ne!(noise(0, &[4]), noise(1, &[4]));
    }

    #[test]
    fn every_step_of_a_seed_has_noise_of_its_own() {
        let like = Latent::from_host(vec![0.0; 4], [1, 1, 1, 2, 2], &Device::flex());
        let steps = [0, 1, 0].map(|step| of_step(3, step, &like).to_host());
        assert!(steps[0] != steps[1] && steps[0] != noise(3, &[4]));
        assert_eq!(steps[0], steps[2]);
    }

    #[test]
    fn it_is_standard_normal() {
        let x = noise(7, &[100_000]);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        // Five standard errors of 100,000 draws.
        assert!(mean.abs() < 5.0 / 316.0, "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * 1.42 / 316.0, "{variance}");
    }
}
