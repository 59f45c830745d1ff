//! The weights of eight bits of HunyuanVideo's authors, whose scales lie in a file beside them
//! (`hyvideo/modules/fp8_optimization.py`): `NAME_model_states_fp8_map.pt` holds a number for every linear layer of the
//! blocks in `NAME_model_states_fp8.pt`, by the layer's name. What else has eight bits was only cast.

use super::WeightsError;
use super::fp8::is_fp8;
use super::shard::Shard;
use std::path::{Path, PathBuf};

const CODED: &str = "_model_states_fp8";
const SCALES: &str = "_model_states_fp8_map";

/// Whether a file holds such weights.
pub(super) fn is_of_eight_bits(path: &Path) -> bool {
    stem(path).ends_with(CODED)
}

/// Whether a file holds scales alone.
pub(super) fn is_scales(path: &Path) -> bool {
    stem(path).ends_with(SCALES)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where the scales of a file lie; none where it needs none.
fn beside(path: &Path) -> Option<PathBuf> {
    let (stem, end) = (stem(path), path.extension()?.to_str()?);
    let scales = format!("{}{SCALES}.{end}", stem.strip_suffix(CODED)?);
    (end != "safetensors").then(|| path.with_file_name(scales))
}

/// The scales of what a file holds, named as `LAYER.scale_weight`; none where it needs none.
///
/// # Errors
/// [`WeightsError`] where they are not there, or not all of them.
pub(super) fn open(path: &Path, weights: &Shard) -> Result<Option<Shard>, WeightsError> {
    let Some(beside) = beside(path) else {
        return Ok(None);
    };
    let mut scales = Shard::open(&beside)?;
    let coded = weights.tensors.iter().filter(|(_, info)| is_fp8(info.dtype));
    let mut layers = coded.filter_map(|(name, info)| {
        let layer = name.strip_suffix(".weight")?;
        (info.shape.len() == 2 && layer.contains("_blocks.")).then_some(layer)
    });
    if let Some(layer) = layers.find(|layer| !scales.tensors.contains_key(*layer)) {
        return Err(WeightsError::Scale {
            layer: layer.to_string(),
            path: beside,
        });
    }
    let named = std::mem::take(&mut scales.tensors).into_iter();
    scales.tensors = named
        .map(|(layer, scale)| (format!("{layer}.scale_weight"), scale))
        .collect();
    Ok(Some(scales))
}
