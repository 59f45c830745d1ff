//! What was calibrated for a model, as data with its source: never in code, never chosen by a path.

use crate::plan::{Run, Signal, Unfit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything calibrated that a run may draw on, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// TeaCache polynomials.
    pub tea: BTreeMap<String, TeaCoefficients>,
    /// MixCache impacts and drifts.
    pub mix: BTreeMap<String, MixCalibration>,
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
