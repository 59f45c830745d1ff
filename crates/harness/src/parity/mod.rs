//! Our numbers against those of the reference implementations, for everything found in a folder.
//!
//! A case is told by the `kind` in its JSON. Names, sizes, seeds and thresholds are read from the
//! files, so a new case needs no code; a kind that is not known is listed as not covered.

mod autoencoders;
pub mod kernels;
mod metrics;
mod recipe;
mod schedulers;
pub mod tokenizers;
mod trajectories;
mod transformers;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use mixcache_core::models::{cogvideox, hunyuan, wan};
use mixcache_core::text::{clip, llama, t5};
use mixcache_core::vae;
use serde_json::Value;
use std::path::{Path, PathBuf};
use trajectories::Setting;

/// One compared quantity.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The case, as a path inside the folder.
    pub case: String,
    /// What was compared.
    pub quantity: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a comparison.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Distance and the largest allowed.
    Measured {
        /// Ours.
        error: f64,
        /// The largest allowed.
        tolerance: f64,
    },
    /// It cannot be run here, and why.
    NotCovered(String),
    /// It should run, but does not.
    Failed(String),
}

impl Finding {
    /// Whether this counts against parity.
    pub fn is_failure(&self) -> bool {
        match self.verdict {
            Verdict::Measured { error, tolerance } => error.is_nan() || error > tolerance,
            Verdict::NotCovered(_) => false,
            Verdict::Failed(_) => true,
        }
    }
}

/// Collects the findings of one case.
struct Case<'a> {
    name: String,
    device: &'a Device,
    findings: Vec<Finding>,
}

impl Case<'_> {
    fn measured(&mut self, quantity: impl Into<String>, error: f64, tolerance: f64) {
        self.add(quantity, Verdict::Measured { error, tolerance });
    }
    fn not_covered(&mut self, why: impl Into<String>) {
        self.add("", Verdict::NotCovered(why.into()));
    }
    fn add(&mut self, quantity: impl Into<String>, verdict: Verdict) {
        self.findings.push(Finding {
            case: self.name.clone(),
            quantity: quantity.into(),
            verdict,
        });
    }
}

/// Compares everything in `folder`.
///
/// # Errors
/// When the folder cannot be read or holds no case. A case that fails is a finding.
pub fn compare(folder: &Path, device: &Device) -> Result<Vec<Finding>> {
    let mut files = vec![];
    json_files(folder, &mut files)?;
    let mut findings = vec![];
    for path in files {
        let json = read_json(&path)?;
        let Some(kind) = json["kind"].as_str() else { continue };
        let name = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
        let name = if name.ends_with("case") {
            name.parent().unwrap_or(&name).to_path_buf()
        } else {
            name
        };
        let mut case = Case {
            name: name.display().to_string(),
            device,
            findings: vec![],
        };
        let done = match kind {
            "wan_transformer" => transformers::compare(&mut case, &path, &json, wan::reference::run_case),
            "hunyuan_transformer" => transformers::compare(&mut case, &path, &json, hunyuan::reference::run_case),
            "cogvideox_transformer" => transformers::compare(&mut case, &path, &json, cogvideox::reference::run_case),
            "t5_encoder" | "umt5_encoder" => transformers::compare(&mut case, &path, &json, t5::reference::run_case),
            "llama_decoder" => transformers::compare(&mut case, &path, &json, llama::reference::run_case),
            "clip_text" => transformers::compare(&mut case, &path, &json, clip::reference::run_case),
            "wan_vae" => autoencoders::compare(&mut case, &path, &json, vae::wan::reference::run_case),
            "hunyuan_vae" => autoencoders::compare(&mut case, &path, &json, vae::hunyuan::reference::run_case),
            "cogvideox_vae" => autoencoders::compare(&mut case, &path, &json, vae::cogvideox::reference::run_case),
            "wan_cfg_trajectory" => trajectories::compare(&mut case, &path, &json, Setting::of_wan),
            "cogvideox_trajectory" => trajectories::compare(&mut case, &path, &json, Setting::of_cogvideox),
            "hunyuan_trajectory" => trajectories::compare(&mut case, &path, &json, Setting::of_hunyuan),
            "scheduler_euler" | "scheduler_unipc" | "scheduler_dpmpp" | "scheduler_ddim" | "scheduler_dpmpp_sde" => {
                schedulers::compare(&mut case, &path, &json)
            }
            "video_metrics" => metrics::compare(&mut case, &path, &json),
            "picture_distances" => metrics::compare_pictures(&mut case, &path, &json),
            _ => {
                case.not_covered(format!("kind {kind}"));
                Ok(())
            }
        };
        if let Err(error) = done {
            case.add("", Verdict::Failed(format!("{error:#}")));
        }
        findings.extend(case.findings);
    }
    ensure!(
        !findings.is_empty(),
        "{} holds no case: expected JSON files with a `kind`",
        folder.display()
    );
    Ok(findings)
}

/// Python writes NaN and infinities into JSON, which knows neither: they are read as null.
fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = ["-Infinity", "Infinity", "NaN"]
        .iter()
        .fold(text, |text, word| text.replace(&format!(": {word}"), ": null"));
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

fn json_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            json_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}

/// A number in a JSON file, or an error that names it.
fn number(json: &Value, pointer: &str) -> Result<f64> {
    json.pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("no number `{pointer}`"))
}

fn max_abs(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| (a - b).abs() as f64).fold(0.0, f64::max)
}
