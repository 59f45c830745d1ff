//! From runs to numbers: what each configuration gained and what it cost.

use crate::schema::RunRow;
use std::collections::{BTreeMap, BTreeSet};

/// Policies and words of a series' name that mark a control: something a cache policy has to beat.
const CONTROLS: [&str; 4] = ["off", "fewer-steps", "uniform", "random"];

/// Resamples of a bootstrap interval: its ends move by about a hundredth of its width from more.
const RESAMPLES: usize = 2000;

/// Runs that may be compared: same model, sampler, size, steps and device, whatever the policy.
pub struct Group {
    /// Any of its rows, for what they have in common.
    pub common: RunRow,
    /// Steps of the uncached run.
    pub steps: u32,
    /// Distinct prompts.
    pub prompts: usize,
    /// Distinct seeds.
    pub seeds: usize,
    /// Most repeats of one run.
    pub repeats: usize,
    /// What seconds are compared with: label and median seconds of the fastest uncached configuration.
    pub baseline: Option<(String, f64)>,
    /// One a configuration, by series, then speed-up.
    pub summaries: Vec<Summary>,
}

/// One configuration of one policy over prompts, seeds and repeats.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Kind of policy.
    pub policy: String,
    /// Policy with its knobs, and the guidance mode where it tells rows apart.
    pub label: String,
    /// Curve it belongs to.
    pub series: String,
    /// Swept knob.
    pub knob: Option<(String, f64)>,
    /// Its runs, failed ones included.
    pub run_keys: Vec<String>,
    /// Runs that succeeded.
    pub runs: usize,
    /// Runs that did not.
    pub failures: usize,
    /// Median over (prompt, seed, repeat) of uncached seconds / seconds.
    pub speedup: Option<Estimate>,
    /// Mean over clips (prompt, seed), dB.
    pub psnr_db: Option<Estimate>,
    /// Mean over clips.
    pub ssim: Option<Estimate>,
    /// Mean over clips.
    pub latent_rel_l2: Option<Estimate>,
    /// Mean share of the uncached transformer work.
    pub compute_fraction: Option<f64>,
    /// Mean device-to-host reads a run.
    pub reads: Option<f64>,
    /// Largest over runs.
    pub cache_claimed_bytes: Option<u64>,
    /// Largest over runs.
    pub cache_peak_bytes: Option<u64>,
}

/// A value with its 95 % bootstrap interval, which a single observation does not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Median or mean.
    pub value: f64,
    /// 2.5 and 97.5 percentile.
    pub interval: Option<(f64, f64)>,
}

impl Summary {
    /// Share of the speed-up that the saved work promised: speed-up / (1 / compute fraction).
    pub fn realised(&self) -> Option<f64> {
        Some(self.speedup?.value * self.compute_fraction?)
    }

    /// The uncached run itself.
    pub fn is_off(&self) -> bool {
        self.policy == "off"
    }

    /// A control, as opposed to a policy under test.
    pub fn is_control(&self) -> bool {
        let names = format!("{} {}", self.policy, self.series).replace('_', "-");
        names.split([' ', '=', ',']).any(|word| CONTROLS.contains(&word))
    }

    /// The policy this project is about.
    pub fn is_mix(&self) -> bool {
        !self.is_control() && self.policy.starts_with("mix")
    }

    fn has_quality(&self) -> bool {
        self.psnr_db.or(self.ssim).or(self.latent_rel_l2).is_some()
    }
}

impl Group {
    /// No policy has a quality number: the runs measured speed alone.
    pub fn is_speed_only(&self) -> bool {
        !self
            .summaries
            .iter()
            .any(|summary| !summary.is_off() && summary.has_quality())
    }

    /// `wan-1.3b, unipc 50 steps, shift 5, guidance 5, 33×480×832, 8190 tokens`
    pub fn describe(&self) -> String {
        let RunRow {
            model,
            sampler,
            shift,
            guidance,
            frames,
            height,
            width,
            tokens,
            ..
        } = &self.common;
        format!(
            "{model}, {sampler} {} steps, shift {shift}, guidance {guidance}, {frames}×{height}×{width}, {tokens} tokens",
            self.steps
        )
    }

    /// `3 prompts × 2 seeds × 2 repeats`
    pub fn sample(&self) -> String {
        let count = |n, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let mut text = format!("{} × {}", count(self.prompts, "prompt"), count(self.seeds, "seed"));
        if self.repeats > 1 {
            text += &format!(" × {}", count(self.repeats, "repeat"));
        }
        text
    }
}

