//! From runs to numbers: what each configuration gained and what it cost.

use crate::schema::{Knob, RunRow};
pub use crate::stats::Estimate;
use crate::stats::{estimate, mean, median, pair_spread};
use mixcache_policies::PolicySpec;
use mixcache_policies::planned::OWN_MOMENTS;
use std::collections::{BTreeMap, BTreeSet};

/// Policies and words of a series' name that mark a control: something a cache policy has to beat.
const CONTROLS: [&str; 4] = ["off", "fewer-steps", "uniform", "random"];

/// What the name of a curve begins with that the experiment marks with `upper = true`.
pub const UPPER_LINE: &str = "upper line (estimate)";

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
    /// How far two runs of that configuration are apart for no reason but the machine: the ratio of their seconds (a
    /// unit of work) that [`pair_spread`] lets one expect. Needs two runs.
    pub off_spread: Option<f64>,
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
    /// Curve it belongs to; of an upper line it begins with the words for one.
    pub series: String,
    /// Swept knob.
    pub knob: Option<(String, f64)>,
    /// Whether the experiment marks it as the upper line.
    pub is_upper: bool,
    /// Whether it may reuse at more than one granularity, by what its kind may do.
    /// Kinds that this program does not know count as hybrids: nothing is claimed of them.
    pub is_hybrid: bool,
    /// Whether it was told what only the uncached run of the same clip can know.
    pub knows_the_clip: bool,
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
    pub ms_ssim: Option<Estimate>,
    /// Mean over clips.
    pub lpips: Option<Estimate>,
    /// Mean over clips.
    pub flicker_error: Option<Estimate>,
    /// Mean over clips.
    pub warping_error: Option<Estimate>,
    /// Mean over clips.
    pub latent_rel_l2: Option<Estimate>,
    /// Mean share of the uncached transformer work.
    pub compute_fraction: Option<f64>,
    /// Mean device-to-host reads a run.
    pub reads: Option<f64>,
    /// Mean measurements a run.
    pub looks: Option<f64>,
    /// Mean share of the seconds spent in measurements.
    pub looks_share: Option<f64>,
    /// Largest over runs.
    pub cache_claimed_bytes: Option<u64>,
    /// Largest over runs.
    pub cache_peak_bytes: Option<u64>,
    /// The same numbers clip by clip, by prompt and seed.
    pub clips: Vec<Clip>,
}

/// What a configuration did on one clip, repeats taken together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clip {
    /// Prompt and seed.
    pub key: (String, u64),
    /// Median over repeats.
    pub speedup: Option<f64>,
    /// Share of the uncached work: repeats differ in seconds, not in work or quality.
    pub compute_fraction: Option<f64>,
    /// The same.
    pub psnr_db: Option<f64>,
    /// The same.
    pub lpips: Option<f64>,
    /// The same.
    pub latent_rel_l2: Option<f64>,
    /// Of the first repeat; empty where it was not measured.
    pub i3d_logits: Vec<f32>,
}

impl Summary {
    /// Share of the speed-up that the saved work promised: speed-up / (1 / compute fraction).
    pub fn realised(&self) -> Option<f64> {
        Some(self.speedup?.value * self.compute_fraction?)
    }

    /// Its label without the kind of policy.
    pub fn knobs(&self) -> &str {
        self.label.strip_prefix(&self.policy).unwrap_or(&self.label).trim()
    }

    /// Whether it is faster than the work it saved can explain, beyond what the uncached runs differ among themselves:
    /// then the clock, the count of operations or the runs are wrong.
    pub fn is_impossible(&self, off_spread: Option<f64>) -> bool {
        self.realised()
            .zip(off_spread)
            .is_some_and(|(realised, spread)| realised > spread)
    }

    /// The uncached run itself.
    pub fn is_off(&self) -> bool {
        self.policy == "off"
    }

    /// A control, as opposed to a policy under test.
    pub fn is_control(&self) -> bool {
        let names = format!("{} {}", self.policy, self.series).replace('_', "-");
        !self.is_upper && names.split([' ', '=', ',']).any(|word| CONTROLS.contains(&word))
    }

    /// Whether another policy is amended, which is this project's addition to it.
    pub fn is_amended(&self) -> bool {
        self.policy == "amended"
    }

    /// Whether it is a policy under test, as others publish it, that reuses at one granularity alone.
    pub fn is_of_one_granularity(&self) -> bool {
        !self.is_control() && !self.is_upper && !self.is_hybrid && !self.is_amended()
    }

