//! What a skipped step puts in place of the model: the three forms of step caching.

use crate::forecast::Forecast;
use crate::plan::{At, Claim, Move, Run, Value};
use serde::{Deserialize, Serialize};

/// Form of a whole-step reuse.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The last prediction as it is. Under Euler, the same as taking one longer step.
    Output,
    /// Current embedding + residual of the whole stack, then the head at the current timestep (TeaCache).
    #[default]
    Residual,
    /// Current latent + (prediction − latent) of the last computed step (EasyCache).
    OutputMinusInput,
}

impl Form {
    /// The value that is stored and reused.
    pub fn value(self, run: &Run) -> Value {
        match self {
            Form::Output => Value::Output,
            Form::Residual => Value::Delta { from: 0, to: run.end() },
            Form::OutputMinusInput => Value::Change,
        }
    }
}

/// A policy's half of whole-step caching: compute and store, or reuse.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WholeStep {
    value: Value,
    /// Where a computation ends that completes the value.
    to: usize,
    forecast: Forecast,
}

impl Default for WholeStep {
    fn default() -> Self {
        WholeStep {
            value: Value::Output,
            to: 0,
            forecast: Forecast::default(),
        }
    }
}

impl WholeStep {
    /// Reuses the newest value.
    pub(crate) fn new(form: Form, run: &Run) -> (WholeStep, Claim) {
        WholeStep::forecasting(form, 0, run)
    }
    /// Reuses a Taylor series of this order through the stored values.
    pub(crate) fn forecasting(form: Form, order: usize, run: &Run) -> (WholeStep, Claim) {
        let value = form.value(run);
        let forecast = Forecast::new(order, run);
        let claim = forecast.claim(Claim::default(), run, value);
        let to = value.to(run);
        (WholeStep { value, to, forecast }, claim)
    }
    pub(crate) fn next(&mut self, at: At, compute: bool) -> Move {
        if compute || !self.forecast.is_ready(at) {
            self.forecast.wrote(at);
            Move::store(self.to)
        } else {
            self.forecast.reuse(self.value, at)
        }
    }
}
