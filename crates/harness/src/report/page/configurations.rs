//! Rows of the page's table and markers of its plot, and the single runs behind them.

use super::quality::{self, Quality};
use super::rounded;
use crate::report::curves::Curve;
use crate::report::frechet;
use crate::report::summary::{Estimate, Group, Summary, over_clips};
use crate::schema::RunRow;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Value, and the ends of its 95 % interval where there is one. To all digits: a run that all but equals the uncached
/// one must not seem to equal it.
type Interval = (f64, Option<f64>, Option<f64>);

/// One policy with one set of knobs.
#[derive(Serialize)]
pub struct Configuration<'a> {
    label: &'a str,
    policy: &'a str,
    /// Name of its series, without the swept knob.
    name: &'a str,
    /// Place in the group's series; none where no speed-up is known.
    series: Option<usize>,
    knob: &'a Option<(String, f64)>,
    control: bool,
    mix: bool,
    off: bool,
    speedup: Option<Interval>,
    compute: Option<f64>,
    realised: Option<f64>,
    /// In the order of the page's qualities.
    quality: Vec<Option<Interval>>,
    frechet: Option<f64>,
    cache_claimed_bytes: Option<u64>,
    cache_peak_bytes: Option<u64>,
    reads: Option<f64>,
    looks: Option<f64>,
    runs: usize,
    failures: usize,
    warnings: BTreeSet<&'a str>,
}

/// One run.
#[derive(Serialize)]
pub struct Measured<'a> {
    key: &'a str,
    /// Place in the group's configurations.
    configuration: usize,
    prompt: u32,
    seed: u64,
    repeat: u32,
    denoise_s: Option<f64>,
    compute: Option<f64>,
    quality: Vec<Option<f64>>,
    error: &'a Option<String>,
}

/// The configurations of a group, and their runs in the order of the recording.
pub fn of<'a>(
    group: &'a Group,
    runs: &'a [RunRow],
    curves: &[Curve],
    qualities: &[&'static Quality],
) -> Result<(Vec<Configuration<'a>>, Vec<Measured<'a>>)> {
    let place: BTreeMap<&str, usize> = group
        .summaries
        .iter()
        .enumerate()
        .flat_map(|(place, summary)| summary.run_keys.iter().map(move |key| (key.as_str(), place)))
        .collect();
    let (mut measured, mut rows) = (Vec::new(), vec![Vec::new(); group.summaries.len()]);
    let mut by_key: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for run in runs {
        let Some(&configuration) = place.get(run.run_key.as_str()) else {
            continue;
        };
        let values = quality::values(run, qualities.iter().copied())?;
        measured.push(Measured {
            key: &run.run_key,
            configuration,
            prompt: run.prompt_index,
            seed: run.seed,
            repeat: run.repeat,
            denoise_s: run.denoise_s.and_then(rounded),
            compute: run.compute_fraction.and_then(rounded),
            quality: values.clone(),
            error: &run.error,
        });
        rows[configuration].push(run);
        by_key.insert(&run.run_key, values);
    }
    let configurations = group.summaries.iter().zip(&rows).map(|(summary, rows)| {
        let ok = || rows.iter().copied().filter(|row| row.error.is_none());
        let quality = (0..qualities.len()).map(|i| over_clips(ok(), |row| by_key[row.run_key.as_str()][i]));
        let looks: Vec<f64> = ok().filter_map(|row| row.looks.map(f64::from)).collect();
        let mean_looks = (!looks.is_empty()).then(|| looks.iter().sum::<f64>() / looks.len() as f64);
        let series = curves
            .iter()
            .position(|curve| curve.points.iter().any(|p| p.label == summary.label));
        Configuration {
            quality: quality.map(|e| e.map(interval)).collect(),
            frechet: frechet::distance(summary, group).and_then(rounded),
            looks: mean_looks.and_then(rounded),
            warnings: rows
                .iter()
                .map(|row| row.warnings.as_str())
                .filter(|w| !w.is_empty())
                .collect(),
            ..described(summary, series)
        }
    });
    Ok((configurations.collect(), measured))
}

fn described(summary: &Summary, series: Option<usize>) -> Configuration<'_> {
    Configuration {
        label: &summary.label,
        policy: &summary.policy,
        name: &summary.series,
        series,
        knob: &summary.knob,
        control: summary.is_control(),
        mix: summary.is_mix(),
        off: summary.is_off(),
        speedup: summary.speedup.map(interval),
        compute: summary.compute_fraction.and_then(rounded),
        realised: summary.realised().and_then(rounded),
        quality: Vec::new(),
        frechet: None,
        cache_claimed_bytes: summary.cache_claimed_bytes,
        cache_peak_bytes: summary.cache_peak_bytes,
        reads: summary.reads.and_then(rounded),
        looks: None,
        runs: summary.runs,
        failures: summary.failures,
        warnings: BTreeSet::new(),
    }
}

fn interval(estimate: Estimate) -> Interval {
    let (low, high) = estimate.interval.unzip();
    (estimate.value, low, high)
}
