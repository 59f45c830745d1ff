//! A CogVideoX model against recorded numbers. Recorded latents are `[b, f, c, h, w]`.

use super::chain::last_norm;
use super::{CogVideoX, CogVideoXChain, CogVideoXCond, CogVideoXConfig};
use crate::models::Chain;
use crate::models::reference::{CaseError, Reading, Recorded, config_of, grid};
use crate::tensors::{Latent, host};
use crate::weights::Weights;
use burn::tensor::{Device, FloatDType};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{TimeSignal, UnitKind};
use std::path::Path;

/// Runs a case with one of its weight files, in f32.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe a CogVideoX model.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = CogVideoXConfig::parse(&config_of(folder)?)?;
    let cogvideox = CogVideoX::load(config, Weights::open(&folder.join(weights))?, device, FloatDType::F32)?;
    let latent = Latent(io.tensor::<5>("in.hidden_states")?.swap_dims(1, 2));
    let text = io.tensor::<3>("in.encoder_hidden_states")?;
    let [batch, tokens, _] = text.dims();
    let cond = cogvideox.condition(text)?;
    let chain = cogvideox.on(grid(&latent), batch, tokens)?;
    let mut readings = vec![];
    for t in io.times() {
        let timestep = io.floats(&format!("{t}.timestep"))?[0];
        for (name, ours) in traced(&cogvideox, &chain, &latent, timestep, &cond) {
            io.compare(&format!("{t}.{name}"), || ours, &mut readings);
        }
    }
    Ok(readings)
}

/// Every value of a pass that the walk can see, under diffusers' module names.
fn traced(
    cogvideox: &CogVideoX,
    chain: &CogVideoXChain,
    latent: &Latent,
    timestep: f32,
    cond: &CogVideoXCond,
) -> Vec<(String, Vec<f32>)> {
    let mut seen = vec![];
    let signal = chain.time_signals(TimeSignal::Embedding, &[timestep]).concat();
    seen.push(("act.time_embedding.out".into(), signal));
    let (mut hidden, ctx) = chain.embed(latent, timestep, cond);
    for (i, unit) in chain.units().iter().enumerate() {
        hidden = chain.unit(i, hidden, &ctx);
        if unit.kind == UnitKind::Mlp {
            let (video, all) = (hidden.video, hidden.tokens.dims()[1]);
            let text = hidden.tokens.clone().narrow(1, video, all - video);
            let block = format!("act.transformer_blocks.{}.out", unit.block);
            seen.push((format!("{block}.0"), host(hidden.video_tokens())));
            seen.push((format!("{block}.1"), host(text)));
        }
    }
    seen.push(("act.norm_final.out".into(), host(last_norm(cogvideox, &hidden))));
    let out = chain.head(hidden, &ctx).0.swap_dims(1, 2);
    seen.push(("out".into(), host(out)));
    seen
}