/// Sorts runs into groups that may be compared and summarises each.
pub fn summarise(runs: &[RunRow]) -> Vec<Group> {
    // In the order of the experiment: what it names first is shown first.
    let mut settings: Vec<(String, Vec<&RunRow>)> = Vec::new();
    for row in runs {
        let key = setting(row);
        match settings.iter_mut().find(|(other, _)| *other == key) {
            Some((_, rows)) => rows.push(row),
            None => settings.push((key, vec![row])),
        }
    }
    let by_steps = settings.iter().flat_map(|(_, rows)| split_by_steps(rows));
    by_steps.map(|(steps, rows)| group(steps, &rows)).collect()
}

/// All that must be equal for seconds and frames to be comparable; steps are looked at apart.
fn setting(row: &RunRow) -> String {
    let RunRow {
        model,
        weights,
        substituted,
        sampler,
        shift,
        guidance,
        frames,
        height,
        width,
        tokens,
        ..
    } = row;
    let RunRow {
        machine,
        device,
        dtype,
        threads,
        git_revision,
        ..
    } = row;
    format!(
        "{model}|{weights}|{substituted}|{sampler}|{shift}|{guidance}|{frames}|{height}|{width}|{tokens}|\
         {machine}|{device}|{dtype}|{threads}|{git_revision}"
    )
}

/// A run with fewer steps is a control of the run with all of them: it joins the largest step count.
fn split_by_steps<'a>(rows: &[&'a RunRow]) -> Vec<(u32, Vec<&'a RunRow>)> {
    let fewer = |row: &RunRow| row.policy.replace('_', "-") == "fewer-steps";
    let full: BTreeSet<u32> = rows.iter().filter(|row| !fewer(row)).map(|row| row.steps).collect();
    let most = full
        .last()
        .or(rows.iter().map(|row| &row.steps).max())
        .copied()
        .unwrap_or(0);
    let mut by_steps: BTreeMap<u32, Vec<&RunRow>> = BTreeMap::new();
    for &row in rows {
        by_steps
            .entry(if fewer(row) { most } else { row.steps })
            .or_default()
            .push(row);
    }
    by_steps.into_iter().collect()
}

type Pair<'a> = (&'a str, u64, u32); // prompt, seed, repeat

fn pair(row: &RunRow) -> Pair<'_> {
    (&row.prompt, row.seed, row.repeat)
}

fn group(steps: u32, rows: &[&RunRow]) -> Group {
    // The guidance mode is named where it tells rows apart: among uncached runs, or among policies.
    let modes = |off: bool| -> BTreeSet<&str> {
        let rows = rows.iter().filter(|row| (row.policy == "off") == off);
        rows.map(|row| row.guidance_mode.as_str()).collect()
    };
    let several = [modes(false).len() > 1, modes(true).len() > 1];
    let name = |row: &RunRow, text: &str| match row.guidance_mode.as_str() {
        mode if several[usize::from(row.policy == "off")] && !text.contains(mode) => {
            format!("{text} ({mode})")
        }
        _ => text.to_string(),
    };
    let mut configurations: BTreeMap<(String, String), Vec<&RunRow>> = BTreeMap::new();
    for &row in rows {
        configurations
            .entry((row.policy.clone(), name(row, &row.label)))
            .or_default()
            .push(row);
    }

    let off = configurations.iter().filter(|((policy, _), _)| policy == "off");
    let timed = off.filter_map(|((_, label), rows)| {
        let seconds: Vec<f64> = succeeded(rows).filter_map(|row| row.denoise_s).collect();
        (!seconds.is_empty()).then(|| (label.clone(), median(&mut seconds.clone()), rows))
    });
    let baseline = timed.min_by(|a, b| a.1.total_cmp(&b.1));
    let off_s: BTreeMap<Pair, f64> = baseline
        .iter()
        .flat_map(|(_, _, rows)| succeeded(rows))
        .filter_map(|row| Some((pair(row), row.denoise_s?)))
        .collect();

    let mut summaries: Vec<Summary> = configurations
        .iter()
        .map(|((_, label), rows)| Summary {
            label: label.clone(),
            series: name(rows[0], &rows[0].series),
            ..summary(rows, &off_s)
        })
        .collect();
    let speed = |summary: &Summary| summary.speedup.map_or(f64::INFINITY, |speedup| speedup.value);
    summaries.sort_by(|a, b| {
        let key = |s: &Summary| (!s.is_off(), !s.is_control(), s.series.clone());
        key(a).cmp(&key(b)).then(speed(a).total_cmp(&speed(b)))
    });
    Group {
        common: rows[0].clone(),
        steps,
        prompts: rows.iter().map(|row| &row.prompt).collect::<BTreeSet<_>>().len(),
        seeds: rows.iter().map(|row| row.seed).collect::<BTreeSet<_>>().len(),
        repeats: rows.iter().map(|row| row.repeat).collect::<BTreeSet<_>>().len(),
        baseline: baseline.map(|(label, seconds, _)| (label, seconds)),
        summaries,
    }
}

