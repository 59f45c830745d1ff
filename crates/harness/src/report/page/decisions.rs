//! What every run decided, small enough to embed: passes share a few patterns, of which a run is a list.

use super::signals::{self, Signals};
use crate::report::heatmap::{self, Cell};
use crate::schema::{EventRow, RunRow};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What was done instead of computing. The page has one colour for each, the same in every map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    Computed,
    /// The whole pass.
    Step,
    /// A pass, from the other branch of the same step.
    Branch,
    /// Some of the blocks.
    Blocks,
    /// One module of a block, before its gate.
    Module,
}

impl Serialize for Grain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// Blocks `from..to`, what happened to them, and the place of its description in [`Decisions::kinds`].
type Strip = (f64, f64, Grain, usize);

/// The decisions of all runs; repeats decide alike and are left out.
#[derive(Default, Serialize)]
pub struct Decisions<'a> {
    kinds: Vec<&'a str>,
    patterns: Vec<Vec<Strip>>,
    runs: BTreeMap<&'a str, Decided>,
}

#[derive(Serialize)]
struct Decided {
    steps: u32,
    blocks: u32,
    /// Names of the guidance branches.
    branches: Vec<&'static str>,
    /// First and last steps in which nothing may be reused.
    full: (u32, u32),
    /// Place of each pass in the patterns, step by step, branch by branch; none where no pass ran.
    passes: Vec<Option<usize>>,
    #[serde(flatten)]
    signals: Signals,
}

impl<'a> Decisions<'a> {
    /// Packs the events of a recording.
    pub fn of(runs: &'a [RunRow], events: &'a [EventRow]) -> Decisions<'a> {
        // A run's events were recorded together.
        let own: BTreeMap<&str, &[EventRow]> = events
            .chunk_by(|a, b| a.run_key == b.run_key)
            .map(|own| (own[0].run_key.as_str(), own))
            .collect();
        let mut decisions = Decisions::default();
        for run in runs.iter().filter(|run| run.repeat == 0) {
            if let Some(events) = own.get(run.run_key.as_str()) {
                let decided = decisions.pack(run, events);
                decisions.runs.insert(&run.run_key, decided);
            }
        }
        decisions
    }

    fn pack(&mut self, run: &RunRow, events: &'a [EventRow]) -> Decided {
        let most = |value: fn(&EventRow) -> u32| events.iter().map(value).max().unwrap_or(0);
        let blocks = most(|event| event.block_to).max(1);
        let steps = most(|event| event.step + 1).max(run.steps);
        let branches = most(|event| event.branch + 1);
        let mut passes: BTreeMap<(u32, u32), Vec<Strip>> = BTreeMap::new();
        for cell in heatmap::cells(events, blocks) {
            let strip = self.strip(&cell, blocks);
            passes.entry((cell.step, cell.branch)).or_default().push(strip);
        }
        let places: BTreeMap<(u32, u32), usize> = passes
            .into_iter()
            .map(|(pass, strips)| (pass, place(&mut self.patterns, strips)))
            .collect();
        let all = (0..steps).flat_map(|step| (0..branches).map(move |branch| (step, branch)));
        Decided {
            steps,
            blocks,
            branches: (0..branches)
                .map(|branch| heatmap::branch_name(branch, branches as usize))
                .collect(),
            full: (run.full_first, run.full_last),
            passes: all.map(|pass| places.get(&pass).copied()).collect(),
            signals: signals::of(run, events),
        }
    }

    fn strip(&mut self, cell: &Cell<'a>, blocks: u32) -> Strip {
        let share = |at: f64| (at * 1000.0).round() / 1000.0;
        (
            share(cell.from),
            share(cell.to),
            grain(cell, blocks),
            place(&mut self.kinds, cell.kind),
        )
    }
}

/// What [`crate::trace`] calls a value, sorted into what a reader tells apart.
fn grain(cell: &Cell, blocks: u32) -> Grain {
    match cell.kind {
        "compute" => Grain::Computed,
        kind if kind.contains("other branch") => Grain::Branch,
        kind if kind.starts_with("output") => Grain::Step,
        kind if kind.starts_with("raw") => Grain::Module,
        _ if cell.from == 0.0 && cell.to == f64::from(blocks) => Grain::Step,
        _ => Grain::Blocks,
    }
}

/// Where `item` stands in `list`, at its end if it is new.
fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, from: f64, to: f64) -> Grain {
        let (step, branch) = (0, 0);
        let cell = Cell {
            step,
            branch,
            from,
            to,
            kind,
        };
        grain(&cell, 8)
    }

    #[test]
    fn granularities_are_told_apart() {
        assert_eq!(of("compute", 0.0, 8.0), Grain::Computed);
        assert_eq!(of("delta", 0.0, 8.0), Grain::Step);
        assert_eq!(of("delta", 2.0, 8.0), Grain::Blocks);
        assert_eq!(of("state", 0.0, 2.0), Grain::Blocks);
        assert_eq!(of("raw", 0.0, 0.333), Grain::Module);
        assert_eq!(of("output", 0.0, 8.0), Grain::Step);
        assert_eq!(of("output rebuilt from the other branch", 0.0, 8.0), Grain::Branch);
        assert_eq!(of("change", 0.0, 8.0), Grain::Step);
    }
}
