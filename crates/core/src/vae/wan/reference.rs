//! Wan's autoencoder against recorded numbers.

use super::{WanVae, WanVaeConfig};
use crate::models::reference::{CaseError, Reading, Recorded, config_of};
use crate::tensors::{Latent, host};
use crate::vae::past::Past;
use crate::weights::Weights;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// Runs a case with one of its weight files: names of readings start with `enc.`, `dec.` or `roundtrip.`.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe Wan's autoencoder.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = WanVaeConfig::parse(&config_of(folder)?)?;
    let vae = WanVae::load(config, Weights::open(&folder.join(weights))?, device)?;
    let mut readings = vec![];

    let video: Tensor<5> = io.tensor("in.video")?;
    let chunks = vae.coded(video.clone());
    for (i, chunk) in chunks.iter().enumerate() {
        io.compare(
            &format!("enc.chunk{i}.encoder_out"),
            || host(chunk.clone()),
            &mut readings,
        );
    }
    io.compare("enc.moments", || host(vae.moments(chunks)), &mut readings);
    let latent = vae.encode(video);
    io.compare("enc.normalised", || latent.to_host(), &mut readings);
    io.compare("roundtrip.out", || host(vae.decode(&latent)), &mut readings);

    let normalised = Latent(io.tensor("dec.latent_normalised")?);
    io.compare("dec.out", || host(vae.decode(&normalised)), &mut readings);
    let z: Tensor<5> = io.tensor("dec.latent")?;
    io.compare("dec.out_unclamped", || host(vae.decoded(z.clone())), &mut readings);

    // The first frame on its way through the decoder.
    let z = vae.from_latent.forward(z, [0; 2]);
    io.compare("dec.frame0.post_quant_conv.out", || host(z.clone()), &mut readings);
    let (mut x, mut past) = (z.narrow(2, 0, 1), Past::new(vae.slots));
    let first_level = format!("upsamples.{}", vae.config.blocks + 1);
    for (name, layer) in &vae.decoder {
        x = layer.forward(x, &mut past);
        let part = match name.trim_start_matches("decoder.") {
            "conv1" => "conv_in",
            "middle.2" => "mid_block",
            "head.0" => "norm_out",
            "up_blocks.0.upsamplers.0" => "up_blocks.0",
            level if level == first_level => "up_blocks.0",
            _ => continue,
        };
        let name = format!("dec.frame0.decoder.{part}.out");
        io.compare(&name, || host(x.clone()), &mut readings);
    }
    Ok(readings)
}