    /// The policy this project is about.
    pub fn is_mix(&self) -> bool {
        !self.is_control() && !self.is_upper && self.policy.starts_with("mix")
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

    /// The title of a metric of frames, with what they went through before they were measured.
    pub fn of_frames(&self, title: &str) -> String {
        match self.common.through.as_str() {
            "" => title.to_string(),
            through => format!("{title} ({through})"),
        }
    }

    /// `wan-1.3b, unipc 50 steps, shift 5, guidance 5, 33×480×832, 8190 tokens`, and what frames went through before they were
    /// measured.
    pub fn describe(&self) -> String {
        let RunRow {
            model,
            sampler,
            shift,
            frames,
            height,
            width,
            tokens,
            through,
            ..
        } = &self.common;
        let mut text = format!(
            "{model}, {sampler} {} steps, shift {shift}, guidance {}, {frames}×{height}×{width}, {tokens} tokens",
            self.steps,
            self.common.guidance_in_words()
        );
        if !through.is_empty() {
            text += &format!(", frames measured through {through}");
        }
        text
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
        through,
        sampler,
        shift,
        frames,
        height,
        width,
        tokens,
        ..
    } = row;
    let guidance = row.guidance_in_words();
    let RunRow {
        machine,
        device,
        dtype,
        threads,
        git_revision,
        ..
    } = row;
    format!(
        "{model}|{weights}|{substituted}|{through}|{sampler}|{shift}|{guidance}|{frames}|{height}|{width}|{tokens}|\
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
            series: match rows[0].upper {
                true => format!("{UPPER_LINE}: {}", name(rows[0], &rows[0].series)),
                false => name(rows[0], &rows[0].series),
            },
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
        off_spread: baseline.as_ref().and_then(|(_, _, rows)| off_spread(rows)),
        baseline: baseline.map(|(label, seconds, _)| (label, seconds)),
        summaries,
    }
}

fn succeeded<'a>(rows: &'a [&'a RunRow]) -> impl Iterator<Item = &'a RunRow> {
    rows.iter().copied().filter(|row| row.error.is_none())
}

/// See [`Group::off_spread`]. Seconds are divided by the work, which the length of a prompt may change.
fn off_spread(rows: &[&RunRow]) -> Option<f64> {
    let pace = |row: &RunRow| Some(row.denoise_s? / row.flops.unwrap_or(1.0));
    pair_spread(&succeeded(rows).filter_map(pace).collect::<Vec<_>>())
}

/// Everything but the names, which depend on the other rows.
fn summary(rows: &[&RunRow], off_s: &BTreeMap<Pair, f64>) -> Summary {
    let first = rows[0];
    let speedup = |row: &RunRow| Some(off_s.get(&pair(row))? / row.denoise_s?);
    let ok = || succeeded(rows);
    let clips = clips(ok(), speedup);
    let speedups: Vec<f64> = ok().filter_map(speedup).collect();
    Summary {
        policy: first.policy.clone(),
        is_upper: first.upper,
        is_hybrid: PolicySpec::is_hybrid(&first.policy) != Some(false),
        knows_the_clip: first.knobs.get("moments") == Some(&Knob::Text(OWN_MOMENTS.into())),
        knob: first.knob_name.clone().zip(first.knob),
        run_keys: rows.iter().map(|row| row.run_key.clone()).collect(),
        runs: ok().count(),
        failures: rows.len() - ok().count(),
        speedup: estimate(&speedups, median),
        psnr_db: over_clips(ok(), |row| row.psnr_db),
        ssim: over_clips(ok(), |row| row.ssim),
        ms_ssim: over_clips(ok(), |row| row.ms_ssim),
        lpips: over_clips(ok(), |row| row.lpips),
        flicker_error: over_clips(ok(), |row| row.flicker_error),
        warping_error: over_clips(ok(), |row| row.warping_error),
        latent_rel_l2: over_clips(ok(), |row| row.latent_rel_l2),
        compute_fraction: mean_of(ok().filter_map(|row| row.compute_fraction)),
        reads: mean_of(ok().filter_map(|row| row.reads.map(f64::from))),
        looks: mean_of(ok().filter_map(|row| row.looks.map(f64::from))),
        looks_share: mean_of(ok().filter_map(|row| Some(row.looks_s? / row.denoise_s?))),
        cache_claimed_bytes: ok().filter_map(|row| row.cache_claimed_bytes).max(),
        cache_peak_bytes: ok().filter_map(|row| row.cache_peak_bytes).max(),
        clips,
        ..Summary::default()
    }
}

/// Runs of each clip.
fn by_clip<'a>(rows: impl Iterator<Item = &'a RunRow>) -> BTreeMap<(&'a str, u64), Vec<&'a RunRow>> {
    let mut clips: BTreeMap<(&str, u64), Vec<&RunRow>> = BTreeMap::new();
    for row in rows {
        clips.entry((&row.prompt, row.seed)).or_default().push(row);
    }
    clips
}

/// Repeats of a clip differ in seconds, not in quality: they are one observation of quality.
pub(super) fn over_clips<'a>(
    rows: impl Iterator<Item = &'a RunRow>,
    value: impl Fn(&RunRow) -> Option<f64>,
) -> Option<Estimate> {
    let clips = by_clip(rows);
    let means = clips
        .values()
        .filter_map(|rows| mean_of(rows.iter().filter_map(|row| value(row))));
    estimate(&means.collect::<Vec<_>>(), mean)
}

fn clips<'a>(rows: impl Iterator<Item = &'a RunRow>, speedup: impl Fn(&RunRow) -> Option<f64>) -> Vec<Clip> {
    let clip = |((prompt, seed), rows): ((&str, u64), Vec<&RunRow>)| {
        let mean_over = |value: fn(&RunRow) -> Option<f64>| mean_of(rows.iter().filter_map(|row| value(row)));
        let mut speedups: Vec<f64> = rows.iter().filter_map(|row| speedup(row)).collect();
        Clip {
            key: (prompt.to_string(), seed),
            speedup: (!speedups.is_empty()).then(|| median(&mut speedups)),
            compute_fraction: mean_over(|row| row.compute_fraction),
            psnr_db: mean_over(|row| row.psnr_db),
            lpips: mean_over(|row| row.lpips),
            latent_rel_l2: mean_over(|row| row.latent_rel_l2),
            i3d_logits: rows[0].i3d_logits.clone(),
        }
    };
    by_clip(rows).into_iter().map(clip).collect()
}

fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| mean(&mut values))
}

#[cfg(test)]
mod tests;