fn succeeded<'a>(rows: &'a [&'a RunRow]) -> impl Iterator<Item = &'a RunRow> {
    rows.iter().copied().filter(|row| row.error.is_none())
}

/// Everything but the names, which depend on the other rows.
fn summary(rows: &[&RunRow], off_s: &BTreeMap<Pair, f64>) -> Summary {
    let first = rows[0];
    let speedups = succeeded(rows).filter_map(|row| Some(off_s.get(&pair(row))? / row.denoise_s?));
    let ok = || succeeded(rows);
    Summary {
        policy: first.policy.clone(),
        knob: first.knob_name.clone().zip(first.knob),
        run_keys: rows.iter().map(|row| row.run_key.clone()).collect(),
        runs: ok().count(),
        failures: rows.len() - ok().count(),
        speedup: estimate(speedups.collect(), median),
        psnr_db: over_clips(ok(), |row| row.psnr_db),
        ssim: over_clips(ok(), |row| row.ssim),
        latent_rel_l2: over_clips(ok(), |row| row.latent_rel_l2),
        compute_fraction: mean_of(ok().filter_map(|row| row.compute_fraction)),
        reads: mean_of(ok().filter_map(|row| row.reads.map(f64::from))),
        cache_claimed_bytes: ok().filter_map(|row| row.cache_claimed_bytes).max(),
        cache_peak_bytes: ok().filter_map(|row| row.cache_peak_bytes).max(),
        ..Summary::default()
    }
}

/// Repeats of a clip differ in seconds, not in quality: they are one observation of quality.
pub(super) fn over_clips<'a>(
    rows: impl Iterator<Item = &'a RunRow>,
    value: impl Fn(&RunRow) -> Option<f64>,
) -> Option<Estimate> {
    let mut clips: BTreeMap<(&str, u64), Vec<f64>> = BTreeMap::new();
    for row in rows {
        if let Some(value) = value(row) {
            clips.entry((&row.prompt, row.seed)).or_default().push(value);
        }
    }
    estimate(clips.values().map(|values| mean(&mut values.clone())).collect(), mean)
}

fn estimate(mut values: Vec<f64>, statistic: fn(&mut [f64]) -> f64) -> Option<Estimate> {
    if values.is_empty() {
        return None;
    }
    let interval = (values.len() > 1).then(|| bootstrap(&values, statistic));
    Some(Estimate {
        value: statistic(&mut values),
        interval,
    })
}

