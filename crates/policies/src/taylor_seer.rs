//! TaylorSeer (arXiv 2503.06923; Shenyi-Z/TaylorSeer@288776d `TaylorSeer-Wan2.1`): compute every N-th step; in
//! between, a Taylor series stands in for every module's output before its gate. Order 0 is FORA (arXiv
//! 2407.01425). The 'lite' form, of diffusers' `taylorseer_cache.py`, forecasts the prediction alone.

use crate::forecast::Forecast;
use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Forecast module outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaylorSeer {
    /// N: steps from one computed step to the next; 1 computes all.
    pub interval: usize,
    /// O: the highest derivative.
    pub order: usize,
    /// Steps computed at the start.
    pub warmup: usize,
    /// From where the steps to compute are counted.
    pub schedule: Schedule,
    /// What is forecast.
    pub scope: Scope,
    #[serde(skip)]
    forecast: Forecast,
    #[serde(skip)]
    end: usize,
    #[serde(skip)]
    whole: WholeStep,
}

/// From where the steps to compute are counted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// From the last step of the warm-up: `warmup − 1 + N`, …
    Authors,
    /// From the step after the first forecast: `warmup + 1`, `warmup + 1 + N`, …
    Diffusers,
}

/// What is forecast.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The output of every attention and feed-forward, before its gate.
    Modules,
    /// The prediction.
    Output,
}

impl Default for TaylorSeer {
    fn default() -> Self {
        TaylorSeer {
            interval: 5,
            order: 1,
            warmup: 1,
            schedule: Schedule::Authors,
            scope: Scope::Modules,
            forecast: Forecast::default(),
            end: 0,
            whole: WholeStep::default(),
        }
    }
}

impl CachePolicy for TaylorSeer {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        at_least_one("interval", self.interval)?;
        at_least_one("warmup", self.warmup)?;
        self.end = run.end();
        self.forecast = Forecast::new(self.order, run);
        let (whole, claim) = WholeStep::forecasting(Form::Output, self.order, run);
        self.whole = whole;
        Ok(match self.scope {
            Scope::Output => claim,
            Scope::Modules => (0..run.end())
                .fold(Claim::default(), |claim, unit| self.forecast.claim(claim, run, Value::Raw { unit })),
        })
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let start = match self.schedule {
            Schedule::Authors => self.warmup - 1,
            Schedule::Diffusers => self.warmup + 1,
        };
        let compute = at.full || at.step < self.warmup || at.step.abs_diff(start).is_multiple_of(self.interval);
        match self.scope {
            Scope::Output => self.whole.next(at, compute),
            Scope::Modules if compute => {
                self.forecast.wrote(at);
                Move::store(self.end)
            }
            Scope::Modules => self.forecast.reuse(Value::Raw { unit: at.unit }, at),
        }
    }
}
