//! Play back a recorded trace: the same decisions, no measurements. An oracle is just another trace.

use crate::plan::*;
use std::collections::BTreeMap;

/// Decisions of a trace, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    moves: Vec<Event>,
}

impl Replay {
    /// The computations and reuses of `trace`; its looks are dropped.
    pub fn new(trace: &[Event]) -> Replay {
        let moves = trace
            .iter()
            .filter(|e| matches!(e.act, Move::Compute { .. } | Move::Reuse { .. }));
        Replay {
            moves: moves.cloned().collect(),
        }
    }
    /// Whether hidden states of one branch are put into another.
    fn shares_states(&self) -> bool {
        let crosses = |event: &Event, term: &Term| match term.of {
            Source::Kept { value, branch, .. } => value.is_hidden() && branch != event.at.branch,
            Source::Fresh { .. } | Source::Now { .. } => false,
        };
        self.moves.iter().any(|event| match &event.act {
            Move::Reuse { terms, .. } => terms.iter().any(|term| crosses(event, term)),
            _ => false,
        })
    }
    /// Memory for what the trace reuses, no more: a value that was stored but never used is not kept.
    fn claim(&self) -> Claim {
        let held = self
            .moves
            .iter()
            .any(|e| matches!(e.act, Move::Compute { keep: Keep::Hold, .. }));
        let mut depths = BTreeMap::new();
        for event in &self.moves {
            let (terms, lacked): (&[Term], &[Lacked]) = match &event.act {
                Move::Reuse { terms, lacked, .. } => (terms, lacked),
                Move::Compute { lacked, .. } => (&[], lacked),
                Move::Look { .. } | Move::Note { .. } => continue,
            };
            for term in terms.iter().chain(lacked.iter().flat_map(|lacked| &lacked.terms)) {
                let (value, branch, age) = match term.of {
                    Source::Kept { value, branch, age } => (value, branch, age),
                    Source::Fresh { value } if value.is_hidden() => (value, event.at.branch, 0),
                    Source::Fresh { .. } | Source::Now { .. } => continue,
                };
                let slot = depths.entry((value, branch)).or_insert(Slot {
                    value,
                    branch,
                    depth: 0,
                    held,
                });
                slot.depth = slot.depth.max(age + 1);
            }
        }
        Claim {
            slots: depths.into_values().collect(),
            ..Claim::default()
        }
    }
}

impl CachePolicy for Replay {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let mut moves = self.moves.iter();
        for step in 0..run.steps() {
            for branch in 0..run.branches {
                let (mut unit, mut undecided) = (0, false);
                while unit < run.end() || undecided {
                    let event = moves.next();
                    let at = event.map(|e| (e.at.step, e.at.branch, e.at.unit));
                    if at != Some((step, branch, unit)) {
                        return Err(Unfit(format!(
                            "the trace was recorded on another run: expected step {step}, branch {branch}, unit {unit}, found {at:?}"
                        )));
                    }
                    if let Some(Event {
                        act: Move::Compute { to, keep, .. },
                        ..
                    }) = event
                    {
                        (unit, undecided) = (*to, *to == run.end() && *keep == Keep::Hold);
                    } else if let Some(Event {
                        act: Move::Reuse { value, .. },
                        ..
                    }) = event
                    {
                        (unit, undecided) = (value.to(run), false);
                    }
                }
            }
        }
        if moves.next().is_some() {
            return Err(Unfit(
                "the trace was recorded on another run: it goes on after the last step".into(),
            ));
        }
        if self.shares_states() {
            needs_like_branches(run, "the trace")?;
        }
        Ok(self.claim())
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let place = |at: At| (at.step, at.branch, at.unit);
        let here = self.moves.partition_point(|event| place(event.at) < place(at));
        self.moves[here].act.clone()
    }
}
