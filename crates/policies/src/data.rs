//! What was calibrated for a model, as data with its source: never in code, never chosen by a path.

use crate::plan::{Event, Run, Signal, Unfit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything calibrated that a run may draw on, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// TeaCache polynomials.
    pub tea: BTreeMap<String, TeaCoefficients>,
    /// MixCache impacts and drifts.
    pub mix: BTreeMap<String, MixCalibration>,
    /// MagCache's magnitude ratios.
    pub ratios: BTreeMap<String, MagRatios>,
    /// Second moments of predictions.
    pub moments: BTreeMap<String, Moments>,
    /// Recorded decisions.
    pub traces: BTreeMap<String, Recorded>,
}

/// A kind of calibrated data, by the name of the folder beside an experiment that its files lie in.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// [`Data::tea`].
    Coefficients,
    /// [`Data::mix`].
    Calibration,
    /// [`Data::ratios`].
    Ratios,
    /// [`Data::moments`].
    Moments,
    /// [`Data::traces`].
    Traces,
}

impl Kind {
    /// Name of the folder.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Coefficients => "coefficients",
            Kind::Calibration => "calibration",
            Kind::Ratios => "ratios",
            Kind::Moments => "moments",
            Kind::Traces => "traces",
        }
    }
}

/// A TeaCache polynomial: maps the change of a signal to the expected change of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeaCoefficients {
    /// Model it was fitted on; `any` fits every model.
    pub model: String,
    /// Where it was published.
    pub source: String,
    /// The signal it was fitted to.
    pub signal: Signal,
    /// Coefficients, highest power first.
    pub polynomial: Vec<f64>,
    /// Changes of the signal for which the polynomial is positive, as `[low, high]`.
    pub range: [f64; 2],
}

/// Magnitude ratios of the residual of the whole stack, step by step: `mean over tokens of
/// ‖R_i‖₂ / ‖R_{i−1}‖₂` of an uncached run (MagCache, arXiv 2506.09045).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MagRatios {
    /// Model they were measured on.
    pub model: String,
    /// Where they were published, or how they were measured.
    pub source: String,
    /// One a step, of the conditional branch; the first has nothing before it and is 1.
    pub cond: Vec<f32>,
    /// Of the unconditional branch, where the model has one.
    #[serde(default)]
    pub uncond: Vec<f32>,
}

/// What MixCache needs to know of a model, sampler and size before it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixCalibration {
    /// Model it was measured on.
    pub model: String,
    /// How it was measured: command, prompts, seeds, revision, date.
    pub source: String,
    /// Sampler, e.g. `unipc`.
    pub sampler: String,
    /// Sampler steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f32,
    /// Median change of the guided prediction from step to step (relative L1), over the middle 70 %.
    pub drift: f32,
    /// Gain from a relative error of a reused value to the relative error of the final latent, `step` = 1.
    pub impact: Impact,
}

/// One number a granularity.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impact {
    /// The guided prediction.
    pub step: f32,
    /// The difference between the branches.
    pub cfg: f32,
    /// The residual of the block range.
    pub block: f32,
}

/// How the predictions of an uncached run hang together: what a linear forecast needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Model they were measured on.
    pub model: String,
    /// How they were measured: command, prompts, seeds, revision, date.
    pub source: String,
    /// Passes a step.
    pub branches: usize,
    /// Guidance scale.
    pub guidance: f32,
    /// Noise level of each step.
    pub sigmas: Vec<f32>,
    /// What becomes of an error: the norm of the change of the final latent over the norm of the change of the
    /// guided prediction of that step, times the length of the solver's step.
    pub gain: Vec<f64>,
    /// `E⟨p_i, p_j⟩` a latent element for `j ≤ i`, with `i = step · branches + branch`: mean over clips.
    pub moments: Vec<Vec<f64>>,
}

impl Moments {
    pub(crate) fn moment(&self, i: usize, j: usize) -> f64 {
        self.moments[i.max(j)][i.min(j)]
    }
}

/// The decisions of a run, kept to be made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Model it was recorded on.
    pub model: String,
    /// Recording, policy, prompt and seed.
    pub source: String,
    /// Sampler steps.
    pub steps: usize,
    /// Passes a step.
    pub branches: usize,
    /// Block of each unit of the model's chain.
    pub blocks: Vec<usize>,
    /// What was computed and reused, in order.
    pub events: Vec<Event>,
}

/// Looks `name` up in `table`, and refuses data of another model unless `foreign` allows it.
pub(crate) fn find<'a, T>(
    run: &Run,
    what: &str,
    table: &'a BTreeMap<String, T>,
    name: &str,
    model: impl Fn(&T) -> &str,
    foreign: bool,
) -> Result<&'a T, Unfit> {
    let found = table.get(name).ok_or_else(|| {
        let known: Vec<_> = table.keys().map(String::as_str).collect();
        Unfit(format!(
            "there is no {what} `{name}`; known: {}",
            if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            }
        ))
    })?;
    let of = model(found);
    if of != "any" && of != run.model && !foreign {
        return Err(Unfit(format!(
            "{what} `{name}` belongs to {of}, this run uses {}: calibrate for it, or set `foreign = true`",
            run.model
        )));
    }
    Ok(found)
}