/// 95 % percentile interval. The seed is fixed: the same results give the same report.
fn bootstrap(values: &[f64], statistic: fn(&mut [f64]) -> f64) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // xorshift64 (Marsaglia 2003); the high bits are the good ones.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[((state >> 32) as usize * values.len()) >> 32]
    };
    let mut statistics: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let mut resample: Vec<f64> = (0..values.len()).map(|_| draw()).collect();
            statistic(&mut resample)
        })
        .collect();
    statistics.sort_by(f64::total_cmp);
    let at = |share: f64| statistics[(share * (RESAMPLES - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

fn mean(values: &mut [f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| mean(&mut values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &str, prompt: &str, repeat: u32, seconds: f64) -> RunRow {
        RunRow {
            policy: policy.into(),
            label: policy.into(),
            series: policy.into(),
            prompt: prompt.into(),
            repeat,
            steps: 50,
            denoise_s: Some(seconds),
            ..RunRow::default()
        }
    }

    fn find<'a>(group: &'a Group, label: &str) -> &'a Summary {
        group.summaries.iter().find(|summary| summary.label == label).unwrap()
    }

    #[test]
    fn speed_is_compared_with_the_uncached_run_of_the_same_prompt() {
        // The slow prompt is slow for both: unpaired medians would give another ratio.
        let runs = [
            run("off", "short", 0, 10.0),
            run("off", "long", 0, 100.0),
            run("tea", "short", 0, 5.0),
            run("tea", "long", 0, 50.0),
        ];
        let groups = summarise(&runs);
        let speedup = find(&groups[0], "tea").speedup.unwrap();
        assert_eq!(
            speedup,
            Estimate {
                value: 2.0,
                interval: Some((2.0, 2.0))
            }
        );
        assert_eq!(find(&groups[0], "off").speedup.unwrap().value, 1.0);
    }

    #[test]
    fn the_faster_of_two_uncached_modes_is_the_baseline() {
        let mode = |mode: &str, row| RunRow {
            guidance_mode: mode.into(),
            ..row
        };
        let runs = [
            mode("two-pass", run("off", "p", 0, 10.0)),
            mode("batched", run("off", "p", 0, 8.0)),
            mode("two-pass", run("tea", "p", 0, 4.0)),
        ];
        let group = summarise(&runs).remove(0);
        assert_eq!(group.baseline, Some(("off (batched)".to_string(), 8.0)));
        assert_eq!(find(&group, "tea").speedup.unwrap().value, 2.0);
        assert_eq!(find(&group, "off (two-pass)").speedup.unwrap().value, 0.8);
    }

    #[test]
    fn repeats_of_a_clip_do_not_narrow_the_interval_of_quality() {
        let with = |psnr, row| RunRow {
            psnr_db: Some(psnr),
            ..row
        };
        let once = vec![with(30.0, run("tea", "a", 0, 1.0)), with(40.0, run("tea", "b", 0, 1.0))];
        let mut thrice = once.clone();
        for repeat in 1..3 {
            thrice.extend(once.iter().map(|row| RunRow { repeat, ..row.clone() }));
        }
        let psnr = |runs: &[RunRow]| summarise(runs)[0].summaries[0].psnr_db.unwrap();
        assert_eq!(psnr(&once), psnr(&thrice));
        assert_eq!(
            psnr(&once),
            Estimate {
                value: 35.0,
                interval: Some((30.0, 40.0))
            }
        );
    }

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let (low, high) = bootstrap(&values, mean);
        // Uniform on 0..20: sd 5.77, standard error .288, so 9.5 ± .565; a bootstrap of 2000 is within a tenth.
        assert!(
            (low - (9.5 - 0.565)).abs() < 0.06 && (high - (9.5 + 0.565)).abs() < 0.06,
            "{low} {high}"
        );
    }

    #[test]
    fn failed_runs_are_counted_and_measure_nothing() {
        let failed = RunRow {
            error: Some("out of memory".into()),
            ..run("tea", "a", 0, 0.001)
        };
        let groups = summarise(&[run("off", "a", 0, 10.0), failed]);
        let tea = find(&groups[0], "tea");
        assert_eq!((tea.runs, tea.failures, tea.speedup), (0, 1, None));
    }

    #[test]
    fn realised_is_the_share_of_the_saved_work_that_became_speed() {
        let half = RunRow {
            compute_fraction: Some(0.25),
            ..run("tea", "a", 0, 5.0)
        };
        let groups = summarise(&[run("off", "a", 0, 10.0), half]);
        assert_eq!(find(&groups[0], "tea").realised(), Some(0.5));
    }

    #[test]
    fn devices_and_step_counts_are_not_mixed_but_fewer_steps_joins_its_full_run() {
        let fewer = RunRow {
            steps: 20,
            ..run("fewer-steps", "a", 0, 4.0)
        };
        let gpu = RunRow {
            device: "gpu".into(),
            ..run("off", "a", 0, 1.0)
        };
        let short = RunRow {
            steps: 25,
            ..run("off", "a", 0, 5.0)
        };
        let groups = summarise(&[run("off", "a", 0, 10.0), fewer, gpu, short]);
        assert_eq!(groups.iter().map(|group| group.steps).collect::<Vec<_>>(), [25, 50, 50]);
        let speedup = groups.iter().find_map(|group| {
            let summary = group.summaries.iter().find(|s| s.policy == "fewer-steps")?;
            Some(summary.speedup.unwrap().value)
        });
        assert_eq!(speedup, Some(2.5));
    }

    #[test]
    fn controls_are_told_from_policies() {
        let summary = |policy: &str, series: &str| Summary {
            policy: policy.into(),
            series: series.into(),
            ..Summary::default()
        };
        assert!(summary("fewer_steps", "fewer_steps").is_control());
        assert!(summary("step", "step schedule=random form=residual").is_control());
        assert!(!summary("step", "step form=residual").is_control());
        assert!(summary("mix", "mix penalty=last").is_mix());
    }
}
