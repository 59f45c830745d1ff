//! A video autoencoder: encoding, decoding, and what is seen on the way.

use super::{Case, number};
use anyhow::{Context, Result};
use burn::tensor::Device;
use mixcache_core::models::reference::{CaseError, Reading};
use serde_json::Value;
use std::path::Path;

/// Runs a case in a folder with one of its weight files.
type RunCase = fn(&Path, &str, &Device) -> Result<Vec<Reading>, CaseError>;

pub(super) fn compare(case: &mut Case, path: &Path, json: &Value, run_case: RunCase) -> Result<()> {
    let folder = path.parent().context("a case stands in a folder")?;
    for layout in ["diffusers", "original"] {
        let file = format!("{layout}.safetensors");
        if !folder.join(&file).is_file() {
            continue;
        }
        let readings = run_case(folder, &file, case.device)?;
        let (encoded, decoded): (Vec<_>, Vec<_>) = readings.iter().partition(|r| r.name.starts_with("enc."));
        for (what, readings) in [("encode", encoded), ("decode", decoded)] {
            let tolerance = |unit: &str| number(json, &format!("/tolerance_{what}/{unit}"));
            let count = readings.len();
            let worst = |of: fn(&Reading) -> f64| {
                let worst = readings.iter().max_by(|a, b| of(a).total_cmp(&of(b)));
                worst.map(|reading| (reading.name.clone(), of(reading)))
            };
            if let Some((name, error)) = worst(Reading::relative_l2) {
                let quantity = format!("{layout}: {what}, {count} tensors, relative L2 (worst: {name})");
                case.measured(quantity, error, tolerance("rel_l2")?);
            }
            // Activations have a scale of their own: largest differences are of what comes out.
            let out = readings
                .iter()
                .filter(|r| !r.name.contains(".act.") && !r.name.contains(".frame0."));
            if let Some(worst) = out.max_by(|a, b| a.max_abs().total_cmp(&b.max_abs())) {
                let quantity = format!("{layout}: {what}, largest difference (worst: {})", worst.name);
                case.measured(quantity, worst.max_abs() as f64, tolerance("max_abs")?);
            }
        }
    }
    Ok(())
}
