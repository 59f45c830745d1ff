//! A HunyuanVideo model against recorded numbers. Recorded prompts are padded, with a mask; rows of padding
//! are computed there but mean nothing, so they are left out.

use super::{Hunyuan, HunyuanConfig};
use crate::models::reference::{CaseError, Reading, Recorded, config_of, grid};
use crate::models::{Chain, Prompt};
use crate::tensors::{Hidden, Latent, host};
use crate::weights::Weights;
use burn::tensor::{Device, FloatDType, Tensor};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{TimeSignal, UnitKind};
use std::path::Path;

/// Runs a case with one of its weight files, in f32.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe a HunyuanVideo model.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = HunyuanConfig::parse(&config_of(folder)?)?;
    let hunyuan = Hunyuan::load(config, Weights::open(&folder.join(weights))?, device, FloatDType::F32)?;
    let latents = Latent(io.tensor::<5>("in.hidden_states")?).rows();
    let mut readings = vec![];
    for t in io.times() {
        let timesteps = io.floats(&format!("{t}.timestep"))?;
        for (row, latent) in latents.iter().enumerate() {
            for (name, ours) in traced(&hunyuan, &io, row, latent, timesteps[row])? {
                io.compare_row(&format!("{t}.{name}"), row, || ours, &mut readings);
            }
        }
    }
    Ok(readings)
}

/// Every value of a pass over one row of the batch that the walk can see, under diffusers' module names.
fn traced(
    hunyuan: &Hunyuan,
    io: &Recorded,
    row: usize,
    latent: &Latent,
    timestep: f32,
) -> Result<Vec<(String, Vec<f32>)>, CaseError> {
    let real = io.count("in.encoder_attention_mask", row)?;
    let prompt = Prompt {
        states: io
            .tensor::<3>("in.encoder_hidden_states")?
            .narrow(0, row, 1)
            .narrow(1, 0, real),
        pooled: io.tensor::<2>("in.pooled_projections")?.narrow(0, row, 1),
    };
    let guidance = io.floats("in.guidance")?[row] / 1000.0;
    let cond = hunyuan.condition(prompt, guidance)?;
    let chain = hunyuan.on(grid(latent), real)?;

    let mut seen = vec![];
    let signal = chain.time_signals(TimeSignal::Embedding, &[timestep]).concat();
    seen.push(("act.time_text_embed.timestep_embedder.out".into(), signal));
    seen.push(("act.context_embedder.proj_in.out".into(), host(cond.text.clone())));
    let (mut hidden, ctx) = chain.embed(latent, timestep, &cond);
    let [video, text] = apart(&hidden);
    seen.push(("act.x_embedder.out".into(), host(video)));
    seen.push(("act.context_embedder.out".into(), host(text)));
    let input = chain.first_input(&hidden, &ctx).tokens;
    seen.push(("act.transformer_blocks.0.norm1.out.0".into(), host(input)));
    for (i, unit) in chain.units().iter().enumerate() {
        let raw = chain.eval(i, &hidden, &ctx);
        let doubles = hunyuan.config.double_layers;
        let block = match unit.block.checked_sub(doubles) {
            None => format!("act.transformer_blocks.{}", unit.block),
            Some(single) => format!("act.single_transformer_blocks.{single}"),
        };
        let [video, text] = apart(&raw).map(host);
        match unit.kind {
            UnitKind::SelfAttn => {
                seen.push((format!("{block}.attn.out.0"), video));
                seen.push((format!("{block}.attn.out.1"), text));
            }
            UnitKind::Mlp => seen.push((format!("{block}.ff.out"), video)),
            _ => {}
        }
        hidden = chain.join(i, hidden, &raw, &ctx);
        if unit.kind != UnitKind::SelfAttn {
            let [video, text] = apart(&hidden).map(host);
            seen.push((format!("{block}.out.0"), video));
            seen.push((format!("{block}.out.1"), text));
        }
    }
    seen.push(("out".into(), chain.head(hidden, &ctx).to_host()));
    Ok(seen)
}

fn apart(hidden: &Hidden) -> [Tensor<3>; 2] {
    let text = hidden.tokens.dims()[1] - hidden.video;
    [
        hidden.video_tokens(),
        hidden.tokens.clone().narrow(1, hidden.video, text),
    ]
}
