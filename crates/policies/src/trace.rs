//! A recorded run's decisions, made again on any model: an oracle's schedule, or what a policy decided
//! on a trained model, timed on one whose weights are not at hand.

use crate::data::{self, Kind, Recorded};
use crate::plan::*;
use crate::replay::Replay;
use serde::{Deserialize, Serialize};

/// Play back the trace file `trace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Name of a file in `traces/` beside the experiment, written by `mixcache trace`.
    pub trace: String,
    /// Play a trace of another model: its blocks are stretched over those of this one.
    #[serde(default)]
    pub foreign: bool,
    #[serde(skip)]
    replay: Option<Replay>,
}

impl CachePolicy for Trace {
    fn is_hybrid() -> bool {
        // What was recorded may be anything.
        true
    }
    fn draws_on(&self) -> Option<(Kind, &str)> {
        Some((Kind::Traces, &self.trace))
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let traces = &run.data.traces;
        let recorded = data::find(run, "trace", traces, &self.trace, |t| &t.model, self.foreign)?;
        if (recorded.steps, recorded.branches) != (run.steps(), run.branches) {
            return Err(Unfit(format!(
                "trace `{}` was recorded over {} steps with {} passes each, this run has {} with {}: record one like it",
                self.trace,
                recorded.steps,
                recorded.branches,
                run.steps(),
                run.branches
            )));
        }
        if run.blocks() < recorded.model_blocks() {
            return Err(Unfit(format!(
                "trace `{}` was recorded on {} blocks, this model has {}: blocks can be stretched, not merged",
                self.trace,
                recorded.model_blocks(),
                run.blocks()
            )));
        }
        let mut replay = Replay::new(&recorded.stretched(run));
        let claim = replay.begin(run)?;
        self.replay = Some(replay);
        Ok(claim)
    }
    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        self.replay.as_mut().expect("`begin` comes first").next(at, seen)
    }
}

impl Recorded {
    fn model_blocks(&self) -> usize {
        self.blocks.last().map_or(0, |last| last + 1)
    }
    /// The events with every place in the chain moved to the same share of the blocks of `run`.
    fn stretched(&self, run: &Run) -> Vec<Event> {
        let (ours, theirs) = (&self.blocks, run.blocks());
        let place = |unit: usize| {
            let Some(&block) = ours.get(unit) else {
                return if unit == ours.len() { run.end() } else { run.output() };
            };
            let within = unit - ours.partition_point(|&b| b < block);
            run.units_of(block * theirs / self.model_blocks()..theirs).start + within
        };
        let value = |value: Value| match value {
            Value::Delta { from, to } => Value::Delta {
                from: place(from),
                to: place(to),
            },
            Value::Raw { unit } => Value::Raw { unit: place(unit) },
            Value::State { unit } => Value::State { unit: place(unit) },
            whole => whole,
        };
        let term = |term: &Term| Term {
            weight: term.weight,
            of: match term.of {
                Source::Kept { value: kept, branch, age } => Source::Kept {
                    value: value(kept),
                    branch,
                    age,
                },
                Source::Fresh { value: held } => Source::Fresh { value: value(held) },
                now => now,
            },
        };
        // What predictions lacked is a sum of predictions: it has no place in the chain.
        let moved = |act: &Move| match act {
            Move::Compute { to, keep, lacked } => Move::Compute {
                to: place(*to),
                keep: *keep,
                lacked: lacked.clone(),
            },
            Move::Reuse {
                value: replaced,
                terms,
                kept,
                lacked,
            } => Move::Reuse {
                value: value(*replaced),
                terms: terms.iter().map(term).collect(),
                kept: *kept,
                lacked: lacked.clone(),
            },
            looking => looking.clone(),
        };
        let event = |event: &Event| Event {
            at: At {
                unit: place(event.at.unit),
                ..event.at
            },
            act: moved(&event.act),
            seen: vec![],
        };
        self.events.iter().map(event).collect()
    }
}
