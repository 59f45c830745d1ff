//! AdaCache (arXiv 2411.02397; AdaCache-DiT/AdaCache@2c6d3ca): when a step is computed, the rate at which one block's
//! attention residual has changed, mean|new − cached| / mean|cached| / interval, is looked up in a codebook: so many
//! steps on, the next is computed. The code reuses every block's residuals, which add up to that of the whole stack.
//! Its motion regularisation is not here; `scale` stands in its place.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Compute the next step the later, the less has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ada {
    /// From the rate of change to the interval.
    pub codebook: Codebook,
    /// Factor on the rate of change: below 1 skips more.
    pub scale: f32,
    /// The block that is measured, as a share of the blocks (block 13 of Open-Sora's 28).
    pub block: f32,
    #[serde(skip)]
    state: State,
}

impl Default for Ada {
    fn default() -> Self {
        Ada {
            codebook: Codebook::Fast,
            scale: 1.0,
            block: 0.5,
            state: State::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    forced: Vec<bool>,       // per step
    measured: Option<Value>, // the attention residual, of the conditional branch
    computed: usize,         // the last computed step
    gap: usize,              // to the computed step before it
    interval: usize,         // to the next
    compute: bool,           // this step, in both branches
    noted: bool,             // the rate of change of the last computed step
    whole: WholeStep,
}

/// Intervals below which rate of change, for so many steps of Open-Sora.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codebook {
    /// 100 steps.
    Long,
    /// 30 steps, fast.
    Fast,
    /// 30 steps, slow.
    Slow,
}

impl Codebook {
    /// Steps to the next computed one at this rate of change.
    fn interval(self, rate: f32) -> usize {
        let book: &[(f32, usize)] = match self {
            Codebook::Long => &[(0.03, 12), (0.05, 10), (0.07, 8), (0.09, 6), (0.11, 4), (1.0, 3)],
            Codebook::Fast => &[(0.08, 6), (0.16, 5), (0.24, 4), (0.32, 3), (0.40, 2)],
            Codebook::Slow => &[(0.08, 3), (0.16, 2)],
        };
        book.iter().find(|(below, _)| rate < *below).map_or(1, |(_, interval)| *interval)
    }
}

impl CachePolicy for Ada {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let block = (self.block * run.blocks() as f32) as usize;
        let attention = run.units.iter().position(|u| u.block == block && u.kind == UnitKind::SelfAttn);
        let Some(unit) = attention else {
            let block = self.block;
            return Err(Unfit(format!("`block = {block}`: expected 0 ≤ block < 1, and a block with self-attention")));
        };
        let measured = Value::Delta { from: unit, to: unit + 1 };
        let (whole, claim) = WholeStep::new(Form::Residual, run);
        let steps = run.steps();
        self.state = State {
            // The code computes the first step and the last two.
            forced: (0..steps).map(|step| step == 0 || step + 2 >= steps || run.is_full(step)).collect(),
            measured: Some(measured),
            whole,
            ..State::default()
        };
        Ok(claim.holding_of(COND, measured, 1))
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let state = &mut self.state;
        let Some(measured @ Value::Delta { to, .. }) = state.measured else { unreachable!("set by begin") };
        if at.branch == COND && at.unit == 0 {
            if !state.forced[at.step] && state.noted {
                let &[change] = seen else { return Move::Look { probes: vec![] } };
                state.interval = self.codebook.interval(self.scale * change / state.gap as f32);
                state.noted = false;
            }
            state.compute = state.forced[at.step] || at.step >= state.computed + state.interval;
            if state.compute {
                (state.gap, state.computed, state.interval) = (at.step - state.computed, at.step, 1);
                if state.forced.get(at.step + 1) == Some(&false) {
                    return Move::hold(to);
                }
            }
        }
        if at.unit > 0 && !state.noted {
            state.noted = true;
            return Move::Note { probes: vec![Probe::Fresh(measured)] };
        }
        state.whole.next(at, state.compute)
    }
}
