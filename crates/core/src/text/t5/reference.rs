//! An encoder against recorded numbers: token ids and a mask in, states and activations out, under transformers'
//! module names. Rows of a batch run one by one, without their padding.

use super::{Block, T5, T5Config, embed, position};
use crate::models::reference::{CaseError, Reading, Recorded, config_of};
use crate::tensors::host;
use crate::weights::Weights;
use burn::tensor::Device;
use std::path::Path;

/// Runs a case with one of its weight files.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe such an encoder.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = T5Config::parse(&config_of(folder)?)?;
    let t5 = T5::open(config, Weights::open(&folder.join(weights))?, device)?;
    let config = &t5.config;
    let mut readings = vec![];

    if io.has("rel.position") {
        let distances = io.integers("rel.position")?;
        let buckets = || distances.iter().map(|&d| position::bucket(config, d) as f32).collect();
        io.compare_integers("rel.bucket", buckets, &mut readings);
    }

    let prompts = io.prompts()?;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0); // no padding
    let first = Block::build(config, 0, &mut t5.loader());
    let bias = || host(first.bias(config, longest));
    io.compare("act.block0.position_bias", bias, &mut readings);
    let rows = prompts.len();
    for (row, ids) in prompts.into_iter().enumerate() {
        for (name, ours) in traced(&t5, &ids) {
            io.compare_row(&name, row, || ours, &mut readings);
        }
        let states = t5.encode(&[ids], &mut |_| {})?;
        let mut states = host(states[0].clone());
        io.compare_row("out.last_hidden_state", row, || states.clone(), &mut readings);
        if io.has("out.prompt_embeds_padded") {
            // Behind the prompt Wan has zeros.
            states.resize(io.floats("out.prompt_embeds_padded")?.len() / rows, 0.0);
            io.compare_row("out.prompt_embeds_padded", row, || states, &mut readings);
        }
    }
    Ok(readings)
}

/// Every activation that the reference records.
fn traced(t5: &T5, ids: &[u32]) -> Vec<(String, Vec<f32>)> {
    let (config, mut loader) = (&t5.config, t5.loader());
    let mut x = embed(config, ids, &mut loader);
    let mut seen = vec![];
    for i in 0..config.layers {
        let block = Block::build(config, i, &mut loader);
        let name = |part: &str| format!("act.encoder.block.{i}.{part}");
        let attention = block.attend(x.clone(), block.bias(config, ids.len()));
        seen.push((name("layer.0.SelfAttention.out.0"), host(attention.clone())));
        x = x + attention;
        seen.push((name("layer.0.out.0"), host(x.clone())));
        x = x.clone() + block.feed(x);
        seen.push((name("out"), host(x.clone())));
    }
    seen
}
