//! What a run measured, as curves over its steps, and what it compared with its threshold.

use super::rounded;
use crate::schema::{EventRow, Knob, RunRow};
use mixcache_policies::plan::{Move, Probe, Source, Term, Value, Weight};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The curves of a run.
#[derive(Serialize)]
pub struct Signals {
    signals: Vec<Signal>,
    threshold: Option<f64>,
    /// How to read the curves, where the recording alone does not say it all.
    note: String,
}

/// One measurement along the steps.
#[derive(Serialize)]
struct Signal {
    name: String,
    branch: u32,
    /// Whether this is what was compared with the threshold.
    decides: bool,
    /// Whether it is a relative change, as against a gain or an angle, which have other scales.
    change: bool,
    steps: Vec<u32>,
    values: Vec<f64>,
}

const GAIN: &str = "gain of the residual";
const RATE: &str = "output over latent";
const COSINE: &str = "cosine of the branches";

/// What a policy compares with its knob `threshold`; see the head of its file.
enum Compared {
    /// What it saw.
    Seen,
    /// The mean of all it saw.
    Mean,
    /// What it saw since the last computed pass, added up: the product of this many numbers a look.
    Sum { factors: usize },
}

fn compared(run: &RunRow) -> Option<Compared> {
    match run.policy.as_str() {
        "first-blocks" | "adaptive-guidance" => Some(Compared::Seen),
        "bw" => Some(Compared::Mean),
        "sea" | "di" => Some(Compared::Sum { factors: 1 }),
        "easy" => Some(Compared::Sum { factors: 2 }),
        // A fitted polynomial stands between what was seen and what was added up; the identity does not.
        "tea" => match run.knobs.get("coefficients") {
            Some(Knob::Text(name)) if name.starts_with("identity") => Some(Compared::Sum { factors: 1 }),
            _ => None,
        },
        _ => None,
    }
}

/// The curves of one run's events, which stand in their order.
pub fn of(run: &RunRow, events: &[EventRow]) -> Signals {
    let threshold = number(run, "threshold").and_then(rounded);
    let compared = compared(run);
    let mut curves: BTreeMap<(usize, u32), Signal> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let mut put = |(name, branch): (String, u32), decides: bool, step: u32, value: f64| {
        let Some(value) = rounded(value) else { return };
        let place = names.iter().position(|other| *other == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        });
        let signal = curves.entry((place, branch)).or_insert_with(|| Signal {
            change: ![GAIN, RATE, COSINE].contains(&name.as_str()),
            name,
            branch,
            decides,
            steps: Vec::new(),
            values: Vec::new(),
        });
        signal.steps.push(step);
        signal.values.push(value);
    };
    let computed = computed(events);
    let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
    let mut measured: Vec<(String, u32)> = Vec::new(); // and in which branch
    for event in events {
        let (step, branch) = (event.step, event.branch);
        match event.action.as_str() {
            "note" => measured.extend(described(event).into_iter().map(|name| (name, branch))),
            "look" => {
                measured.extend(described(event).into_iter().map(|name| (name, branch)));
                for (i, &seen) in event.seen.iter().enumerate() {
                    let unnamed = || (format!("measurement {}", i + 1), branch);
                    let what = measured.get(i).cloned().unwrap_or_else(unnamed);
                    put(what, matches!(compared, Some(Compared::Seen)), step, f64::from(seen));
                }
                measured.clear();
                let seen = || event.seen.iter().map(|&value| f64::from(value));
                match compared {
                    Some(Compared::Mean) => put(
                        ("mean".into(), branch),
                        true,
                        step,
                        seen().sum::<f64>() / event.seen.len() as f64,
                    ),
                    Some(Compared::Sum { factors }) => {
                        let sum = sums.entry(event.branch).or_default();
                        *sum += seen().take(factors).product::<f64>();
                        put(("added up".into(), branch), true, step, *sum);
                    }
                    _ => {}
                }
            }
            _ if computed.contains(&(step, branch)) => drop(sums.insert(branch, 0.0)),
            _ => {}
        }
    }
    Signals {
        signals: curves.into_values().collect(),
        threshold,
        note: note(run, compared.is_some(), threshold),
    }
}

/// Passes in which nothing was reused.
fn computed(events: &[EventRow]) -> BTreeSet<(u32, u32)> {
    let pass = |event: &EventRow| (event.step, event.branch);
    let reused: BTreeSet<_> = events.iter().filter(|e| e.action == "reuse").map(pass).collect();
    events.iter().map(pass).filter(|pass| !reused.contains(pass)).collect()
}

fn number(run: &RunRow, knob: &str) -> Option<f64> {
    match run.knobs.get(knob)? {
        Knob::Float(value) => Some(*value),
        Knob::Int(value) => Some(*value as f64),
        _ => None,
    }
}

