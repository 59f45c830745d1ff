//! HunyuanVideo's autoencoder against recorded numbers, which were made in one piece, without tiles.

use super::{HunyuanVae, HunyuanVaeConfig};
use crate::models::reference::{CaseError, Reading, Recorded, config_of};
use crate::tensors::{Latent, host};
use crate::weights::Weights;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// Runs a case with one of its weight files: names of readings start with `enc.` or `dec.`.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe HunyuanVideo's autoencoder.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = HunyuanVaeConfig::parse(&config_of(folder)?)?;
    let scale = config.scaling_factor;
    let vae = HunyuanVae::load(config, Weights::open(&folder.join(weights))?, device)?;
    let mut readings = vec![];

    let video: Tensor<5> = io.tensor("in.video")?;
    io.compare("enc.moments", || host(vae.moments(video.clone())), &mut readings);
    let mean = || host(vae.encode(video.clone()).0.div_scalar(scale));
    io.compare("enc.mean", mean, &mut readings);

    let z: Tensor<5> = io.tensor("dec.latent")?;
    let scaled = Latent(z.clone().mul_scalar(scale));
    io.compare("dec.out", || host(vae.decode(&scaled)), &mut readings);
    let mut x = vae.from_latent.forward(z, [0; 2]);
    for (i, (name, layer)) in vae.decoder.iter().enumerate() {
        x = layer.forward(x);
        // A block ends where the name of the next layer belongs to another one.
        let block = |name: &str| name.split('.').take(3).collect::<Vec<_>>().join(".");
        let ends = vae
            .decoder
            .get(i + 1)
            .is_none_or(|(next, _)| block(next) != block(name));
        let part = match name.contains("mid_block") {
            true => name.ends_with("resnets.1").then(|| "decoder.mid_block".to_string()),
            false => ends.then(|| block(name)),
        };
        if let Some(part) = part {
            io.compare(&format!("dec.act.{part}.out"), || host(x.clone()), &mut readings);
        }
    }
    Ok(readings)
}
