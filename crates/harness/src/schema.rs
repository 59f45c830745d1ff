//! What is recorded of a run: one [`RunRow`], and one [`EventRow`] for every move the policy made.
//!
//! [`RUN_COLUMNS`] and [`EVENT_COLUMNS`] are the only list of columns: Parquet and CSV are written and
//! read by them, and `results/SCHEMA.md` is rendered from them.

mod columns;
mod parquet;

pub use columns::{Column, ColumnType, EVENT_COLUMNS, RUN_COLUMNS, markdown};
pub use parquet::{read_events, read_runs, write_events, write_runs, write_runs_csv};
pub(crate) use parquet::{replace_file, sync_directory};

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// One run of one policy on one prompt and seed. [`RUN_COLUMNS`] tells the meaning and unit of every field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // said once, in RUN_COLUMNS
pub struct RunRow {
    pub run_key: String,
    pub experiment: String,
    pub experiment_hash: String,
    pub git_revision: String,
    pub versions: String,
    pub machine: String,
    pub device: String,
    pub dtype: String,
    pub model: String,
    pub weights: String,
    pub substituted: String,
    #[serde(default)] // recordings older than the column
    pub through: String,
    pub sampler: String,
    pub steps: u32,
    pub shift: f64,
    pub guidance: f64,
    #[serde(default)] // recordings older than the column
    pub true_cfg: Option<f64>,
    pub guidance_mode: String,
    pub frames: u32,
    pub height: u32,
    pub width: u32,
    pub tokens: u32,
    pub full_first: u32,
    pub full_last: u32,
    pub threads: u32,
    pub policy: String,
    pub label: String,
    pub series: String,
    pub knob: Option<f64>,
    pub knob_name: Option<String>,
    #[serde(default)] // recordings older than the column
    pub upper: bool,
    pub knobs: BTreeMap<String, Knob>,
    pub prompt: String,
    pub prompt_index: u32,
    pub seed: u64,
    pub repeat: u32,
    pub error: Option<String>,
    pub warnings: String,
    pub denoise_s: Option<f64>,
    pub looks_s: Option<f64>,
    pub compute_fraction: Option<f64>,
    pub flops: Option<f64>,
    pub flops_full: Option<f64>,
    pub reads: Option<u32>,
    pub looks: Option<u32>,
    pub cache_claimed_bytes: Option<u64>,
    pub cache_peak_bytes: Option<u64>,
    pub latent_rel_l2: Option<f64>,
    pub psnr_db: Option<f64>,
    pub psnr_pooled_db: Option<f64>,
    pub ssim: Option<f64>,
    pub ms_ssim: Option<f64>,
    pub lpips: Option<f64>,
    pub flicker_error: Option<f64>,
    pub warping_error: Option<f64>,
    #[serde(default)] // recordings older than the column
    pub i3d_logits: Vec<f32>,
    pub started_at: String,
}

impl RunRow {
    /// `6`, or with classifier-free guidance beside it `6 embedded, true CFG 4`.
    pub fn guidance_in_words(&self) -> String {
        guidance_in_words(self.guidance, self.true_cfg)
    }
}

/// A guidance scale, and that of classifier-free guidance beside it.
pub fn guidance_in_words(guidance: f64, true_cfg: Option<f64>) -> String {
    match true_cfg {
        None => guidance.to_string(),
        Some(scale) => format!("{guidance} embedded, true CFG {scale}"),
    }
}

/// One value of a policy's configuration. In Parquet each knob is a column `knob_<name>` of its own type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Knob {
    /// A count, such as an interval in steps.
    Int(i64),
    /// A threshold, a weight.
    Float(f64),
    /// A choice by name.
    Text(String),
    /// A switch.
    Bool(bool),
}

/// One move of a policy, or one look. [`EVENT_COLUMNS`] tells the meaning of every field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // said once, in EVENT_COLUMNS
pub struct EventRow {
    pub run_key: String,
    pub index: u32,
    pub step: u32,
    pub branch: u32,
    pub full: bool,
    pub unit_from: u32,
    pub unit_to: u32,
    pub block_from: u32,
    pub block_to: u32,
    pub action: String,
    pub value: Option<String>,
    pub move_json: String,
    #[serde(deserialize_with = "null_is_nan")]
    pub seen: Vec<f32>,
}

/// JSON has no NaN: it is written as null and read back as NaN.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let numbers = Vec::<Option<f32>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|x| x.unwrap_or(f32::NAN)).collect())
}

#[cfg(test)]
mod tests;
