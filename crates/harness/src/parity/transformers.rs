//! A forward pass of a transformer or a text encoder and its intermediate activations, from every key layout.

use super::Case;
use anyhow::{Context, Result};
use burn::tensor::Device;
use mixcache_core::models::reference::{CaseError, Reading};
use serde_json::Value;
use std::path::Path;

/// Runs a case in a folder with one of its weight files.
type RunCase = fn(&Path, &str, &Device) -> Result<Vec<Reading>, CaseError>;

pub(super) fn compare(case: &mut Case, path: &Path, json: &Value, run_case: RunCase) -> Result<()> {
    let folder = path.parent().context("a case stands in a folder")?;
    let tolerance = |what: &str| super::number(json, &format!("/{what}/rel_l2"));
    let output = tolerance("tolerance_out")?;
    let activations = tolerance("tolerance_activations").unwrap_or(output); // not every case gives its own
    for layout in ["diffusers", "transformers", "original"] {
        let file = format!("{layout}.safetensors");
        if !folder.join(&file).is_file() {
            continue;
        }
        let readings = run_case(folder, &file, case.device)?;
        for (what, tolerance, is_activation) in [("outputs", output, false), ("activations", activations, true)] {
            let chosen = readings
                .iter()
                .filter(|reading| reading.is_activation() == is_activation);
            let worst = chosen.max_by(|a, b| a.relative_l2().total_cmp(&b.relative_l2()));
            if let Some(worst) = worst {
                let count = readings
                    .iter()
                    .filter(|reading| reading.is_activation() == is_activation)
                    .count();
                let quantity = format!("{layout}: {count} {what}, relative L2 (worst: {})", worst.name);
                case.measured(quantity, worst.relative_l2(), tolerance);
            }
        }
    }
    Ok(())
}
