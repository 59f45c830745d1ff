//! The table: one row a configuration, as Markdown to read and as CSV to compute with.

use super::summary::{Group, Summary};
use crate::stats::Estimate;
use anyhow::Result;

/// Explains the columns under the last table.
pub const LEGEND: &str = "\nSpeed-up is the median over prompts, seeds and repeats of uncached seconds / seconds, each pair on the same \
prompt, seed and repeat; quality is the mean over clips, against the uncached run. ± is half the 95 % bootstrap interval. \
Compute is the share of the transformer's work that was done; realised is the speed-up divided by what that share promises. \
Cache is claimed before the run / held at the peak.\n";

const HEADER: [&str; 12] = [
    "policy",
    "knobs",
    "speed-up",
    "compute",
    "realised",
    "PSNR dB",
    "SSIM",
    "latent error",
    "cache MiB",
    "reads",
    "runs",
    "failed",
];

/// A row in both forms: `text` for reading, `numbers` for computing.
pub struct Row {
    text: [String; 12],
    numbers: Vec<(&'static str, String)>,
}

/// Rows of a group in their order.
pub fn rows(group: &Group) -> Vec<Row> {
    group.summaries.iter().map(row).collect()
}

/// The line that says what seconds are compared with.
pub fn baseline(group: &Group) -> String {
    let off = group.summaries.iter().filter(|summary| summary.is_off()).count();
    match &group.baseline {
        None => "No uncached run (policy `off`) succeeded: speed-ups are unknown.".to_string(),
        Some((label, seconds)) => {
            let why = if off > 1 {
                ", the fastest of the uncached configurations"
            } else {
                ""
            };
            format!("Speed-ups are relative to {label} (median {seconds:.2} s){why}.")
        }
    }
}

/// The rows as a Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = HEADER.map(String::from).to_vec();
    let mut text = line(&header) + "|---|---|" + &"---:|".repeat(10) + "\n";
    for row in rows {
        text += &line(&row.text.each_ref().map(|cell| cell.replace('|', "\\|")));
    }
    text
}

/// The rows as CSV, intervals in columns of their own, null as an empty field.
pub fn csv(rows: &[Row]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for (number, row) in rows.iter().enumerate() {
        if number == 0 {
            csv.write_record(row.numbers.iter().map(|(name, _)| name))?;
        }
        csv.write_record(row.numbers.iter().map(|(_, value)| value))?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

fn row(s: &Summary) -> Row {
    let knobs = s.label.strip_prefix(&s.policy).unwrap_or(&s.label).trim();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    let mib = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
    let cache = match (mib(s.cache_claimed_bytes), mib(s.cache_peak_bytes)) {
        (None, None) => "–".to_string(),
        (claimed, peak) => format!("{} / {}", or_dash(claimed), or_dash(peak)),
    };
    let text = [
        s.policy.clone(),
        knobs.to_string(),
        with_interval(s.speedup, 2, "×"),
        or_dash(s.compute_fraction.map(|share| format!("{:.0} %", share * 100.0))),
        or_dash(s.realised().map(|share| format!("{:.0} %", share * 100.0))),
        with_interval(s.psnr_db, 2, ""),
        with_interval(s.ssim, 4, ""),
        with_interval(s.latent_rel_l2, 4, ""),
        cache,
        or_dash(s.reads.map(|reads| format!("{reads:.0}"))),
        s.runs.to_string(),
        s.failures.to_string(),
    ];
    Row {
        text,
        numbers: numbers(s, knobs),
    }
}

fn numbers(s: &Summary, knobs: &str) -> Vec<(&'static str, String)> {
    fn plain(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let value = |e: Option<Estimate>| plain(e.map(|e| e.value));
    let low = |e: Option<Estimate>| plain(e.and_then(|e| e.interval).map(|(low, _)| low));
    let high = |e: Option<Estimate>| plain(e.and_then(|e| e.interval).map(|(_, high)| high));
    vec![
        ("policy", s.policy.clone()),
        ("knobs", knobs.to_string()),
        ("series", s.series.clone()),
        ("knob_name", plain(s.knob.as_ref().map(|(name, _)| name))),
        ("knob", plain(s.knob.as_ref().map(|(_, value)| value))),
        ("speedup", value(s.speedup)),
        ("speedup_low", low(s.speedup)),
        ("speedup_high", high(s.speedup)),
        ("compute_fraction", plain(s.compute_fraction)),
        ("ideal_speedup", plain(s.compute_fraction.map(|share| 1.0 / share))),
        ("realised", plain(s.realised())),
        ("psnr_db", value(s.psnr_db)),
        ("psnr_db_low", low(s.psnr_db)),
        ("psnr_db_high", high(s.psnr_db)),
        ("ssim", value(s.ssim)),
        ("ssim_low", low(s.ssim)),
        ("ssim_high", high(s.ssim)),
        ("latent_rel_l2", value(s.latent_rel_l2)),
        ("latent_rel_l2_low", low(s.latent_rel_l2)),
        ("latent_rel_l2_high", high(s.latent_rel_l2)),
        ("cache_claimed_bytes", plain(s.cache_claimed_bytes)),
        ("cache_peak_bytes", plain(s.cache_peak_bytes)),
        ("reads", plain(s.reads)),
        ("runs", s.runs.to_string()),
        ("failures", s.failures.to_string()),
    ]
}

fn with_interval(estimate: Option<Estimate>, digits: usize, unit: &str) -> String {
    match estimate {
        None => "–".to_string(),
        Some(Estimate { value, interval: None }) => format!("{value:.digits$}{unit}"),
        Some(Estimate {
            value,
            interval: Some((low, high)),
        }) => {
            format!("{value:.digits$}{unit} ± {:.digits$}", (high - low) / 2.0)
        }
    }
}
