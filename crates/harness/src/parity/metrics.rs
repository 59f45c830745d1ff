//! Quality metrics on recorded 8-bit frames.

use super::{Case, number};
use crate::metrics::lpips::Lpips;
use crate::metrics::{Frames, ms_ssim, psnr, ssim};
use anyhow::{Context, Result, ensure};
use mixcache_core::weights::Weights;
use serde_json::Value;
use std::fs::File;
use std::io::BufReader;
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
        Ok(Some(Frames::new(count, height, width, from_bytes(&bytes))?))
    };
    let reference = frames("ref")?.context("no tensor `ref`")?;
    let lpips = Lpips::new(case.device);
    let tolerance = |key: &str| number(json, &format!("/tolerance/{key}"));
    for (name, values) in json["values"].as_object().context("no table `values`")? {
        // The reference against itself is not stored twice.
        let distorted = if name == "identical" {
            Some(reference.clone())
        } else {
            frames(&format!("dist.{name}"))?
        };
        let distorted = distorted.with_context(|| format!("no tensor `dist.{name}`"))?;
        let mut compare = |key: &str, ours: Option<f64>, tolerance: f64| {
            if let Some(theirs) = mean(&values[key]) {
                let distance = ours.map_or(f64::INFINITY, |ours| (ours - theirs).abs());
                case.measured(format!("{name}: {key}"), distance, tolerance);
            }
        };
        let (db, ssim_abs, ms_ssim_abs) = ("psnr_abs_db", "ssim_abs", "ms_ssim_abs");
        let ours = psnr::mean_of_frames(&distorted, &reference);
        compare("psnr_mean_of_frames", ours, tolerance(db)?);
        compare(
            "psnr_from_mean_mse",
            psnr::pooled(&distorted, &reference),
            tolerance(db)?,
        );
        let ours = ssim::mean_of_frames(&distorted, &reference);
        compare("ssim_mean_common_metrics", ours, tolerance(ssim_abs)?);
        let ours = ms_ssim::mean_of_frames(&distorted, &reference);
        compare("ms_ssim_pytorch_msssim_per_frame", ours, tolerance(ms_ssim_abs)?);
        compare("ms_ssim_piq_per_frame", ours, tolerance(ms_ssim_abs)?);
        let ours = lpips.mean_of_frames(&distorted, &reference);
        compare("lpips_alex_mean", ours, tolerance("lpips_abs")?);
    }
    Ok(())
}

/// Published distances between pictures: `reference`, a PNG beside the JSON, against each PNG in `lpips_alex`.
pub(super) fn compare_pictures(case: &mut Case, path: &Path, json: &Value) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let reference = json["reference"].as_str().context("no text `reference`")?;
    let reference = read_png(&folder.join(reference))?;
    let (lpips, tolerance) = (Lpips::new(case.device), number(json, "/tolerance/lpips_abs")?);
    for (name, theirs) in json["lpips_alex"].as_object().context("no table `lpips_alex`")? {
        let picture = read_png(&folder.join(name))?;
        ensure!(
            picture.size() == reference.size(),
            "`{name}` and `reference` differ in size"
        );
        let ours = lpips.mean_of_frames(&picture, &reference);
        let ours = ours.with_context(|| format!("`{name}` is too small for LPIPS"))?;
        let theirs = theirs
            .as_f64()
            .with_context(|| format!("`lpips_alex.{name}` is no number"))?;
        case.measured(format!("{name}: LPIPS"), (ours - theirs).abs(), tolerance);
    }
    Ok(())
}

/// A number, or the mean of a list of numbers.
fn mean(value: &Value) -> Option<f64> {
    let Some(list) = value.as_array() else {
        return value.as_f64();
    };
    let numbers: Option<Vec<f64>> = list.iter().map(Value::as_f64).collect();
    numbers.map(|numbers| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

fn read_png(path: &Path) -> Result<Frames> {
    let read = || -> Result<Frames> {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
        let mut bytes = vec![0; reader.output_buffer_size().context("too large")?];
        let info = reader.next_frame(&mut bytes)?;
        let found = (info.color_type, info.bit_depth);
        ensure!(
            found == (png::ColorType::Rgb, png::BitDepth::Eight),
            "expected RGB of 8 bits a channel, found {found:?}"
        );
        Frames::new(1, info.height as usize, info.width as usize, from_bytes(&bytes))
    };
    read().with_context(|| format!("cannot use {}", path.display()))
}
