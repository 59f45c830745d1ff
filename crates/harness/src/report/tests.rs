//! A made-up sweep, and what its report must say.

mod comparisons;
mod pictures;
mod recordings;

use super::*;
use crate::machine::Machine;
use crate::record::Recording;
use crate::schema::Knob;

const EXPERIMENT: &str = r#"
title = "Cache policies on a made-up model"
analysis = '''
Numbers in this recording are invented.
'''
"#;

/// Kind, series, name and values of the swept knob, share of work at a value, PSNR lost at full speed.
type Sweep = (
    &'static str,
    &'static str,
    &'static str,
    &'static [f64],
    fn(f64) -> f64,
    f64,
);

const SWEEPS: [Sweep; 7] = [
    ("off", "off", "", &[0.0], |_| 1.0, 0.0),
    (
        "fewer-steps",
        "fewer-steps",
        "steps",
        &[20.0, 25.0, 30.0, 40.0],
        |n| n / 50.0,
        24.0,
    ),
    (
        "step",
        "step schedule=uniform form=residual",
        "interval",
        &[2.0, 3.0, 4.0, 5.0],
        |n| 0.12 + 0.88 / n,
        21.0,
    ),
    (
        "step",
        "step schedule=random form=residual",
        "share",
        &[0.3, 0.5, 0.7],
        |share| 1.0 - share * 0.9,
        25.0,
    ),
    (
        "step",
        "step form=output",
        "interval",
        &[2.0, 3.0, 4.0],
        |n| 0.14 + 0.86 / n,
        23.0,
    ),
    (
        "tea",
        "tea coefficients=wan-1.3b",
        "threshold",
        &[0.05, 0.08, 0.1, 0.15, 0.2],
        |t| 1.0 / (1.0 + 9.0 * t),
        17.0,
    ),
    (
        "mix",
        "mix penalty=last",
        "interval",
        &[2.0, 3.0, 4.0, 5.0],
        |n| 0.16 + 0.84 / (n * 0.9),
        12.0,
    ),
];

/// A plausible sweep: 3 prompts × 2 seeds, quality falling with speed at a rate that depends on the policy.
pub(super) fn sweep() -> (Vec<RunRow>, Vec<EventRow>) {
    let (mut runs, mut events) = (Vec::new(), Vec::new());
    for (policy, series, knob_name, values, work, loss) in SWEEPS {
        for (&value, clip) in values.iter().flat_map(|value| (0..6).map(move |clip| (value, clip))) {
            let work = work(value);
            let noise = f64::from((clip * 7 + 3) % 11) / 11.0 - 0.5;
            let off = policy == "off";
            let psnr = 38.0 - loss * (1.0 / work - 1.0) / 1.5 + 3.0 * noise;
            let label = if off {
                "off".into()
            } else {
                format!("{series} {knob_name}={value}")
            };
            let run = RunRow {
                run_key: format!("{:016x}", runs.len()),
                experiment: "sweep".into(),
                git_revision: "abcdef0".into(),
                machine: "AMD EPYC 7B13, 2 cores, 23.4 GiB".into(),
                device: "cpu (flex)".into(),
                dtype: "f32".into(),
                model: "wan-mini".into(),
                weights: "trained for this project".into(),
                sampler: "unipc".into(),
                steps: if policy == "fewer-steps" { value as u32 } else { 50 },
                shift: 5.0,
                guidance: 5.0,
                guidance_mode: "two-pass".into(),
                frames: 9,
                height: 64,
                width: 64,
                tokens: 768,
                threads: 2,
                policy: policy.into(),
                label,
                series: series.into(),
                knob: (!off).then_some(value),
                knob_name: (!off).then(|| knob_name.into()),
                knobs: [(knob_name.to_string(), Knob::Float(value))]
                    .into_iter()
                    .filter(|_| !off)
                    .collect(),
                prompt: ["a red fox", "a spinning globe", "rain on a window"][clip as usize / 2].into(),
                prompt_index: clip / 2,
                seed: u64::from(clip % 2),
                denoise_s: Some((60.0 + 3.0 * noise) * (work + 0.03 * f64::from(!off as u8) + 0.01 * noise)),
                compute_fraction: Some(work),
                reads: Some(if policy == "tea" { 50 } else { 0 }),
                cache_claimed_bytes: Some(if off { 0 } else { 9 << 20 }),
                cache_peak_bytes: Some(if off { 0 } else { 6 << 20 }),
                psnr_db: (!off).then_some(psnr),
                ssim: (!off).then_some(1.0 - 10f64.powf(-psnr / 25.0)),
                lpips: (!off).then_some(10f64.powf(-psnr / 20.0)),
                latent_rel_l2: (!off).then_some(10f64.powf(-psnr / 20.0) * 4.0),
                ..RunRow::default()
            };
            events.extend(decisions(&run));
            runs.push(run);
        }
    }
    (runs, events)
}

/// Steps of a 12-block model; `mix` takes turns between its three granularities.
fn decisions(run: &RunRow) -> Vec<EventRow> {
    let mut events: Vec<EventRow> = Vec::new();
    for (step, branch) in (0..run.steps).flat_map(|step| [(step, 0), (step, 1)]) {
        let full = step < 5 || step + 1 == run.steps;
        let mut push = |action: &str, value: Option<&str>, blocks: (u32, u32)| {
            events.push(EventRow {
                run_key: run.run_key.clone(),
                index: events.len() as u32,
                step,
                branch,
                full,
                block_from: blocks.0,
                block_to: blocks.1,
                action: action.into(),
                value: value.map(Into::into),
                ..EventRow::default()
            });
        };
        let reuse = !full && step % 4 != 0 && !["off", "fewer-steps"].contains(&run.policy.as_str());
        match (reuse, run.policy.as_str(), step % 4) {
            (true, "mix", 2) if branch == 1 => {
                push("reuse", Some("output: conditional + guidance difference"), (0, 12))
            }
            (true, "mix", 1) => {
                push("compute", None, (0, 3));
                push("reuse", Some("delta of the middle blocks"), (3, 10));
                push("compute", None, (10, 12));
            }
            (true, "mix", 3) => push("reuse", Some("output"), (0, 12)),
            (true, "mix", _) | (false, ..) => {
                if run.policy == "tea" || run.policy == "mix" {
                    push("look", None, (0, 0));
                }
                push("compute", None, (0, 12));
            }
            (true, ..) => push("reuse", Some("residual of all blocks"), (0, 12)),
        }
    }
    events
}

pub(super) fn recorded(runs: &[RunRow], events: &[EventRow]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let mut recording = Recording::create(
        root.path(),
        "sweep",
        EXPERIMENT,
        "0123456789abcdef",
        "abc",
        &Machine::detect(),
    )
    .unwrap();
    for run in runs {
        recording.append(run, &own(run, events)).unwrap();
    }
    let directory = recording.finish().unwrap();
    (root, directory)
}

/// `REPORT_SAMPLE=folder` keeps the pictures, to be looked at.
pub(super) fn keep(name: &str, report: &Report) {
    if let Some(folder) = std::env::var_os("REPORT_SAMPLE") {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in &report.files {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
}
