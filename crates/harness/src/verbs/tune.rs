//! `mixcache tune`: find the value of a policy's knob that gives a speed-up, or a quality.

use super::Chosen;
use crate::experiment::{Experiment, Variant};
use crate::runner::{Cell, Reference, Runner};
use crate::schema::RunRow;
use crate::subject::Subject;
use crate::terminal;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// Find the value of a policy's knob for a target: a bracketed search with real runs.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// A policy of the experiment with a swept knob, by its name or label.
    #[arg(long)]
    policy: String,
    #[command(flatten)]
    target: Target,
    /// Values of the knob to try at most.
    #[arg(long, default_value_t = 10)]
    tries: usize,
    /// Print what was tried and found as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// Speed-up by the count of operations, e.g. 2.0.
    #[arg(long)]
    speedup: Option<f64>,
    /// Mean PSNR against the uncached run, in dB.
    #[arg(long)]
    psnr: Option<f64>,
    /// Mean LPIPS against the uncached run.
    #[arg(long)]
    lpips: Option<f64>,
}

/// What is aimed at. Every quantity is turned so that it falls as more is computed.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Aim {
    Speedup(f64),
    Psnr(f64),
    Lpips(f64),
}

impl Aim {
    fn of(target: &Target) -> Aim {
        match (target.speedup, target.psnr, target.lpips) {
            (Some(speedup), _, _) => Aim::Speedup(speedup),
            (_, Some(psnr), _) => Aim::Psnr(psnr),
            (_, _, lpips) => Aim::Lpips(lpips.expect("clap asks for one")),
        }
    }
    fn target(self) -> f64 {
        match self {
            Aim::Speedup(x) | Aim::Psnr(x) | Aim::Lpips(x) => x,
        }
    }
    fn unit(self) -> &'static str {
        match self {
            Aim::Speedup(_) => "× by compute",
            Aim::Psnr(_) => "dB PSNR",
            Aim::Lpips(_) => "LPIPS",
        }
    }
    fn of_row(self, row: &RunRow) -> Option<f64> {
        match self {
            Aim::Speedup(_) => row.compute_fraction.map(|share| 1.0 / share),
            Aim::Psnr(_) => row.psnr_db,
            Aim::Lpips(_) => row.lpips,
        }
    }
    /// Close enough: 2 % of a speed-up, half a decibel, a twentieth of a distance.
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Aim::Speedup(target) => (value / target - 1.0).abs() < 0.02,
            Aim::Psnr(target) => (value - target).abs() < 0.5,
            Aim::Lpips(target) => (value / target - 1.0).abs() < 0.05,
        }
    }
}

/// What a value of the knob gave, over the clips.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    knob: f64,
    values: Vec<f64>,
    compute: f64,
    warnings: String,
}

impl Tried {
    fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }
    /// Standard error of the mean over clips.
    fn error(&self) -> f64 {
        let (n, mean) = (self.values.len() as f64, self.mean());
        (self.values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n * (n - 1.0).max(1.0))).sqrt()
    }
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle_for(args.json)?;
    let aim = Aim::of(&args.target);
    let family = family(&experiment, &args.policy)?;
    let subject = Subject::load(&experiment)?;
    let runner = Runner::new(&experiment, &subject);
    let mut references = HashMap::new();
    // On its way it speaks to people, whoever reads the outcome.
    let tell = |line: String| match args.json {
        true => eprintln!("{line}"),
        false => terminal::say(&line),
    };
    let mut measure = |knob: f64| -> Result<Tried> {
        let tried = measure(&runner, &experiment, &family[0], knob, aim, &mut references)?;
        let (mean, error) = (tried.mean(), tried.error());
        tell(format!(
            "{} = {knob:<10} {mean:8.3} ± {error:.3} {}, compute {:.1} %",
            knob_name(&family[0]),
            aim.unit(),
            100.0 * tried.compute
        ));
        Ok(tried)
    };
    let knobs: Vec<f64> = family
        .iter()
        .filter_map(|variant| variant.knob.as_ref().map(|knob| knob.1))
        .collect();
    let whole = whole_numbers(&family[0])?;
    let tried = search(&knobs, whole, aim, args.tries, &tell, &mut measure)?;
    let (best, mut notes) = (nearest(&tried, aim), notes(&family[0], &tried, aim));
    let through = experiment.metrics.through.filter(|_| !matches!(aim, Aim::Speedup(_)));
    notes.extend(through.map(|through| format!("note: frames were measured through {}", through.in_words())));
    if args.json {
        let found = json!({
            "policy": family[0].series,
            "knob_name": knob_name(&family[0]),
            "target": aim.target(),
            "unit": aim.unit(),
            "is_met": aim.is_met_by(best.mean()),
            "substituted": experiment.substituted,
            "through": experiment.metrics.through,
            "best": best,
            "notes": notes,
            "tried": tried,
        });
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        println!();
        terminal::say(&verdict(&family[0], best, aim));
        for note in notes {
            terminal::say_item(&note);
        }
    }
    Ok(())
}

