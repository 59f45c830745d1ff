//! A Wan model against recorded numbers; some cases hold a batch with one prompt each, `cfg.*`.

use super::{Wan, WanChain, WanCond, WanConfig};
use crate::models::reference::{CaseError, Reading, Recorded, config_of, grid};
use crate::models::{Chain, Sinusoid};
use crate::tensors::{Hidden, Latent, host};
use crate::weights::Weights;
use burn::tensor::{Device, FloatDType};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::TimeSignal;
use std::path::Path;

/// Runs a case with one of its weight files, in f32.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe a Wan model.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let text = io.tensor::<3>("in.encoder_hidden_states")?;
    let config = WanConfig {
        sinusoid: Sinusoid::F32,  // the recordings come from diffusers
        text_len: text.dims()[1], // the recorded prompts are already padded
        ..WanConfig::parse(&config_of(folder)?)?
    };
    let wan = Wan::load(config, Weights::open(&folder.join(weights))?, device, FloatDType::F32)?;
    let latent = Latent(io.tensor::<5>("in.hidden_states")?);
    let cond = wan.condition(text)?;

    let mut readings = vec![];
    io.compare(
        "t0.act.condition_embedder.text_embedder.out",
        || host(cond.0.clone()),
        &mut readings,
    );
    for t in io.times() {
        let timesteps = io.floats(&format!("{t}.timestep"))?;
        compare_pass(&wan, &io, &t, &timesteps, &latent, &cond, &mut readings)?;
    }
    if io.has("cfg.out") {
        let cond = wan.condition(io.tensor::<3>("cfg.encoder_hidden_states")?)?;
        let batch = cond.0.dims()[0];
        let latents = Latent::batch(vec![latent; batch]);
        let timestep = io.floats("cfg.timestep")?[0];
        let chain = wan.on(grid(&latents), batch)?;
        let (hidden, ctx) = chain.embed(&latents, timestep, &cond);
        let hidden = (0..chain.units().len()).fold(hidden, |x, i| chain.unit(i, x, &ctx));
        io.compare("cfg.out", || chain.head(hidden, &ctx).to_host(), &mut readings);
    }
    Ok(readings)
}

/// One recorded pass. A pass of ours has one timestep: rows recorded at different timesteps run one by
/// one, which is the same function since rows do not meet.
fn compare_pass(
    wan: &Wan,
    io: &Recorded,
    t: &str,
    timesteps: &[f32],
    latent: &Latent,
    cond: &WanCond,
    readings: &mut Vec<Reading>,
) -> Result<(), CaseError> {
    let chain = wan.on(grid(latent), 1)?;
    for (signal, name) in [
        (TimeSignal::Embedding, "time_embedder"),
        (TimeSignal::Projection, "time_proj"),
    ] {
        let ours = || chain.time_signals(signal, timesteps).concat();
        io.compare(&format!("{t}.act.condition_embedder.{name}.out"), ours, readings);
    }
    let rows = latent.rows().into_iter().enumerate().map(|(i, row)| {
        let cond = WanCond(cond.0.clone().narrow(0, i, 1));
        traced(&chain, &row, timesteps[i], &cond)
    });
    let traces = rows.reduce(|mut all, row| {
        for ((_, values), (_, more)) in all.iter_mut().zip(row) {
            values.extend(more);
        }
        all
    });
    for (name, ours) in traces.unwrap_or_default() {
        io.compare(&format!("{t}.{name}"), || ours, readings);
    }
    Ok(())
}

/// Every value of a pass that the walk can see, under diffusers' module names.
fn traced(chain: &WanChain, latent: &Latent, timestep: f32, cond: &WanCond) -> Vec<(String, Vec<f32>)> {
    let mut seen = vec![];
    let mut see = |name: String, x: &Hidden| seen.push((name, host(x.tokens.clone())));
    let (mut hidden, ctx) = chain.embed(latent, timestep, cond);
    see("act.blocks.0.in".into(), &hidden);
    let units = chain.units();
    for (i, unit) in units.iter().enumerate() {
        let raw = chain.eval(i, &hidden, &ctx);
        let module = ["attn1", "attn2", "ffn"][i % 3];
        see(format!("act.blocks.{}.{module}.out", unit.block), &raw);
        hidden = chain.join(i, hidden, &raw, &ctx);
        if units.get(i + 1).is_none_or(|next| next.block > unit.block) {
            see(format!("act.blocks.{}.out", unit.block), &hidden);
        }
    }
    seen.push(("out".into(), chain.head(hidden, &ctx).to_host()));
    seen
}
