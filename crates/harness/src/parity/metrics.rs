//! Quality metrics on recorded 8-bit frames.

use super::{Case, number};
use crate::metrics::{Frames, psnr, ssim};
use anyhow::{Context, Result};
use mixcache_core::weights::Weights;
use serde_json::Value;
use std::path::Path;

pub(super) fn compare(case: &mut Case, path: &Path, json: &Value) -> Result<()> {
    let recorded = Weights::open(&path.with_extension("safetensors"))?;
    let frames = |key: &str| -> Result<Option<Frames>> {
        let (Some(bytes), Some(shape)) = (recorded.bytes(key), recorded.shape(key)) else {
            return Ok(None);
        };
        let &[count, height, width, 3] = shape else {
            anyhow::bail!("`{key}`: expected [frames, height, width, 3]")
        };
        let data = bytes.iter().map(|&byte| byte as f32 / 255.0).collect();
        Ok(Some(Frames::new(count, height, width, data)?))
    };
    let reference = frames("ref")?.context("no tensor `ref`")?;
    let (psnr_db, ssim_abs) = (
        number(json, "/tolerance/psnr_abs_db")?,
        number(json, "/tolerance/ssim_abs")?,
    );
    for (name, values) in json["values"].as_object().context("no table `values`")? {
        // The reference against itself is not stored twice.
        let distorted = if name == "identical" {
            Some(reference.clone())
        } else {
            frames(&format!("dist.{name}"))?
        };
        let distorted = distorted.with_context(|| format!("no tensor `dist.{name}`"))?;
        for (key, ours, tolerance) in [
            (
                "psnr_mean_of_frames",
                psnr::mean_of_frames(&distorted, &reference),
                psnr_db,
            ),
            ("psnr_from_mean_mse", psnr::pooled(&distorted, &reference), psnr_db),
            (
                "ssim_mean_common_metrics",
                ssim::mean_of_frames(&distorted, &reference),
                ssim_abs,
            ),
        ] {
            if let (Some(theirs), Some(ours)) = (values[key].as_f64(), ours) {
                case.measured(format!("{name}: {key}"), (ours - theirs).abs(), tolerance);
            }
        }
    }
    case.not_covered("MS-SSIM, LPIPS");
    Ok(())
}