fn knob_name(variant: &Variant) -> &str {
    variant.knob.as_ref().map_or("", |knob| &knob.0)
}

/// The variants of the curve that `name` means.
fn family(experiment: &Experiment, name: &str) -> Result<Vec<Variant>> {
    let swept = || experiment.policies.iter().filter(|variant| variant.knob.is_some());
    let found: Vec<Variant> = swept()
        .filter(|v| v.series == name || v.label == name)
        .cloned()
        .collect();
    if let Some(first) = found.first() {
        return Ok(swept().filter(|v| v.series == first.series).cloned().collect());
    }
    let mut known: Vec<&str> = swept().map(|variant| variant.series.as_str()).collect();
    known.dedup();
    bail!(
        "experiment {} sweeps no knob of a policy `{name}`; those it does: {}",
        experiment.name,
        known.join(", ")
    )
}

/// Whether the knob counts something.
fn whole_numbers(variant: &Variant) -> Result<bool> {
    let value = serde_json::to_value(&variant.spec)?;
    Ok(value[knob_name(variant)].is_u64())
}

/// The variant with another value of its knob.
fn with_knob(variant: &Variant, knob: f64) -> Result<Variant> {
    let name = knob_name(variant).to_string();
    let mut spec = serde_json::to_value(&variant.spec)?;
    spec[&name] = if whole_numbers(variant)? {
        serde_json::json!(knob.round() as u64)
    } else {
        serde_json::json!(knob)
    };
    Ok(Variant {
        spec: serde_json::from_value(spec)?,
        label: format!("{} {name}={knob}", variant.series),
        knob: Some((name, knob)),
        ..variant.clone()
    })
}

fn measure(
    runner: &Runner,
    experiment: &Experiment,
    variant: &Variant,
    knob: f64,
    aim: Aim,
    references: &mut HashMap<(usize, u64), Arc<Reference>>,
) -> Result<Tried> {
    let variant = with_knob(variant, knob)?;
    let (mut values, mut shares, mut warnings) = (vec![], vec![], String::new());
    for prompt in 0..experiment.runs.prompts.len() {
        for &seed in &experiment.runs.seeds {
            let cell = |variant: Variant| Cell {
                variant,
                prompt,
                seed,
                repeat: 0,
            };
            if aim != Aim::Speedup(aim.target()) && !references.contains_key(&(prompt, seed)) {
                let off = runner.measure(&cell(Variant::off()), None);
                let made = off.made.with_context(|| off.row.error.unwrap_or_default())?;
                references.insert((prompt, seed), made);
            }
            let row = runner
                .measure(&cell(variant.clone()), references.get(&(prompt, seed)))
                .row;
            if let Some(error) = row.error {
                bail!("{}: {error}", variant.label);
            }
            let value = aim.of_row(&row);
            values.push(
                value.with_context(|| format!("this model gives no {}: random weights, or no decoder", aim.unit()))?,
            );
            shares.push(row.compute_fraction.unwrap_or(1.0));
            warnings = row.warnings;
        }
    }
    let compute = shares.iter().sum::<f64>() / shares.len() as f64;
    Ok(Tried {
        knob,
        values,
        compute,
        warnings,
    })
}

/// Brackets the target with the knobs the experiment lists, widened where they do not reach it, then narrows the
/// bracket where the line between its ends meets the target (whole numbers: in the middle), in ratio, for knobs are
/// scales; until the target is met or `tries` are used up.
fn search(
    listed: &[f64],
    whole: bool,
    aim: Aim,
    tries: usize,
    tell: &dyn Fn(String),
    measure: &mut dyn FnMut(f64) -> Result<Tried>,
) -> Result<Vec<Tried>> {
    let low = listed.iter().copied().fold(f64::INFINITY, f64::min);
    let high = listed.iter().copied().fold(0.0, f64::max);
    ensure!(
        low > 0.0 && low < high,
        "the experiment lists {listed:?}: expected two different knobs above 0 to start from"
    );
    let mut tried = vec![measure(low)?, measure(high)?];
    while tried.len() < tries.max(2) {
        tried.sort_by(|a, b| a.knob.total_cmp(&b.knob));
        if tried.iter().any(|t| aim.is_met_by(t.mean())) {
            break;
        }
        let target = aim.target();
        let crosses = tried
            .windows(2)
            .find(|pair| (pair[0].mean() < target) != (pair[1].mean() < target));
        let (first, last) = (&tried[0], &tried[tried.len() - 1]);
        let next = match crosses {
            Some(pair) => {
                let line = (target - pair[0].mean()) / (pair[1].mean() - pair[0].mean());
                let share = if whole { 0.5 } else { line.clamp(0.1, 0.9) };
                pair[0].knob.powf(1.0 - share) * pair[1].knob.powf(share)
            }
            None if (first.mean() - target).abs() < (last.mean() - target).abs() => first.knob / 2.0,
            None => last.knob * 2.0,
        };
        let next = if whole {
            next.round().max(1.0)
        } else {
            format!("{next:.3e}").parse().expect("a number")
        };
        if tried.iter().any(|t| t.knob == next) {
            break; // nothing lies between two whole numbers
        }
        match measure(next) {
            Ok(found) => tried.push(found),
            Err(reason) if crosses.is_none() => {
                tell(format!("stopped at the edge of the knob: {reason:#}"));
                break;
            }
            Err(reason) => return Err(reason),
        }
    }
    tried.sort_by(|a, b| a.knob.total_cmp(&b.knob));
    Ok(tried)
}

