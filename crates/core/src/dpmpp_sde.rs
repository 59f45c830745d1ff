//! DPM-Solver++ of second order for the stochastic differential equation (arXiv 2211.01095, multistep), for models that
//! predict v, in the form of `CogVideoXDPMScheduler`: every step but the last adds noise, the first and the last are of
//! first order. With λ = ln(α/σ), which is ln((1 − s)/s) of a share `s` of noise.

use crate::ddim::parts;
use mixcache_policies::chain::Feature;

/// The solver between two steps.
pub struct DpmppSde<Z> {
    pub(crate) shares: Vec<f32>,
    before: Option<Z>, // the data predicted in the step before
}

impl<Z: Feature> DpmppSde<Z> {
    /// A solver at its first step, on these shares of noise.
    pub fn new(shares: &[f32]) -> DpmppSde<Z> {
        DpmppSde {
            shares: shares.to_vec(),
            before: None,
        }
    }
    /// The same solver at its first step, for other latents.
    pub(crate) fn anew<Y>(&self) -> DpmppSde<Y> {
        DpmppSde {
            shares: self.shares.clone(),
            before: None,
        }
    }
    /// All that it remembers of the step before.
    pub(crate) fn memory(&mut self) -> Vec<&mut Z> {
        self.before.iter_mut().collect()
    }
    /// The latent after step `i`; `fresh` draws standard normal noise, where the step adds some.
    pub fn step(&mut self, i: usize, v: &Z, latent: Z, fresh: impl FnOnce() -> Z) -> Z {
        let ([a, s], [a_next, s_next]) = (parts(self.shares[i]), parts(self.shares[i + 1]));
        let data = latent.clone().scaled(a as f32).add_scaled(-s as f32, v);
        let h = self.lambda(i + 1) - self.lambda(i); // infinite at either end
        let replaced = -(-2.0 * h).exp_m1();
        // How far the line through the last two predictions is followed: half a step, in units of the one before, which
        // is infinite behind pure noise, where a difference tells nothing.
        let ahead = match &self.before {
            Some(_) if s_next > 0.0 => 0.5 * h / (self.lambda(i) - self.lambda(i - 1)),
            _ => 0.0,
        };
        let mut next = latent.scaled((s_next / s * (-h).exp()) as f32);
        next = next.add_scaled((a_next * replaced * (1.0 + ahead)) as f32, &data);
        if let Some(before) = self.before.replace(data) {
            next = next.add_scaled((-a_next * replaced * ahead) as f32, &before);
        }
        let added = s_next * replaced.sqrt();
        if added > 0.0 {
            next.add_scaled(added as f32, &fresh())
        } else {
            next
        }
    }
    fn lambda(&self, i: usize) -> f64 {
        let share = self.shares[i] as f64;
        (1.0 - share).ln() - share.ln()
    }
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
    fn a_model_that_is_right_leads_to_its_data_whatever_noise_is_added() {
        let data = 0.3;
        let levels = [1.0, 0.7, 0.4, 0.1, 0.0];
        let mut solver = DpmppSde::new(&levels);
        let mut latent = number(-1.2);
        for (i, &share) in levels[..4].iter().enumerate() {
            // The v of the line through this latent and the data.
            let [a, s] = parts(share);
            let noise = (latent.to_host()[0] as f64 - a * data) / s;
            let v = number((a * noise - s * data) as f32);
            latent = solver.step(i, &v, latent, || number(2.5));
        }
        // A few f32 roundings.
        assert!((latent.to_host()[0] as f64 - data).abs() < 1e-6);
    }

    #[test]
    fn noise_is_added_until_the_last_step() {
        let levels = [1.0, 0.5, 0.0];
        let added = |step: usize| {
            let ends = [0.0, 1.0].map(|noise| {
                let mut solver = DpmppSde::new(&levels);
                let start = (0..step).fold(number(1.0), |latent, i| {
                    solver.step(i, &number(0.2), latent, || number(0.0))
                });
                let after = solver.step(step, &number(0.2), start, || number(noise));
                after.to_host()[0]
            });
            ends[1] - ends[0]
        };
        // At a share of a half α = σ = √½, and behind pure noise all of it is replaced.
        assert!((added(0) - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(added(1), 0.0);
    }
}
