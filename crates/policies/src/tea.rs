//! TeaCache (arXiv 2411.19108, eq. 5–7; ali-vilab/TeaCache): skip the stack while the accumulated,
//! polynomially rescaled change of a signal stays below δ. The signal is the time embedding on Wan
//! (`TeaCache4Wan2.1`), the modulated input of the first block on HunyuanVideo (`TeaCache4HunyuanVideo`).
//! With `order = 1` a Taylor series of the residual is reused, as ModelTC/LightX2V's "Custom" cache does.

use crate::data::{Kind, find};
use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Skip while the signal has changed little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tea {
    /// δ: the accumulated change at which a step is computed.
    pub threshold: f64,
    /// Name of the polynomial, which also says which signal it was fitted to.
    pub coefficients: String,
    /// The highest derivative with which the residual is forecast; 0 reuses the newest.
    #[serde(default)]
    pub order: usize,
    /// Count a negative rescaled change as none. The reference does not, and then skips for long.
    #[serde(default)]
    pub clamp: bool,
    /// Allow coefficients of another model.
    #[serde(default)]
    pub foreign: bool,
    #[serde(skip)]
    polynomial: Vec<f64>,
    #[serde(skip)]
    range: [f64; 2],
    #[serde(skip)]
    probe: Option<Probe>,
    #[serde(skip)]
    sum: Vec<f64>, // per branch
    #[serde(skip)]
    outside: Vec<f32>,
    #[serde(skip)]
    whole: WholeStep,
}

impl Tea {
    /// TeaCache with threshold δ and the named polynomial.
    pub fn new(threshold: f64, coefficients: &str) -> Tea {
        Tea {
            threshold,
            coefficients: coefficients.into(),
            order: 0,
            clamp: false,
            foreign: false,
            polynomial: vec![],
            range: [0.0; 2],
            probe: None,
            sum: vec![],
            outside: vec![],
            whole: WholeStep::default(),
        }
    }
}

impl CachePolicy for Tea {
    fn draws_on(&self) -> Option<(Kind, &str)> {
        Some((Kind::Coefficients, &self.coefficients))
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let named = &self.coefficients;
        let of = find(run, "TeaCache polynomial", &run.data.tea, named, |c| &c.model, self.foreign)?;
        (self.polynomial, self.range) = (of.polynomial.clone(), of.range);
        (self.sum, self.outside) = (vec![0.0; run.branches], vec![]);
        let (whole, claim) = WholeStep::forecasting(Form::Residual, self.order, run);
        self.whole = whole;
        let (claim, probe) = claim.watching(of.signal);
        self.probe = Some(probe);
        Ok(claim)
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let &[drift] = seen else {
            return Move::Look { probes: self.probe.iter().cloned().collect() };
        };
        if drift.is_finite() && !(self.range[0]..=self.range[1]).contains(&(drift as f64)) {
            self.outside.push(drift);
        }
        let rescaled = self.polynomial.iter().fold(0.0, |y, c| y * drift as f64 + c); // Horner
        let sum = &mut self.sum[at.branch];
        *sum += if self.clamp { rescaled.max(0.0) } else { rescaled };
        let compute = at.full || !drift.is_finite() || *sum >= self.threshold;
        if compute {
            *sum = 0.0;
        }
        self.whole.next(at, compute)
    }
    fn warnings(&self) -> Vec<String> {
        let Some(worst) = self.outside.iter().copied().reduce(f32::max) else { return vec![] };
        let [low, high] = self.range;
        vec![format!(
            "TeaCache: {} of the changes it saw (up to {worst:.4}) lie outside {low}..{high}, where the polynomial `{}` holds",
            self.outside.len(),
            self.coefficients
        )]
    }
}
