//! The initial noise, drawn on the host: the same seed gives the same video on every device.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Standard normal numbers in row-major order of `shape`.
///
/// The stream is ChaCha8 seeded with `seed`, turned into normals by `rand_distr`'s ziggurat. It is part
/// of what a recorded result means: a change of generator must change the version of the results.
pub fn noise(seed: u64, shape: &[usize]) -> Vec<f32> {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    StandardNormal.sample_iter(rng).take(shape.iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        assert_eq!(noise(0, &[2, 2]), [0.69996077, -0.14406164, 0.30288628, -1.3745139]);
        assert_ne!(noise(0, &[4]), noise(1, &[4]));
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
