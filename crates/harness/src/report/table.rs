//! The table of a group: one row a configuration.

use super::frechet;
use super::summary::{Group, Summary, UPPER_LINE};
use crate::sheet::{Cell, Column, Sheet};

/// Explains the columns under the last table.
pub const LEGEND: &str = "\nSpeed-up is the median over prompts, seeds and repeats of uncached seconds / seconds, each pair on the same \
prompt, seed and repeat; quality is the mean over clips, against the uncached run. ± is half the 95 % bootstrap interval. \
± off/off is what the speed-up may owe to the clock: how far two uncached runs, 95 of 100 pairs, would differ, at this \
speed-up. Compute is the share of the transformer's work that was done; realised is the speed-up divided by what that share \
promises. Cache is claimed before the run and held at the peak.\n";

/// A group as a table.
pub fn sheet(group: &Group) -> Sheet {
    let of_frames = |name: &str, title: &str, digits| Column::estimate(name, &group.of_frames(title), digits, "");
    let columns = vec![
        Column::text("policy", "policy"),
        Column::text("knobs", "knobs"),
        Column::hidden("series"),
        Column::hidden("knob_name"),
        Column::hidden("knob"),
        Column::estimate("speedup", "speed-up", 2, "×"),
        Column::number("off_off", "± off/off", 2),
        Column::share("compute_fraction", "compute"),
        Column::hidden("ideal_speedup"),
        Column::share("realised", "realised"),
        of_frames("psnr_db", "PSNR dB", 2),
        of_frames("ssim", "SSIM", 4),
        of_frames("ms_ssim", "MS-SSIM", 4),
        of_frames("lpips", "LPIPS", 4),
        of_frames("flicker_error", "flicker", 4),
        of_frames("warping_error", "warping", 4),
        Column::estimate("latent_rel_l2", "latent error", 4, ""),
        Column::number("i3d_frechet", &group.of_frames("Fréchet I3D"), 2),
        Column::mib("cache_claimed_bytes", "claimed MiB"),
        Column::mib("cache_peak_bytes", "held MiB"),
        Column::number("reads", "reads", 0),
        Column::number("runs", "runs", 0),
        Column::number("failures", "failed", 0),
    ];
    let rows = group.summaries.iter().map(|summary| row(summary, group)).collect();
    Sheet { columns, rows }.remarked("through", &group.common.through)
}

fn row(s: &Summary, group: &Group) -> Vec<Cell> {
    let off_off = s.speedup.zip(group.off_spread);
    let is_impossible = s.is_impossible(group.off_spread);
    let bytes = |bytes: Option<u64>| Cell::from(bytes.map(|bytes| bytes as f64));
    vec![
        s.policy.clone().into(),
        match s.is_upper {
            true => format!("{UPPER_LINE}: {}", s.knobs()).into(),
            false => s.knobs().into(),
        },
        s.series.clone().into(),
        s.knob.as_ref().map_or(Cell::default(), |(name, _)| name.clone().into()),
        s.knob.as_ref().map(|(_, value)| *value).into(),
        s.speedup.into(),
        off_off.map(|(speedup, spread)| speedup.value * (spread - 1.0)).into(),
        s.compute_fraction.into(),
        s.compute_fraction.map(|share| 1.0 / share).into(),
        Cell::from(s.realised()).bold(is_impossible),
        s.psnr_db.into(),
        s.ssim.into(),
        s.ms_ssim.into(),
        s.lpips.into(),
        s.flicker_error.into(),
        s.warping_error.into(),
        s.latent_rel_l2.into(),
        frechet::distance(s, group).into(),
        bytes(s.cache_claimed_bytes),
        bytes(s.cache_peak_bytes),
        s.reads.into(),
        (s.runs as f64).into(),
        (s.failures as f64).into(),
    ]
}

/// The fewest columns that answer what a policy gains and costs, for a terminal.
pub fn brief(group: &Group) -> Sheet {
    let columns = vec![
        Column::text("policy", "policy"),
        Column::share("compute_fraction", "compute"),
        Column::estimate("speedup", "speed-up", 2, "×"),
        Column::estimate("psnr_db", &group.of_frames("PSNR dB"), 2, ""),
        Column::number("lpips", &group.of_frames("LPIPS"), 4),
        Column::estimate("latent_rel_l2", "latent error", 4, ""),
        Column::mib("cache_peak_bytes", "cache MiB"),
        Column::number("reads", "reads", 0),
        Column::number("failures", "failed", 0),
    ];
    let has_frames = group.summaries.iter().any(|s| s.psnr_db.is_some());
    let row = |s: &Summary| {
        vec![
            match s.is_upper {
                true => format!("{UPPER_LINE}: {}", s.label).into(),
                false => s.label.clone().into(),
            },
            s.compute_fraction.into(),
            s.speedup.into(),
            s.psnr_db.into(),
            s.lpips.map(|lpips| lpips.value).into(),
            s.latent_rel_l2.filter(|_| !has_frames).into(),
            s.cache_peak_bytes.map(|bytes| bytes as f64).into(),
            s.reads.into(),
            (s.failures > 0).then_some(s.failures as f64).into(),
        ]
    };
    let rows = group.summaries.iter().map(row).collect();
    Sheet { columns, rows }
}

/// The line that says what seconds are compared with, and how sure they are.
pub fn baseline(group: &Group) -> String {
    let off = group.summaries.iter().filter(|summary| summary.is_off()).count();
    let Some((label, seconds)) = &group.baseline else {
        return "No uncached run (policy `off`) succeeded: speed-ups are unknown.".to_string();
    };
    let why = if off > 1 {
        ", the fastest of the uncached configurations"
    } else {
        ""
    };
    let spread = match group.off_spread {
        Some(spread) => format!(
            "Two uncached runs differ by up to {:.0} % of their time.",
            (spread - 1.0) * 100.0
        ),
        None => "There is one uncached run: how far two of them differ is unknown.".to_string(),
    };
    format!("Speed-ups are relative to {label} (median {seconds:.2} s){why}. {spread}")
}