fn note(run: &RunRow, compared: bool, threshold: Option<f64>) -> String {
    let text = |knob| match run.knobs.get(knob) {
        Some(Knob::Text(text)) => text.as_str(),
        _ => "?",
    };
    let knob = |name| {
        number(run, name)
            .and_then(rounded)
            .map_or("?".into(), |value| value.to_string())
    };
    match (run.policy.as_str(), threshold) {
        ("mix", _) => format!(
            "MixCache caches from a change below {} d̄ on; its interval grows below {} d̄ and shrinks above {} d̄, \
             where d̄ is the drift of the calibration “{}”.",
            knob("start"),
            knob("calm"),
            knob("rough"),
            text("calibration")
        ),
        ("tea", Some(threshold)) if !compared => format!(
            "The threshold {threshold} holds for what the polynomial “{}” makes of this signal, added up.",
            text("coefficients")
        ),
        _ => String::new(),
    }
}

/// Names of what a look or a note measures.
fn described(event: &EventRow) -> Vec<String> {
    match serde_json::from_str(&event.move_json) {
        Ok(Move::Look { probes } | Move::Note { probes }) => probes.iter().map(name).collect(),
        _ => Vec::new(),
    }
}

fn name(probe: &Probe) -> String {
    match probe {
        Probe::Time => "timestep signal".into(),
        Probe::Input => "input of the first unit".into(),
        Probe::Fresh(Value::Delta { from, to }) => format!("residual of units {from}–{}", to - 1),
        Probe::Fresh(Value::State { unit }) => format!("state at unit {unit}"),
        Probe::Fresh(value) => value.to_string(),
        Probe::Cosine { .. } => COSINE.into(),
        Probe::Distance { new, old } => distance(new, old).into(),
    }
}

fn distance(new: &[Term], old: &[Term]) -> &'static str {
    let values = || {
        new.iter().chain(old).map(|term| match term.of {
            Source::Kept { value, .. } | Source::Fresh { value } => value,
            Source::Now { .. } => Value::Output,
        })
    };
    let filtered = new.iter().any(|term| matches!(term.weight, Weight::Spectrum { .. }));
    let branches: BTreeSet<usize> = old
        .iter()
        .filter_map(|term| match term.of {
            Source::Kept { branch, .. } | Source::Now { branch } => Some(branch),
            Source::Fresh { .. } => None,
        })
        .collect();
    let weight: f32 = old
        .iter()
        .map(|term| match term.weight {
            Weight::Flat(weight) => weight,
            _ => 1.0,
        })
        .sum();
    match () {
        () if filtered => "filtered latent",
        () if values().any(|value| value == Value::Change) => RATE,
        () if values().any(|value| value == Value::Latent) => "latent over output",
        () if values().any(Value::is_hidden) => GAIN,
        () if branches.len() < 2 => "prediction",
        () if weight.abs() < 1e-6 => "branch difference",
        () => "guided prediction",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(step: u32, act: &Move, seen: &[f32]) -> EventRow {
        let action = match act {
            Move::Compute { .. } => "compute",
            Move::Reuse { .. } => "reuse",
            Move::Look { .. } => "look",
            Move::Note { .. } => "note",
        };
        EventRow {
            step,
            action: action.into(),
            move_json: serde_json::to_string(act).unwrap(),
            seen: seen.to_vec(),
            ..EventRow::default()
        }
    }

    fn curve<'a>(signals: &'a Signals, name: &str) -> &'a Signal {
        signals.signals.iter().find(|signal| signal.name == name).unwrap()
    }

    #[test]
    fn teacache_adds_up_what_it_saw_until_it_computes() {
        let look = |step, seen: f32| {
            event(
                step,
                &Move::Look {
                    probes: vec![Probe::Time],
                },
                &[seen],
            )
        };
        let reuse = Move::reuse(Value::Output, vec![]);
        let events = [
            look(0, f32::INFINITY),
            event(0, &Move::compute(9), &[]),
            look(1, 0.25),
            event(1, &reuse, &[]),
            look(2, 0.5),
            event(2, &Move::compute(9), &[]),
            look(3, 0.125),
            event(3, &reuse, &[]),
        ];
        let knobs = [
            ("threshold".to_string(), Knob::Float(0.5)),
            ("coefficients".to_string(), Knob::Text("identity-embedding".into())),
        ];
        let run = RunRow {
            policy: "tea".into(),
            knobs: knobs.into(),
            ..RunRow::default()
        };
        let signals = of(&run, &events);
        assert_eq!(signals.threshold, Some(0.5));
        let sum = curve(&signals, "added up");
        assert!(sum.decides && !curve(&signals, "timestep signal").decides);
        assert_eq!(
            (&sum.steps[..], &sum.values[..]),
            (&[1, 2, 3][..], &[0.25, 0.75, 0.125][..])
        );
    }

    #[test]
    fn a_look_names_first_what_was_noted_before() {
        let delta = Value::Delta { from: 2, to: 6 };
        let kept = |age| vec![Term::kept(1.0, Value::Output, 0, age)];
        let probe = Probe::Distance {
            new: kept(0),
            old: kept(1),
        };
        let events = [
            event(
                4,
                &Move::Note {
                    probes: vec![Probe::Fresh(delta)],
                },
                &[],
            ),
            event(5, &Move::Look { probes: vec![probe] }, &[0.5, 0.25]),
        ];
        let signals = of(&RunRow::default(), &events);
        assert_eq!(curve(&signals, "residual of units 2–5").values, [0.5]);
        assert_eq!(curve(&signals, "prediction").values, [0.25]);
    }
}
