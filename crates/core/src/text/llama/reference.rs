//! A decoder against recorded numbers: token ids and a mask in, states two blocks before the end out.

use super::{Block, Llama, LlamaConfig, embed};
use crate::models::reference::{CaseError, Reading, Recorded, config_of};
use crate::tensors::host;
use crate::weights::Weights;
use burn::tensor::Device;
use std::path::Path;

/// Runs a case with one of its weight files.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe a Llama decoder.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = LlamaConfig::parse(&config_of(folder)?)?;
    let llama = Llama::open(config, Weights::open(&folder.join(weights))?, device)?;
    let mut readings = vec![];
    for (row, ids) in io.prompts()?.into_iter().enumerate() {
        let mut loader = llama.loader();
        let first = Block::build(&llama.config, 0, &mut loader);
        let block = first.forward(&llama.config, embed(&llama.config, &ids, &mut loader));
        io.compare_row("act.layers.0.out", row, || host(block), &mut readings);
        let states = llama.encode(std::slice::from_ref(&ids), &mut |_| {})?.remove(0);
        io.compare_row("out.hidden_state_skip_2", row, || host(states), &mut readings);
    }
    Ok(readings)
}