/// What came nearest to the target.
fn nearest(tried: &[Tried], aim: Aim) -> &Tried {
    let distance = |t: &&Tried| (t.mean() - aim.target()).abs();
    let best = tried.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    best.expect("two were tried")
}

/// What was found.
fn verdict(variant: &Variant, best: &Tried, aim: Aim) -> String {
    format!(
        "{}: {} = {} gives {:.3} ± {:.3} {} (asked {}), compute {:.1} %",
        variant.series,
        knob_name(variant),
        best.knob,
        best.mean(),
        best.error(),
        aim.unit(),
        aim.target(),
        100.0 * best.compute
    )
}

/// What to beware of.
fn notes(variant: &Variant, tried: &[Tried], aim: Aim) -> Vec<String> {
    let (name, best, mut lines) = (knob_name(variant), nearest(tried, aim), vec![]);
    if !aim.is_met_by(best.mean()) {
        lines.push("warning: the target was not met; the nearest value is shown".into());
    }
    if tried.iter().all(|t| t.compute == tried[0].compute) {
        let always = if tried[0].compute == 1.0 {
            "never skips anything"
        } else {
            "always skips the same"
        };
        lines.push(format!(
            "warning: the knob is inert from {} to {}: the policy {always}",
            tried[0].knob,
            tried[tried.len() - 1].knob
        ));
    }
    let spread =
        tried.iter().map(|t| t.compute).fold(0.0, f64::max) - tried.iter().map(|t| t.compute).fold(1.0, f64::min);
    let cliff = |pair: &[Tried]| {
        pair[1].knob / pair[0].knob < 1.25 && (pair[1].compute - pair[0].compute).abs() > spread.max(0.1) / 2.0
    };
    if let Some(pair) = tried.windows(2).find(|pair| cliff(pair)) {
        lines.push(format!(
            "warning: a cliff: from {name} = {} to {} the compute goes from {:.0} % to {:.0} %",
            pair[0].knob,
            pair[1].knob,
            100.0 * pair[0].compute,
            100.0 * pair[1].compute
        ));
    }
    if !best.warnings.is_empty() {
        lines.push(format!("warning: {}", best.warnings));
    }
    if best.values.len() < 3 {
        lines.push("note: one or two clips say little; `--full` takes all prompts and seeds".into());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(knob: f64, speedup: f64) -> Tried {
        Tried {
            knob,
            values: vec![speedup],
            compute: 1.0 / speedup,
            warnings: String::new(),
        }
    }

    #[test]
    fn a_smooth_knob_is_found_outside_the_listed_values_in_few_tries() {
        let aim = Aim::Speedup(3.0);
        let tried = search(&[0.05, 0.1], false, aim, 10, &|_| {}, &mut |knob| {
            Ok(found(knob, 1.0 + 8.0 * knob))
        })
        .unwrap();
        assert!(
            tried.len() <= 7 && tried.iter().any(|t| aim.is_met_by(t.mean())),
            "{tried:?}"
        );
    }

    #[test]
    fn a_knob_that_does_nothing_and_one_that_does_all_at_once_are_told() {
        let variant = Variant::off();
        let inert: Vec<Tried> = [0.1, 0.2, 0.4].map(|knob| found(knob, 1.0)).into();
        let told = notes(&variant, &inert, Aim::Speedup(2.0)).join("\n");
        assert!(told.contains("inert from 0.1 to 0.4: the policy never skips"), "{told}");
        let aim = Aim::Speedup(2.0);
        let cliff = search(&[0.1, 0.2], false, aim, 8, &|_| {}, &mut |knob| {
            Ok(found(knob, if knob < 0.13 { 1.0 } else { 5.0 }))
        })
        .unwrap();
        assert!(notes(&variant, &cliff, aim).join("\n").contains("a cliff"), "{cliff:?}");
    }

    #[test]
    fn a_whole_number_is_tried_once() {
        let tried = search(&[2.0, 5.0], true, Aim::Speedup(2.6), 10, &|_| {}, &mut |knob| {
            Ok(found(knob, knob))
        })
        .unwrap();
        assert_eq!(tried.iter().map(|t| t.knob).collect::<Vec<_>>(), [2.0, 3.0, 5.0]);
    }
}
