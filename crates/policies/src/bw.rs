//! BWCache (arXiv 2509.13789; hsc113/BWCache): once the features of the blocks, averaged over all of them, change by
//! less than δ (relative L1) between two computed steps, reuse the stack's residual for R steps, then compute again.
//! Of the k steps left when this first happens, the last k/2 are computed. Here the features are what the blocks are
//! given, but for the first, and the conditional branch decides for both.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use serde::{Deserialize, Serialize};

/// Reuse for a while once all blocks have calmed down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bw {
    /// δ: the mean change of the blocks below which their work is reused.
    pub threshold: f32,
    /// R: for how long, as a share of the steps.
    pub reuse: f32,
    #[serde(skip)]
    state: State,
}

impl Default for Bw {
    fn default() -> Self {
        Bw { threshold: 0.15, reuse: 0.1, state: State::default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    full: Vec<bool>,      // per step
    starts: Vec<usize>,   // of all blocks but the first, then the end
    lasting: usize,       // R
    left: usize,          // steps still to skip
    tail: Option<usize>,  // the first step of those that are computed at the end
    skip: bool,           // this step, in both branches
    measuring: bool,      // this step
    noted: Option<usize>, // the last block start whose change was measured in this pass
    whole: WholeStep,
}

impl CachePolicy for Bw {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        if run.blocks() < 2 {
            return Err(Unfit("BWCache compares what all blocks but the first are given: expected two blocks".into()));
        }
        let (whole, claim) = WholeStep::new(Form::Residual, run);
        let starts: Vec<usize> = (1..=run.blocks()).map(|block| run.units_of(0..block).end).collect();
        let inner = &starts[..starts.len() - 1];
        let claim = inner.iter().fold(claim, |claim, &unit| claim.keeping_of(COND, Value::State { unit }, 1));
        self.state = State {
            full: (0..run.steps()).map(|step| run.is_full(step)).collect(),
            starts,
            lasting: ((self.reuse * run.steps() as f32) as usize).max(1),
            whole,
            ..State::default()
        };
        Ok(claim)
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let state = &mut self.state;
        if at.branch != COND {
            return state.whole.next(at, !state.skip);
        }
        let steps = state.full.len();
        if at.unit == 0 {
            if state.measuring && !at.full {
                if seen.is_empty() {
                    return Move::Look { probes: vec![] };
                }
                if seen.iter().sum::<f32>() / (seen.len() as f32) < self.threshold {
                    state.left = state.lasting;
                    state.tail.get_or_insert(steps - (steps - at.step) / 2);
                }
            }
            state.skip = state.left > 0 && !at.full && state.tail.is_none_or(|tail| at.step < tail);
            state.left -= state.skip as usize;
            // Nobody asks for a measurement in front of a step that is computed anyway.
            let next_is_free = state.full.get(at.step + 1) == Some(&false);
            state.measuring = !state.skip && next_is_free && state.tail.is_none_or(|tail| at.step + 1 < tail);
            state.noted = None;
            if state.skip || !state.measuring {
                return state.whole.next(at, !state.skip);
            }
        }
        if at.unit > 0 && state.noted != Some(at.unit) {
            state.noted = Some(at.unit);
            return Move::Note { probes: vec![Probe::Fresh(Value::State { unit: at.unit })] };
        }
        match state.starts.iter().find(|&&start| start > at.unit) {
            Some(&start) if Some(&start) != state.starts.last() => Move::store(start),
            _ => state.whole.next(at, true),
        }
    }
}
