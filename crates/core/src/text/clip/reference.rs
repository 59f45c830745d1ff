//! A CLIP text encoder against recorded numbers: token ids and a mask in, pooled vectors out.

use super::{Clip, ClipConfig};
use crate::models::reference::{CaseError, Reading, Recorded, config_of};
use crate::tensors::host;
use crate::weights::Weights;
use burn::tensor::Device;
use std::path::Path;

/// Runs a case with one of its weight files.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe a CLIP text encoder.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let io = Recorded::open(folder, device)?;
    let config = ClipConfig::parse(&config_of(folder)?)?;
    let clip = Clip::open(config, Weights::open(&folder.join(weights))?, device)?;
    let mut readings = vec![];
    for (row, pooled) in clip.pooled(&io.prompts()?)?.into_iter().enumerate() {
        io.compare_row("out.pooler_output", row, || host(pooled), &mut readings);
    }
    Ok(readings)
}
