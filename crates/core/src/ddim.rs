//! DDIM (arXiv 2010.02502) without added noise, for models that predict `v = α·noise − σ·data` of a latent
//! `α·data + σ·noise` with `α² + σ² = 1`: CogVideoX.
//!
//! Data and noise follow from the latent and v by a rotation; the next latent is made of the same two at the
//! next level. That is the step that Euler makes along a flow, seen from a latent that keeps its variance: so
//! its levels are the same share of noise, `σ/(α + σ)`.

use mixcache_policies::chain::Feature;

/// The latent at share `next` of noise, given that at `now` and what was predicted there.
pub fn step<Z: Feature>([now, next]: [f32; 2], v: &Z, latent: Z) -> Z {
    let ([a, s], [a_next, s_next]) = (parts(now), parts(next));
    let rotated = latent.scaled((a * a_next + s * s_next) as f32);
    rotated.add_scaled((a * s_next - s * a_next) as f32, v)
}

/// α and σ of a share of noise.
pub(crate) fn parts(share: f32) -> [f64; 2] {
    let (data, noise) = (1.0 - share as f64, share as f64);
    let length = data.hypot(noise);
    [data / length, noise / length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::Latent;
    use burn::tensor::Device;

    /// One number of a latent.
    fn number(x: f32) -> Latent {
        Latent::from_host(vec![x], [1; 5], &Device::flex())
    }

    #[test]
    fn a_model_that_is_right_is_followed_exactly_however_few_the_steps() {
        let (data, noise) = (0.3, -1.2);
        let at = |share: f32| {
            let [a, s] = parts(share);
            (a * data + s * noise, a * noise - s * data)
        };
        let levels = [1.0, 0.6, 0.1, 0.0];
        let mut latent = number(at(levels[0]).0 as f32);
        for pair in levels.windows(2) {
            let v = number(at(pair[0]).1 as f32);
            latent = step([pair[0], pair[1]], &v, latent);
            // A few f32 roundings.
            assert!((latent.to_host()[0] as f64 - at(pair[1]).0).abs() < 1e-6);
        }
        assert!((latent.to_host()[0] as f64 - data).abs() < 1e-6);
    }
}
