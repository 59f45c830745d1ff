//! CogVideoX's autoencoder against recorded numbers.

use super::{CogVideoXVae, CogVideoXVaeConfig};
use crate::models::reference::{CaseError, Reading, Recorded, config_of};
use crate::tensors::{Latent, host};
use crate::weights::Weights;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// Runs a case with one of its weight files: names of readings start with `enc.` or `dec.`.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe CogVideoX's autoencoder.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = CogVideoXVaeConfig::parse(&config_of(folder)?)?;
    let (scale, tiling) = (config.scaling_factor, config.tiling());
    let mut vae = CogVideoXVae::load(config, Weights::open(&folder.join(weights))?, device)?;
    let mut readings = vec![];

    let (video, z): (Tensor<5>, Tensor<5>) = (io.tensor("in.video")?, io.tensor("dec.latent")?);
    // All frames, an even number of them, the first alone.
    for (ending, less) in [("", 0), ("_even", 1), ("_single", usize::MAX)] {
        let begun = |x: &Tensor<5>| {
            let frames = x.dims()[2];
            x.clone().narrow(2, 0, frames.saturating_sub(less).max(1))
        };
        let moments = || host(vae.moments(begun(&video)));
        io.compare(&format!("enc.moments{ending}"), moments, &mut readings);
        let scaled = Latent(begun(&z).mul_scalar(scale));
        io.compare(&format!("dec.out{ending}"), || host(vae.decode(&scaled)), &mut readings);
    }
    vae.tiling = Some(tiling);
    let large: Tensor<5> = io.tensor("dec.latent_large")?;
    let scaled = Latent(large.mul_scalar(scale));
    io.compare("dec.out_tiled", || host(vae.decode(&scaled)), &mut readings);
    Ok(readings)
}
